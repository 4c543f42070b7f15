from __future__ import annotations

from typing import Any


async def test_a_letter_on_every_tab_leads_there(open_desk: Any) -> None:
    async with open_desk(size=(160, 40)) as desk:
        await desk.press("ctrl+o")
        assert " a FLOWS" in desk.text()
        assert " d [Tree] f  Waterfall  g  Graph " in desk.text()
        await desk.press("g")
        assert desk.app.pane.id == "trace"
        assert desk.app.pane.view.label == "Graph"
        assert " a FLOWS" not in desk.text()


async def test_any_other_key_leaves_all_as_it_is(open_desk: Any) -> None:
    async with open_desk(size=(80, 24)) as desk:
        for keys in (["ctrl+o", "Z"], ["ctrl+o", "escape"], ["ctrl+o", "ctrl+o"]):
            await desk.press(*keys)
            assert len(desk.app.screen_stack) == 1
            assert desk.app.pane.id == "flows"
            assert all(not pane.letters for pane in desk.app.panes.values())


async def test_only_panes_in_sight_have_letters(open_desk: Any) -> None:
    async with open_desk(size=(50, 14)) as desk:
        await desk.press("ctrl+o")
        assert [pane.id for pane in desk.app.panes.values() if pane.letters] == ["flows"]
        await desk.press("a")
        assert desk.app.pane.id == "flows"
