"""Serving a sandbox: for a person until Ctrl-C, or for a test in a thread."""

import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import uvicorn

from lago_pipeline.sandbox.api import PREFIX
from lago_pipeline.sandbox.app import Sandbox, build
from lago_pipeline.sandbox.config import SandboxConfig
from lago_pipeline.sandbox.fault_json import rules_from_json
from lago_pipeline.sandbox.faults import FaultRule
from lago_pipeline.sandbox.timestamps import iso_ms

DEFAULT_PORT = 3900


@dataclass(frozen=True)
class RunningSandbox:
    """A sandbox that answers requests, and a look behind it."""

    url: str
    api_key: str
    sandbox: Sandbox

    @property
    def api_url(self) -> str:
        """The API's address, with /api/v1."""
        return f"{self.url}{PREFIX}"

    def events(self) -> list[dict[str, object]]:
        """Every stored event in order of storage, read from the store and not over HTTP."""
        return [
            {
                "lago_id": self.sandbox.store.event_id(event.seq),
                **event._asdict(),
                "timestamp": iso_ms(event.timestamp_us),
                "properties": json.loads(event.properties),
            }
            for event in self.sandbox.store.events("order by seq")
        ]

    def set_faults(self, rules: Sequence[FaultRule | Mapping[str, object]]) -> None:
        """Put these rules in the place of those in force."""
        self.sandbox.faults.replace(
            rule if isinstance(rule, FaultRule) else rules_from_json(rule)[0] for rule in rules
        )

    def clear_faults(self) -> None:
        """Behave again."""
        self.sandbox.faults.replace(())

    def set_lag(self, seconds: float) -> None:
        """Let stored events be read only after so many seconds from their storage on, now and later."""
        self.sandbox.store.lag = seconds

    def stats(self) -> dict[str, object]:
        """The same numbers as GET /sandbox/stats."""
        return self.sandbox.admin.stats()

    def reset(self, *, catalog: bool = False) -> None:
        """The same as POST /sandbox/reset."""
        self.sandbox.admin.reset(catalog=catalog)


class _Server(uvicorn.Server):
    """uvicorn, which says when it is ready and ends without raising the signal again."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell."""
        await super().startup(sockets)
        self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGINT and SIGTERM; in a thread there are no signals to wait for."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.handle_exit(number, frame)


def serve(
    config: SandboxConfig,
    *,
    port: int = DEFAULT_PORT,
    on_ready: Callable[[RunningSandbox], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; raises OSError when the port cannot be had.

    Port 0 means any free one; `on_ready` is told which.
    """
    with _opened(config, port) as (running, listener):
        server = _server(running.sandbox, lambda: on_ready(running) if on_ready else None)
        server.run(sockets=[listener])


@contextmanager
def running(config: SandboxConfig | None = None, *, port: int = 0) -> Iterator[RunningSandbox]:
    """Serve in a background thread for as long as the block lasts."""
    with _opened(config or SandboxConfig(), port) as (sandbox, listener):
        ready = threading.Event()
        server = _server(sandbox.sandbox, ready.set)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="lago-sandbox", daemon=True
        )
        thread.start()
        try:
            if not ready.wait(timeout=10):
                raise RuntimeError("the sandbox did not start within 10 seconds")
            yield sandbox
        finally:
            server.should_exit = True
            thread.join(timeout=10)


@contextmanager
def _opened(config: SandboxConfig, port: int) -> Iterator[tuple[RunningSandbox, socket.socket]]:
    """Hold the port and the state."""
    with _listen(config.host, port) as listener:
        sandbox = build(config)
        try:
            host = f"[{config.host}]" if ":" in config.host else config.host
            url = f"http://{host}:{listener.getsockname()[1]}"
            yield RunningSandbox(url, config.api_key, sandbox), listener
        finally:
            sandbox.store.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _server(sandbox: Sandbox, on_ready: Callable[[], None]) -> _Server:
    config = uvicorn.Config(
        sandbox.asgi,
        http=sandbox.sink.protocol() if sandbox.sink else "auto",
        access_log=False,
        log_level="warning",
        lifespan="off",
        ws="none",
        timeout_keep_alive=65,  # as Puma's; uvicorn's 5 seconds would look like lost answers
        timeout_graceful_shutdown=2,
    )
    return _Server(config, on_ready)
