"""HTTP to Lago over libcurl: kept-alive connections, a bound on every wait, and never a redirect followed.

Of the clients that were measured, those that do their work outside Python's lock gain from threads; libcurl
needs a twentieth of the CPU time that `requests` needs for a batch of a hundred events, bounds the whole of
a request (a slow drip too), and knows certificates and proxies of every kind.
"""

from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Protocol

import certifi
import orjson
import pycurl

from lago_pipeline.errors import ConfigError

ANSWER_SECONDS = 30.0
"""A batch of 100 is one insert and 100 queued jobs on Lago's side (LAGO.md 9)."""

_WORDS = {
    pycurl.E_OPERATION_TIMEDOUT: "no answer in time",
    pycurl.E_COULDNT_RESOLVE_HOST: "its host name is not known",
    pycurl.E_COULDNT_RESOLVE_PROXY: "the proxy's host name is not known",
    pycurl.E_COULDNT_CONNECT: "nothing accepts connections there",
    pycurl.E_PEER_FAILED_VERIFICATION: "its TLS certificate was not accepted",
    pycurl.E_SSL_CONNECT_ERROR: "no TLS connection could be made",
}
_MISTAKES = {
    pycurl.E_SSL_CACERT_BADFILE: "the file of TLS authorities (ca_file) cannot be read",
    pycurl.E_SSL_CERTPROBLEM: "the client certificate or its key cannot be used",
    pycurl.E_URL_MALFORMAT: "LAGO_API_URL cannot be used as a URL",
}


class TransportError(Exception):
    """No answer came, or not all of it; the message says why in a few words, without URLs."""


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """How Lago is reached; times in seconds.

    `answer_seconds` bounds a whole request. The certificates of servers are always verified: against
    `ca_file` (PEM), by default against the authorities that browsers trust. `proxy` is a URL, by default what
    the environment says (HTTPS_PROXY, NO_PROXY).
    """

    connect_seconds: float = 5.0
    answer_seconds: float = ANSWER_SECONDS
    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer with its status; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def document(self) -> dict[str, Any]:
        """The JSON object of the answer; an empty one where it is something else."""
        with suppress(orjson.JSONDecodeError):
            found = orjson.loads(self.content)
            if isinstance(found, dict):
                return found
        return {}


class Transport(Protocol):
    """Sends one request after another, from any thread."""

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        """The answer; raises TransportError where none comes, ConfigError where none ever can."""

    def close(self) -> None:
        """Close every connection that is not in use."""


class CurlTransport:
    """Connections over libcurl: one a request in flight, the one used last first, so that few are open."""

    def __init__(self, options: TransportOptions) -> None:
        self._options = options
        self._idle: deque[pycurl.Curl] = deque()

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        """The answer; raises TransportError where none comes, ConfigError where none ever can."""
        try:
            curl = self._idle.pop()
        except IndexError:
            curl = self._opened()
        try:
            return _answer(curl, method, url, headers, body)
        except pycurl.error as error:
            code = int(error.args[0])
            if code in _MISTAKES:
                raise ConfigError(_MISTAKES[code]) from None
            raise TransportError(_WORDS.get(code, "the connection failed")) from None
        finally:
            self._idle.append(curl)

    def close(self) -> None:
        """Close every connection that is not in use."""
        while self._idle:
            self._idle.pop().close()

    def _opened(self) -> pycurl.Curl:
        options, curl = self._options, pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.FOLLOWLOCATION, 0)  # a redirect must never carry the key elsewhere
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.SSL_VERIFYPEER, 1)
        curl.setopt(pycurl.SSL_VERIFYHOST, 2)
        curl.setopt(pycurl.CAINFO, options.ca_file or certifi.where())
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(options.connect_seconds * 1000))
        curl.setopt(pycurl.TIMEOUT_MS, int(options.answer_seconds * 1000))
        for option, value in (
            (pycurl.SSLCERT, options.client_certificate),
            (pycurl.SSLKEY, options.client_key),
            (pycurl.PROXY, options.proxy),
        ):
            if value is not None:
                curl.setopt(option, value)
        return curl


def _answer(
    curl: pycurl.Curl, method: str, url: str, headers: Mapping[str, str], body: bytes | None
) -> Response:
    """One request on a connection."""
    lines: list[bytes] = []
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.HTTPHEADER, ["Expect:", *(f"{name}: {value}" for name, value in headers.items())])
    curl.setopt(pycurl.HEADERFUNCTION, lines.append)
    if body is None:
        curl.setopt(pycurl.HTTPGET, 1)
    else:
        # a stream that cannot be rewound: libcurl must not send a body again by itself where a kept-alive
        # connection ends, since Lago may have it already
        curl.setopt(pycurl.POST, 1)
        curl.setopt(pycurl.POSTFIELDSIZE, len(body))
        curl.setopt(pycurl.READFUNCTION, BytesIO(body).read)
    curl.setopt(pycurl.CUSTOMREQUEST, method)
    content = curl.perform_rb()
    return Response(curl.getinfo(pycurl.RESPONSE_CODE), _headers(lines), content)


def _headers(lines: list[bytes]) -> dict[str, str]:
    """The headers of the answer itself, without those of a proxy or of `100 Continue` before it."""
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
        elif name.startswith("HTTP/"):
            headers = {}
    return headers
