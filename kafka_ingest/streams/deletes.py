"""What of a stream's messages deletes rows, and whether its models fit that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.envelopes.base import MessageEnvelope
from kafka_ingest.streams.envelopes.delete_when import DeleteWhen
from kafka_ingest.streams.model import Model, UpsertModel
from kafka_ingest.streams.sources import Envelope
from kafka_ingest.streams.target import TargetTable


@dataclass(frozen=True, slots=True)
class DeleteRules:
    """How the messages of a stream say that a row is gone, besides by a null value."""

    stream: str
    envelope: MessageEnvelope | None
    delete_when: DeleteWhen | None
    is_routed_by_field: bool

    @property
    def by_value(self) -> bool:
        """Whether values say so. Then a null value is at most a repetition."""
        return self.delete_when is not None or (self.envelope is not None and self.envelope.deletes)

    def takes_tombstones(self, target: TargetTable) -> bool:
        """Whether a null value deletes a row of the table.

        It does not where it has nothing to be compared by (`order_by`), or its key is not all of the business key, or, besides
        deletes in the values, nothing tells which of a topic's tables it is of.
        """
        if not self.reads_message_keys(target) or target.order_by is not None:
            return False
        return not (self.by_value and self.is_routed_by_field)

    def reads_message_keys(self, target: TargetTable) -> bool:
        """Whether messages' keys may name rows to delete: in tombstones, or where a delete's value lacks its key."""
        return target.tombstones is not None and not _reads_envelope(target, target.key)

    def repeats(self, target: TargetTable | None) -> bool:
        """Whether a null value that deletes nothing of this table (None: it is not told of which) only repeats what a value
        before it has said."""
        return self.by_value and (target is not None or self.is_routed_by_field)

    def check(self, models: Iterable[tuple[TargetTable, type[Model]]]) -> None:
        """Raises ConfigError for a model that does not fit."""
        for target, model in models:
            self._check_sources(target)
            if not issubclass(model, UpsertModel):
                continue
            if self.by_value and target.tombstones is None and model.deletes is not False:
                raise self._error(
                    target,
                    "deletes",
                    "does not say what becomes of the deletes in the stream's messages: declare deletes = True, or "
                    "deletes = False for a table that keeps the rows",
                )
            if target.tombstones is None:
                continue
            if not self.by_value and not self.takes_tombstones(target):
                raise self._error(
                    target,
                    "order_by" if target.order_by is not None else "deletes",
                    "deletes, and nothing in the stream's messages can say so: a null value has no field of order_by and no "
                    "envelope; declare the stream's envelope or delete_when, or leave deletes out",
                )
            self._check_order(target)

    def _check_sources(self, target: TargetTable) -> None:
        for bound in target.bound:
            if isinstance(bound.rule.source, Envelope) and self.envelope is None:
                raise self._error(
                    target,
                    "envelope",
                    f"reads column {bound.name!r} from {bound.rule.source}, and the stream has none; declare envelope=",
                )

    def _check_order(self, target: TargetTable) -> None:
        if target.order_by is None or self.envelope is None or self.envelope.has_whole_deletes:
            return
        bound = next(b for b in target.bound if b.name == target.order_by)
        if bound.rule.source is None and target.order_by not in target.key:
            raise self._error(
                target,
                "order_by",
                f"is ordered by {target.order_by!r}, a column of the row, and a deleted row of {self.envelope!r} may have "
                'its key alone; order by a column from around the row: source=Envelope("source.lsn")',
            )

    def _error(self, target: TargetTable, setting: str, text: str) -> ConfigError:
        return ConfigError(
            f"stream {self.stream}: model {target.model_name} {text}",
            stream=self.stream,
            setting=setting,
            model=target.model_name,
        )


def _reads_envelope(target: TargetTable, names: Iterable[str]) -> bool:
    return any(b.name in names and isinstance(b.rule.source, Envelope) for b in target.bound)
