"""What tests of the recording share."""

from __future__ import annotations

import pytest

from penguiflow.recording import EventRecord, TraceEvent


class ListSink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def write(self, record: EventRecord) -> None:
        self.records.append(record)

    def events(self) -> list[TraceEvent]:
        """The events, decoded."""
        return [record.decode() for record in self.records]


@pytest.fixture
def sink() -> ListSink:
    return ListSink()
