from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from playground.protocol import CodeError

if TYPE_CHECKING:
    from tests.playground.loader.conftest import Sandbox


class TestOffers:
    def test_a_flow_with_its_registry(self, sandbox: Sandbox) -> None:
        sandbox.write({"flows/ask.py": '"""Asks."""' + sandbox.flow})
        module = sandbox.module("flows/ask.py")
        (flow,) = module.flows
        assert (module.state, flow.target, flow.name, flow.kind) == ("loaded", "flows/ask.py", "ask", "flow")
        assert flow.doc == "Asks."
        assert flow.input_type == "Question"
        assert flow.input_schema is not None
        assert flow.input_schema["required"] == ["text"]
        assert flow.edges == [("OpenSea", "answer"), ("answer", "Rookery")]
        (node,) = flow.nodes
        assert (node.name, node.input_type, node.output_type) == ("answer", "Question", "Answer")
        assert node.policy["max_retries"] == 0

    def test_payload_types_have_stable_names(self, sandbox: Sandbox) -> None:
        sandbox.write({"flows/ask.py": sandbox.flow})
        loader = sandbox.load()
        (runnable,) = loader.runnables.values()
        assert runnable.takes.annotation.__module__ == "flows.ask"

    def test_several_flows_are_told_apart_by_their_names(self, sandbox: Sandbox) -> None:
        sandbox.write({"two.py": sandbox.flow + "\nother = create(Node(answer, name='answer').to())\n"})
        module = sandbox.module("two.py")
        assert [flow.target for flow in module.flows] == ["two.py:flow", "two.py:other"]
        assert [flow.name for flow in module.flows] == ["flow", "other"]

    @pytest.mark.parametrize(
        "factory",
        [
            "def build_flow():\n    return create(Node(answer).to()), registry",
            "def anything() -> PenguiFlow:\n    return create(Node(answer).to())",
            "def anything() -> tuple[PenguiFlow, ModelRegistry]:\n    return create(Node(answer).to()), registry",
            "async def make_flow() -> PenguiFlow:\n    return create(Node(answer).to())",
        ],
    )
    def test_factories_are_called_inside_the_loop(self, sandbox: Sandbox, factory: str) -> None:
        body = "import asyncio\nfrom penguiflow import PenguiFlow\n" + factory.replace(
            ":\n    return", ":\n    asyncio.get_running_loop()\n    return"
        )
        # Not `from __future__ import annotations` twice: the flow's own text begins with it.
        source = sandbox.flow.replace("flow = create(Node(answer).to())\n", "") + body
        sandbox.write({"factory.py": source})
        module = sandbox.module("factory.py")
        assert module.error is None
        assert [flow.target for flow in module.flows] == ["factory.py"]

    def test_a_factory_beside_its_product_is_not_listed_twice(self, sandbox: Sandbox) -> None:
        source = sandbox.flow + "\ndef build_flow():\n    return create(Node(answer).to()), registry\n"
        sandbox.write({"both.py": source})
        assert [flow.target for flow in sandbox.module("both.py").flows] == ["both.py"]

    def test_an_object_with_execute(self, sandbox: Sandbox) -> None:
        sandbox.write(
            {
                "agent.py": """
                class Agent:
                    async def execute(self, query: str, *, limit: int = 3) -> dict[str, int]:
                        return {query: limit}

                agent = Agent()
                """
            }
        )
        (flow,) = sandbox.module("agent.py").flows
        assert (flow.kind, flow.target) == ("orchestrator", "agent.py")
        assert flow.input_schema is not None
        assert flow.input_schema["required"] == ["query"]
        assert flow.nodes[0].output_type == "dict[str, int]"

    def test_an_async_function_when_it_is_named_or_marked(self, sandbox: Sandbox) -> None:
        sandbox.write(
            {
                "functions.py": """
                from pydantic import BaseModel

                class Query(BaseModel):
                    text: str

                async def ask(query: Query) -> str:
                    "Asks."
                    return query.text

                async def marked(query: Query) -> str:
                    return query.text

                marked.__flow__ = {"title": "Marked", "samples": [{"text": "hi"}]}
                """
            }
        )
        (found,) = sandbox.module("functions.py").flows
        assert (found.target, found.title, found.samples) == ("functions.py", "Marked", [{"text": "hi"}])

    def test_a_named_function(self, sandbox: Sandbox) -> None:
        sandbox.write({"functions.py": "async def ask(text: str, times: int = 2) -> str:\n    return text * times\n"})
        (flow,) = sandbox.module("functions.py:ask").flows
        assert (flow.target, flow.kind) == ("functions.py:ask", "function")
        assert flow.input_schema is not None
        assert set(flow.input_schema["properties"]) == {"text", "times"}

    def test_settings_of_the_module_and_of_one_flow(self, sandbox: Sandbox) -> None:
        settings = """
__flow__ = {
    "title": "All",
    "samples": [{"text": "a"}],
    "defaults": {"headers": {"tenant": "acme"}},
    "other": {"title": "Other", "samples": []},
}
other = create(Node(answer).to())
"""
        sandbox.write({"set.py": sandbox.flow + settings})
        first, second = sandbox.module("set.py").flows
        assert (first.title, first.samples) == ("All", [{"text": "a"}])
        assert (second.title, second.samples) == ("Other", [])
        assert second.defaults == {"headers": {"tenant": "acme"}}

    @pytest.mark.parametrize("settings", ["[]", "{'samples': 1}", "{'title': ['x']}", "{'flow': {'defaults': []}}"])
    def test_settings_of_the_wrong_shape_are_named(self, sandbox: Sandbox, settings: str) -> None:
        sandbox.write({"wrong.py": sandbox.flow + f"\n__flow__ = {settings}\n"})
        assert "__flow__" in sandbox.error("wrong.py").message

    def test_a_registry_that_lacks_a_node(self, sandbox: Sandbox) -> None:
        sandbox.write({"lacks.py": sandbox.flow.replace('register("answer"', 'register("anwser"')})
        error = sandbox.error("lacks.py")
        assert error.kind == "factory"
        assert "answer" in error.message

    def test_what_another_module_made_is_offered_there_only(self, sandbox: Sandbox) -> None:
        sandbox.write(
            {
                "flows/ask.py": sandbox.flow,
                "flows/again.py": "from flows.ask import flow, registry\n",
                "flows/face/__init__.py": "from flows.ask import flow, registry\n",
            }
        )
        states = {module.path: len(module.flows) for module in sandbox.load().modules}
        assert states == {"flows/again.py": 0, "flows/ask.py": 1, "flows/face": 1}

    def test_a_helper_in_the_folder_is_not_listed_and_a_useless_module_is(self, sandbox: Sandbox) -> None:
        sandbox.write(
            {
                "flows/ask.py": "from flows import helper\n" + sandbox.flow.replace("from __future__", "# "),
                "flows/helper.py": "X = 1\n",
                "flows/useless.py": "Y = 1\n",
            }
        )
        loader = sandbox.load()
        assert {module.path: module.state for module in loader.modules} == {
            "flows/ask.py": "loaded",
            "flows/useless.py": "error",
        }
        assert loader.helpers == ["flows/helper.py"]


