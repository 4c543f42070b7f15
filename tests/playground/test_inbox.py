"""What waits for a dashboard that is slower than the events come: bounded, and each batch costs what is in it."""

from __future__ import annotations

from collections import deque
from typing import Any

from playground import sources
from playground.sources import Inbox, put_events

CHUNK = b'{"seq":1,"kind":"stream.chunk","name":"s"}'
NODE = b'{"seq":2,"kind":"node.start","name":"n"}'


class CountedLooks(deque[bytes]):
    """Events that count how often all of them are looked through."""

    looked = 0

    def __iter__(self) -> Any:
        self.looked += 1
        return super().__iter__()


def test_of_too_many_events_the_chunks_go_and_of_far_too_many_all(monkeypatch: Any) -> None:
    monkeypatch.setattr(sources, "MAX_INBOX", 10)
    monkeypatch.setattr(sources, "MAX_WAITING", 20)
    inbox = Inbox()
    put_events(inbox, [CHUNK, NODE] * 10)
    assert (list(inbox.events), inbox.dropped) == ([CHUNK, NODE] * 5 + [NODE] * 5, 5)
    put_events(inbox, [NODE] * 30)
    assert (len(inbox.events), inbox.dropped) == (20, 30)
    inbox.events.clear()
    put_events(inbox, [CHUNK])
    assert (list(inbox.events), inbox.dropped) == ([CHUNK], 30)


def test_what_waits_is_not_looked_through_again_with_each_batch(monkeypatch: Any) -> None:
    monkeypatch.setattr(sources, "MAX_INBOX", 10)
    inbox = Inbox()
    inbox.events = waiting = CountedLooks()
    for _ in range(100):
        put_events(inbox, [NODE, CHUNK])
    assert waiting.looked == 0
    assert (len(waiting), inbox.dropped) == (100 + 5, 95)
