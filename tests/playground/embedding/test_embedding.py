"""A host inside of a service: what it shows, what it stops, and that it leaves nothing."""

from __future__ import annotations

import asyncio
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from penguiflow import Headers, Message, ModelRegistry, Node, PenguiFlow, create
from penguiflow.recording.recorder import Recorder
from penguiflow.state import SQLiteStateStore
from penguiflow.state.traces import TraceQuery
from playground import embed
from playground.again import ReplayOrder
from playground.breakpoints import Breakpoint
from playground.embedding import Embedding, EmbedProblem
from playground.host import outlet
from playground.host.tokens import read_token
from playground.protocol import (
    Accepted,
    BaseFrame,
    Breakpoints,
    Cancel,
    Decide,
    Error,
    Flows,
    Hello,
    LoadEvents,
    Logs,
    Page,
    Reload,
    Result,
    Run,
    Stats,
    Stopped,
    Subscribe,
    Traces,
    decode,
    encode,
)

LIMIT_S = 60.0
STOP = Breakpoint(id="b1", on="node", name="shout")


class Text(BaseModel):
    text: str
    password: str = ""


async def shout(value: Text, ctx: Any) -> Text:
    if value.text == "wait":
        await asyncio.sleep(LIMIT_S)
    if value.text == "stream":
        for _ in range(3):
            await ctx.emit_chunk(parent=ctx.message, text="...")
    return Text(text=value.text.upper())


class Peer:
    """One client that sends frames and waits for answers."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: list[Any] = []
        self._ids = 0

    async def ask(self, frame: BaseFrame) -> Any:
        """Send a request; gives its answer."""
        self._ids += 1
        await self.connection.send(encode(frame.model_copy(update={"id": self._ids})), text=True)
        return await self.until(lambda answer: answer.reply_to == self._ids)

    async def until(self, fits: Callable[[Any], object]) -> Any:
        """The next frame that fits; the others are kept."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                frame = decode(await self.connection.recv())
                self.frames.append(frame)
                if fits(frame):
                    return frame

    async def event(self, kind: str, trace_id: str | None = None) -> dict[str, Any]:
        """The next event of a kind."""

        def fits(event: dict[str, Any]) -> bool:
            return event["kind"] == kind and trace_id in (None, event["trace_id"])

        frame = await self.until(lambda frame: any(fits(event) for event in getattr(frame, "events", None) or []))
        found: dict[str, Any] = next(event for event in frame.events if fits(event))
        return found


@asynccontextmanager
async def join(host: Embedding, headers: Mapping[str, str] | None = None, *, view: bool = False) -> AsyncIterator[Peer]:
    """A client of the host."""
    path = host.view_token_file if view else host.token_file
    assert path is not None
    given = {"Authorization": f"Bearer {read_token(path)}", **(headers or {})}
    async with connect(host.url, additional_headers=given, proxy=None, open_timeout=LIMIT_S) as connection:
        yield Peer(connection)


def tokens_in(folder: Path) -> list[Path]:
    """The token files of hosts."""
    return [path for path in folder.glob(".penguiflow/hosts/*") if path.name != ".gitignore"]


def say(text: str) -> Message:
    return Message(payload=Text(text=text), headers=Headers(tenant="acme"))


def make_flow() -> tuple[PenguiFlow, ModelRegistry]:
    registry = ModelRegistry()
    registry.register("shout", Text, Text)
    return create(Node(shout, name="shout").to()), registry


@pytest.fixture(autouse=True)
async def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PENGUIFLOW_HOME", raising=False)
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [thread.name for thread in threading.enumerate() if "penguiflow-wire" in thread.name] == []
    assert tokens_in(tmp_path) == []


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStateStore]:
    store = SQLiteStateStore(tmp_path / "service.db")
    yield store
    await store.close()


@pytest.fixture
async def flow(store: SQLiteStateStore) -> AsyncIterator[PenguiFlow]:
    flow, registry = make_flow()
    flow.run(registry=registry, state_store=store)
    yield flow
    await flow.stop()


