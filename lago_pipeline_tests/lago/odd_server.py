"""A server on loopback that answers as it is told, however odd, and remembers what it was asked."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

API_KEY = "an-api-key-that-must-not-leak"


@dataclass(frozen=True)
class Reply:
    """One answer; `stall` stops in the middle of the body, `cut` closes the connection there."""

    status: int = 200
    body: bytes = b'{"events":[]}'
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    stall: bool = False
    cut: bool = False


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class OddServer:
    """Gives its replies in turn, the last one again and again."""

    def __init__(self) -> None:
        self.replies: list[Reply] = [Reply()]
        self.asked: list[Asked] = []
        self.connections = 0
        self.released = threading.Event()
        self.lock = threading.Lock()
        self.url = ""

    @property
    def api_url(self) -> str:
        """Where the API would be."""
        return f"{self.url}/api/v1"

    def reply(self, *replies: Reply) -> None:
        """Answer so from now on."""
        self.replies = list(replies)

    def next(self, asked: Asked) -> Reply:
        """The reply to a request."""
        with self.lock:
            self.asked.append(asked)
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    odd: ClassVar[OddServer]

    def setup(self) -> None:
        super().setup()
        with self.odd.lock:
            self.odd.connections += 1

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        reply = self.odd.next(Asked(self.command, self.path, dict(self.headers), body))
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        half = len(reply.body) // 2 if reply.stall or reply.cut else len(reply.body)
        self.wfile.write(reply.body[:half])
        self.close_connection = reply.stall or reply.cut
        if reply.stall:
            self.odd.released.wait(timeout=10)

    do_GET = do_POST = _answer  # noqa: N815 - the names that http.server asks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@contextmanager
def odd_server() -> Iterator[OddServer]:
    """Serve in threads for as long as the block lasts."""
    odd = OddServer()
    handler = type("Handler", (_Handler,), {"odd": odd})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        odd.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield odd
        finally:
            odd.released.set()
            server.shutdown()
            thread.join()
