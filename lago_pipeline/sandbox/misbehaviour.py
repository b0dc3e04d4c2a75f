"""Acting out a fault: what each kind of rule does with one exchange."""

import asyncio

import orjson
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp

from lago_pipeline.sandbox import limiter
from lago_pipeline.sandbox.answers import error
from lago_pipeline.sandbox.exchange import Exchange
from lago_pipeline.sandbox.faults import Asked, FaultRule

_BAD_GATEWAY = """<html>
<head><title>{status}</title></head>
<body><center><h1>{status}</h1></center><hr><center>nginx</center></body>
</html>
"""


async def misbehave(rule: FaultRule, asked: Asked, exchange: Exchange, app: ASGIApp) -> None:
    """End an exchange as a rule wants it."""
    if rule.kind in {"answer_late", "drip", "cut_answer", "half_answer"}:
        await _spoil(rule, await exchange.process(app), exchange)
        return
    if rule.commits:
        await exchange.process(app)
    if rule.kind in {"drop_before", "drop_after"}:
        await exchange.drop()
    else:
        await exchange.answer(_instead(rule, asked))


def without_details(response: Response) -> Response:
    """Take the `error_details` out of a refusal; any other answer stays as it is."""
    if response.status_code != 422:
        return response
    body = orjson.loads(bytes(response.body))
    body.pop("error_details", None)
    return _with_body(response, orjson.dumps(body))


async def _spoil(rule: FaultRule, response: Response, exchange: Exchange) -> None:
    """Send Lago's own answer, late, slowly or not whole."""
    if rule.kind == "drip":
        await exchange.drip(response, rule.seconds)
    elif rule.kind == "cut_answer":
        await exchange.cut(response)
    elif rule.kind == "half_answer":
        body = bytes(response.body)
        await exchange.answer(_with_body(response, body[: len(body) // 2]))
    else:
        await asyncio.sleep(rule.seconds)
        await exchange.answer(response)


def _instead(rule: FaultRule, asked: Asked) -> Response:
    """The answer that a rule puts in the place of Lago's."""
    status = rule.answer_status
    match rule.kind:
        case "html":
            return Response(_BAD_GATEWAY.format(status=status), status, media_type="text/html")
        case "empty":
            return Response(b"", status, media_type="text/html")
        case "text":
            return Response(rule.body, status, media_type="text/plain")
        case "redirect":
            return RedirectResponse(rule.location or "", status)
        case "refuse":
            return error(status, "validation_errors", rule.refusal(asked))
    response = error(status, _code(rule, asked), rule.details)
    if rule.kind == "rate_limit":
        response.headers.update(_throttling(rule))
    return response


def _with_body(response: Response, body: bytes) -> Response:
    changed = Response(body, response.status_code, dict(response.headers))
    changed.headers["content-length"] = str(len(body))
    return changed


def _throttling(rule: FaultRule) -> dict[str, str]:
    """X-RateLimit headers unless only Retry-After was asked for."""
    found: dict[str, str] = {}
    if rule.reset_seconds is not None or rule.retry_after is None:
        reset = 1.0 if rule.reset_seconds is None else rule.reset_seconds
        found = {name.decode(): value.decode() for name, value in limiter.headers(500, 0, reset)}
    if rule.retry_after is not None:
        found["retry-after"] = f"{rule.retry_after:g}"
    return found


def _code(rule: FaultRule, asked: Asked) -> str | None:
    """Lago's code for an answer: of a key without the permission, or of details."""
    if rule.answer_status == 403:
        mode = "read" if asked.method == "GET" else "write"
        resource = asked.path.strip("/").split("/")[0].removesuffix("s")
        return f"{mode}_action_not_allowed_for_{resource}"
    return "validation_errors" if rule.details is not None else None
