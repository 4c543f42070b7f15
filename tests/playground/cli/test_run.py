"""`pf run` and `pf graph` in this process; the flows run in hosts of their own."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from playground.__main__ import main
from playground.cli.outputs import GraphOutput, RunOutput, TracesOutput
from playground.protocol import MAX_FRAME_BYTES
from playground.supervisor.process import Worker

SOURCE = """
    import asyncio
    import ctypes
    import os
    import pathlib
    import time

    from pydantic import BaseModel

    from penguiflow import ModelRegistry, Node, NodePolicy, create


    class Order(BaseModel):
        do: str = "greet"
        begun: str = ""


    async def obey(order: Order, ctx):
        if order.begun:
            pathlib.Path(order.begun).touch()
        if order.do == "fail":
            raise LookupError("no such fish")
        if order.do == "die":
            os._exit(3)
        if order.do == "crash":
            ctypes.string_at(0)
        if order.do == "wait":
            await asyncio.sleep(3600)
        if order.do == "block":
            time.sleep(3600)
        if order.do == "odd":
            return ["\\udcff", 2**20_000]
        if order.do == "odd failure":
            raise OSError("cannot open \\udcff")
        return {"greet": "hello\\x1b[31m", "list": [1, {"two": 2}], "nothing": None}[order.do]


    flow = create(Node(obey, name="obey", policy=NodePolicy(validate="in")).to())
    registry = ModelRegistry()
    registry.register("obey", Order, Order)
"""


DEADLINES = ["0.3", "5", "60"]
"""On a busy machine the first ones may be over before the node begins."""


@pytest.fixture
def target(project: Path) -> str:
    (project / "flows").mkdir()
    (project / "flows" / "obey.py").write_text(dedent(SOURCE))
    return "flows/obey.py"


class Capture:
    """Runs `pf`, and keeps what it wrote."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = ""
        self.err = ""

    def __call__(self, *arguments: str) -> int:
        code = main(arguments)
        self.out, self.err = self._capsys.readouterr()
        return code

    @property
    def result(self) -> RunOutput:
        return RunOutput.model_validate_json(self.out)


@pytest.fixture
def pf(capsys: pytest.CaptureFixture[str]) -> Capture:
    return Capture(capsys)


def test_results(pf: Capture, target: str) -> None:
    assert pf("run", target) == 0
    assert pf.out == "hello␛[31m\n"
    assert pf.err.startswith("✔ ok in ")

    assert pf("run", target, "--input", '{"do": "list"}', "-q") == 0
    assert (pf.out, pf.err) == ('[\n  1,\n  {\n    "two": 2\n  }\n]\n', "")

    assert pf("run", target, "--input", '{"do": "nothing"}', "-q", "--no-store", "--trace-id", "mine", "--json") == 0
    assert (pf.result.trace_id, pf.result.status, pf.result.output) == ("mine", "ok", None)

    assert pf("inspect", "last") == 0
    assert "mine" not in pf.out


def test_what_cannot_be_sent_as_it_is(pf: Capture, target: str) -> None:
    assert pf("run", target, "--input", '{"do": "odd"}', "--json") == 0
    assert pf.result.output[0] == r"\udcff"
    assert int(pf.result.output[1], 16) == 2**20_000

    assert pf("run", target, "--input", '{"do": "odd failure"}') == 1
    assert r"OSError: cannot open \udcff" in pf.err


def test_a_missing_input_is_shown_by_an_example(pf: Capture, target: str) -> None:
    source = Path(target)
    source.write_text(source.read_text().replace('do: str = "greet"', "do: str\n    times: int"))

    assert pf("run", target) == 2
    assert f"pf: {target} needs an input: Order (do, times)" in pf.err
    assert """pf run flows/obey.py --input '{"do":"…","times":1}'""" in pf.err.replace('": ', '":').replace(", ", ",")


