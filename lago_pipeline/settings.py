"""The one reader of the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from lago_pipeline.errors import ConfigError

WAREHOUSE_URL = "WAREHOUSE_URL"
LAGO_API_URL = "LAGO_API_URL"
LAGO_API_KEY = "LAGO_API_KEY"
LEDGER_URL = "LEDGER_URL"
STATE = "LAGO_PIPELINE_STATE"
ALERT_WEBHOOK = "LAGO_PIPELINE_ALERT_WEBHOOK"

_PASSING_HOME = ".tmp_dagster_home_"
"""What `dagster dev` calls the home that it makes and removes itself: no place for a ledger."""

_EXAMPLES = {
    WAREHOUSE_URL: "a SQLAlchemy URL such as postgresql+psycopg://reader@db/warehouse",
    LAGO_API_URL: "Lago's API with its path, such as https://api.getlago.com/api/v1",
    LAGO_API_KEY: "an API key of your Lago organization",
}


@dataclass(frozen=True)
class Settings:
    """What the environment says; the first three variables have no default, on purpose."""

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def required(self, name: str) -> str:
        """A variable that must be set: a lost one must never bill demo usage to a real organization.

        Raises ConfigError when it is missing or empty.
        """
        value = self.environment.get(name, "")
        if not value:
            raise ConfigError(f"the environment variable {name} is not set: set it to {_EXAMPLES[name]}")
        return value

    @property
    def state(self) -> Path:
        """The local folder for spool files and embedded databases."""
        if configured := self.environment.get(STATE):
            return Path(configured)
        home = Path(self.environment.get("DAGSTER_HOME", ""))
        if home.name and not home.name.startswith(_PASSING_HOME):
            return home / "lago_pipeline"
        return Path(".lago_pipeline")

    @property
    def ledger_url(self) -> str:
        """The ledger's SQLAlchemy URL; by default a SQLite file in the state folder."""
        return self.environment.get(LEDGER_URL) or f"sqlite:///{self.state.absolute() / 'ledger.db'}"

    @property
    def alert_webhook(self) -> str | None:
        """Where alarms are posted, beside the log; None for nowhere."""
        return self.environment.get(ALERT_WEBHOOK) or None


def checked_api_url(url: str) -> str:
    """Lago's API URL without a trailing slash; raises ConfigError when it cannot be one."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"{LAGO_API_URL} is not an http(s) URL: use {_EXAMPLES[LAGO_API_URL]}")
    if parts.username or parts.password:
        raise ConfigError(f"{LAGO_API_URL} holds a user or password: the key belongs in {LAGO_API_KEY}")
    if parts.query or parts.fragment:
        raise ConfigError(f"{LAGO_API_URL} has something after its path: the key belongs in {LAGO_API_KEY}")
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name that only looks like an address
        return False
