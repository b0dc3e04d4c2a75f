"""`lago-pipeline check`: what it finds, what it advises, and what its exit code says."""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner, Result

from lago_pipeline.cli import main
from lago_pipeline.demo.catalog import seed_catalog
from lago_pipeline.ledger.database import open_ledger
from lago_pipeline.sandbox.config import SandboxConfig
from lago_pipeline.sandbox.server import RunningSandbox, running
from lago_pipeline_tests.cli.conftest import Command, document

Lines = dict[tuple[str, str], dict[str, Any]]
LAGO = "Lago demo_lago"
API_REQUESTS = "sync api_requests"
SEATS = "sync active_seats"
METRIC = {
    "name": "Seats",
    "code": "active_seats",
    "aggregation_type": "unique_count_agg",
    "field_name": "chair",
}
GOOD_ROW = ("a", "2026-09-20 08:00:00", "2026-09-20 08:00:01", "sub_tiny", 4, "0.5", "EU", "/v1")


def lines(result: Result) -> Lines:
    """The findings of `check --json` by subject and check; of several the first that is not well."""
    found: Lines = {}
    for finding in document(result):
        key = (finding["subject"], finding["check"])
        if found.get(key, {"ok": True})["ok"]:
            found[key] = finding
    return found


def not_ok(result: Result) -> set[tuple[str, str]]:
    """What failed, warnings left out."""
    return {key for key, finding in lines(result).items() if finding["level"] == "error"}


def refusal(result: Result, subject: str, check: str) -> dict[str, Any]:
    """The finding of a check that fails the command."""
    finding = lines(result)[subject, check]
    assert (result.exit_code, finding["ok"], finding["level"]) == (1, False, "error"), result.output
    return finding


def small_warehouse(folder: Path, columns: str, *rows: tuple[object, ...]) -> str:
    """The URL of a warehouse whose api_requests has these columns and rows."""
    path = folder / "small.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"create table api_requests ({columns})")
        marks = ", ".join("?" * len(columns.split(",")))
        connection.executemany(f"insert into api_requests values ({marks})", rows)
    return f"sqlite:///{path}"


COLUMNS = "request_id, requested_at, loaded_at, subscription_id, requests, weight, region, endpoint"


def create(lago: RunningSandbox, path: str, payload: Mapping[str, object]) -> None:
    """POST one object of the catalogue."""
    headers = {"Authorization": f"Bearer {lago.api_key}"}
    requests.post(f"{lago.api_url}/{path}", json=payload, headers=headers, timeout=10).raise_for_status()