def test_an_input_that_may_be_null_is_null_when_it_is_left_out(pf: Capture, project: Path) -> None:
    (project / "bare.py").write_text(
        dedent("""
        from penguiflow import Node, create

        async def maybe(number: int | None, ctx):
            return {"got": number}

        async def surely(number: int, ctx):
            return {"got": number}

        maybe_flow, surely_flow = create(Node(maybe).to()), create(Node(surely).to())
        """)
    )

    assert pf("run", "bare.py:maybe_flow", "--json", "-q") == 0
    assert pf.result.output == {"got": None}
    assert pf("run", "bare.py:surely_flow") == 2
    assert "bare.py:surely_flow needs an input: int" in pf.err
    assert pf("run", "bare.py:surely_flow", "--input", "null") == 2


def test_what_a_function_gives_back_is_no_flow_unless_it_says_so(pf: Capture, project: Path) -> None:
    (project / "made.py").write_text(
        dedent("""
        from penguiflow import Node, NodePolicy, create

        async def step(message, ctx):
            return 3

        flows = [create(Node(step, policy=NodePolicy(validate="none")).to())]

        async def plainly():
            return create(Node(step, policy=NodePolicy(validate="none")).to())

        async def hidden():
            return flows[0]
        """)
    )

    assert pf("run", "made.py:plainly", "-q", "--no-store") == 0
    assert pf.out == "3\n"
    assert pf("run", "made.py:hidden", "--no-store") == 1, pf.err
    assert "annotate the function `-> PenguiFlow`" in pf.err


def test_surrogates_in_what_is_logged_and_in_settings(pf: Capture, target: str) -> None:
    source = Path(target)
    source.write_text(
        source.read_text()
        + """
import logging
logging.getLogger("odd").warning("read \\udcff")
__flow__ = {"title": "T \\ud800"}
"""
    )

    assert pf("run", target) == 0
    assert pf.out.startswith("hello")
    assert pf.err.count(r"read \udcff") == 1
    assert "Traceback" not in pf.err


