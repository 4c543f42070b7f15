"""The texts of streams: hidden across chunks on the way into the log, and exact again on the way out.

A secret may arrive in pieces. What could be the beginning of one is held back at the end of a chunk and recorded with
the next, whose `carried` tells how many of its first characters belong to which chunks before it: `[[3, 2], [4, 1]]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from penguiflow.recording.events import TraceEvent
from penguiflow.recording.masking import Masker

__all__ = ["HeldBack", "chunk_texts"]


class HeldBack:
    """What is held back of the streams of one trace."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._held: dict[tuple[str, str], tuple[str, list[tuple[int, int]], Mapping[str, Any]]] = {}
        """By sender and stream: the text, how much of it each chunk gave, and the last chunk's data."""

    def pass_on(self, sender: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """A chunk's data as they are to be recorded now."""
        text = data.get("text")
        if not isinstance(text, str) or not (self._masker.values or self._held):
            return data
        key = (sender, str(data.get("stream_id")))
        before, parts, _ = self._held.pop(key, ("", [], data))
        number = int(data.get("chunk_seq") or 0)
        whole = before + text
        length = 0 if data.get("done") else self._masker.prefix_at_end(whole)
        # What a whole secret ends with is no beginning of another.
        length = min(length, len(whole) - self._masker.last_end(whole))
        recorded = whole[: len(whole) - length]
        if length:
            self._held[key] = whole[len(recorded) :], _last([*parts, (number, len(text))], length), data
        carried = _first(parts, len(recorded))
        if self._masker.last_end(recorded):
            # A secret begins in one chunk and ends in another: from there on it is one text.
            carried = _first(parts, self._masker.first_start(recorded))
        shown = {**data, "text": self._masker.replaced(recorded)}
        return {**shown, "carried": carried} if carried else shown

    def rest(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What is still held back when the trace ends, as chunks without a text of their own, by stream."""
        for (_, stream), (text, parts, data) in self._held.items():
            yield stream, {**data, "text": text, "carried": [list(part) for part in parts], "rest": True}
        self._held.clear()


def chunk_texts(events: Iterable[TraceEvent]) -> dict[tuple[str, str, int], str]:
    """The text of each chunk of a trace as it was sent, by span, stream and number; secrets are hidden.

    Where a secret was spread over chunks, all of it counts as part of the last one.
    """
    texts: dict[tuple[str, str, int], str] = {}
    latest: dict[tuple[str, int], tuple[str, str, int]] = {}
    for event in events:
        if event.kind != "stream.chunk":
            continue
        data = event.data
        stream, number, text = str(data["stream_id"]), int(data["chunk_seq"]), str(data["text"])
        for earlier, length in data.get("carried") or ():
            place = (event.span_id, stream, earlier)
            if place not in texts:
                place = latest.get((stream, earlier), place)
            texts[place] = texts.get(place, "") + text[:length]
            text = text[length:]
        if not data.get("rest"):
            place = latest[stream, number] = (event.span_id, stream, number)
            texts[place] = texts.get(place, "") + text
    return texts


def _first(parts: list[tuple[int, int]], length: int) -> list[list[int]]:
    """Whose the first characters are."""
    found = []
    for number, count in parts:
        taken = min(count, length)
        if taken > 0:
            found.append([number, taken])
        length -= taken
    return found


def _last(parts: list[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """Whose the last characters are."""
    found: list[tuple[int, int]] = []
    for number, count in reversed(parts):
        taken = min(count, length)
        if taken > 0:
            found.insert(0, (number, taken))
        length -= taken
    return found