class TestErrors:
    def test_syntax(self, sandbox: Sandbox) -> None:
        sandbox.write({"bad.py": "x = 1\ndef broken(:\n"})
        error = sandbox.error("bad.py")
        assert (error.kind, error.file, error.line) == ("syntax", "bad.py", 2)

    def test_syntax_in_a_module_that_is_imported(self, sandbox: Sandbox) -> None:
        sandbox.write({"flows/outer.py": "\nimport flows.inner\n", "flows/inner.py": "\n\nif\n"})
        errors = {module.path: module.error for module in sandbox.load().modules}
        outer = errors["flows/outer.py"]
        assert outer is not None
        assert (outer.kind, outer.file, outer.line) == ("syntax", "flows/inner.py", 3)
        assert [(frame.file, frame.line) for frame in outer.frames] == [("flows/outer.py", 2)]

    @pytest.mark.parametrize("content", [b"\xff\xfe\xfd", b"# coding: nonsense\n", b"x = 1\0\n"])
    def test_what_is_no_text(self, sandbox: Sandbox, content: bytes) -> None:
        sandbox.write({"odd.py": content})
        assert sandbox.error("odd.py").file == "odd.py"

    def test_only_the_users_frames_are_shown(self, sandbox: Sandbox) -> None:
        sandbox.write(
            {
                "flows/fails.py": """
                import json

                def parse():
                    return json.loads("{")

                parse()
                """
            }
        )
        error = sandbox.error()
        assert error.kind == "import"
        assert error.message.startswith("JSONDecodeError: ")
        assert [(frame.function, frame.line) for frame in error.frames] == [("<module>", 7), ("parse", 5)]
        assert error.frames[-1].text == 'return json.loads("{")'
        assert (error.file, error.line) == ("flows/fails.py", 5)

    def test_a_missing_dependency_is_named(self, sandbox: Sandbox) -> None:
        sandbox.write({"needs.py": "import cv2.nowhere\n"})
        error = sandbox.error("needs.py")
        assert error.kind == "missing_dependency"
        assert "'cv2'" in error.message
        assert error.hint is not None
        assert "opencv-python" in error.hint

    def test_a_missing_module_of_the_project_is_a_mistake(self, sandbox: Sandbox) -> None:
        sandbox.write({"flows/needs.py": "import flows.nowhere\n"})
        assert sandbox.error().kind == "import"

    @pytest.mark.parametrize("call", ["import sys; sys.exit(3)", "raise SystemExit(3)", "exit(3)"])
    def test_exit(self, sandbox: Sandbox, call: str) -> None:
        sandbox.write({"ends.py": call.replace("exit(3)", "exit(3)") + "\n"})
        error = sandbox.error("ends.py")
        assert (error.kind, error.file, error.line) == ("exit", "ends.py", 1)
        assert "3" in error.message

    def test_a_cycle(self, sandbox: Sandbox) -> None:
        sandbox.write(
            {
                "cycle.py": """
                from penguiflow import Node, create

                async def step(message: object, ctx: object) -> object:
                    return message

                a, b = Node(step, name="a"), Node(step, name="b")
                flow = create(a.to(b), b.to(a))
                """
            }
        )
        error = sandbox.error("cycle.py")
        assert (error.kind, error.file, error.line) == ("cycle", "cycle.py", 8)

    def test_a_flow_without_an_entry(self, sandbox: Sandbox) -> None:
        sandbox.write(
            {
                "round.py": """
                from penguiflow import Node, create

                async def step(message: object, ctx: object) -> object:
                    return message

                again = Node(step, name="again")
                flow = create(again.to(again), allow_cycles=True)
                """
            }
        )
        error = sandbox.error("round.py")
        assert (error.kind, error.file) == ("cycle", "round.py")
        assert "no entry" in error.message
        assert "again" in error.message
        assert "allow_cycle=True" in str(error.hint)

    def test_an_exception_that_cannot_be_shown(self, sandbox: Sandbox) -> None:
        sandbox.write(
            {
                "odd.py": """
                class Odd(Exception):
                    def __str__(self) -> str:
                        raise ValueError

                raise Odd
                """
            }
        )
        assert sandbox.error("odd.py").message.startswith("Odd: <its text raised ValueError>")

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ("def build_flow():\n    raise ValueError('no')\n", "build_flow() raised ValueError: no"),
            ("def build_flow():\n    return 5\n", "build_flow() returned of type int"),
            ("def build_flow():\n    raise SystemExit(1)\n", "sys.exit(1)"),
        ],
    )
    def test_a_factory_that_fails(self, sandbox: Sandbox, body: str, said: str) -> None:
        sandbox.write({"factory.py": body})
        error = sandbox.error("factory.py")
        assert said in error.message

    def test_a_factory_that_never_returns(self, sandbox: Sandbox) -> None:
        sandbox.write({"slow.py": "import asyncio\n\nasync def build_flow():\n    await asyncio.sleep(60)\n"})
        (module,) = sandbox.load("slow.py", timeout_s=0.02).modules
        assert module.error is not None
        assert module.error.kind == "stall"
        assert "within 0.02 s" in module.error.message

    @pytest.mark.parametrize(
        ("target", "kind", "said"),
        [
            ("nothing.py", "not_found", "no such file"),
            ("nothing", "not_found", "'nothing'"),
            ("flows.nothing", "not_found", "'flows.nothing'"),
            ("plain.py", "no_flow", "offers nothing"),
            ("plain.py:missing", "no_flow", "'missing'"),
            ("plain.py:number", "no_flow", "of type int"),
            ("plain.py:helper", "no_flow", "needs x"),
        ],
    )
    def test_a_target_without_a_flow(self, sandbox: Sandbox, target: str, kind: str, said: str) -> None:
        sandbox.write({"plain.py": "number = 1\n\ndef helper(x):\n    return x\n", "flows/a.py": ""})
        error = sandbox.error(target)
        assert error.kind == kind
        assert said in error.message
        assert error.hint is not None

    def test_one_broken_module_leaves_the_others_alone(self, sandbox: Sandbox) -> None:
        sandbox.write({"flows/a.py": "1 / 0", "flows/ask.py": sandbox.flow, "flows/z.py": "raise KeyboardInterrupt"})
        assert [module.state for module in sandbox.load().modules] == ["error", "loaded", "error"]

    def test_one_broken_factory_leaves_the_other_flows_of_the_module(self, sandbox: Sandbox) -> None:
        sandbox.write({"both.py": sandbox.flow + "\ndef build_flow():\n    raise ValueError\n"})
        module = sandbox.module("both.py")
        assert module.state == "error"
        assert [flow.target for flow in module.flows] == ["both.py"]

    def test_what_is_to_be_skipped_is_not_imported(self, sandbox: Sandbox) -> None:
        sandbox.write({"flows/ask.py": sandbox.flow, "flows/kills.py": "import os; os._exit(1)"})
        reason = CodeError(kind="exit", message="ended the process")
        modules = {module.path: module for module in sandbox.load(skip={"flows/kills.py": reason}).modules}
        assert modules["flows/kills.py"].error == reason
        assert modules["flows/ask.py"].state == "loaded"
        assert "flows/kills.py" not in sandbox.imported


