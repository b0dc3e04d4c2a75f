"""What `dg scaffold defs lago_pipeline.UsageSync NAME` writes: a sync with every option explained."""

import re
from datetime import UTC, date, datetime

import dagster as dg

_TEMPLATE = """\
# Fill in the names of your table and columns, then try it:
#   dg check yaml
#   lago-pipeline preview NAME
# It reads WAREHOUSE_URL, LAGO_API_URL and LAGO_API_KEY from the environment when a run starts.
type: TYPE
attributes:
  name: NAME  # the assets are NAME/usage_rows, NAME/events and NAME/deliveries
  source:
    table: NAME  # a table or view, with its schema if it needs one; or in its place one of these two:
    # query: select * from usage where units > 0  # wrapped in the window, unless it uses :start and :end
    # query_file: query.sql  # a file with the query, beside this one
    primary_key: id  # the column, or a list of columns, that identify a row for all time
    time_column: created_at  # when the usage happened: decides the partition and the event's timestamp
    # timezone: UTC  # of timestamps that carry none
    # updated_at_column: loaded_at  # when a row reached the warehouse: finds late and changed rows
    # connection: replica  # the key of another WarehouseResource of your project
    # asset: analytics/usage  # the upstream Dagster asset, or a list of them, for the graph
  event:  # Liquid in every value; or, after `event: |`, the JSON text as pasted from Hightouch
    code: NAME  # the billable metric in Lago
    external_subscription_id: "{{ row.subscription_id }}"  # the subscription that pays
    properties:  # what the metric sums or counts, and what its charges filter by
      units: "{{ row.units }}"
    # timestamp: "{{ row.created_at }}"  # the time column by default; must fall in the row's partition
    # transaction_id: "NAME:{{ row.id }}"  # <prefix>:<code>:<primary key values> by default
    # precise_total_amount_cents: "{{ row.amount_cents }}"  # for charges with the dynamic model
  partitions:
    start: START  # the first day; earlier usage is never delivered
    # cadence: daily  # or hourly
    # timezone: UTC  # in which days begin
    # closing_delay: 1h  # how long after its end a partition still waits for rows: 90s, 30m, 1h, 2d
    # per_run: 7  # the most partitions in one run of a backfill; 168 if hourly
  # schedule: "*/15 * * * *"  # when to deliver the open partition and those not closed; null for never
  # delivery:
  #   batch_size: 100  # events a request; Lago takes up to 100
  #   concurrency: 8  # requests in flight at once
  #   requests_per_second: null  # a limit
  #   max_attempts: 6  # tries of a batch before it is left pending
  #   max_events_per_run: null  # more of a partition wait until a person confirms them
  # destination: lago_eu  # the key of another LagoResource of your project
  # transaction_id_prefix: NAME  # keep it when you rename the sync: ids stay the same
  # retention:
  #   spool_days: 7  # spool files of rows and events
  #   properties_days: 400  # the ledger's copies of properties
"""
_ILLEGAL = re.compile(r"[^A-Za-z0-9_]+")


class UsageSyncScaffolder(dg.Scaffolder):
    """Writes a `defs.yaml` that passes `dg check yaml` as it is."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        """Write the file; a document added to a file, and Python, are left to Dagster's own scaffolder."""
        if request.append or request.scaffold_format != "yaml":
            dg.scaffold_component(request)
            return
        path = request.target_path
        text = scaffolded(path.name, request.type_name, datetime.now(UTC).date())
        (path / "defs.yaml").write_text(text, encoding="utf-8")


def scaffolded(name: str, type_name: str, today: date) -> str:
    """The YAML of a new sync that starts with the current month."""
    values = {
        "NAME": legal_name(name),
        "TYPE": type_name,
        "START": today.replace(day=1).isoformat(),
    }
    return re.sub(r"\b(NAME|TYPE|START)\b", lambda match: values[match[0]], _TEMPLATE)


def legal_name(text: str) -> str:
    """The nearest name that a sync may have: letters, digits and underscores, a letter first."""
    name = _ILLEGAL.sub("_", text).strip("_")
    return name if name[:1].isalpha() else f"usage_{name}".rstrip("_")