def test_a_target_beside_the_working_directory(
    pf: Capture, target: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    assert pf("run", "../flows/obey.py", "-q", "--no-store") == 0
    assert pf("run", "../flows/obey.py:flow", "-q", "--no-store") == 0
    assert pf.out.startswith("hello")


def test_an_input_that_is_too_large(pf: Capture, target: str, tmp_path: Path) -> None:
    (tmp_path / "large.json").write_text('{"do": "' + "x" * (MAX_FRAME_BYTES + 1) + '"}')

    assert pf("run", target, "--input", f"@{tmp_path / 'large.json'}") == 2
    assert pf.err.startswith("pf: the request is too large for the host: 16.0 MiB, at most 16 MiB")


def test_all_that_a_flow_prints_arrives(pf: Capture, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "loud.py").write_text(
        dedent("""
        from penguiflow import Node, NodePolicy, create

        for number in range(3000):
            print("loading", number)

        async def loud(message, ctx):
            for number in range(20_000):
                print("line", number)
            print("x" * 10_000)

        flow = create(Node(loud, policy=NodePolicy(validate="none")).to())
        """)
    )
    held: list[bool] = []
    hold_output = Worker.hold_output

    def note(worker: Worker, hold: bool) -> None:
        held.append(hold)
        hold_output(worker, hold)

    monkeypatch.setattr(Worker, "hold_output", note)
    monkeypatch.setattr("playground.session.MAX_PRINTED_BYTES", 20_000)

    assert pf("run", "loud.py", "--input", "null", "--no-store") == 0

    lines = [line for line in pf.err.splitlines() if line.startswith(("loading", "line", "x"))]
    expected = [f"loading {number}" for number in range(3000)] + [f"line {number}" for number in range(20_000)]
    assert lines == [*expected, "x" * 10_000]
    assert held[:2] == [True, False]


def test_a_failure(pf: Capture, target: str) -> None:
    assert pf("run", target, "--input", '{"do": "fail"}') == 1
    assert pf.out == ""
    assert "pf: the flow failed in obey: LookupError: no such fish  at flows/obey.py:22 [NODE_EXCEPTION]" in pf.err
    assert '  flows/obey.py:22 in obey\n      raise LookupError("no such fish")\n' in pf.err
    assert "✖ error in " in pf.err


def test_a_death(pf: Capture, target: str) -> None:
    assert pf("run", target, "--input", '{"do": "die"}', "--json") == 6
    assert pf.result.status == "interrupted"
    assert pf.result.error is not None
    assert pf.result.error["code"] == "HOST_DIED"
    assert pf("traces", "--json") == 0
    (trace,) = TracesOutput.model_validate_json(pf.out).traces
    assert (trace.status, trace.input) == ("interrupted", '{"do":"die","begun":""}')


def test_last_words_are_said_once(pf: Capture, target: str) -> None:
    assert pf("run", target, "--input", '{"do": "crash"}', "--no-store") == 6
    assert pf.err.count("Current thread ") == 1
    assert "pf: the host process died: killed by SIGSEGV\n" in pf.err


def test_a_result_that_does_not_fit_is_shown_at_its_function(pf: Capture, target: str) -> None:
    source = Path(target)
    source.write_text(source.read_text().replace(', policy=NodePolicy(validate="in")', ""))

    assert pf("run", target, "--input", '{"do": "list"}', "--no-store") == 1

    assert "pf: the flow failed in obey: ValidationError: 1 validation error for Order; Input should be " in pf.err
    assert "  at flows/obey.py:18 [NODE_EXCEPTION]\n" in pf.err
    assert "errors.pydantic.dev" not in pf.err


def test_a_deadline_that_blocking_code_cannot_keep(pf: Capture, target: str) -> None:
    for timeout in DEADLINES:
        assert pf("run", target, "--input", '{"do": "block"}', "--timeout", timeout, "--json") == 1
        assert pf.result.error is not None
        assert (pf.result.status, pf.result.error["code"]) == ("timeout", "DEADLINE_EXCEEDED")
        if pf.result.error["node_name"] is not None:
            break
    assert pf.result.error is not None
    assert pf.result.error["node_name"] == "obey"
    assert pf("inspect", "last") == 0
    assert "running" not in pf.out
    assert pf("traces", "--json") == 0
    (trace,) = TracesOutput.model_validate_json(pf.out).traces
    assert trace.duration_s is not None
    assert trace.duration_s > float(timeout)


def test_a_deadline_that_ends_a_node(pf: Capture, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playground.cli.run.DEADLINE_GRACE_S", 60.0)
    for timeout in DEADLINES:
        order = json.dumps({"do": "wait", "begun": str(tmp_path / "begun")})
        assert pf("run", target, "--input", order, "--timeout", timeout, "--json") == 1
        assert (pf.result.status, pf.result.output) == ("timeout", None)
        if (tmp_path / "begun").exists():
            break

    message = f"no answer within {timeout} s (--timeout)"
    assert pf.result.error == {"code": "DEADLINE_EXCEEDED", "message": message, "node_name": "obey"}
    assert f"pf: the flow timed out in obey: DEADLINE_EXCEEDED: {message}\n" in pf.err


def test_a_deadline_of_the_flow_gives_its_answer(pf: Capture, target: str, tmp_path: Path) -> None:
    source = Path(target)
    text = source.read_text()
    for deadline_s in DEADLINES:
        source.write_text(f'{text}\n__flow__ = {{"defaults": {{"deadline_s": {deadline_s}}}}}\n')
        assert pf("run", target, "--input", json.dumps({"do": "wait", "begun": str(tmp_path / "begun")}), "--json") == 1
        if (tmp_path / "begun").exists():
            break

    assert (pf.result.status, pf.result.error) == ("timeout", None)
    assert pf.result.output["text"] == "Deadline exceeded"
    assert "pf: the flow timed out in obey: TimeoutError: no answer within the trace's deadline" in pf.err


@pytest.mark.parametrize("do", ["wait", "block"])
def test_an_interrupt(do: str, pf: Capture, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playground.cli.run.CANCEL_GRACE_S", 60.0 if do == "wait" else 3.0)
    begun = tmp_path / "begun"

    def interrupt() -> None:
        limit = time.monotonic() + 120
        while not begun.exists() and time.monotonic() < limit:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    code = pf("run", target, "--input", f'{{"do": "{do}", "begun": "{begun}"}}', "--json")
    thread.join()

    assert code == 130
    assert pf.result.status == ("cancelled" if do == "wait" else "interrupted")


def test_refusals(pf: Capture, target: str) -> None:
    assert pf("run", target, "--input", '{"do": 7}', "--no-store") == 2
    assert "/do: " in pf.err
    assert pf("run", target, "--headers", '{"foo": 5}', "--no-store") == 2
    assert pf.err == "pf: --headers has no field 'foo'\n  hint: the fields are tenant, topic, priority\n"
    assert pf("run", "flows/obey.py:nothing", "--no-store") == 2
    assert "nothing" in pf.err
    assert pf("run", "obey", "--no-store") == 3
    assert f"did you mean {Path('flows/obey.py')}?" in pf.err


def test_a_folder(pf: Capture, target: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (project / "flows", project):
        monkeypatch.chdir(folder)
        for name in (str(project / "flows"), "." if folder.name == "flows" else "flows/"):
            assert pf("run", name, "-q", "--no-store") == 0
            assert pf.out.startswith("hello")
            assert pf("graph", name, "--dot") == 0

    (project / "flows" / "second.py").write_text((project / target).read_text())
    monkeypatch.chdir(project / "flows")
    assert pf("run", "./", "--no-store") == 2
    assert pf.err == "pf: ./ has several flows\n  flows/obey.py\n  flows/second.py\n  hint: name one of them\n"


def test_what_is_no_flow_is_called_by_what_it_is(pf: Capture, target: str, project: Path) -> None:
    assert pf("run", f"{target}:obey", "--no-store") == 2
    assert "'obey' is the function of a node, which its flow calls\n  hint: Name the flow: flow.\n" in pf.err
    assert pf("run", f"{target}:nope", "--no-store") == 2
    assert "hint: It has: flow.\n" in pf.err
    (project / "folder.py").mkdir()
    assert pf("run", "folder.py", "--no-store") == 3
    assert "pf: folder.py is a folder without Python modules\n" in pf.err
    assert "did you mean" not in pf.err


def test_a_long_result_is_folded_on_a_terminal(pf: Capture, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    def on_terminal(self: Any) -> bool:
        return True

    monkeypatch.setattr("playground.cli.run.SCREEN_LINES", 4)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(type(sys.stdout), "isatty", on_terminal)

    assert pf("run", target, "--input", '{"do": "list"}', "--no-store") == 0

    assert pf.out == '[\n  1,\n  "… 1 field"\n]\n'
    assert "(folded for the terminal: " in pf.err


def test_graph(pf: Capture, target: str) -> None:
    assert pf("graph", target, "--json") == 0
    assert [node.name for node in GraphOutput.model_validate_json(pf.out).flow.nodes] == ["obey"]
    assert pf("graph", target, "--dot") == 0
    assert pf.out.startswith("digraph PenguiFlow {\n")
    assert pf("graph", target) == 0
    assert "│ obey │" in pf.out


FACTORY_ONLY = """
from typing import Any

from penguiflow import Context, Node, NodePolicy, create


async def said(text: str, ctx: Context) -> str:
    return text


async def named(text: str, ctx):
    return text


async def other(text: str, ctx: dict) -> str:
    return text + ctx["end"]


def build_flow():
    return create(Node(said, name="said", policy=NodePolicy(validate="none")).to())
"""


def test_functions_of_nodes_are_known_before_a_factory_is_called(pf: Capture, project: Path) -> None:
    (project / "made.py").write_text(FACTORY_ONLY)
    for name in ("said", "named"):
        assert pf("run", f"made.py:{name}", "--no-store") == 2
        assert "is the function of a node, which its flow calls\n  hint: Name the flow: build_flow.\n" in pf.err
    assert pf("run", "made.py:other", "-q", "--no-store", "--input", '{"text": "a", "ctx": {"end": "b"}}') == 0
    assert pf.out == "ab\n"
    assert pf("run", "made.py:nope", "--no-store") == 2
    assert "hint: It has: other, build_flow.\n" in pf.err
