"""What Alembic runs: the steps that are missing, on the connection that `ledger.database` hands over."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table="lago_pipeline_version")
with context.begin_transaction():
    context.run_migrations()