class TestVersions:
    def test_a_version_counts_every_source_that_the_flow_imported(self, sandbox: Sandbox) -> None:
        sandbox.write(
            {
                "flows/one.py": sandbox.flow.replace("class Question", "import shared.deep\n\nclass Question"),
                "flows/two.py": sandbox.flow.replace("class Question", "from shared import deep\n\nclass Question"),
                "flows/three.py": sandbox.flow,
                "shared/__init__.py": "",
                "shared/deep.py": "from . import deeper\n",
                "shared/deeper.py": "X = 1\n",
            }
        )
        loader = sandbox.load()
        sources = {
            name: loader.sources._sources_of(sys.modules[f"flows.{name}"]).keys() for name in ("one", "two", "three")
        }
        shared = {"shared/__init__.py", "shared/deep.py", "shared/deeper.py"}
        assert sources == {
            "one": shared | {"flows/one.py"},
            "two": shared | {"flows/two.py"},
            "three": {"flows/three.py"},
        }
        versions = {module.path: module.flows[0].version for module in loader.modules}
        assert len(set(versions.values())) == 3

    def test_a_late_import_changes_the_version(self, sandbox: Sandbox) -> None:
        late = sandbox.flow.replace("return Answer", "import helper\n    return Answer")
        sandbox.write({"flows/ask.py": late, "helper.py": "X = 1\n"})
        loader = sandbox.load()
        (runnable,) = loader.runnables.values()
        before = loader.version(runnable)
        exec("import helper", {"__name__": "flows.ask"})
        assert loader.version(runnable) != before

    def test_imports_by_name_and_by_relative_path_count(self, sandbox: Sandbox) -> None:
        sandbox.write(
            {
                "pkg/__init__.py": "from .flow import flow, registry\n",
                "pkg/flow.py": sandbox.flow.replace(
                    "class Question", "import importlib\nhelper = importlib.import_module('helper')\n\nclass Question"
                ),
                "helper.py": "",
            }
        )
        loader = sandbox.load("pkg")
        assert loader.sources._sources_of(sys.modules["pkg"]).keys() == {"pkg/__init__.py", "pkg/flow.py", "helper.py"}

    def test_what_only_a_type_checker_sees_does_not_count(self, sandbox: Sandbox) -> None:
        hidden = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import flows.other\n\nclass Question"
        sandbox.write({"flows/ask.py": sandbox.flow.replace("class Question", hidden), "flows/other.py": ""})
        loader = sandbox.load()
        assert loader.sources._sources_of(sys.modules["flows.ask"]).keys() == {"flows/ask.py"}
