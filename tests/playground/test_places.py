"""Places to stop at, as people write them."""

from __future__ import annotations

import pytest

from playground.places import KINDS, Place, PlaceError, free_id, read_place, written


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("tool:fetch", Place("tool", "fetch")),
        ("tool", Place("tool")),
        ("node:*", Place("node")),
        (" node:a:b ", Place("node", "a:b")),
        ("error", Place("error")),
        ("error:fetch", Place("error", "fetch")),
        ("any", Place("any")),
        ("kind:before_llm", Place("kind", None, "before_llm")),
        ("kind:before_llm:gpt", Place("kind", "gpt", "before_llm")),
        ("before_llm:gpt", Place("kind", "gpt", "before_llm")),
    ],
)
def test_a_place_is_read_and_written(text: str, place: Place) -> None:
    assert read_place(text) == place
    assert read_place(written(place)) == place


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_checkpoint_is_a_place(kind: str) -> None:
    assert read_place(kind) == read_place(f"kind:{kind}")


def test_what_is_no_place_says_what_there_is() -> None:
    with pytest.raises(PlaceError) as failed:
        read_place("nod:ask")
    assert failed.value.hint == "did you mean node?"


def test_an_id_is_the_place_until_it_is_taken() -> None:
    place = Place("tool", "fetch")
    assert free_id(place, []) == "tool:fetch"
    assert free_id(place, ["tool:fetch", "tool:fetch-2"]) == "tool:fetch-3"
    assert len(free_id(Place("tool", "x" * 200), ["tool:" + "x" * 54])) <= 64
