from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from playground.host.control import Blocked, FromWorker, Loaded, Loading
from playground.protocol import CodeError, CodeFrame, FlowInfo, ModuleInfo
from playground.supervisor.generations import MAX_GENERATIONS, Generation, Generations
from playground.supervisor.loading import LoadGuard
from playground.supervisor.process import Death, Worker

BROKEN = CodeError(kind="syntax", message="SyntaxError: no", file="x", line=1)


def good(path: str, version: str) -> ModuleInfo:
    flow = FlowInfo(target=path, name=path, version=version)
    return ModuleInfo(path=path, state="loaded", flows=[flow])


def bad(path: str) -> ModuleInfo:
    return ModuleInfo(path=path, state="error", error=BROKEN)


def generation(number: int, modules: list[ModuleInfo]) -> Generation:
    return Generation(cast("Worker", SimpleNamespace(generation=number)), modules)


class World:
    """Loads, one after the other, as a supervisor would handle them."""

    def __init__(self) -> None:
        self.generations = Generations()
        self.number = 0

    def load(self, *modules: ModuleInfo) -> list[int] | None:
        """Numbers of the generations that end by it; None when nothing was switched."""
        self.number += 1
        loaded = list(modules)
        if not self.generations.brings_news(loaded):
            self.generations.note(loaded)
            return None
        unused = self.generations.switch(generation(self.number, loaded), loaded)
        return [one.number for one in unused]

    def owner(self, target: str) -> int | None:
        """Who runs a target."""
        found = self.generations.find(target)
        return None if found is None else found[0].number

    def states(self) -> dict[str, str]:
        return {module.path: module.state for module in self.generations.modules()}


def test_new_code_replaces_old_code() -> None:
    world = World()
    assert world.load(good("a", "1"), good("b", "1")) == []
    assert world.load(good("a", "2"), good("b", "1")) == [1]
    assert (world.owner("a"), world.owner("b")) == (2, 2)


def test_the_same_code_changes_nothing() -> None:
    world = World()
    world.load(good("a", "1"))
    assert world.load(good("a", "1")) is None
    assert world.owner("a") == 1


def test_broken_code_changes_nothing_but_what_is_said_of_it() -> None:
    world = World()
    world.load(good("a", "1"), good("b", "1"))
    assert world.load(bad("a"), good("b", "1")) is None
    assert world.states() == {"a": "stale", "b": "loaded"}
    assert (world.owner("a"), world.owner("b")) == (1, 1)
    stale = world.generations.modules()[0]
    assert stale.error == BROKEN
    assert [flow.version for flow in stale.flows] == ["1"]


def test_a_broken_module_is_served_by_the_last_worker_that_had_it() -> None:
    world = World()
    world.load(good("a", "1"), good("b", "1"))
    assert world.load(bad("a"), good("b", "2")) == []
    assert (world.owner("a"), world.owner("b")) == (1, 2)
    assert world.load(bad("a"), good("b", "3")) == [2]
    assert (world.owner("a"), world.owner("b")) == (1, 3)
    assert world.load(good("a", "2"), good("b", "3")) == [1, 3]
    assert (world.owner("a"), world.owner("b")) == (4, 4)


def test_what_never_worked_is_not_served() -> None:
    world = World()
    world.load(bad("a"), good("b", "1"))
    assert world.states() == {"a": "error", "b": "loaded"}
    assert world.owner("a") is None


def test_a_module_that_is_gone_is_not_served() -> None:
    world = World()
    world.load(good("a", "1"), good("b", "1"))
    world.load(good("b", "1"))
    assert world.owner("a") is None
    assert world.states() == {"b": "loaded"}


def test_a_module_with_a_broken_part_serves_the_rest_until_there_was_a_whole_one() -> None:
    world = World()
    partly = good("a", "1").model_copy(update={"state": "error", "error": BROKEN})
    world.load(partly)
    assert (world.owner("a"), world.states()) == (1, {"a": "error"})
    world.load(good("a", "2"))
    world.load(partly)
    assert (world.owner("a"), world.states()) == (2, {"a": "stale"})


def test_workers_that_serve_are_bounded() -> None:
    world = World()
    names = "abcdef"
    world.load(*(good(name, "1") for name in names))
    for at in range(1, len(names)):
        world.load(*(bad(name) for name in names[:at]), *(good(name, str(world.number + 1)) for name in names[at:]))
        assert len(world.generations.serving) <= MAX_GENERATIONS
    states = world.states()
    assert states["a"] == "error"
    assert states["e"] == "stale"
    assert states["f"] == "loaded"


def test_a_dead_worker_takes_its_modules_with_it() -> None:
    world = World()
    world.load(good("a", "1"), good("b", "1"))
    world.load(bad("a"), good("b", "2"))
    first, second = world.generations.serving
    assert world.generations.forget(second.worker) is second
    assert world.owner("b") is None
    assert world.states() == {"a": "stale", "b": "loading"}
    assert world.generations.newest is first
    assert world.generations.forget(second.worker) is None


def test_several_flows_of_a_module_are_told_apart() -> None:
    world = World()
    flows = [FlowInfo(target=f"a:{name}", name=name) for name in ("one", "two")]
    world.load(ModuleInfo(path="a", state="loaded", flows=flows))
    assert world.owner("a") is None
    assert world.owner("a:one") == 1
    assert world.owner("a:three") is None


class FakeWorker:
    def __init__(self) -> None:
        self.killed = False

    def kill(self) -> None:
        self.killed = True


class TestLoadGuard:
    def hear(self, guard: LoadGuard, *messages: FromWorker) -> FakeWorker:
        worker = FakeWorker()
        for message in messages:
            guard.hear(cast("Worker", worker), message)
        return worker

    def test_the_module_that_was_loading_is_to_blame(self) -> None:
        guard = LoadGuard()
        self.hear(guard, Loading(path="a"), Loading(path="b"))
        assert guard.blame(Death(None, "SIGSEGV", "", expected=False))
        assert set(guard.skip) == {"b"}
        assert "SIGSEGV" in guard.skip["b"].message

    def test_nobody_is_when_everything_was_loaded(self) -> None:
        guard = LoadGuard()
        self.hear(guard, Loading(path="a"), Loaded(modules=[], files={}, ms=1))
        assert not guard.blame(Death(1, None, "", expected=False))
        assert not guard.found

    def test_an_import_that_does_not_end_is_ended(self) -> None:
        guard = LoadGuard(timeout_s=3)
        place = CodeFrame(file="a.py", line=4, function="<module>", text="while True:")
        worker = self.hear(guard, Loading(path="a"), Blocked(ms=3100, frame=place, loading="a"))
        assert worker.killed
        guard.blame(Death(None, "SIGKILL", "", expected=False))
        error = guard.skip["a"]
        assert (error.kind, error.file, error.line) == ("stall", "a.py", 4)
        assert "3 s" in error.message

    def test_a_loop_that_is_blocked_after_loading_is_no_matter_of_loading(self) -> None:
        assert not self.hear(LoadGuard(), Blocked(ms=300)).killed

    def test_new_code_is_tried_again(self) -> None:
        guard = LoadGuard()
        self.hear(guard, Loading(path="a"))
        guard.blame(Death(1, None, "", expected=False))
        guard.begin()
        assert guard.skip == {}

    @pytest.mark.parametrize("expected", [True, False])
    def test_the_same_module_is_blamed_once(self, expected: bool) -> None:
        guard = LoadGuard()
        for _ in range(2):
            self.hear(guard, Loading(path="a"))
            found = guard.blame(Death(1, None, "", expected=expected))
        assert not found
