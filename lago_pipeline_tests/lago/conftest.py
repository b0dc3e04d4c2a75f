"""A server that answers as it is told, and a client of it."""

from collections.abc import Iterator

import pytest

from lago_pipeline.lago.client import LagoClient
from lago_pipeline.lago.transport import TransportOptions
from lago_pipeline_tests.lago.odd_server import API_KEY, OddServer, odd_server


@pytest.fixture
def odd() -> Iterator[OddServer]:
    """A server that answers as it is told."""
    with odd_server() as server:
        yield server


@pytest.fixture
def client(odd: OddServer) -> Iterator[LagoClient]:
    """A client of it that waits a second for an answer."""
    with LagoClient(odd.api_url, API_KEY, options=TransportOptions(1.0, 1.0)) as made:
        yield made
