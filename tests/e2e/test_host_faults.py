"""User code that does its worst, against real worker processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow.state.errors import StoreUnreadable
from penguiflow.state.traces import TraceQuery
from playground.project import project_at
from playground.protocol import Run
from playground.session import HostDied, HostSession, LoadFailed
from playground.sources import RunRefused

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow, OpenLive

LIMIT_S = 120.0

ECHO = """
    from penguiflow import Node, create


    async def give(message, ctx):
        return message.payload


    flow = create(Node(give).to())
"""

FAULTS = """
    import asyncio, ctypes, os, signal, sys, time
    from penguiflow import Node, create


    async def misbehave(message, ctx):
        match message.payload["how"]:
            case "exit":
                os._exit(3)
            case "segfault":
                ctypes.string_at(0)
            case "block":
                time.sleep(message.payload["s"])
            case "hold":
                while not os.path.exists("go"): time.sleep(0.01)
            case "ignore":
                while True:
                    try:
                        await asyncio.sleep(3600)
                    except asyncio.CancelledError:
                        pass
            case "sys.exit":
                sys.exit(4)
            case "interrupt":
                raise KeyboardInterrupt
            case "child":
                pid = os.fork()
                if not pid:
                    time.sleep(3600)
                    os._exit(0)
                return pid
        return message.payload


    flow = create(Node(misbehave).to())
