"""The package as a wheel in Dagster projects that are not ours."""
