"""Reading events back from Lago: what it holds is settled, what it does not hold must be sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lago_pipeline.deliver.patience import Patience
from lago_pipeline.deliver.result import BatchResult, compared
from lago_pipeline.errors import ConfigError, RetriableError
from lago_pipeline.event import Event
from lago_pipeline.lago.answers import Answer, Meaning
from lago_pipeline.lago.client import LagoClient, LagoUnavailable


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads single events, at the pace and with the patience of the batches."""

    client: LagoClient
    patience: Patience
    max_attempts: int

    def held(self, event: Event) -> Mapping[str, object] | None:
        """The event that Lago holds under this event's id, or None.

        Raises RetriableError when Lago does not answer after all tries.
        """
        found: list[Mapping[str, object] | None] = []

        def read() -> Answer:
            self.patience.pace.wait_turn()
            try:
                found.append(self.client.event(str(event.transaction_id)))
            except LagoUnavailable as error:
                return error.answer
            return Answer(Meaning.ACCEPTED, 200, "read")

        answer = self.patience.answer(read, self.max_attempts)
        if not found:
            raise RetriableError(f"Lago could not be asked for an event: {answer.words}")
        return found[0]

    def verify(self, batch: Sequence[Event]) -> BatchResult:
        """Settle the events that Lago holds; the others are missing, or pending where it did not answer."""
        result = BatchResult()
        for index, event in enumerate(batch):
            try:
                held = self.held(event)
            except (ConfigError, RetriableError) as error:
                result.leave(batch[index:], error)
                break
            if held is None:
                result.missing.append(event)
            else:
                result.outcomes.append(compared(event, held, None))
        return result
