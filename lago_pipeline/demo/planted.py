"""The mistakes planted in the demo warehouse, so that a first run shows what a refusal looks like.

Each has a day of its own: on all other days everything is billed.
"""

from dataclasses import dataclass
from datetime import date
from typing import Literal

from lago_pipeline.demo.rows import ApiRequest, SeatEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """Rows of one day that must be refused for `reason`; `note` is what a person should know.

    `key` is the rows' primary key as text, None where they have none.
    """

    table: Literal["api_requests", "active_seats"]
    day: date
    key: str | None
    reason: str
    note: str
    rows: tuple[ApiRequest, ...] | tuple[SeatEvent, ...]


def _call(number: int, at: str) -> ApiRequest:
    """Return a good row with an id that is easy to find; each planted row then breaks one thing."""
    return ApiRequest(
        request_id=f"00000000-0000-4000-8000-{number:012d}",
        requested_at=f"{at}.250",
        loaded_at=f"{at[:16]}:59.900",
        subscription_id="sub_fjord_prod",
        requests=40,
        weight="0.125",
        region="EU-North-1",
        endpoint="/v1/search",
    )


_TWICE = _call(3, "2026-09-10 11:30:00")
_SEAT = SeatEvent(
    seat_event_id=9_000_001,
    seen_at="2026-09-24 13:37:00.000",
    subscription_id="",
    seat="praktikant@hafenblick.example",
    operation="add",
    team=None,
)

PLANTED = (
    Planted(
        table="api_requests",
        day=date(2026, 9, 3),
        key="00000000-0000-4000-8000-000000000001",
        reason="missing_external_subscription_id",
        note="subscription_id is NULL: Lago would answer 200 and bill nobody. Fill the column and run again.",
        rows=(_call(1, "2026-09-03 09:12:44")._replace(subscription_id=None),),
    ),
    Planted(
        table="api_requests",
        day=date(2026, 9, 7),
        key=None,
        reason="missing_primary_key",
        note="request_id is NULL: without a key a retry could bill the row twice. Fill it and run again.",
        rows=(_call(2, "2026-09-07 14:02:10")._replace(request_id=None),),
    ),
    Planted(
        table="api_requests",
        day=date(2026, 9, 10),
        key="00000000-0000-4000-8000-000000000003",
        reason="duplicate_key",
        note="Two rows share a request_id but say 40 and 41 requests: neither is sent. Delete the wrong one.",
        rows=(_TWICE, _TWICE._replace(requests=41)),
    ),
    Planted(
        table="api_requests",
        day=date(2026, 9, 14),
        key="00000000-0000-4000-8000-000000000004",
        reason="invalid_character",
        note="endpoint holds a NUL byte, which Lago cannot store: it fails the whole batch. Remove the byte.",
        rows=(_call(4, "2026-09-14 16:45:59")._replace(endpoint="/v1/files/report\x00.pdf"),),
    ),
    Planted(
        table="api_requests",
        day=date(2026, 9, 17),
        key="00000000-0000-4000-8000-000000000005",
        reason="invalid_timestamp",
        note="requested_at is '2026-09-17 25:61:00', which is no time of any day. Correct it and run again.",
        rows=(_call(5, "2026-09-17 12:00:00")._replace(requested_at="2026-09-17 25:61:00"),),
    ),
    Planted(
        table="api_requests",
        day=date(2026, 9, 21),
        key="00000000-0000-4000-8000-000000000006",
        reason="rejected",
        note="weight is NULL, and the metric's expression needs it: Lago answers 422. Fill it and run again.",
        rows=(_call(6, "2026-09-21 08:20:15")._replace(weight=None),),
    ),
    Planted(
        table="active_seats",
        day=date(2026, 9, 24),
        key="9000001",
        reason="missing_external_subscription_id",
        note="subscription_id is empty: Lago would answer 200 and bill nobody. Fill it and run again.",
        rows=(_SEAT,),
    ),
)

# Not a refusal: rows that are equal in every column are one row that was loaded twice.
IDENTICAL_TWINS = (_call(8, "2026-09-25 10:00:00"),) * 2
