"""The texts of many events put together by column: ids, Lago's JSON, and fingerprints."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lago_pipeline.arrow import column_values
from lago_pipeline.event import EVENT_SCHEMA, escaped
from lago_pipeline.partition import Partition
from lago_pipeline.render.inputs import Inputs, Instants, stamps
from lago_pipeline.render.rules import MAX_TRANSACTION_ID_BYTES
from lago_pipeline.values import PLAUSIBLE_MS

Results = Mapping[str, Sequence[Any]]
"""What the function of a template worked out, by name: a value for each row, None for rows that are left."""
_QUOTE, _BACKSLASH, _SPACE = b'"\\ '


@dataclass(frozen=True, slots=True)
class Constant:
    """The same text for every event."""

    text: str | None


@dataclass(frozen=True, slots=True)
class OfColumn:
    """A column of the source as it is."""

    name: str


@dataclass(frozen=True, slots=True)
class Result:
    """What the template's function works out under a name."""

    name: str


Part = Constant | OfColumn | Result


@dataclass(frozen=True, slots=True)
class EventParts:
    """Where each field of an event comes from; without a `transaction_id` it has the default form."""

    prefix: str
    transaction_id: Part | None
    code: Part
    external_subscription_id: Part
    timestamp: OfColumn | Result
    amount: Part | None
    properties: Mapping[str, Part]


def assembled(parts: EventParts, inputs: Inputs, results: Results, partition: Partition) -> pa.RecordBatch:
    """The events of all rows; those of rows that `inputs` marks as left afterwards mean nothing."""
    return _Assembly(inputs, results).events(parts, partition)


