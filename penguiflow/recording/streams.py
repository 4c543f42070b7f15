"""The texts of streams: hidden across chunks on the way into the log, and exact again on the way out.

A secret may arrive in pieces. What could be the beginning of one is held back at the end of a chunk and recorded with
the next, whose `carried` tells how many of its first characters belong to which chunks before it: `[[3, 2], [4, 1]]`.
Meanwhile `held` says the same of what is held back, and of which secret it is the beginning: who knows that one has the
exact text at any time. Where it is one, the whole of it counts as part of the chunk that it ends in, whose `spread`
tells how much of it is others'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from penguiflow.recording.events import TraceEvent
from penguiflow.recording.masking import Masker
from penguiflow.recording.unmasking import unmask

__all__ = ["HeldBack", "chunk_texts", "exact_text", "give_back"]

Find = Callable[[int], dict[str, Any] | None]
"""Gives the data of a chunk before this one, by its number."""


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
        all_parts = [*parts, (number, len(text))]
        length = 0 if data.get("done") else self._masker.prefix_at_end(whole)
        # What a whole secret ends with is no beginning of another.
        length = min(length, len(whole) - self._masker.last_end(whole))
        recorded = whole[: len(whole) - length]
        others = carried = _first(parts, len(recorded))
        if self._masker.last_end(recorded):
            # A secret begins in one chunk and ends in another: from there on it is one text.
            carried = _first(parts, self._masker.first_start(recorded))
        shown = {**data, "text": self._masker.replaced(recorded)}
        if carried:
            shown["carried"] = carried
        if others != carried:
            shown["spread"] = _last(others, sum(length for _, length in others) - sum(length for _, length in carried))
        if length:
            held = whole[len(recorded) :]
            of_whom = _last(all_parts, length)
            self._held[key] = held, of_whom, data
            shown["held"] = {"of": self._masker.beginning(held), "parts": of_whom}
        return shown

    def take_up(self, beginning: Mapping[str, Any]) -> None:
        """Go on where another log ended: with what `trace.start` tells that it had held back."""
        for origin in ("resumed", "forked"):
            told = beginning.get(origin)
            for node, stream, name, parts in told.get("held") or () if isinstance(told, Mapping) else ():
                text = self._masker.begins(name, sum(length for _, length in parts))
                if text is not None:
                    # No sender has the name of where messages come in.
                    sender = "" if node == "OpenSea" else node
                    last = {"stream_id": stream, "chunk_seq": parts[-1][0], "text": "", "done": False, "meta": {}}
                    self._held[sender, stream] = text, list(parts), last

    def rest(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What is still held back when the trace ends, as chunks without a text of their own, by stream."""
        for (sender, stream), (text, parts, data) in self._held.items():
            rest = {**data, "text": text, "carried": parts, "rest": True}
            yield stream, {**rest, "node": sender} if sender else rest
        self._held.clear()


def chunk_texts(events: Iterable[TraceEvent]) -> dict[tuple[str, str, int], str]:
    """The text of each chunk of a trace as it was sent, by span, stream and number; secrets are hidden.

    Where a secret was spread over chunks, all of it counts as part of the last one.
    """
    chunks: dict[tuple[str, str, int], dict[str, Any]] = {}
    latest: dict[tuple[str, int], dict[str, Any]] = {}
    for event in events:
        if event.kind != "stream.chunk":
            continue
        span, stream = event.span_id, str(event.data["stream_id"])

        def find(number: int, span: str = span, stream: str = stream) -> dict[str, Any] | None:
            return chunks.get((span, stream, number)) or latest.get((stream, number))

        own = give_back(event.data, find)
        if own is not None:
            chunks[span, stream, own["chunk_seq"]] = latest[stream, own["chunk_seq"]] = own
    return {place: chunk["text"] for place, chunk in chunks.items()}


def give_back(data: Mapping[str, Any], find: Find) -> dict[str, Any] | None:
    """A chunk's data with its own text alone; what is carried goes to the chunks before it, as far as they are found.

    What the log does not have as a text, `exact_text` knows of each. None when nothing is left of it.
    """
    own = dict(data)
    for earlier, length in own.pop("carried", ()):
        chunk = find(earlier)
        if chunk is not None:
            chunk["text"] += own["text"][:length]
            chunk.pop("lacks", None)
        own["text"] = own["text"][length:]
    start = 0
    for earlier, length in own.pop("spread", ()):
        chunk = find(earlier)
        if chunk is not None:
            chunk["lacks"] = own["text"], start, length
        start += length
    if start:
        own["skips"] = start
    if own.get("rest"):
        return None
    held = own.pop("held", None)
    if held is not None and held["of"] is not None:
        start = 0
        for number, length in held["parts"]:
            chunk = own if number == own.get("chunk_seq") else find(number)
            if chunk is not None:
                chunk["lacks"] = f"⟦$secret {held['of']}⟧", start, length
            start += length
    return own


def exact_text(chunk: Mapping[str, Any]) -> str:
    """The text as it was sent, secrets of the environment filled in, of a chunk that `give_back` gave."""
    text, missing = unmask(str(chunk["text"]))
    if not missing:
        text = text[chunk.get("skips", 0) :]
    lacks = chunk.get("lacks")
    if lacks is not None:
        source, start, length = lacks
        filled, missing = unmask(source)
        if not missing:
            text += filled[start : start + length]
    return str(text)


def _first(parts: list[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """Whose the first characters are."""
    found: list[tuple[int, int]] = []
    for number, count in parts:
        taken = min(count, length)
        if taken > 0:
            found.append((number, taken))
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
