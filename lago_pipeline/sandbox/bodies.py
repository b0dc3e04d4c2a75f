"""Reading a request body as Rails does: parsed before anything else, ignored unless it is called JSON."""

import json
import re
from typing import NoReturn

import orjson
from starlette.requests import Request
from starlette.responses import Response

from lago_pipeline.sandbox.answers import Refused, error

Params = dict[str, object]

# Rails registers these four names for its :json format.
_JSON_TYPES = frozenset(
    {"application/json", "text/x-json", "application/jsonrequest", "application/vnd.api+json"}
)
_BROWSER_LIKE = re.compile(r",\s*\*/\*|\*/\*\s*,")  # Rails: BROWSER_LIKE_ACCEPTS


async def read(request: Request) -> tuple[Params, bytes]:
    """Parse the body into the root parameters, and hand back its bytes too.

    A body that is not declared as JSON, or whose root is no object, leaves the parameters empty. A
    malformed one is refused here, which is before the API key is looked at.
    """
    body = await request.body()
    if not body or _media_type(request.headers.get("content-type", "")) not in _JSON_TYPES:
        return {}, body
    try:
        root = _parse(body)
    except (ValueError, RecursionError):
        raise Refused(_malformed(request.headers.get("accept", ""))) from None
    return (root if isinstance(root, dict) else {}), body


def _parse(body: bytes) -> object:
    """Keep integers of any size exact, which orjson would turn into floats and Ruby does not."""
    if b"\\ud" in body or b"\\uD" in body:
        orjson.loads(body)  # refuses unpaired surrogates, which the standard library lets through
    return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _malformed(accept: str) -> Response:
    """A JSON error only for a client that clearly asks for JSON; else Rails finds no 400.html to show."""
    if _BROWSER_LIKE.search(accept) is None and _preferred(accept) in _JSON_TYPES:
        return error(400)
    return Response(b"", 400, media_type="text/html")


def _preferred(accept: str) -> str:
    """The first of the media types with the highest q."""
    entries = [entry for entry in accept.split(",") if entry.strip()]
    return _media_type(max(entries, key=_quality)) if entries else ""


def _quality(entry: str) -> float:
    found = re.search(r";\s*q=([0-9.]+)", entry)
    return float(found[1]) if found else 1.0


def _media_type(value: str) -> str:
    return value.partition(";")[0].strip().lower()
