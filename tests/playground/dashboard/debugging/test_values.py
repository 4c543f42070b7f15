"""What tools keep (`ctx.kv`) in the tab of the context: read, edited, added and deleted, over a real store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penguiflow.recording.masking import Masker
from penguiflow.state import InMemoryStateStore
from playground.host.key_values import KeyValues
from playground.protocol import Context, Error, Kv, KvEdit, KvGet, Memory
from playground.sources import RunRefused

OpenDesk = Callable[..., Any]
TRACE = "9e9a20c1" * 4
SESSION = "acme:ada:first"


class Keeping:
    """A source's `kv`, answered as a host does."""

    def __init__(self) -> None:
        self.store = InMemoryStateStore()
        self.told: list[dict[str, Any]] = []
        self.asked: list[tuple[KvGet | KvEdit, str | None]] = []
        self._values = KeyValues(list, list, lambda: self.store, lambda key, data: self.told.append(data))

    async def kv(self, request: KvGet | KvEdit, *, stop: str | None = None) -> Kv:
        self.asked.append((request, stop))
        answer = await self._values.do(request, "tester", Masker())
        if isinstance(answer, Error):
            raise RunRefused(answer.message, answer.details, code=answer.code)
        assert isinstance(answer, Kv)
        return answer

    async def put(self, key: str, value: Any, session: str = SESSION, namespace: str = "") -> None:
        """As a tool, or somebody else."""
        place = {"session": session, "key": key, "namespace": namespace}
        [found] = (await self.kv(KvGet.model_validate(place))).entries
        await self.kv(KvEdit.model_validate({**place, "etag": found.etag, "value": value}))

    async def value(self, key: str, namespace: str = "") -> Any:
        [found] = (await self.kv(KvGet(session=SESSION, key=key, namespace=namespace))).entries
        return found.value if found.etag is not None else ...


@pytest.fixture
async def keeping(source: Any) -> Keeping:
    made = Keeping()
    source.kv = made.kv
    await made.put("prefs", {"theme": "dark", "size": 2}, namespace="shop")
    await made.put("password", "hunter22-of-ada")
    return made


async def context_tab(desk: Any, said: str = "e adds one") -> Any:
    """The tab of the context, which has been read."""
    await desk.press("5", *["right_square_bracket"] * 3)
    await desk.until(lambda: said in desk.text(), said)
    return desk.app.areas["debugging"].surroundings.view


async def on(desk: Any, view: Any, kind: str, ending: str = "") -> None:
    """Put the cursor on an item."""
    await desk.press("g")
    for _ in range(40):
        if view.item is not None and view.item.kind == kind and view.item.name.endswith(ending):
            return
        await desk.press("j")
    raise AssertionError(f"there is no {kind} {ending}:\n{desk.text()}")


async def replaced(desk: Any, text: str) -> None:
    """Put another text into the editor."""
    area = desk.app.screen._area
    area.replace(text, (0, 0), area.document.end)
    await desk.press("ctrl+s")


async def closed(desk: Any) -> None:
    await desk.until(lambda: len(desk.app.screen_stack) == 1, "the end of the editor")


async def test_values_are_shown_by_namespace_and_key(open_desk: OpenDesk, keeping: Keeping) -> None:
    async with open_desk(size=(160, 50)) as desk:
        await context_tab(desk)
        text = desk.text()
        assert f"{SESSION}  2 values · e adds one" in text
        assert "shop/prefs" in text
        assert 'theme: "dark"' in text
        assert "hmac:" in text
        assert "hunter22" not in text


async def test_a_value_is_edited_between_runs(open_desk: OpenDesk, keeping: Keeping) -> None:
    async with open_desk(size=(160, 50)) as desk:
        view = await context_tab(desk)
        await on(desk, view, "kv", "prefs")
        await desk.press("e")
        await desk.until(lambda: f"shop/prefs of {SESSION}" in desk.text(), "the editor")
        await replaced(desk, '{"theme": "light",')
        await desk.until(lambda: "✖ line 1" in desk.text(), "what is wrong with it")
        assert await keeping.value("prefs", "shop") == {"theme": "dark", "size": 2}
        await replaced(desk, '{"theme": "light", "size": 2}')
        await closed(desk)
        await desk.until(lambda: 'theme: "light"' in desk.text(), "the new value")
        edits = [each for each, _ in keeping.asked if isinstance(each, KvEdit)]
        assert edits[-1].edits == {"/theme": "light"}
        assert keeping.told[-1]["before"] == {"shop": {"prefs": {"theme": "dark", "size": 2}}}
        assert keeping.told[-1]["after"] == {"shop": {"prefs": {"theme": "light", "size": 2}}}


async def test_somebody_else_was_faster(open_desk: OpenDesk, keeping: Keeping) -> None:
    async with open_desk(size=(160, 50)) as desk:
        view = await context_tab(desk)
        await on(desk, view, "kv", "prefs")
        await desk.press("e")
        await desk.until(lambda: f"shop/prefs of {SESSION}" in desk.text(), "the editor")
        await keeping.put("prefs", {"theme": "blue", "size": 3}, namespace="shop")
        await replaced(desk, '{"theme": "light", "size": 2}')
        await desk.until(lambda: "it has changed meanwhile" in desk.text(), "the conflict")
        assert await keeping.value("prefs", "shop") == {"theme": "blue", "size": 3}
        await desk.press("ctrl+s")
        await closed(desk)
        # All of what was written takes its place, not only what differed from what was read first.
        assert await keeping.value("prefs", "shop") == {"theme": "light", "size": 2}


