"""Makes the rows of `active_seats`: people who use a seat, come back, and give it up."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import accumulate, count

from lago_pipeline.demo.customers import CUSTOMERS
from lago_pipeline.demo.rows import DAYS, SeatEvent, moment, spelled

_FIRST_NAMES = (
    *("anna", "jürgen", "zoë", "李雷", "mehmet", "søren", "花子", "paul", "chloé", "łukasz", "noah", "maría"),
    *("ola", "ines", "björn", "tomás", "emma", "yuki"),
)
_LAST_NAMES = (
    *(
        "weiß",
        "müller",
        "o'neill",
        "kowalska",
        "garcía",
        "hansen",
        "佐藤",
        "schmidt",
        "dupont",
        "smith",
        "åberg",
    ),
    *("çelik", "rossi", "novak", "brandt"),
)
_TEAMS = ("Platform", "Vertrieb", "R&D", "カスタマーサポート", "Finance", None)
_TEAM_SHARES = tuple(accumulate((30, 22, 18, 8, 12, 10)))
_REMOVE_SHARE = 0.3
_OPENS_MS, _CLOSES_MS = 5 * 3_600_000, 19 * 3_600_000


@dataclass(slots=True)
class _Seat:
    """A person's seat in one subscription, and whether it is in use at the moment."""

    subscription_id: str
    user: str
    team: str | None
    active: bool = False


def active_seats(seed: str) -> Iterator[SeatEvent]:
    """Yield all seat events in the order of time, 200 to 400 a day.

    No two events share an instant, since Lago orders a seat's add and remove by time alone.
    """
    rng = random.Random(f"{seed}:active_seats")  # noqa: S311 - made-up data that must repeat, no secret
    roster, numbers = _roster(rng), count(1)
    for day in DAYS:
        for milliseconds in _times(rng, day):
            seat = rng.choices(roster)[0]
            seen_at = spelled(moment(day, milliseconds))
            operation = _next_operation(rng, seat)
            yield SeatEvent(next(numbers), seen_at, seat.subscription_id, seat.user, operation, seat.team)


def _roster(rng: random.Random) -> list[_Seat]:
    """Name every seat of every subscription; a number keeps namesakes of one customer apart."""
    return [
        _Seat(subscription.external_id, _user(rng, number, customer.domain), _team(rng))
        for customer in CUSTOMERS
        for subscription in customer.subscriptions
        for number in range(subscription.seats)
    ]


def _user(rng: random.Random, number: int, domain: str) -> str:
    return f"{rng.choices(_FIRST_NAMES)[0]}.{rng.choices(_LAST_NAMES)[0]}{number}@{domain}"


def _team(rng: random.Random) -> str | None:
    return rng.choices(_TEAMS, cum_weights=_TEAM_SHARES)[0]


def _times(rng: random.Random, day: date) -> list[int]:
    """Draw distinct milliseconds of the day between 05:00 and 19:00 UTC, ascending."""
    wanted = (330 if day.weekday() < 5 else 240) + int(rng.random() * 80) - 40
    times: set[int] = set()
    while len(times) < wanted:
        times.add(_OPENS_MS + int(rng.random() * (_CLOSES_MS - _OPENS_MS)))
    return sorted(times)


def _next_operation(rng: random.Random, seat: _Seat) -> str:
    """Use the seat, or give it up when it is in use."""
    leaves = seat.active and rng.random() < _REMOVE_SHARE
    seat.active = not leaves
    return "remove" if leaves else "add"
