"""What can be wrong before anything is billed: checks that only read, without Dagster."""
