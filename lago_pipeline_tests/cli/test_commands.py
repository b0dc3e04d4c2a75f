"""The commands on the demo's syncs: what they print, and what their exit codes say."""

import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from lago_pipeline.cli import main
from lago_pipeline.sandbox.server import RunningSandbox
from lago_pipeline_tests.cli.conftest import Command, document, ledger_rows

GOOD_DAY = ("--from", "2026-09-05", "--to", "2026-09-05")
BAD_DAY = ("--from", "2026-09-03", "--to", "2026-09-03")


@pytest.mark.parametrize(
    "name", ["run", "preview", "check", "status", "ledger export", "ledger import", "sandbox"]
)
def test_every_command_has_help(name: str) -> None:
    """`--help` tells what a command and each of its options do."""
    result = CliRunner().invoke(main, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert "--json" in result.stdout


def test_run_delivers_and_a_second_run_finds_all_unchanged(command: Command, lago: RunningSandbox) -> None:
    """The first run delivers every row, the second sends nothing."""
    first, second = (command("run", "api_requests", *GOOD_DAY, "--json") for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    (line,) = document(first)["partitions"]
    assert line["accepted"] == line["extracted"] == len(lago.events())
    (again,) = document(second)["partitions"]
    assert (again["unchanged"], again["accepted"]) == (line["accepted"], 0)
    assert len(lago.events()) == line["accepted"]


def test_run_tells_what_is_not_billed_and_fails(command: Command) -> None:
    """Unbilled usage is named with its reason, and the exit code is 1."""
    result = command("run", "api_requests", *BAD_DAY)
    assert result.exit_code == 1
    assert "1 quarantined (missing_external_subscription_id)" in result.stderr


def test_dry_run_counts_and_leaves_no_trace(
    command: Command, lago: RunningSandbox, environment: Path
) -> None:
    """A dry run counts what would be sent, sends nothing, and records nothing."""
    result = command("run", "api_requests", *BAD_DAY, "--dry-run", "--json")
    (line,) = document(result)["partitions"]
    assert (line["extracted"], line["pending"], line["quarantined"]) == (3186, 3185, 1)
    assert result.exit_code == 1
    assert not lago.events()
    assert ledger_rows(environment, "select count(*) from partitions") == [(0,)]
    command("run", "api_requests", *BAD_DAY)
    (after,) = document(command("run", "api_requests", *BAD_DAY, "--dry-run", "--json"))["partitions"]
    assert (after["unchanged"], after["pending"], after["quarantined"]) == (3185, 0, 1)


def test_run_without_a_range_takes_the_open_day_only(command: Command) -> None:
    """A first run without a range bills nothing of the past."""
    result = command("run", "active_seats", "--json")
    assert result.exit_code == 0, result.output
    assert len(document(result)["partitions"]) == 1
    assert document(result)["partitions"][0]["extracted"] == 0


def test_preview_shows_row_and_body_and_sends_nothing(command: Command, lago: RunningSandbox) -> None:
    """A preview shows the source row and the event it becomes."""
    result = command("preview", "api_requests", "--rows", "2", "--json")
    assert result.exit_code == 0, result.output
    samples = document(result)
    assert len(samples) == 2
    for sample in samples:
        assert sample["event"]["external_subscription_id"] == sample["row"]["subscription_id"]
        assert sample["event"]["transaction_id"] == f"api_requests:api_requests:{sample['row']['request_id']}"
        assert "lago" not in sample
    assert not lago.events()


def test_preview_sends_samples_once_and_a_run_finds_them_unchanged(
    command: Command, lago: RunningSandbox
) -> None:
    """A sample that was sent is billed: neither a second preview nor a run sends it again."""
    day = ("--partition", "2026-09-05")
    first, second = (
        document(command("preview", "api_requests", "--rows", "2", *day, "--send", "--json"))
        for _ in range(2)
    )
    assert [sample["lago"] for sample in first] == ["accepted", "accepted"]
    assert [sample["lago"] for sample in second] == ["accepted before", "accepted before"]
    assert len(lago.events()) == 2
    (line,) = document(command("run", "api_requests", *GOOD_DAY, "--json"))["partitions"]
    assert (line["unchanged"], line["accepted"]) == (2, line["extracted"] - 2)


def test_status_lists_unsettled_partitions_with_reasons(command: Command) -> None:
    """Status tells the state, the counts and the reasons of each partition."""
    assert "nothing was delivered yet" in command("status").stdout
    command("run", "api_requests", "--from", "2026-09-03", "--to", "2026-09-04")
    bad, good = sorted(
        document(command("status", "api_requests", "--json")), key=lambda row: row["partition"]
    )
    assert (bad["state"], bad["unbilled"], bad["reasons"]) == (
        "unsettled",
        1,
        "missing_external_subscription_id",
    )
    assert (good["state"], good["unbilled"]) == ("closed", 0)
    assert bad["next_attempt_at"] > bad["updated_at"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "nobody"), "there is no sync 'nobody' here: the project has active_seats, api_requests"),
        (("run", "api_requests", "--from", "2025-01-01"), "there is no partition '2025-01-01'"),
        (("run", "api_requests", "--from", "2026-09-05", "--to", "2026-09-01"), "is after --to"),
    ],
)
def test_wrong_arguments_get_one_line(command: Command, arguments: tuple[str, ...], said: str) -> None:
    """A wrong name or range is one line that says what there is."""
    result = command(*arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_wrong_key_stops_the_run_with_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused key is one line, without the key."""
    monkeypatch.setenv("LAGO_API_KEY", "not-the-key")
    result = command("run", "api_requests", *GOOD_DAY)
    assert result.exit_code == 1
    assert "Lago refused the API key (401): check LAGO_API_KEY" in result.stderr
    assert "not-the-key" not in result.output


def test_the_demo_refuses_a_lago_elsewhere(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's usage is never billed to a real organization."""
    monkeypatch.setenv("LAGO_API_URL", "https://api.getlago.com/api/v1")
    result = command("run", "api_requests", *GOOD_DAY)
    assert result.exit_code == 1
    assert "the demo speaks only to a Lago on this machine" in result.stderr


def test_a_folder_without_a_project_gets_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a Dagster project the commands say so."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["status"])
    assert result.exit_code == 1
    assert "Could not find config file" in result.stderr


def test_the_ledger_answers_why_a_customer_is_billed(command: Command, environment: Path) -> None:
    """What a subscription is billed for is one query on the ledger's view."""
    command("run", "active_seats", *GOOD_DAY)
    rows = ledger_rows(
        environment,
        "select transaction_id, code, status from lago_events "
        "where external_subscription_id = 'sub_brightside_staff'",
    )
    assert rows
    assert all(code == "active_seats" and status == "accepted" for _, code, status in rows)
    assert all(transaction_id.startswith("active_seats:active_seats:") for transaction_id, _, _ in rows)


def test_run_without_a_range_takes_only_what_is_due(command: Command, environment: Path) -> None:
    """Days between two that are due are left alone: a gap in the days is a gap in the runs."""
    command("run", "active_seats", *GOOD_DAY)
    connection = sqlite3.connect(environment / "ledger.db")
    with connection:
        connection.execute("update syncs set activated_at_ms = 1788220800000")  # 2026-09-01
        connection.execute(
            "insert into partitions "
            "(sync_id, partition_start, partition_end, partition_key, state, updated_ms) "
            "select 1, start, start + 86400000, strftime('%Y-%m-%d', start / 1000, 'unixepoch'), 'closed', 0 "
            "from (select 1788220800000 + value * 86400000 as start from json_each(?)) "
            "where start <> 1788566400000",
            (str([day for day in range(200) if day != 9]),),
        )
    connection.close()
    (line, *others) = document(command("run", "active_seats", "--json"))["partitions"]
    assert (line["partition"], line["accepted"]) == ("2026-09-10", line["extracted"])
    assert [other["extracted"] for other in others] == [0]


def test_a_changed_sample_is_not_called_accepted(
    command: Command, environment: Path, lago: RunningSandbox
) -> None:
    """A row that changed after it was accepted is neither sent again nor shown as billed."""
    arguments = ("preview", "active_seats", "--partition", "2026-09-05", "--rows", "1", "--send", "--json")
    assert document(command(*arguments))[0]["lago"] == "accepted"
    assert command(*arguments).exit_code == 0
    connection = sqlite3.connect(environment / "ledger.db")
    with connection:
        connection.execute("update sent set fingerprint = x'00'")
    connection.close()
    again = command(*arguments)
    assert (again.exit_code, document(again)[0]["lago"]) == (1, "changed since it was accepted: not sent")
    assert len(lago.events()) == 1
