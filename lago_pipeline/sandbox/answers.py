"""Lago's error bodies and the exception that carries one to the edge.

Source: Lago's `concerns/api_errors.rb` and `concerns/api_responses.rb`.
"""

from collections.abc import Mapping
from http import HTTPStatus

import orjson
from starlette.responses import Response

JSON_TYPE = "application/json; charset=utf-8"

Details = Mapping[str, object] | str
"""`error_details`: an object of codes by field or index, or one string for a failed expression."""

_PHRASES = {422: "Unprocessable Entity"}  # newer Pythons call it "Unprocessable Content", Rails does not


class Refused(Exception):
    """Lago answers this request with an error: raised anywhere, sent by the endpoint."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def ok(payload: object) -> Response:
    """Answer 200 with a JSON body."""
    return Response(orjson.dumps(payload), media_type=JSON_TYPE)


def error(status: int, code: str | None = None, details: Details | None = None) -> Response:
    """Answer an error in Lago's shape: status, its phrase, and for some a code and details."""
    body: dict[str, object] = {"status": status, "error": phrase(status)}
    if code is not None:
        body["code"] = code
    if details is not None:
        body["error_details"] = details
    return Response(orjson.dumps(body), status, media_type=JSON_TYPE)


def phrase(status: int) -> str:
    """Name an HTTP status as Rails does."""
    if status in _PHRASES:
        return _PHRASES[status]
    known = {known.value for known in HTTPStatus}
    return HTTPStatus(status).phrase if status in known else "Unknown"


def invalid(details: Details) -> Refused:
    """Refuse with 422 `validation_errors`."""
    return Refused(error(422, "validation_errors", details))


def not_found(resource: str = "resource") -> Refused:
    """Refuse with 404 `<resource>_not_found`."""
    return Refused(error(404, f"{resource}_not_found"))


def missing_root(name: str) -> Refused:
    """Refuse with 400: the body lacks its root key (Lago: ActionController::ParameterMissing)."""
    message = f"BadRequest: param is missing or the value is empty or invalid: {name}"
    body = orjson.dumps({"status": 400, "error": message})
    return Refused(Response(body, 400, media_type=JSON_TYPE))


def crashed() -> Refused:
    """Refuse with 500, as Lago does where it raises something that nobody rescues."""
    return Refused(error(500))
