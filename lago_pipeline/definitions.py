"""The code location: everything under `defs/`."""

import warnings
from pathlib import Path

import dagster as dg

# Dagster's own use of what it calls beta or preview, on every load of a defs folder
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of this project, built when Dagster asks for them."""
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
