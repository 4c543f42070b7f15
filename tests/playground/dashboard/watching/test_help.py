from __future__ import annotations

from typing import Any

import pytest

LABELS = ["Tree", "Waterfall", "Graph", "Detail", "Events", "LLM", "Stream", "Logs"]


@pytest.mark.parametrize("label", LABELS)
async def test_every_view_explains_itself(open_desk: Any, label: str) -> None:
    async with open_desk(size=(100, 40)) as desk:
        for pane in desk.app.panes.values():
            for view in pane.views:
                if view.label == label:
                    pane.show_view(view)
                    desk.app.action_focus_pane(pane.id)
                    if label != "Tree":
                        assert view.help is not None
                        assert all(keys and meaning for keys, meaning in view.help[1])
        await desk.press("question_mark")
        assert f"{'TRACE' if label == 'Tree' else label.upper()} · keys" in desk.text()
        await desk.press("escape")


async def test_no_key_has_two_meanings(open_desk: Any) -> None:
    """Keys that work in every pane: none of an area covers one of another, or one of the app."""
    from playground.dashboard.keys import ALL_BINDINGS

    async with open_desk(size=(80, 24)):
        seen: dict[str, str] = {}
        for binding in ALL_BINDINGS:
            assert not isinstance(binding, tuple)
            for key in binding.key.split(","):
                assert seen.setdefault(key, binding.action) == binding.action, key