async def test_a_value_is_added_and_deleted(open_desk: OpenDesk, keeping: Keeping) -> None:
    async with open_desk(size=(160, 50)) as desk:
        view = await context_tab(desk)
        await on(desk, view, "kv_new")
        await desk.press("e")
        await desk.until(lambda: f"a new value of {SESSION}" in desk.text(), "the editor")
        await replaced(desk, '{"key": "", "value": 1}')
        await desk.until(lambda: "/key" in desk.text(), "a key is needed")
        await replaced(desk, '{"key": "password", "namespace": "", "value": 1}')
        await desk.until(lambda: "there is such a value already" in desk.text(), "the conflict")
        await replaced(desk, '{"key": "seat", "namespace": "shop", "value": [7]}')
        await closed(desk)
        await desk.until(lambda: "shop/seat" in desk.text(), "the new value")
        assert await keeping.value("seat", "shop") == [7]

        await on(desk, view, "kv", "seat")
        await desk.press("delete")
        await desk.until(lambda: "shop/seat" not in desk.text(), "its end")
        assert await keeping.value("seat", "shop") is ...


async def test_what_has_changed_is_not_deleted(open_desk: OpenDesk, keeping: Keeping) -> None:
    async with open_desk(size=(160, 50)) as desk:
        view = await context_tab(desk)
        await on(desk, view, "kv", "prefs")
        await keeping.put("prefs", "another", namespace="shop")
        await desk.press("delete")
        await desk.until(lambda: "it has changed meanwhile, and was read again" in desk.text(), "the conflict")
        assert await keeping.value("prefs", "shop") == "another"
        await desk.until(lambda: '"another"' in desk.text(), "what is there now")


async def test_enter_opens_a_session_and_begins_a_value(open_desk: OpenDesk, keeping: Keeping) -> None:
    await keeping.put("note", "of another", session="acme:eve:second")
    async with open_desk(size=(160, 50)) as desk:
        view = await context_tab(desk, "2 conversations are remembered")
        await on(desk, view, "key", "second")
        await desk.press("enter")
        await desk.until(lambda: "of another" in desk.text(), "the other session")
        await on(desk, view, "kv_new")
        await desk.press("enter")
        await desk.until(lambda: "a new value of acme:eve:second" in desk.text(), "the editor")


async def test_a_large_value_is_read_when_it_is_edited(open_desk: OpenDesk, keeping: Keeping) -> None:
    await keeping.put("long", {"text": "x" * 70_000})
    async with open_desk(size=(160, 50)) as desk:
        view = await context_tab(desk)
        await desk.until(lambda: "e reads all of it" in desk.text(), "the values")
        await on(desk, view, "kv", "long")
        await desk.press("e")
        await desk.until(lambda: f"long of {SESSION}" in desk.text(), "the editor")
        await replaced(desk, '{"text": "short"}')
        await closed(desk)
        assert await keeping.value("long") == {"text": "short"}


async def test_of_a_stopped_run_its_session_is_shown(
    open_desk: OpenDesk, source: Any, triage: Callable[..., Any], keeping: Keeping
) -> None:
    await keeping.put("note", "of another", session="acme:eve:second")
    source.answer = lambda run: triage(TRACE, until="retry").events[:9]
    source.memory_answer = lambda request: Memory(keys=[])
    source.context_answer = lambda request: Context(stop=request.stop, trace_id=TRACE)
    async with open_desk(size=(160, 50)) as desk:
        await desk.press("j", "r")
        await desk.until(lambda: "technical" in desk.text() and desk.app.workspace.current, "the run")
        source.stops_at(TRACE, "1:stop-1", "before_tool", "fetch", payload={"args": {}}, kv=SESSION)
        await desk.until(lambda: desk.app.areas["debugging"].selected == "1:stop-1", "the stop")
        view = await context_tab(desk)
        assert "acme:eve:second" not in desk.text()
        await on(desk, view, "kv", "prefs")
        await desk.press("e")
        await desk.until(lambda: f"shop/prefs of {SESSION}" in desk.text(), "the editor")
        await replaced(desk, "[1]")
        await closed(desk)
        assert await keeping.value("prefs", "shop") == [1]
        assert [stop for each, stop in keeping.asked if isinstance(each, KvEdit)][-1] == "1:stop-1"


async def test_a_source_that_refuses_is_not_in_the_way(open_desk: OpenDesk, source: Any, keeping: Keeping) -> None:
    """Who only looks on is told so, and what was written stays."""

    async def kv(request: KvGet | KvEdit, *, stop: str | None = None) -> Kv:
        if isinstance(request, KvEdit):
            raise RunRefused("this token is for looking on", code="forbidden")
        return await keeping.kv(request, stop=stop)

    source.kv = kv
    async with open_desk(size=(160, 50)) as desk:
        view = await context_tab(desk)
        await on(desk, view, "kv", "prefs")
        await desk.press("e")
        await desk.until(lambda: f"shop/prefs of {SESSION}" in desk.text(), "the editor")
        await replaced(desk, "[1]")
        await desk.until(lambda: "this token is for looking on" in desk.text(), "the refusal")
        assert desk.app.screen.text == "[1]"
        assert await keeping.value("prefs", "shop") == {"theme": "dark", "size": 2}
