"""Rows that are alike in what the Liquid of a template reads: it is worked out once for all of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lago_pipeline.render.assembly import Results
from lago_pipeline.render.inputs import Inputs
from lago_pipeline.spool.columns import column_letters

_FEWEST_A_KIND = 2
"""Rows of a kind, on the average, from which it pays."""
_Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Kinds:
    """Kinds of rows: the index of the first row of each, and the kind of each row."""

    firsts: _Numbers
    of_rows: _Numbers

    def spread(self, results: Results) -> Results:
        """What was worked out of the first rows, for every row."""
        kinds = self.of_rows.tolist()
        return {name: list(map(values.__getitem__, kinds)) for name, values in results.items()}

    def rows_of(self, kinds: Sequence[int]) -> NDArray[np.bool_]:
        """Whether a row is of one of some kinds."""
        return np.isin(self.of_rows, kinds)


def kinds_of(inputs: Inputs, columns: Iterable[str]) -> Kinds | None:
    """Rows by what they have in some columns.

    None where few are alike, or where one of the columns has values of several types.
    """
    rows = inputs.rows
    kinds: _Numbers = np.zeros(len(rows), np.int64)
    for index in map(inputs.columns.index, columns):
        if len(column_letters(rows.types, index)) > 1:
            return None
        kinds = _numbered(pa.array(kinds * len(rows) + _numbered(rows.texts[index])))
    _, firsts = np.unique(kinds, return_index=True)
    return Kinds(firsts, kinds) if len(firsts) * _FEWEST_A_KIND <= len(rows) else None


def _numbered(values: pa.Array) -> _Numbers:
    """Equal values by equal numbers, from zero on; nulls are equal to each other."""
    numbers: _Numbers = values.dictionary_encode(null_encoding="encode").indices.to_numpy().astype(np.int64)
    return numbers
