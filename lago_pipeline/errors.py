"""Every error this package raises on purpose, split by what the caller must do.

    LagoPipelineError
    ├── ConfigError          change the YAML, the environment, the template or the source, then run again
    │   ├── TemplateError    the event template itself is wrong
    │   └── ConfirmationNeeded  an unusual number of events: look, then run again with `confirm`
    ├── RetriableError       nothing is wrong with the configuration: try the same again later
    │   └── PartitionLocked  another run holds this partition
    ├── UnsettledError       the run did its work, and some usage is still not billed
    └── FatalError           a promise was broken or a file is damaged: stop and look

A message is one line that says what is wrong, where, and what to do. It never holds a key, a password or
a whole request body.
"""


class LagoPipelineError(Exception):
    """The root of the tree; raised only through its branches."""


class ConfigError(LagoPipelineError):
    """The configuration, the environment or the source's shape must be changed by a person."""


class TemplateError(ConfigError):
    """An event template cannot be parsed, or names a column that the source lacks."""


class ConfirmationNeeded(ConfigError):
    """A run would send so many events that a person must look first, and may then confirm it."""


class RetriableError(LagoPipelineError):
    """A database or Lago could not be reached or gave up; the same run may succeed later."""


class PartitionLocked(RetriableError):
    """Another run holds the partition's lock; the message names that run."""


class UnsettledError(LagoPipelineError):
    """Some usage of a finished run is not billed; the ledger says which and why."""


class FatalError(LagoPipelineError):
    """A law of accounting was broken, or a file between two steps is damaged or missing."""
