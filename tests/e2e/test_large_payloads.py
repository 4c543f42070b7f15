"""Payloads and calls of 5 MB, which stand beside the events, go through every command that takes a trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]
AddFlow = Callable[..., str]

SIZE = 5_000_000
LARGE = """
    from __future__ import annotations

    import asyncio
    import hashlib
    import os
    import pathlib

    from pydantic import BaseModel

    from penguiflow import ModelRegistry, Node, create


    class Wanted(BaseModel):
        size: int = 5_000_000
        die: bool = False


    class Large(BaseModel):
        text: str
        die: bool = False


    class Digest(BaseModel):
        digest: str
        size: int


    async def fetch(size: int) -> str:
        with open("calls", "a") as calls:
            calls.write("f")
        return " ".join(f"word {number}" for number in range(size // 5))[:size]


    async def turn(text: str) -> str:
        with open("calls", "a") as calls:
            calls.write("t")
        return text[::-1]


    async def make(wanted: Wanted, ctx) -> Large:
        return Large(text=await ctx.record("fetch", fetch, wanted.size), die=wanted.die)


    async def reverse(large: Large, ctx) -> Large:
        ctx.trace_state["text"] = large.text
        text = await ctx.record("turn", turn, large.text)
        if large.die and not pathlib.Path("died").exists():
            await ctx.runtime._table.recorder.flush()
            pathlib.Path("died").touch()
            os._exit(9)
        return Large(text=text)


    async def digest(large: Large, ctx) -> Digest:
        return Digest(digest=hashlib.sha256(large.text.encode()).hexdigest(), size=len(large.text))


    a, b, c = Node(make), Node(reverse), Node(digest)
    flow = create(a.to(b), b.to(c), c.to())
    registry = ModelRegistry()
    registry.register("make", Wanted, Large)
    registry.register("reverse", Large, Large)
    registry.register("digest", Large, Digest)
"""


def done(ran: subprocess.CompletedProcess[str]) -> str:
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout


def calls(project: Path) -> str:
    return (project / "calls").read_text()


def test_every_command_takes_a_trace_with_large_payloads(project: Path, add_flow: AddFlow, pf: RunCommand) -> None:
    target = add_flow("large", LARGE)
    result = json.loads(done(pf("run", target, "--trace-id", "one")))
    assert result["size"] == SIZE
    assert calls(project) == "ft"

    replayed = json.loads(done(pf("replay", "one", "--json")))
    assert (replayed["output"], replayed["same"], replayed["answered"]) == (result, True, 2)
    events = json.loads(done(pf("inspect", "one", "--json")))["events"]
    at = next(event["seq"] for event in events if event["kind"] == "record" and event["name"] == "turn")
    assert json.loads(done(pf("fork", "one", "--at", str(at)))) == result
    assert json.loads(done(pf("fork", "one", "--at", "0", "--set", "/payload/size=5000001")))["size"] == SIZE + 1
    assert calls(project) == "ftft"

    told = json.loads(done(pf("diff", "one", "last", "--json")))
    assert "digest[0] -> Rookery" in [each["path"] for each in told["differences"]]
    assert len(json.dumps(told)) < SIZE

    done(pf("export", "one", "one.pftrace"))
    moved = {"PENGUIFLOW_HOME": str(project / "elsewhere")}
    done(pf("import", "one.pftrace", env=moved))
    assert json.loads(done(pf("replay", "one", env=moved))) == result
    done(pf("export", "one", "again.pftrace", env=moved))
    assert (project / "again.pftrace").read_bytes() == (project / "one.pftrace").read_bytes()

    done(pf("test", "one", "-o", "tests/test_large.py"))
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout[-2000:]
    assert calls(project) == "ftft"


def test_a_trace_with_large_payloads_is_resumed(project: Path, add_flow: AddFlow, pf: RunCommand) -> None:
    target = add_flow("large", LARGE)
    assert pf("run", target, "--trace-id", "one", "--input", '{"die": true}').returncode == 6
    assert json.loads(done(pf("resume", "one")))["size"] == SIZE
    assert calls(project) == "ft"