def ledger(state: Path, *statements: str) -> None:
    """Make a ledger, and change it by hand."""
    open_ledger(f"sqlite:///{state / 'ledger.db'}").dispose()
    with closing(sqlite3.connect(state / "ledger.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_the_demo_is_ready_and_nothing_is_touched(
    command: Command, lago: RunningSandbox, environment: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On the demo all is well, although it has planted rows: no event is sent, no file or folder is made."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    result = command("check", "--json")
    assert result.exit_code == 0, result.output
    assert {finding["level"] for finding in document(result)} == {"ok"}
    assert {finding["ok"] for finding in document(result)} == {True}
    found = lines(result)
    assert found[API_REQUESTS, "sample"]["says"] == "20 rows of 2026-09-28"
    assert found[API_REQUESTS, "field"]["says"] == "requests, weight: in event.properties"
    assert found["ledger", "reachable"]["says"] == f"will be created in {environment}"
    assert not environment.exists()
    assert not lago.events()
    asked = lago.stats()["requests"]
    assert isinstance(asked, dict)
    assert [name for name in asked if name.startswith("POST /events")] == ["POST /events/batch"]
    assert asked["POST /events/batch"] == {"422": 1}


def test_a_delivered_demo_is_ready_too_and_its_ledger_is_only_read(
    command: Command, environment: Path
) -> None:
    """After a run the ledger's file is the same byte for byte, with no file beside it."""
    command("run", "active_seats", "--from", "2026-09-05", "--to", "2026-09-05")
    before = (environment / "ledger.db").read_bytes()
    names = sorted(path.name for path in environment.iterdir())
    result = command("check", "active_seats", "--json")
    assert result.exit_code == 0, result.output
    assert lines(result)["sync active_seats", "ledger"]["says"] == "the ledger knows it"
    assert lines(result)[LAGO, "same organization"]["says"] == "the ledger knows it"
    assert (environment / "ledger.db").read_bytes() == before
    assert sorted(path.name for path in environment.iterdir()) == names


def test_a_warning_alone_does_not_fail(command: Command) -> None:
    """Without DAGSTER_HOME there is a warning with its remedy, and the exit code is 0."""
    result = command("check", "active_seats", "--json")
    finding = lines(result)["project", "DAGSTER_HOME"]
    assert (result.exit_code, finding["level"], finding["ok"]) == (0, "warning", False)
    assert finding["remedy"] == "set DAGSTER_HOME to the absolute path of a folder"


def test_people_read_aligned_lines_by_subject(command: Command, lago: RunningSandbox) -> None:
    """Each subject has its heading once, each remedy stands under its line, and the last line counts."""
    lago.reset(catalog=True)
    result = command("check", "active_seats")
    told = [line.rstrip() for line in result.stdout.splitlines()]
    assert [line for line in told if line[0] != " "][:-1] == [
        "project", "warehouse", "ledger", LAGO, "sync active_seats"
    ]  # fmt: skip
    index = next(index for index, line in enumerate(told) if line.split()[:2] == ["error", "metric"])
    says, remedy = told[index : index + 2]
    assert says.index("Lago has no billable metric 'active_seats'") == remedy.index("→ create it")
    assert told[-1].endswith("ok, 6 errors, 1 warnings, 1 not checked")


def test_one_sync_is_checked_alone(command: Command) -> None:
    """With a name only that sync is looked at; an unknown one is one line that says what there is."""
    subjects = {subject for subject, _ in lines(command("check", "active_seats", "--json"))}
    assert subjects == {"project", "warehouse", "ledger", LAGO, "sync active_seats"}
    unknown = command("check", "nobody")
    assert (unknown.exit_code, unknown.stderr.count("\n")) == (1, 1)
    assert "the project has active_seats, api_requests" in unknown.stderr


@pytest.mark.parametrize(
    ("name", "remedy", "skipped"),
    [
        ("WAREHOUSE_URL", "set it to a SQLAlchemy URL", ("warehouse", "reachable")),
        ("LAGO_API_URL", "set it to Lago's API with its path", (LAGO, "reachable")),
        ("LAGO_API_KEY", "set it to an API key of your Lago organization", (LAGO, "key")),
    ],
)
def test_a_missing_variable_is_named_and_what_needs_it_is_skipped(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str, remedy: str, skipped: tuple[str, str]
) -> None:
    """A variable that is not set is the one error; what depends on it is shown as not checked."""
    monkeypatch.setenv(name, "")
    result = command("check", "active_seats", "--json")
    assert refusal(result, "project", name)["remedy"].startswith(remedy)
    assert not_ok(result) == {("project", name)}
    finding = lines(result)[skipped]
    assert (finding["ok"], finding["level"]) == (None, "skipped")
    assert finding["says"] == f"not checked: project: {name} comes first"


@pytest.mark.parametrize(
    ("name", "value", "check", "says", "remedy"),
    [
        ("LAGO_API_URL", "api.getlago.com", "LAGO_API_URL", "is not an http(s) URL", "use Lago's API"),
        ("LAGO_PIPELINE_ALERT_WEBHOOK", "ftp://hook/tell-nobody", "LAGO_PIPELINE_ALERT_WEBHOOK",
         "not an http(s) URL", "set LAGO_PIPELINE_ALERT_WEBHOOK to an address"),
        ("DAGSTER_HOME", "/nowhere/at/all", "DAGSTER_HOME", "no absolute path", "make the folder"),
        ("LAGO_PIPELINE_STATE", f"{__file__}/state", "state folder", "is no folder", "make it a folder"),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_told_without_its_secret(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    check: str,
    says: str,
    remedy: str,
) -> None:
    """A variable that is set wrongly is named with what it should be."""
    monkeypatch.setenv(name, value)
    result = command("check", "active_seats", "--json")
    finding = refusal(result, "project", check)
    assert says in finding["says"]
    assert finding["remedy"].startswith(remedy)
    assert "tell-nobody" not in result.output


def test_a_webhook_that_is_set_is_not_shown(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a webhook's address only that it is set."""
    monkeypatch.setenv("LAGO_PIPELINE_ALERT_WEBHOOK", "https://hooks.example/tell-nobody")
    result = command("check", "active_seats", "--json")
    assert lines(result)["project", "LAGO_PIPELINE_ALERT_WEBHOOK"]["says"] == "set"
    assert "hooks.example" not in result.output


def test_a_refused_key(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that Lago refuses is the one error, and is never printed."""
    monkeypatch.setenv("LAGO_API_KEY", "not-the-key")
    result = command("check", "active_seats", "--json")
    finding = refusal(result, LAGO, "key")
    assert finding["says"] == "Lago refuses the API key (401)"
    assert finding["remedy"] == "set LAGO_API_KEY to a key of this Lago"
    assert not_ok(result) == {(LAGO, "key")}
    assert lines(result)[LAGO, "event write"]["says"] == "not checked: key comes first"
    assert "not-the-key" not in result.output + command("check", "active_seats").output


@pytest.mark.parametrize(
    ("change", "says", "remedy"),
    [
        (
            lambda url: url.replace("/api/v1", "/api"),
            "does not answer as Lago does (404)",
            "it ends in /api/v1",
        ),
        (lambda _: "http://127.0.0.1:1/api/v1", "nothing accepts connections there", "that Lago runs"),
        (lambda _: "https://lago.example/api/v1", "only to a Lago on this machine", "check LAGO_API_URL"),
    ],
)
def test_a_wrong_url(
    command: Command,
    lago: RunningSandbox,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[str], str],
    says: str,
    remedy: str,
) -> None:
    """A Lago that does not answer, or is none, is the one error."""
    monkeypatch.setenv("LAGO_API_URL", change(lago.api_url))
    result = command("check", "active_seats", "--json")
    finding = refusal(result, LAGO, "reachable")
    assert says in finding["says"]
    assert remedy in finding["remedy"]
    assert not_ok(result) == {(LAGO, "reachable")}
    assert lines(result)[SEATS, "metric"]["says"] == f"not checked: {LAGO}: reachable comes first"


def test_a_lago_that_is_down_for_now(command: Command, lago: RunningSandbox) -> None:
    """A 503 is told as such, check by check."""
    lago.set_faults([{"kind": "status", "status": 503, "path": "/events", "method": "GET"}])
    result = command("check", "active_seats", "--json")
    assert "answered 503" in refusal(result, LAGO, "event read")["says"]
    assert not_ok(result) == {(LAGO, "event read")}


@pytest.mark.parametrize(
    ("method", "path", "check"),
    [
        ("GET", "/organizations", "organization read"),
        ("GET", "/events", "event read"),
        ("POST", "/events", "event write"),
        ("GET", "/billable_metrics", "billable metric read"),
    ],
)
def test_each_permission_that_lacks_is_named(
    command: Command, lago: RunningSandbox, method: str, path: str, check: str
) -> None:
    """A 403 names the permission, advises what to give the key, and leaves the others checked."""
    lago.set_faults([{"kind": "status", "status": 403, "path": path, "method": method}])
    result = command("check", "active_seats", "--json")
    finding = refusal(result, LAGO, check)
    assert finding["says"] == f"the API key lacks {check} (403)"
    assert finding["remedy"].startswith("give the key in Lago: event write and read, organization read")
    assert not_ok(result) == {(LAGO, check)}


def test_without_subscription_read_there_is_only_a_warning(command: Command, lago: RunningSandbox) -> None:
    """Nothing is billed by reading subscriptions: the check of them is skipped, and the exit code is 0."""
    lago.set_faults([{"kind": "status", "status": 403, "path": "/subscriptions", "method": "GET"}])
    result = command("check", "active_seats", "--json")
    found = lines(result)
    assert (result.exit_code, found[LAGO, "subscription read"]["level"]) == (0, "warning")
    assert found[SEATS, "subscriptions"]["ok"] is None


def test_an_unknown_code_and_unknown_subscriptions(command: Command, lago: RunningSandbox) -> None:
    """What Lago would take and never bill is an error with its remedy."""
    lago.reset(catalog=True)
    result = command("check", "--json")
    metric, subscription = (refusal(result, API_REQUESTS, name) for name in ("metric", "subscriptions"))
    assert metric["says"] == "Lago has no billable metric 'api_requests'"
    assert metric["remedy"].startswith("create it, or correct event.code: until it exists")
    assert subscription["says"].startswith("Lago has no subscription 'sub_")
    assert "or correct event.external_subscription_id" in subscription["remedy"]
    assert lines(result)[API_REQUESTS, "field"]["says"] == "not checked: metric comes first"


def test_a_metric_whose_field_the_template_lacks(command: Command, lago: RunningSandbox) -> None:
    """The metric's field and the code are both named; an expression's variables count as fields."""
    lago.reset(catalog=True)
    create(lago, "billable_metrics", {"billable_metric": METRIC})
    computed = {
        "aggregation_type": "sum_agg",
        "field_name": "units",
        "expression": "event.properties.size * 2",
    }
    create(lago, "billable_metrics", {"billable_metric": {"name": "R", "code": "api_requests", **computed}})
    result = command("check", "--json")
    seats = refusal(result, "sync active_seats", "field")
    assert seats["says"].startswith("metric active_seats (unique_count_agg) reads property 'chair'")
    assert seats["remedy"] == "add chair to event.properties, or correct the metric in Lago"
    requests_ = refusal(result, API_REQUESTS, "field")
    assert requests_["says"].startswith(
        "the expression of metric api_requests (sum_agg) reads property 'size'"
    )


def test_a_metric_that_counts_needs_no_field(command: Command, lago: RunningSandbox) -> None:
    """Counting reads no property."""
    lago.reset(catalog=True)
    counting = {"name": "Seats", "code": "active_seats", "aggregation_type": "count_agg"}
    create(lago, "billable_metrics", {"billable_metric": counting})
    finding = lines(command("check", "active_seats", "--json"))["sync active_seats", "field"]
    assert (finding["ok"], finding["says"]) == (True, "count_agg needs none")


@pytest.mark.parametrize(
    ("columns", "check", "says"),
    [
        (COLUMNS.replace("requested_at", "at"), "source", "the source has no column 'requested_at'"),
        (COLUMNS.replace("region", "regoin"), "template", "no column 'region'; did you mean 'regoin'?"),
    ],
)
def test_a_missing_column(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: str, check: str, says: str
) -> None:
    """A column that the source lacks is named, and the rows are not looked at."""
    monkeypatch.setenv("WAREHOUSE_URL", small_warehouse(tmp_path, columns))
    result = command("check", "api_requests", "--json")
    finding = refusal(result, API_REQUESTS, check)
    assert says in finding["says"]
    assert "in the sync's defs.yaml" in finding["remedy"]
    assert not_ok(result) == {(API_REQUESTS, check)}
    assert lines(result)[API_REQUESTS, "sample"]["says"] == f"not checked: {check} comes first"


def test_rows_that_cannot_be_billed_are_told_by_reason(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each reason of the latest rows is a failing line with its remedy; the good rows are checked on."""
    bad = [(key, *GOOD_ROW[1:3], None, *GOOD_ROW[4:]) for key in "bc"]
    milliseconds = ("d", *GOOD_ROW[1:6], "EU\x00", "/v1")
    monkeypatch.setenv("WAREHOUSE_URL", small_warehouse(tmp_path, COLUMNS, GOOD_ROW, *bad, milliseconds))
    result = command("check", "api_requests", "--json")
    found = [finding for finding in document(result) if finding["check"] == "events"]
    assert [finding["says"].split(":")[0:2] for finding in found] == [
        ["2 of 4 sample rows cannot be billed", " missing_external_subscription_id"],
        ["1 of 4 sample rows cannot be billed", " invalid_character"],
    ]
    assert found[0]["remedy"] == "give every row the external id of the subscription that pays for it"
    assert not_ok(result) == {(API_REQUESTS, "events")}
    assert lines(result)[API_REQUESTS, "subscriptions"]["says"].startswith("1 in the sample")


def test_a_source_without_rows_is_a_warning(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No usage yet is no error, but may be a wrong time column."""
    monkeypatch.setenv("WAREHOUSE_URL", small_warehouse(tmp_path, COLUMNS))
    result = command("check", "api_requests", "--json")
    finding = lines(result)[API_REQUESTS, "sample"]
    assert (result.exit_code, finding["level"]) == (0, "warning")
    assert finding["remedy"].startswith("check source.time_column and partitions.start")


def test_a_subscription_that_does_not_cover_its_rows(
    command: Command, lago: RunningSandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A subscription that starts after the usage is told with the row's time; one that has ended is well."""
    monkeypatch.setenv("WAREHOUSE_URL", small_warehouse(tmp_path, COLUMNS, GOOD_ROW))
    key = {"Authorization": f"Bearer {lago.api_key}"}
    requests.delete(f"{lago.api_url}/subscriptions/sub_tiny", headers=key, timeout=10).raise_for_status()
    assert command("check", "api_requests").exit_code == 0
    again = {"external_customer_id": "cust_tiny", "external_id": "sub_tiny", "plan_code": "demo_usage"}
    lago.reset(catalog=True)
    seed_catalog_without_tiny(lago)
    create(lago, "subscriptions", {"subscription": {**again, "subscription_at": "2026-10-01T00:00:00Z"}})
    result = command("check", "api_requests", "--json")
    finding = refusal(result, API_REQUESTS, "subscriptions")
    assert finding["says"].startswith("'sub_tiny' (active) does not cover its row of 2026-09-20 08:00:00 UTC")
    assert finding["remedy"].startswith("correct its dates in Lago")


def seed_catalog_without_tiny(lago: RunningSandbox) -> None:
    """The demo's metrics and plan, and a customer without a subscription."""
    seed_catalog(lago.api_url, lago.api_key)
    sandbox = lago.sandbox.store
    with sandbox.transaction() as db:
        db.execute("delete from resources where kind = 'subscription' and key = 'sub_tiny'")


def test_an_unreachable_warehouse(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's words are one line, without the password."""
    monkeypatch.setenv("WAREHOUSE_URL", "postgresql+psycopg://reader:sesame@127.0.0.1:1/db")
    result = command("check", "active_seats", "--json")
    finding = refusal(result, "warehouse", "reachable")
    assert "could not be read: connection failed" in finding["says"]
    assert "\n" not in finding["says"]
    assert finding["remedy"].startswith("check the warehouse's URL")
    assert not_ok(result) == {("warehouse", "reachable")}
    assert "sesame" not in result.output + command("check", "active_seats").output


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql+psycopg://keeper:sesame@127.0.0.1:1/db", "could not be used: connection failed"),
        ("postgresql://keeper:sesame/db", "LEDGER_URL is no SQLAlchemy URL"),
        ("mysql://keeper:sesame@127.0.0.1/db", "the ledger cannot live in mysql"),
        ("sqlite://", "the ledger cannot live in sqlite memory"),
        (f"sqlite:///{__file__}", "file is not a database"),
    ],
)
def test_a_ledger_that_cannot_be_used(
    command: Command, monkeypatch: pytest.MonkeyPatch, url: str, says: str
) -> None:
    """A ledger that is none, or does not answer, is told without its password."""
    monkeypatch.setenv("LEDGER_URL", url)
    result = command("check", "active_seats", "--json")
    finding = refusal(result, "ledger", "reachable")
    assert says in finding["says"]
    assert finding["remedy"].startswith("set LEDGER_URL to a sqlite:/// or postgresql+psycopg:// URL")
    assert not_ok(result) == {("ledger", "reachable")}
    assert "sesame" not in result.output


def test_a_ledger_newer_than_the_package(command: Command, environment: Path) -> None:
    """A ledger of a later version is refused, and not read."""
    ledger(environment, "update lago_pipeline_version set version_num = '9999'")
    result = command("check", "active_seats", "--json")
    finding = refusal(result, "ledger", "schema")
    assert finding["says"].startswith("9999 is newer than this lago-pipeline")
    assert finding["remedy"] == "upgrade the package: pip install --upgrade lago-pipeline"
    assert not_ok(result) == {("ledger", "schema")}
    assert lines(result)[LAGO, "same organization"]["ok"] is None


def test_a_ledger_of_another_organization(command: Command, environment: Path) -> None:
    """A key of another organization than the ledger's would bill everything again."""
    ledger(environment, "insert into destinations (name, organization_id) values ('demo_lago', 'somebody')")
    result = command("check", "active_seats", "--json")
    finding = refusal(result, LAGO, "same organization")
    assert finding["says"].endswith("(Sandbox), but the ledger belongs to somebody")
    assert finding["remedy"] == "use that organization's key, or another LEDGER_URL"
    assert not_ok(result) == {(LAGO, "same organization")}


def test_a_changed_prefix_and_a_sync_that_may_have_been_renamed(command: Command, environment: Path) -> None:
    """Another prefix is an error that names the old one; a new name beside a lost one is a warning."""
    ledger(
        environment,
        "insert into destinations (id, name) values (1, 'demo_lago')",
        "insert into syncs (destination_id, name, transaction_id_prefix) values (1, 'api_requests', 'calls')",
        "insert into syncs (destination_id, name, transaction_id_prefix) values (1, 'seats', 'seats')",
    )
    result = command("check", "--json")
    finding = refusal(result, API_REQUESTS, "ledger")
    assert finding["says"] == "transaction_id_prefix is 'api_requests', and was 'calls'"
    assert finding["remedy"].startswith("write transaction_id_prefix: calls, since another one")
    renamed = lines(result)["sync active_seats", "ledger"]
    assert renamed["level"] == "warning"
    assert renamed["remedy"].startswith("if it was renamed, write transaction_id_prefix: seats")


def test_a_rename_without_its_prefix(command: Command, environment: Path) -> None:
    """A new sync whose usage the ledger knows under another name is the error that a run would raise."""
    ledger(
        environment,
        "insert into destinations (id, name) values (1, 'demo_lago')",
        "insert into syncs (destination_id, name, transaction_id_prefix, source, code) "
        "values (1, 'calls', 'usage', 'table:api_requests', 'api_requests')",
    )
    result = command("check", "api_requests", "--json")
    finding = refusal(result, API_REQUESTS, "ledger")
    assert finding["says"] == "the ledger has its usage (code api_requests) as sync calls"
    assert finding["remedy"].startswith("to rename that one, write transaction_id_prefix: usage")
    run = command("run", "api_requests", "--from", "2026-09-05", "--to", "2026-09-05")
    assert finding["says"] in run.stderr


def test_clickhouse_has_a_note(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that may keep copies is noted, and does not fail."""
    with running(SandboxConfig(store="clickhouse")) as lago:
        seed_catalog(lago.api_url, lago.api_key)
        monkeypatch.setenv("LAGO_API_URL", lago.api_url)
        result = command("check", "active_seats", "--json")
    note = next(finding for finding in document(result) if finding["level"] == "note")
    assert (result.exit_code, note["check"], note["ok"]) == (0, "organization", True)
    assert "clickhouse_deduplication_enabled" in note["remedy"]


SYNC = """type: lago_pipeline.UsageSync
attributes:
  name: {name}
  source: {{table: api_requests, primary_key: request_id, time_column: requested_at, connection: replica}}
  event: {{code: api_requests, external_subscription_id: "{{{{ row.subscription_id }}}}"}}
  partitions: {{start: {start}}}
  transaction_id_prefix: {prefix}
"""


@pytest.fixture
def project(
    tmp_path: Path, environment: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Path:
    """An empty Dagster project of a person's own; returns its defs folder."""
    del environment
    name = f"project_{abs(hash(request.node.name))}"
    defs = tmp_path / name / "defs"
    defs.mkdir(parents=True)
    for folder in (defs, defs.parent):
        (folder / "__init__.py").touch()
    config = f'[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "{name}"\n'
    (tmp_path / "pyproject.toml").write_text(config)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return defs


def add_sync(project: Path, name: str, prefix: str, start: str = "2026-09-01") -> None:
    """Declare a sync that reads the warehouse `replica`."""
    (project / name).mkdir()
    (project / name / "defs.yaml").write_text(SYNC.format(name=name, prefix=prefix, start=start))


def add_replica(project: Path) -> None:
    """Declare the warehouse `replica`, whose URL is in the variable REPLICA_URL."""
    (project / "resources.py").write_text(
        "import dagster as dg\n"
        "from lago_pipeline.resources import WarehouseResource\n"
        "replica = WarehouseResource(url=dg.EnvVar('REPLICA_URL'))\n"
        "defs = dg.Definitions(resources={'replica': replica})\n"
    )


def test_a_resource_that_is_not_declared(command: Command, project: Path) -> None:
    """The key is named, with the syncs that name it and the code that declares it."""
    add_sync(project, "calls", "calls")
    result = command("check", "--json")
    finding = refusal(result, "project", "resource replica")
    assert finding["says"] == "not declared, and named by calls"
    assert finding["remedy"].startswith('add "replica": WarehouseResource(url=…) to the resources')
    assert not_ok(result) == {("project", "resource replica"), ("sync calls", "field")}
    assert lines(result)["warehouse replica", "reachable"]["ok"] is None


def test_a_variable_that_a_resource_names(
    command: Command, project: Path, demo_warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project's own EnvVar is asked for by its name, and WAREHOUSE_URL is not asked for."""
    add_sync(project, "calls", "calls")
    add_replica(project)
    monkeypatch.delenv("WAREHOUSE_URL")
    monkeypatch.delenv("REPLICA_URL", raising=False)
    missing = command("check", "--json")
    assert refusal(missing, "project", "REPLICA_URL")["remedy"].startswith("set it")
    assert not_ok(missing) == {("project", "REPLICA_URL"), ("sync calls", "field")}
    monkeypatch.setenv("REPLICA_URL", f"sqlite:///{demo_warehouse}")
    assert not_ok(command("check", "--json")) == {("sync calls", "field")}


def test_two_syncs_whose_ids_collide(
    command: Command, project: Path, demo_warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two syncs of one destination, prefix and code are an error in each, also when one is checked alone."""
    for name, prefix in (("calls", "usage"), ("requests", "usage"), ("others", "others")):
        add_sync(project, name, prefix)
    add_replica(project)
    monkeypatch.setenv("REPLICA_URL", f"sqlite:///{demo_warehouse}")
    result = command("check", "calls", "--json")
    finding = refusal(result, "sync calls", "transaction ids")
    assert finding["says"].startswith("requests has the same destination, transaction_id_prefix and code")
    assert finding["remedy"] == "write another transaction_id_prefix in one of the two"
    assert lines(command("check", "others", "--json"))["sync others", "transaction ids"]["ok"]


def test_a_sync_that_starts_in_the_future(
    command: Command, project: Path, demo_warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a partition there is nothing to look at yet, which is a warning."""
    add_sync(project, "calls", "calls", start="2099-01-01")
    add_replica(project)
    monkeypatch.setenv("REPLICA_URL", f"sqlite:///{demo_warehouse}")
    found = lines(command("check", "--json"))
    assert found["sync calls", "partitions"]["level"] == "warning"
    assert found["sync calls", "source"]["says"] == "not checked: partitions comes first"


def test_a_folder_without_a_project_is_a_finding_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps the project from loading is told as JSON to a program that asked for JSON."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["check", "--json"])
    finding = refusal(result, "project", "definitions")
    assert "Could not find config file" in finding["says"]
    assert finding["remedy"]
