"""What a store can do, and what is said when it cannot."""

from __future__ import annotations

import pytest

from penguiflow import metrics, state
from penguiflow.state import StateStore, StoredEvent, missing_capabilities, require_capabilities


class Half:
    save_event = None

    def load_history(self, trace_id: str) -> list[StoredEvent]:
        return []


def test_missing_methods_are_named() -> None:
    methods = ["save_event", "load_history", "save_task"]
    assert missing_capabilities(Half(), methods) == ["save_event", "save_task"]
    require_capabilities(Half(), feature="history", methods=["load_history"])
    with pytest.raises(TypeError, match=r"StateStore missing \['save_event', 'save_task'\] required for feature=tasks"):
        require_capabilities(Half(), feature="tasks", methods=methods)
    assert not isinstance(object(), StateStore)


def test_public_names_are_there() -> None:
    for name in state.__all__:
        assert getattr(state, name) is not None
    assert state.StoredEvent is metrics.StoredEvent
    with pytest.raises(AttributeError, match="nothing_such"):
        state.nothing_such  # noqa: B018 - the access is the test
