"""The events page: what this Lago holds, newest first, as Lago's own events list shows it."""

import base64
import hashlib
import json
from datetime import date, timedelta
from html import escape
from importlib.resources import files
from string import Template
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from lago_pipeline.sandbox import listing
from lago_pipeline.sandbox.pagination import Page
from lago_pipeline.sandbox.store import Store, StoredEvent
from lago_pipeline.sandbox.timestamps import from_iso, iso_ms

_SIZE = 50
_ASSETS = files("lago_pipeline.sandbox") / "assets"
_HTML = Template((_ASSETS / "events.html").read_text("utf-8"))
_CSS = (_ASSETS / "events.css").read_text("utf-8")
_JS = (_ASSETS / "events.js").read_text("utf-8")
_TEXT_FILTERS = ("code", "external_subscription_id", "transaction_id")
_DATE_FILTERS = ("from", "to")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# Nothing but this page's own style and script runs, whatever an event says.
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_digest(_CSS)}'; script-src 'sha256-{_digest(_JS)}'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class EventsPage:
    """GET /page/events, and / that leads to it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        """The page and the way to it."""
        return [
            Route("/", self._home, methods=["GET"]),
            Route("/page/events", self._events, methods=["GET"]),
        ]

    async def _home(self, _: Request) -> Response:
        return RedirectResponse("/page/events", 302)

    async def _events(self, request: Request) -> Response:
        query = {
            name: request.query_params.get(name, "").strip() for name in (*_TEXT_FILTERS, *_DATE_FILTERS)
        }
        page = Page(Page.asked(request.query_params).number, _SIZE)
        events, total = listing.find(self._store, _filters(query), page)
        html = _HTML.substitute(
            css=_CSS,
            js=_JS,
            store=escape(self._store.kind),
            total=f"{total:,}",
            rows="".join(_row(event) for event in events) or _EMPTY,
            pages=_pages(query, page, total),
            **{f"q_{name}": escape(value) for name, value in query.items()},
        )
        return HTMLResponse(html, headers={"content-security-policy": _POLICY, "cache-control": "no-store"})


def _filters(query: dict[str, str]) -> listing.Filters:
    """Take both days whole; what is no date is no filter."""
    return listing.Filters(
        code=query["code"],
        external_subscription_id=query["external_subscription_id"],
        transaction_id=query["transaction_id"],
        from_us=_day(query["from"], 0),
        to_us=_day(query["to"], 1),
    )


def _day(text: str, end: int) -> int | None:
    """The first microsecond of a day, or with `end` its last."""
    try:
        day = date.fromisoformat(text) + timedelta(days=end)
    except (ValueError, OverflowError):
        return None
    start = from_iso(day.isoformat())
    return None if start is None else start - end


_EMPTY = '<tr><td colspan="5" class="empty">No events here yet.</td></tr>'


def _row(event: StoredEvent) -> str:
    """One line that opens into the event's JSON. Everything in it came from outside: all is escaped."""
    times = {"timestamp": iso_ms(event.timestamp_us), "created_at": iso_ms(event.created_us)}
    whole = event._asdict() | times | {"properties": json.loads(event.properties)}
    hidden = {"seq", "timestamp_us", "created_us"}
    shown = {name: value for name, value in whole.items() if name not in hidden}
    cells = (
        times["timestamp"],
        event.code,
        event.external_subscription_id,
        event.transaction_id,
        event.properties,
    )
    tds = "".join(f"<td>{_cell(cell)}</td>" for cell in cells)
    details = escape(json.dumps(shown, indent=2, ensure_ascii=False))
    return (
        f'<tr class="event" tabindex="0" data-seq="{event.seq}">{tds}</tr>'
        f'<tr class="json" hidden><td colspan="5"><pre>{details}</pre></td></tr>\n'
    )


def _cell(value: str | None) -> str:
    return '<span class="none">none</span>' if value is None else escape(value)


def _pages(query: dict[str, str], page: Page, total: int) -> str:
    """Links to the neighbouring pages."""
    meta = page.meta(total)
    given = {name: value for name, value in query.items() if value}
    links = []
    for label, number in (("newer", meta["prev_page"]), ("older", meta["next_page"])):
        if number is not None:
            address = escape("?" + urlencode(given | {"page": number}))
            links.append(f'<a href="{address}">{label}</a>')
    return f"<span>page {meta['current_page']} of {meta['total_pages']}</span>{''.join(links)}"
