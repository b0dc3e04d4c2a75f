"""What the environment says, and what is assumed where it says nothing."""

from pathlib import Path

import pytest

from lago_pipeline.errors import ConfigError
from lago_pipeline.settings import Settings, checked_api_url, is_loopback


@pytest.mark.parametrize("name", ["WAREHOUSE_URL", "LAGO_API_URL", "LAGO_API_KEY"])
def test_what_decides_who_is_billed_has_no_default(name: str) -> None:
    """A lost variable must never bill demo usage to a real organization."""
    for environment in ({}, {name: ""}):
        with pytest.raises(ConfigError, match=f"{name} is not set"):
            Settings(environment).required(name)


@pytest.mark.parametrize(
    ("environment", "state"),
    [
        ({"LAGO_PIPELINE_STATE": "/a", "DAGSTER_HOME": "/b"}, "/a"),
        ({"DAGSTER_HOME": "/b"}, "/b/lago_pipeline"),
        ({}, ".lago_pipeline"),
        ({"DAGSTER_HOME": "/here/.tmp_dagster_home_x1"}, ".lago_pipeline"),
    ],
)
def test_the_state_lies_where_it_lasts(environment: dict[str, str], state: str) -> None:
    """The ledger is never put into a home that `dagster dev` removes at its end."""
    assert Settings(environment).state == Path(state)


def test_the_environment_is_not_shown() -> None:
    """Settings hold secrets, and do not print them."""
    assert "secret" not in repr(Settings({"LAGO_API_KEY": "secret"}))


@pytest.mark.parametrize(
    "url", ["", "lago", "ftp://lago/api/v1", "https://", "https://key:secret@lago/api/v1"]
)
def test_a_url_that_cannot_be_lagos_is_refused_without_its_secrets(url: str) -> None:
    """A wrong URL is one line; a password in it is neither used nor shown."""
    with pytest.raises(ConfigError) as error:
        checked_api_url(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        ("http://127.0.0.1:3900/api/v1", True),
        ("http://localhost/api/v1", True),
        ("http://[::1]:3900/api/v1", True),
        ("https://api.getlago.com/api/v1", False),
        ("http://127.0.0.1.example.com/api/v1", False),
    ],
)
def test_loopback_is_this_machine_only(url: str, is_here: bool) -> None:
    """A name that only looks like loopback is somebody else's."""
    assert is_loopback(url) is is_here
