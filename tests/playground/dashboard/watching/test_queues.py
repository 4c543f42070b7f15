"""The edges of a distributed flow on the screen, and what can be done with its dead letters."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from playground.dashboard.details import span_details
from playground.dashboard.watching import queue_rows, queues
from playground.dashboard.watching.queue_rows import Letters, QueueView
from playground.dashboard.watching.queues import QueuesScreen
from playground.protocol import LettersEdit, Queues, QueuesGet
from playground.queue_frames import EdgeShown, LetterShown, WorkerShown
from playground.sources import RunRefused

SEEN = 1_790_000_000.0


def make_queues(target: str = "flows/triage.py", dead: int = 2) -> Queues:
    edges = [
        EdgeShown(
            edge="OpenSea->route",
            source="OpenSea",
            target="route",
            waiting=12,
            leased=0,
            dead=0,
            capacity=64,
            unattended=True,
        ),
        EdgeShown(
            edge="route->technical",
            source="route",
            target="technical",
            waiting=3,
            leased=2,
            dead=dead,
            capacity=0,
            workers=["w-one-of-many-names"],
        ),
    ]
    about = {"slots": {"technical": 2}, "under_way": 2, "done": 1400, "redelivered": 7}
    told: dict[str, Any] = {"flow": "triage", "host": "box", "pid": 7, "started_at": SEEN, "seen_at": SEEN}
    workers = [
        WorkerShown(worker_id="w-one", nodes=["technical"], alive=True, state="running", about=about, **told),
        WorkerShown(worker_id="w-two", nodes=["route"], alive=False, state="running", **told),
        WorkerShown(worker_id="w-three", nodes=["route"], alive=False, state="ended", about=about, **told),
    ]
    letters = [
        LetterShown(
            edge="route->technical",
            id=f"trace-{number}/m{number}",
            attempts=5,
            reason="ValueError: \x1b[31mpoison",
            payload={"id": number},
        )
        for number in range(dead)
    ]
    bus = "redis://box:6379/0"
    return Queues(target=target, flow="triage", bus=bus, edges=edges, workers=workers, letters=letters)


def text_of(view: QueueView, width: int) -> list[str]:
    view.resize(width, 40)
    return ["".join(text for text, _ in view.safe_row(index, width)) for index in range(len(view))]


@pytest.mark.parametrize("width", [56, 76, 116, 196])
def test_edges_workers_and_letters_fit_any_width(width: int) -> None:
    view = QueueView()
    view.show(make_queues())
    rows = text_of(view, width)
    said = "\n".join(rows)
    assert "cannot be shown" not in said
    assert "\x1b" not in said
    for part in ("▲ OpenSea->route", "12", "any", "w-one", "running", "gone", "ended", "1400", "✖ m0", "Value"):
        assert part in said, part
    assert max(map(len, rows)) <= width
    assert "2 dead" in view.note()


def test_what_the_cursor_is_on() -> None:
    view = QueueView()
    view.show(make_queues())
    rows = text_of(view, 116)
    found = {}
    for index, row in enumerate(rows):
        view.go(index)
        if view.letters is not None:
            found[row.split()[0] + row.split()[1]] = view.letters
    assert list(found.values()) == [
        Letters("route->technical", None, 2),
        Letters("route->technical", "trace-0/m0", 1),
        Letters("route->technical", "trace-1/m1", 1),
    ]
    assert '"redis://box:6379/0"' in view.copy_text()
    view.show(make_queues(dead=0))
    assert "dead letters" not in "\n".join(text_of(view, 116))


@pytest.fixture
def distributed(source: Any) -> Any:
    """Two flows of the dashboard have a bus."""
    for module in source.modules:
        for flow in module.flows:
            flow.bus = "redis://box:6379/0"
    letters = {"now": 2}

    def answer(request: QueuesGet | LettersEdit) -> Queues:
        if isinstance(request, LettersEdit):
            changed = make_queues(dead=letters["now"]).letters[: len(request.ids) or None]
            letters["now"] -= len(changed)
            return make_queues(str(request.target), letters["now"]).model_copy(update={"changed": changed})
        return make_queues(str(request.target), letters["now"])

    source.queues_answer = answer
    return source


async def test_letters_are_put_back_and_dropped_by_keys(open_desk: Any, distributed: Any) -> None:
    async with open_desk(size=(120, 30)) as desk:
        await desk.press("j", "Q")
        await desk.until(lambda: "QUEUES flows/triage.py · redis://box:6379/0" in desk.text(), "the queues")
        assert "▲ OpenSea->route" in desk.text()
        await desk.press("p")
        await desk.until(lambda: "the cursor is on no dead letter" in desk.text(), "what is missing")
        await desk.press("G", "d")
        await desk.until(lambda: "Drop this dead letter of route->technical." in desk.text(), "the question")
        await desk.press("escape")
        assert not any(isinstance(each, LettersEdit) for each in distributed.queue_requests)
        await desk.press("d")
        await desk.until(lambda: "esc leaves" in desk.text(), "the question")
        await desk.press("enter")
        await desk.until(lambda: "1 dropped" in desk.text(), "what was done")
        await desk.until(lambda: "1 dead" in desk.text(), "what is left")
        await desk.press("g", "j", "j", "p")
        await desk.until(lambda: "Put back this dead letter of route->technical." in desk.text(), "the question")
        await desk.press("enter")
        await desk.until(lambda: "1 put back" in desk.text(), "what was done")
        changes = [each for each in distributed.queue_requests if isinstance(each, LettersEdit)]
        assert [(each.change, each.edge, each.ids) for each in changes] == [
            ("drop", "route->technical", ["trace-1/m1"]),
            ("retry", "route->technical", []),
        ]


async def test_flows_are_walked(open_desk: Any, distributed: Any) -> None:
    async with open_desk(size=(100, 30)) as desk:
        await desk.press("j", "Q")
        await desk.until(lambda: "QUEUES flows/triage.py" in desk.text(), "the queues")
        await desk.press("right")
        await desk.until(lambda: "QUEUES flows/hello.py" in desk.text(), "the other flow")
        await desk.press("question_mark")
        assert "QUEUES · keys" in desk.text()
        await desk.press("escape", "q")
        assert "FLOWS" in desk.text()


async def test_what_goes_wrong_is_told(open_desk: Any, distributed: Any) -> None:
    distributed.queues_answer = None
    async with open_desk(size=(80, 24)) as desk:
        await desk.press("j", "Q")
        await desk.until(lambda: "flows/triage.py: there is no bus" in desk.text(), "the reason")
        distributed.queues_answer = lambda request: make_queues(str(request.target))
        await desk.press("r")
        await desk.until(lambda: "2 dead" in desk.text(), "the queues")

        def refuse(request: Any) -> Queues:
            if isinstance(request, LettersEdit):
                raise RunRefused("this token is for looking on", code="forbidden")
            return make_queues(str(request.target))

        distributed.queues_answer = refuse
        await desk.press("G", "d")
        await desk.until(lambda: "esc leaves" in desk.text(), "the question")
        await desk.press("enter")
        await desk.until(lambda: "this token is for looking on" in desk.text(), "the refusal")


async def test_a_bus_that_says_nothing_for_long_is_told_of(
    open_desk: Any, distributed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    looks: list[None] = []
    away = asyncio.Event()
    look_again = QueuesScreen._again

    async def slowly(request: Any) -> Queues:
        asked.append(request)
        if len(asked) > 1:
            await away.wait()
            raise RunRefused("no Redis answers at box", code="bus")
        return make_queues(str(request.target))

    def looked(screen: QueuesScreen) -> None:
        looks.append(None)
        look_again(screen)

    monkeypatch.setattr(queues, "EVERY_S", 0.01)
    monkeypatch.setattr(QueuesScreen, "_again", looked)
    distributed.queues = slowly
    async with open_desk(size=(80, 24)) as desk:
        await desk.press("j", "Q")
        await desk.until(lambda: len(asked) == 2, "the question that is not answered")
        before = len(looks)
        await desk.until(lambda: len(looks) > before + 5, "the times at which it is asked else")
        assert len(asked) == 2
        away.set()
        await desk.until(lambda: "flows/triage.py: no Redis answers at box" in desk.text(), "the reason")


async def test_no_flow_is_distributed(open_desk: Any, source: Any) -> None:
    async with open_desk(size=(100, 30)) as desk:
        await desk.press("Q")
        await desk.until(lambda: "no flow here is distributed" in desk.text(), "what is missing")


async def test_pictures(open_desk: Any, distributed: Any, album: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_rows, "_now", lambda: SEEN + 30)
    async with open_desk(size=(80, 24)) as desk:
        await desk.press("j", "Q")
        await desk.until(lambda: "2 dead" in desk.text(), "the queues")
        await album.take(desk, "queues")


async def test_a_node_says_which_worker_had_it(open_desk: Any, source: Any, triage: Any) -> None:
    script = triage(until="retry")
    marked = []
    for raw in script.events:
        if b'"kind":"node.start"' in raw and b'"name":"technical"' in raw:
            about = b'"queue_wait_s":0.25,"delivery":3,"worker_id":"w-one","worker_seq":1,'
            raw = raw.replace(b'"data":{', b'"data":{' + about, 1)
        marked.append(raw)
    source.answer = lambda request: marked
    async with open_desk(size=(120, 40)) as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.workspace.current and len(desk.app.spans) > 3, "the run")
        span = next(each for each in desk.app.workspace.current.spans.values() if each.name == "technical")
        desk.app.spans.pick(span.span_id)
        _, nodes = span_details(desk.app.workspace.current, span)
        assert "w-one · the message waited 0.25 s · delivery 3" in [node.value for node in nodes]