async def test_what_the_service_does_is_seen_and_kept_in_its_own_store(
    flow: PenguiFlow, store: SQLiteStateStore
) -> None:
    await flow.call(say("before"))
    async with embed(flow) as host, join(host, view=True) as viewer:
        await viewer.ask(Subscribe())
        assert (await flow.call(say("hello"))).payload.text == "HELLO"
        ended = await viewer.event("trace.end")
        assert ended["data"]["status"] == "ok"
        (module,) = (await viewer.ask(Flows())).modules
        (info,) = module.flows
        assert (info.target, info.input_type, [node.name for node in info.nodes]) == ("flow", "Text", ["shout"])
        assert isinstance(await viewer.ask(Stats()), Stats)
        await store.flush()
        listed = await viewer.ask(Traces(query=TraceQuery()))
        assert isinstance(listed, Traces)
        assert len(listed.traces) == 2
        page = await viewer.ask(LoadEvents(trace_id=listed.traces[0].trace_id))
        assert isinstance(page, Page)
        assert [event["seq"] for event in page.events] == list(range(len(page.events)))
    await flow.call(say("after"))
    await store.flush()
    assert len(await store.find_traces(TraceQuery())) == 3


async def test_a_client_with_full_control_runs_and_cancels(flow: PenguiFlow) -> None:
    async with embed(flow) as host, join(host) as owner:
        assert (await owner.until(lambda frame: isinstance(frame, Hello))).control is True
        accepted = await owner.ask(Run(target="flow", input={"text": "hi", "password": "hunter2"}, session="s1"))
        result = await owner.until(lambda frame: isinstance(frame, Result))
        assert (result.trace_id, result.output["text"]) == (accepted.trace_id, "HI")
        assert not any(b"hunter2" in encode(frame) for frame in owner.frames)
        (summary,) = (await owner.ask(Traces())).traces
        assert (summary.session, summary.target) == ("s1", "flow")
        waiting = {"text": "wait", "tool_context": {"session_id": "s2"}}
        accepted = await owner.ask(Run(target="flow", input=waiting))
        await owner.event("node.start", accepted.trace_id)
        assert isinstance(await owner.ask(Cancel(trace_id=accepted.trace_id)), Accepted)
        assert (await owner.until(lambda frame: isinstance(frame, Result))).status == "cancelled"
        sessions = {each.trace_id: each.session for each in (await owner.ask(Traces())).traces}
        assert sessions == {summary.trace_id: "s1", accepted.trace_id: "s2"}
        for request, code in (
            (Run(target="other"), "not_found"),
            (Run(target="flow", input={"text": 5}), "invalid_input"),
            (Run(target="flow", replay=ReplayOrder(trace_id="x")), "invalid_input"),
            (Cancel(trace_id="x"), "not_found"),
        ):
            answer = await owner.ask(request)
            assert isinstance(answer, Error)
            assert answer.code == code
        assert isinstance(await owner.ask(Reload()), Flows)


async def test_runs_of_the_service_stop_only_while_a_client_decides(flow: PenguiFlow) -> None:
    async with embed(flow, hold_s=0.0) as host:
        async with join(host) as owner, join(host, view=True) as viewer:
            await owner.ask(Breakpoints(put=[STOP]))
            calling = asyncio.create_task(flow.call(say("hello")))
            stop = await viewer.until(lambda frame: isinstance(frame, Stopped))
            assert isinstance(stop, Stopped)
            assert (await viewer.ask(Decide(stop=stop.stop))).code == "forbidden"
            edit = Decide(stop=stop.stop, action="edit", edits={"/text": "edited"})
            assert isinstance(await owner.ask(edit), Accepted)
            assert (await calling).payload.text == "EDITED"
            calling = asyncio.create_task(flow.call(say("left alone")))
            await owner.until(lambda frame: isinstance(frame, Stopped))
        # Nobody decides any more: it goes on, and the next one does not stop.
        assert (await calling).payload.text == "LEFT ALONE"
        async with join(host, view=True) as viewer:
            assert [each.id for each in (await viewer.ask(Breakpoints())).breakpoints] == ["b1"]
            assert (await flow.call(say("free"))).payload.text == "FREE"