"""


def gone(pid: int) -> bool:
    """True for a process that is no more, or only waits to be reaped by whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def start_script(script: str, cwd: Path) -> subprocess.Popen[str]:
    """A program of its own, whose output can be read."""
    return subprocess.Popen(
        [sys.executable, "-c", script], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


class TestDeath:
    @pytest.mark.parametrize(("how", "said"), [("exit", "exit code 3"), ("segfault", "killed by SIGSEGV")])
    async def test_a_node_that_ends_the_process(
        self, add_flow: AddFlow, open_live: OpenLive, how: str, said: str
    ) -> None:
        target = add_flow("faults", FAULTS)
        live = await open_live()
        result = await live.run(target, {"how": how})
        assert result.status == "interrupted"
        assert result.error is not None
        assert said in result.error["message"]
        assert live.kinds(result.trace_id)[-1] == "trace.end"
        await live.until(lambda: any(said in notice.text for notice in live.notices))
        await live.until(lambda: any(state == f"ready restarted after {said}" for state in live.states))
        again = await live.run(target, {"how": "well"})
        assert (again.status, again.output) == ("ok", {"how": "well"})
        stored = {trace.trace_id: trace.status for trace in await live.source.find_traces(TraceQuery())}
        assert stored == {result.trace_id: "interrupted", again.trace_id: "ok"}
        seqs = [event.seq for event in await live.source.load_events(result.trace_id)]
        assert seqs == list(range(len(seqs)))
        assert any(event["kind"] == "host.died" and event["trace_id"] == "host" for event in live.events)

    @pytest.mark.parametrize(("how", "raised"), [("sys.exit", "SystemExit: 4"), ("interrupt", "KeyboardInterrupt")])
    async def test_what_would_end_a_program_is_the_failure_of_a_node(
        self, add_flow: AddFlow, open_live: OpenLive, how: str, raised: str
    ) -> None:
        target = add_flow("faults", FAULTS)
        live = await open_live()
        result = await live.run(target, {"how": how})
        assert result.status == "error"
        assert result.error is not None
        assert result.error["message"] == f"Node 'misbehave' raised {raised}"
        assert (await live.run(target, {"how": "well"})).status == "ok"
        assert not any(state.startswith("dead") for state in live.states)

    async def test_a_killed_worker(self, add_flow: AddFlow, open_live: OpenLive) -> None:
        target = add_flow("faults", FAULTS)
        live = await open_live()
        trace_id = await live.start(target, {"how": "ignore"})
        await live.until(lambda: "attempt.start" in live.kinds(trace_id))
        (pid,) = [pid for pid in live.source.worker_pids if pid != live.source.spare_pid]
        os.kill(pid, signal.SIGKILL)
        assert (await live.end(trace_id)).status == "interrupted"
        assert (await live.run(target, {"how": "well"})).status == "ok"

    async def test_a_dead_spare_is_replaced(self, add_flow: AddFlow, open_live: OpenLive) -> None:
        target = add_flow("echo", ECHO)
        live = await open_live()
        await live.until(lambda: live.source.spare_pid)
        spare = live.source.spare_pid
        assert spare is not None
        os.kill(spare, signal.SIGKILL)
        await live.until(lambda: live.source.spare_pid not in (None, spare))
        assert (await live.run(target, 1)).output == 1

    async def test_a_session_says_how_it_ended(self, project: Path, add_flow: AddFlow) -> None:
        target = add_flow("faults", FAULTS)
        async with HostSession(project_at(project), [str(project / target)]) as host:
            accepted = await host.run(Run(target=target, input={"how": "segfault"}))
            with pytest.raises(HostDied) as died:
                async for _ in host.frames():
                    pass
            assert died.value.signal == "SIGSEGV"
            assert died.value.exit_code is None
            assert died.value.interrupted == [accepted.trace_id]
            assert "Segmentation fault" in died.value.stderr
            with pytest.raises(HostDied):
                await host.run(Run(target=target, input={"how": "well"}))


class TestImports:
    async def test_modules_that_no_process_survives_leave_the_others_alone(
        self, add_flow: AddFlow, open_live: OpenLive
    ) -> None:
        good = add_flow("good", ECHO)
        add_flow("a_exits", "import os\nos._exit(5)\n")
        add_flow("b_stops", "import sys\nsys.exit(2)\n")
        add_flow("c_loops", "x = 1\nwhile True:\n    x += 1\n")
        add_flow("d_segfaults", "import ctypes\nctypes.string_at(0)\n")
        # Native code that keeps the interpreter: not even the worker's other thread can tell.
        add_flow("e_holds", "import ctypes\nctypes.PyDLL(None).sleep(3600)\n")
        live = await open_live(load_timeout_s=3.0)
        errors = {path: module.error for path, module in live.modules.items() if module.error is not None}
        assert {path: error.kind for path, error in errors.items()} == {
            "flows/a_exits.py": "exit",
            "flows/b_stops.py": "exit",
            "flows/c_loops.py": "stall",
            "flows/d_segfaults.py": "exit",
            "flows/e_holds.py": "stall",
        }
        assert "exit code 5" in errors["flows/a_exits.py"].message
        assert "SIGSEGV" in errors["flows/d_segfaults.py"].message
        assert errors["flows/c_loops.py"].line in (2, 3)
        assert (await live.run(good, 1)).output == 1
        with pytest.raises(RunRefused, match="exit code 5"):
            await live.run("flows/a_exits.py")

        add_flow("a_exits", ECHO)
        await live.state("flows/a_exits.py", "loaded")
        assert (await live.run("flows/a_exits.py", 2)).output == 2

    async def test_a_session_reports_them_too(self, project: Path, add_flow: AddFlow) -> None:
        target = add_flow("exits", "import os\nos._exit(5)\n")
        async with HostSession(project_at(project), [str(project / target)]) as host:
            with pytest.raises(LoadFailed, match="exit code 5"):
                host.find_flow(target)


class TestBlocking:
    async def test_a_blocked_loop_is_reported_with_its_place(
        self, project: Path, add_flow: AddFlow, open_live: OpenLive
    ) -> None:
        target = add_flow("faults", FAULTS)
        live = await open_live()
        trace_id = await live.start(target, {"how": "hold"})

        def stalls() -> list[dict[str, Any]]:
            # On a busy machine it may have been late before.
            told = [event["data"] for event in live.events if event["kind"] == "stall" and event["trace_id"] == "host"]
            return [data for data in told if data.get("function") == "misbehave"]

        await live.until(stalls)
        stall = stalls()[0]
        assert stall["file"] == target
        assert stall["text"] == 'while not os.path.exists("go"): time.sleep(0.01)'
        assert stall["trace_id"] == trace_id
        # What it had emitted before is here, though it blocks.
        assert "attempt.start" in live.kinds(trace_id)
        await live.until(lambda: any(f"{target}:{stall['line']} in misbehave" in state for state in live.states))
        assert trace_id not in live.results
        (project / "go").touch()
        assert (await live.end(trace_id)).status == "ok"
        await live.until(lambda: live.states[-1] == "ready")

    async def test_the_trace_that_blocked_says_so(self, project: Path, add_flow: AddFlow, open_live: OpenLive) -> None:
        held = 'while not os.path.exists("go"): time.sleep(0.01)'
        source = FAULTS.replace(
            held, f"await asyncio.sleep(0)\n                {held}\n                await asyncio.Event().wait()"
        )
        target = add_flow("faults", source)
        live = await open_live()
        trace_id = await live.start(target, {"how": "hold"})

        def stalls(trace_id: str) -> list[dict[str, Any]]:
            # On a busy machine it may have been late at other times too.
            told = [
                event["data"] for event in live.events if event["kind"] == "stall" and event["trace_id"] == trace_id
            ]
            return [data for data in told if data.get("file") == target]

        await live.until(lambda: stalls("host"))
        assert not stalls(trace_id)
        (project / "go").touch()
        await live.until(lambda: stalls(trace_id))
        assert stalls(trace_id)[0]["ms"] >= 250

    @pytest.mark.parametrize("how", ["block", "ignore"])
    async def test_stop_waits_for_no_node(self, add_flow: AddFlow, open_live: OpenLive, how: str) -> None:
        target = add_flow("faults", FAULTS)
        live = await open_live()
        trace_id = await live.start(target, {"how": how, "s": 3600})
        await live.until(lambda: "attempt.start" in live.kinds(trace_id))
        pids = live.source.worker_pids
        async with asyncio.timeout(LIMIT_S):
            await live.source.stop()
        assert all(gone(pid) for pid in pids)

    async def test_a_run_can_be_cancelled(self, add_flow: AddFlow, open_live: OpenLive) -> None:
        target = add_flow("slow", ECHO.replace("return", "import asyncio; await asyncio.sleep(3600); return"))
        live = await open_live()
        trace_id = await live.start(target, 1)
        await live.until(lambda: "attempt.start" in live.kinds(trace_id))
        assert await live.source.cancel(trace_id)
        result = await live.end(trace_id)
        assert result.status == "cancelled"
        assert not await live.source.cancel(trace_id)

    async def test_a_deadline_ends_a_run(self, add_flow: AddFlow, open_live: OpenLive) -> None:
        source = ECHO.replace("return message.payload", "import asyncio; await asyncio.sleep(0.2); return message")
        two = "other = Node(give, name='other')\nfirst = Node(give)\nflow = create(first.to(other))\n"
        target = add_flow("slow", dedent(source).replace("flow = create(Node(give).to())\n", two))
        live = await open_live()
        trace_id = await live.source.run(Run(target=target, input=1, deadline_s=0.05))
        result = await live.end(trace_id)
        assert result.status == "timeout"


class TestOutput:
    async def test_what_is_printed_and_logged_arrives(self, add_flow: AddFlow, open_live: OpenLive) -> None:
        target = add_flow(
            "prints",
            """
            import logging, os, sys
            from penguiflow import Node, create

            print("while importing")


            async def give(message, ctx):
                print("from print")
                print("to stderr", file=sys.stderr)
                os.write(1, b"from a descriptor\\n")
                logging.getLogger("mine").warning("from %s", "logging")
                os.write(1, b"no end of line, \\xff\\n")
                return message.payload


            flow = create(Node(give).to())
            """,
        )
        live = await open_live()
        result = await live.run(target, 1)
        wanted = {
            "while importing",
            "from print",
            "to stderr",
            "from a descriptor",
            "mine: from logging",
            "no end of line, \N{REPLACEMENT CHARACTER}",
        }
        await live.until(lambda: wanted <= set(live.logs))
        assert result.status == "ok"

    async def test_megabytes_of_it_neither_block_nor_pile_up(self, add_flow: AddFlow, open_live: OpenLive) -> None:
        target = add_flow(
            "floods",
            """
            import ctypes, os, sys
            from penguiflow import Node, create

            write = ctypes.PyDLL(None).write  # native code that keeps the interpreter to itself


            async def give(message, ctx):
                for _ in range(200):
                    sys.stdout.write("x" * 99 + "\\n")
                    data = b"y" * 100_000
                    while data:
                        data = data[write(1, data, len(data)):]
                print("\\nthe last line")
                return "done"


            flow = create(Node(give).to())
            """,
        )
        live = await open_live()
        result = await live.run(target)
        assert result.output == "done"
        await live.until(lambda: "the last line" in live.logs)
        assert len(live.logs) < 20_000

    async def test_the_last_words_of_a_dead_worker_are_kept(self, add_flow: AddFlow, open_live: OpenLive) -> None:
        target = add_flow("dies", ECHO.replace("return", "import os; print('last words'); os._exit(1); return"))
        live = await open_live()
        assert (await live.run(target)).status == "interrupted"
        await live.until(lambda: "last words" in live.logs)


class TestOrphans:
    @pytest.mark.parametrize("how", ["kill", "interrupt"])
    @pytest.mark.parametrize("fault", ["block", "ignore"])
    async def test_nothing_outlives_its_supervisor(
        self, project: Path, add_flow: AddFlow, fault: str, how: str
    ) -> None:
        target = add_flow("faults", FAULTS)
        script = dedent(
            f"""
            import asyncio, sys, time
            from playground.live import LiveSource
            from playground.project import find_project
            from playground.protocol import Run

            async def main():
                source = LiveSource(find_project())
                await source.start()
                try:
                    while not source.inbox.modules or source.spare_pid is None:
                        await asyncio.sleep(0.01)
                    child = await source.run(Run(target={target!r}, input={{"how": "child"}}))
                    while not source.inbox.results:
                        await asyncio.sleep(0.01)
                    await source.run(Run(target={target!r}, input={{"how": {fault!r}, "s": 3600}}))
                    print(*source.worker_pids, source.inbox.results[0].output, flush=True)
                    await asyncio.sleep(3600)
                finally:
                    await source.stop()

            asyncio.run(main())
            """
        )
        process = start_script(script, project)
        try:
            assert process.stdout is not None
            pids = [int(text) for text in (await asyncio.to_thread(process.stdout.readline)).split()]
            assert len(pids) == 3
            process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGINT)
            deadline = time.monotonic() + LIMIT_S
            while not all(gone(pid) for pid in pids):
                assert time.monotonic() < deadline, [pid for pid in pids if not gone(pid)]
                await asyncio.sleep(0.01)
            process.wait(LIMIT_S)
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


class TestStore:
    async def test_a_damaged_database_does_not_stop_a_dashboard(
        self, project: Path, add_flow: AddFlow, open_live: OpenLive
    ) -> None:
        target = add_flow("echo", ECHO)
        database = project / ".penguiflow/state.db"
        database.parent.mkdir()
        database.write_bytes(b"this is no database at all" * 100)
        live = await open_live()
        assert (await live.run(target, 1)).output == 1
        assert str(database) in (live.inbox.not_recorded or "")
        assert database.read_bytes() == b"this is no database at all" * 100

    async def test_a_session_that_is_to_record_refuses_it(self, project: Path, add_flow: AddFlow) -> None:
        target = add_flow("echo", "raise SystemExit('this code must not run')\n")
        database = project / ".penguiflow/state.db"
        database.parent.mkdir()
        database.write_bytes(b"this is no database at all" * 100)
        with pytest.raises(StoreUnreadable):
            async with HostSession(project_at(project), [str(project / target)]):
                pass
        async with HostSession(project_at(project), [str(project / target)], record=False) as host:
            assert [module.state for module in host.modules] == ["error"]
