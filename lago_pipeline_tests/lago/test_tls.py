"""Certificates and proxies: who is trusted, what is shown, and what can never be turned off."""

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lago_pipeline.errors import ConfigError
from lago_pipeline.lago.answers import Meaning
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.lago.transport import TransportOptions
from lago_pipeline_tests.lago.odd_server import API_KEY

_EXTENSIONS = "subjectAltName=IP:127.0.0.1,DNS:localhost"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate.pem", folder / "key.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command = ["openssl", "req", "-x509", *kind, "-subj", "/CN=127.0.0.1", "-addext", _EXTENSIONS]
    subprocess.run([*command, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Accept anything."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.headers.get("Host", ""))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A refused handshake is what these tests are about."""


@contextmanager
def served(context: ssl.SSLContext | None, host: str = "127.0.0.1") -> Iterator[_Server]:
    """A server on loopback, with TLS where a context is given."""
    with _Server((host, 0), _Handler) as server:
        server.asked = []  # type: ignore[attr-defined]
        if context:
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def context_of(certificate: tuple[Path, Path], *, asks: bool = False) -> ssl.SSLContext:
    """A server's side of TLS; with `asks` it takes only clients that show the same certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate[0])
    return context


def answer(server: _Server, **options: str) -> tuple[Meaning, str]:
    """What comes of a batch."""
    host, port = server.server_address[:2]
    url = f"https://{host!s}:{port}/api/v1"
    with LagoClient(url, API_KEY, options=TransportOptions(5.0, 5.0, **options)) as client:
        found = client.post_events([b"{}"])
    return found.meaning, found.words


def test_a_certificate_that_nobody_vouches_for_is_refused(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says to other clients."""
    for name, value in (("CURL_CA_BUNDLE", ""), ("REQUESTS_CA_BUNDLE", ""), ("PYTHONHTTPSVERIFY", "0")):
        monkeypatch.setenv(name, value)
    with served(context_of(certificate)) as server:
        assert answer(server) == (Meaning.UNCERTAIN, "its TLS certificate was not accepted")
        assert server.asked == []  # type: ignore[attr-defined]


def test_an_authority_of_ones_own_is_trusted(certificate: tuple[Path, Path]) -> None:
    """A company's, in front of a self-hosted Lago."""
    with served(context_of(certificate)) as server:
        assert answer(server, ca_file=str(certificate[0]))[0] is Meaning.ACCEPTED


def test_a_certificate_of_another_host_is_refused(certificate: tuple[Path, Path]) -> None:
    """Trusted, and yet not the one that was asked for."""
    with served(context_of(certificate), host="127.0.0.2") as server:
        refused = answer(server, ca_file=str(certificate[0]))
    assert refused == (Meaning.UNCERTAIN, "its TLS certificate was not accepted")


def test_a_client_certificate_is_shown(certificate: tuple[Path, Path]) -> None:
    """To a Lago, or a proxy before it, that asks for one."""
    made, key = (str(path) for path in certificate)
    with served(context_of(certificate, asks=True)) as server:
        assert answer(server, ca_file=made)[0] is Meaning.UNCERTAIN
        shown = answer(server, ca_file=made, client_certificate=made, client_key=key)
        assert shown[0] is Meaning.ACCEPTED


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"ca_file": "/nowhere/authorities.pem"}, "ca_file"),
        ({"client_certificate": "/nowhere/certificate.pem"}, "client certificate"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    certificate: tuple[Path, Path], options: dict[str, str], word: str
) -> None:
    """A mistake in the configuration is no passing failure."""
    with served(context_of(certificate)) as server, pytest.raises(ConfigError, match=word):
        answer(server, **({"ca_file": str(certificate[0])} | options))


def test_a_proxy_carries_the_request() -> None:
    """As declared, whatever the environment says."""
    with served(None) as proxy:
        address = f"http://127.0.0.1:{proxy.server_address[1]}"
        options = TransportOptions(5.0, 5.0, proxy=address)
        with LagoClient("http://lago.invalid/api/v1", API_KEY, options=options) as client:
            assert client.post_events([b"{}"]).meaning is Meaning.ACCEPTED
        assert proxy.asked == ["lago.invalid"]  # type: ignore[attr-defined]