class _Assembly:
    """The events of some rows in the making."""

    def __init__(self, inputs: Inputs, results: Results) -> None:
        self._inputs = inputs
        self._results = results
        self._rows = len(inputs.rows)

    def events(self, parts: EventParts, partition: Partition) -> pa.RecordBatch:
        code = self._identifier(parts.code)
        subscription = self._identifier(parts.external_subscription_id)
        transaction_id = self._transaction_id(parts, code)
        instants = self._instants(parts.timestamp, partition)
        properties = self._properties(parts.properties)
        encoded = [self._encoded(text) for text in (transaction_id, subscription, code)]
        body = self._body(encoded, stamps(instants), self._amount(parts.amount), properties)
        return pa.record_batch(
            [
                self._inputs.rows.row_keys,
                pa.repeat(pa.scalar(0, pa.int32()), self._rows),
                transaction_id,
                code,
                subscription,
                pa.array(instants),
                properties,
                body,
                _fingerprints(body),
                pa.nulls(self._rows, pa.string()),
            ],
            schema=EVENT_SCHEMA,
        )

    def _texts(self, part: Part) -> pa.StringArray:
        match part:
            case Constant(text):
                return pa.repeat(pa.scalar(text, pa.string()), self._rows)
            case OfColumn(name):
                return self._inputs.texts(name)
            case Result(name):
                return self._inputs.encoded(self._results[name])

    def _identifier(self, part: Part) -> pa.StringArray:
        """Texts that are not blank."""
        texts = self._texts(part)
        if not isinstance(part, Constant):
            self._inputs.left |= _blank(texts)
        return texts

    def _transaction_id(self, parts: EventParts, code: pa.StringArray) -> pa.StringArray:
        if parts.transaction_id is not None:
            ids = self._identifier(parts.transaction_id)
        else:
            ids = _joined(f"{escaped(parts.prefix)}:", _escaped(code), ":", self._inputs.rows.row_keys)
        is_long = pc.greater(pc.binary_length(ids), MAX_TRANSACTION_ID_BYTES)
        self._inputs.left |= _is_true(is_long)
        return ids

    def _instants(self, part: OfColumn | Result, partition: Partition) -> Instants:
        if isinstance(part, OfColumn):
            instants = self._inputs.instants(part.name)
        else:
            instants = np.array([-1 if one is None else one for one in self._results[part.name]], np.int64)
        start, end = max(partition.start_ms, PLAUSIBLE_MS.start), min(partition.end_ms, PLAUSIBLE_MS.stop)
        self._inputs.left |= (instants < start) | (instants >= end)
        return instants

    def _amount(self, part: Part | None) -> Sequence[pa.StringArray]:
        """Lago's field for an amount, empty where it is left out."""
        if part is None:
            return []
        return [pc.fill_null(_joined(',"precise_total_amount_cents":"', self._texts(part), '"'), "")]

    def _properties(self, parts: Mapping[str, Part]) -> pa.StringArray:
        """The properties that are there, as JSON; nulls are left out."""
        members = [piece for name, part in parts.items() for piece in self._member(name, part)]
        if not members:
            return self._texts(Constant("{}"))
        after_a_comma = _joined(*members, self._texts(Constant("")))
        return _joined(pc.binary_replace_slice(after_a_comma, 0, 1, "{"), "}")

    def _member(self, name: str, part: Part) -> Iterator[str | pa.StringArray]:
        """A property after a comma, in pieces; nothing where it is null."""
        start = f",{orjson.dumps(name).decode()}:"
        if isinstance(part, Constant):
            if part.text is not None:
                yield start + orjson.dumps(part.text).decode()
            return
        encoded = self._encoded(self._texts(part))
        if encoded.null_count:
            yield pc.fill_null(_joined(f'{start}"', encoded, '"'), "")
        else:
            yield from (f'{start}"', encoded, '"')

    def _encoded(self, texts: pa.StringArray) -> pa.StringArray:
        """Texts as JSON writes them, without their quotes; those with a NUL are left."""
        if not _needs_escapes(texts):
            return texts
        different = texts.dictionary_encode()
        values, kinds = column_values(different.dictionary), different.indices
        self._inputs.left |= _is_true(pa.array(["\x00" in text for text in values]).take(kinds))
        return pa.array([orjson.dumps(text)[1:-1] for text in values], pa.string()).take(kinds)

    def _body(
        self,
        identifiers: Sequence[pa.StringArray],
        stamp: pa.StringArray,
        amount: Sequence[pa.StringArray],
        properties: pa.StringArray,
    ) -> pa.BinaryArray:
        """Lago's event as JSON; empty where any part of it is null, as in rows that are left."""
        transaction_id, subscription, code = identifiers
        texts = _joined(
            '{"transaction_id":"', transaction_id, '","external_subscription_id":"', subscription,
            '","code":"', code, '","timestamp":"', stamp, '"', *amount, ',"properties":', properties, "}",
        )  # fmt: skip
        return pc.fill_null(texts, "").cast(pa.binary())


def _joined(*pieces: str | pa.StringArray) -> pa.StringArray:
    """Pieces of each row, one after another; null where any is."""
    return pc.binary_join_element_wise(*pieces, "")


def _escaped(texts: pa.StringArray) -> pa.StringArray:
    """As `event.escaped`."""
    return pc.replace_substring(pc.replace_substring(texts, "%", "%25"), ":", "%3A")


def _is_true(column: pa.BooleanArray) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.fill_null(column, False).to_numpy(zero_copy_only=False)
    return found


def _blank(texts: pa.StringArray) -> NDArray[np.bool_]:
    """Whether a text is missing, or has nothing but what Python strips; most show a letter at once."""
    found = ~_is_true(pc.match_substring_regex(texts, "[!-~]"))
    for row in np.flatnonzero(found):
        found[row] = not (texts[int(row)].as_py() or "").strip()
    return found


def _needs_escapes(texts: pa.StringArray) -> bool:
    """Whether JSON writes any of the texts with a backslash."""
    _, offsets, content = texts.buffers()
    if content is None:
        return False
    bounds = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4)
    bytes_ = np.frombuffer(content, np.uint8)[bounds[0] : bounds[-1]]
    return bool(((bytes_ < _SPACE) | (bytes_ == _QUOTE) | (bytes_ == _BACKSLASH)).any())


def _fingerprints(bodies: pa.BinaryArray) -> pa.FixedSizeBinaryArray:
    digests = [blake2b(body, digest_size=16).digest() for body in column_values(bodies)]
    return pa.array(digests, pa.binary(16))