async def test_closing_lets_stopped_runs_go_on_and_ends_those_of_clients(flow: PenguiFlow) -> None:
    host = await embed(flow)
    async with join(host) as owner:
        await owner.ask(Run(target="flow", input={"text": "wait"}))
        await owner.event("node.start")
        await owner.ask(Breakpoints(put=[STOP]))
        calling = asyncio.create_task(flow.call(say("hello")))
        # The node is busy with the run of the client, so this one waits until that ends.
        assert not calling.done()
        await host.close()
        assert (await calling).payload.text == "HELLO"
        assert (await owner.until(lambda frame: frame.type == "bye")).reason == "shutdown"
    await host.close()


async def test_the_flow_is_as_it_was_afterwards(flow: PenguiFlow) -> None:
    recorder = flow.recorder
    assert isinstance(recorder, Recorder)
    hops = recorder.hops
    assert hops is not None
    async with embed(flow) as host:
        assert recorder.hops is None
        assert host.token_file is not None
        assert stat.S_IMODE(host.token_file.stat().st_mode) == 0o600
    assert flow.recorder is recorder
    assert recorder.hops is hops


async def test_a_flow_that_records_nothing_is_seen_from_memory() -> None:
    flow, registry = make_flow()
    flow.run(registry=registry)
    try:
        async with embed({"shouting": flow}) as host, join(host) as owner:
            await owner.ask(Subscribe())
            await flow.call(say("hello"))
            ended = await owner.event("trace.end")
            assert ended["name"] == "shouting"
            page = await owner.ask(LoadEvents(trace_id=ended["trace_id"]))
            assert page.events[-1]["kind"] == "trace.end"
            assert (await owner.ask(Traces())).traces == []
        assert flow.recorder is None
        assert (await flow.call(say("after"))).payload.text == "AFTER"
    finally:
        await flow.stop()


async def test_flows_that_share_a_recorder_are_told_of_once(store: SQLiteStateStore) -> None:
    (one, registry), (other, _) = make_flow(), make_flow()
    recorder = Recorder(store=store)
    one.run(registry=registry, recorder=recorder)
    other.run(registry=registry, recorder=recorder)
    try:
        async with embed({"one": one, "other": other}) as host, join(host) as owner:
            await owner.ask(Subscribe())
            for flow in (one, other):
                await flow.call(say("hello"))
                trace_id = (await owner.event("trace.end"))["trace_id"]
                batches = [getattr(frame, "events", None) or [] for frame in owner.frames]
                seqs = [event["seq"] for batch in batches for event in batch if event["trace_id"] == trace_id]
                assert seqs == list(range(len(seqs)))
    finally:
        await one.stop()
        await other.stop()


async def test_a_flood_of_chunks_fills_nobodys_memory(flow: PenguiFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "MAX_QUEUED", -1)
    async with embed(flow) as host, join(host) as owner:
        await owner.ask(Subscribe())
        assert (await flow.call(say("stream"))).payload.text == "STREAM"
        await owner.event("trace.end")
        kinds = [event["kind"] for frame in owner.frames for event in getattr(frame, "events", None) or []]
        assert "node.end" in kinds
        assert "stream.chunk" not in kinds
        lines = [line.text for frame in owner.frames if isinstance(frame, Logs) for line in frame.lines]
        assert lines == ["stream chunks of flow are left out: there are more than can be sent"]


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.test"}, {"Authorization": "Bearer wrong"}])
async def test_strangers_are_refused(flow: PenguiFlow, headers: dict[str, str]) -> None:
    async with embed(flow) as host:
        with pytest.raises(InvalidStatus) as refused:
            async with join(host, headers):
                pass
    assert refused.value.response.status_code in (401, 403)


async def test_what_cannot_be_served_is_said(flow: PenguiFlow) -> None:
    idle, _ = make_flow()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for embedding, message in (
            (embed(idle), "does not run yet"),
            (embed({}), "no flow"),
            (embed({"shout": shout}), "not a flow"),  # type: ignore[dict-item]
            (embed(flow, host="0.0.0.0"), "allow_remote"),
            (embed(flow, port=taken.getsockname()[1]), "Address already in use"),
        ):
            with pytest.raises(EmbedProblem, match=message):
                await embedding
    async with embed(flow) as host:
        with pytest.raises(EmbedProblem, match="open already"):
            await host
