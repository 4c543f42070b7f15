"""The fixture that replays cassettes beside a test file, and the files themselves."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from penguiflow import Context, Headers, Message, ModelRegistry, Node, NodePolicy, PenguiFlow, create
from penguiflow.recording import Recorder
from penguiflow.recording.cassette import Cassette, CassetteError
from penguiflow.recording.divergence import ReplayDiverged
from penguiflow.recording.pytest_plugin import CassettePlayer

asked: list[str] = []


async def model(prompt: str) -> str:
    asked.append(prompt)
    return prompt.upper()


def make(prompt: str = "hello") -> PenguiFlow:
    async def ask(message: Message, ctx: Context) -> Message:
        return message.model_copy(update={"payload": await ctx.record("model", model, prompt)})

    return create(Node(ask, name="ask", policy=NodePolicy(validate="none")).to())


@pytest.fixture
async def player(sink: Any, tmp_path: Path) -> CassettePlayer:
    flow = make()
    flow.run(recorder=Recorder(sink, name="ask"))
    await flow.call(Message(payload="go", headers=Headers(tenant="acme")))
    await flow.stop()
    asked.clear()
    Cassette.of(sink.events()).save(tmp_path / "ask.json")
    return CassettePlayer(tmp_path)


async def test_flows_and_those_who_make_them_are_replayed(player: CassettePlayer) -> None:
    async def slowly() -> tuple[PenguiFlow, ModelRegistry | None]:
        return make(), None

    for flow in (make(), make, slowly):
        outcome = (await player.replay_async(flow, "ask.json")).check()
        assert outcome.values == ["HELLO"]
    assert asked == []


async def test_those_who_make_flows_are_offline_too(player: CassettePlayer) -> None:
    def connecting() -> PenguiFlow:
        with contextlib.suppress(OSError):
            socket.create_connection(("192.0.2.1", 443))
        return make()

    def starting() -> PenguiFlow:
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        return make()

    outcome = await player.replay_async(connecting, "ask.json")
    assert [(each.to, each.file) for each in outcome.blocked] == [("192.0.2.1:443", __file__)]
    outcome = await player.replay_async(starting, "ask.json")
    assert outcome.check().same
    assert [(each.command, each.file) for each in outcome.started] == [(f"{sys.executable} -c pass", __file__)]


def test_it_needs_no_async_test(tmp_path: Path) -> None:
    Cassette(schema=1, trace_id="t").save(tmp_path / "empty.json")
    with pytest.raises(Exception, match="its input is not in the log"):
        CassettePlayer(tmp_path).replay(make(), "empty.json")


async def test_what_diverges_fails_the_test(player: CassettePlayer) -> None:
    with pytest.raises(ReplayDiverged, match=r"ask\[0\]/attempt\[0\]/model\[0\]"):
        await player.replay_async(make("bye"), "ask.json")


def test_a_cassette_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no cassette .*nothing\.json: `pf test TRACE -o"):
        CassettePlayer(tmp_path).load("nothing.json")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is not JSON"),
        ("[]", "valid dictionary"),
        ('{"schema": 9, "trace_id": "t"}', "newer version"),
        ('{"schema": 1}', "trace_id"),
        ('{"schema": 1, "trace_id": "t", "calls": [{"name": 1}]}', "calls/0"),
    ],
)
def test_a_corrupt_cassette_says_what_is_wrong(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "broken.json"
    file.write_text(text)
    with pytest.raises(CassetteError, match=reason) as broken:
        Cassette.load(file)
    assert str(file) in str(broken.value)


async def test_a_cassette_survives_its_file(player: CassettePlayer, tmp_path: Path) -> None:
    loaded = player.load("ask.json")
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "ask.json").read_bytes()
    assert [call.path for call in loaded.calls] == ["ask[0]/attempt[0]/model[0]"]


USER_TEST = """
    import pytest

    from penguiflow import Message, Node, NodePolicy, create


    async def model(prompt):
        return prompt.upper()


    async def ask(message, ctx):
        return message.model_copy(update={"payload": await ctx.record("model", model, "bye")})


    def make():
        return create(Node(ask, name="ask", policy=NodePolicy(validate="none")).to())


    def test_asking(penguiflow_cassette):
        penguiflow_cassette.replay(make, "ask.json")


    def test_nothing(penguiflow_cassette):
        penguiflow_cassette.replay(make, "none.json")
"""


async def test_a_failed_test_shows_the_diff_and_none_of_our_frames(player: CassettePlayer, tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    (folder / "cassettes").mkdir(parents=True)
    (player.folder / "ask.json").rename(folder / "cassettes" / "ask.json")
    (folder / "test_asking.py").write_text(dedent(USER_TEST))
    plugins = ["-p", "penguiflow.recording.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:randomly"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, "tests/test_asking.py"]
    result = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, text=True, capture_output=True, check=False, timeout=60
    )

    assert result.returncode == 1, result.stdout + result.stderr
    lines = [line.removeprefix("E").strip() for line in result.stdout.splitlines() if line.startswith("E ")]
    assert "the replay diverged at ask[0]/attempt[0]/model[0] (event 5 of the recording)" in lines[0]
    assert {'-  "hello"', '+  "bye"'} < set(lines)
    assert "no cassette" in lines[-1]
    # The frames that are shown are those of the test file.
    places = [line for line in result.stdout.splitlines() if re.match(r"\S+\.py:\d+: ", line)]
    assert len(places) == 2
    assert all(place.startswith("tests/test_asking.py:") for place in places)
