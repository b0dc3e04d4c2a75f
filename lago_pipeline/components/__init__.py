"""Dagster components: the YAML that declares a sync, and the definitions it becomes."""

from lago_pipeline.components.usage_sync import UsageSync as UsageSync
