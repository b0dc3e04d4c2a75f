"""Arrow's columns as Python's values."""

from typing import Any

import pyarrow as pa


def column_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Texts, bytes or whole numbers as Python's, None for nulls."""
    if pa.types.is_integer(column.type) and column.null_count:
        return list(column.to_pylist())  # NumPy has no integer for a null
    # several times faster than to_pylist, which makes an object of Arrow's for each value first
    values: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
    return values
