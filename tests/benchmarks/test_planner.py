"""The benchmark of the planner measures what it says, and a runtime that skips work is found out. Nothing is timed."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest

from benchmarks.planner import report
from benchmarks.planner.__main__ import parse, written
from benchmarks.planner.child import PLANNER
from benchmarks.planner.story import ANSWER, Found, Scope, Story, Wanted
from benchmarks.runtime import child, document, environments
from benchmarks.runtime.child import Suite
from benchmarks.runtime.measure import Run, SkippedWork

LONG = ("native.long", "prompted.long")


@pytest.mark.parametrize("workload", report.WORKLOADS)
def test_our_planner_does_what_a_workload_asks_for(workload: str) -> None:
    figures = child.measure("ours", workload, cpu_s=0.0, units=3, suite=PLANNER)

    steps = 40 if workload in LONG else 10
    assert figures["calls"] == 2 * steps + 1
    assert figures["step_us"] == pytest.approx(figures["cpu_us"] / steps)
    assert (figures["events"] == 0) is (workload == "native.quiet")
    assert figures["events"] == 0 or figures["events"] > 5 * steps


def told(story: Story, upto: int) -> str:
    """All that a model is told in a turn."""
    from benchmarks.planner.story import INSTRUCTIONS, QUERY

    given = [f"asked-{number}- given-{number}-" for number in range(upto)]
    return "\n".join([INSTRUCTIONS, QUERY, *given])


async def played(
    story: Story,
    *,
    asks: int = 1,
    works: int = 1,
    scope: Callable[[dict[str, object]], object] = Scope.model_validate,
    forgets: int = 0,
    answer: str = ANSWER,
) -> str:
    """One run as a runtime would make it, with such faults."""
    while True:
        for _ in range(asks):
            number = story.turn(lambda: told(story, story.steps - forgets))
        if number == story.steps:
            return answer
        name, args = story.calls[number]
        for _ in range(works):
            await story.work(name, Wanted.model_construct(**{**args, "scope": scope(args["scope"])}, limit=10))


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ({"asks": 2}, "the model was asked 2 times, and 0 tools were called"),
        ({"works": 0}, "the model was asked 2 times, and 0 tools were called"),
        ({"works": 2}, "search_orders was called with .*, and should have been search_invoices"),
        ({"scope": dict}, "and should have been search_orders with"),
        ({"forgets": 1}, "the model was not told 'asked-3-' and 1 other things"),
        ({"answer": "I do not know."}, "the answer is 'I do not know.'"),
    ],
)
async def test_a_runtime_that_leaves_work_out_fails(faults: dict[str, Any], reason: str) -> None:
    story = Story(Run(0.0, 5), 4)

    with pytest.raises(SkippedWork, match=reason):
        await story.measure(lambda query: played(story, **faults))


async def test_a_runtime_that_does_all_of_it_is_measured() -> None:
    run = Run(0.0, 5)
    story = Story(run, 4)

    await story.measure(lambda query: played(story))

    assert run.figures["calls"] == 9


async def test_tools_give_what_is_then_to_be_told() -> None:
    story = Story(Run(0.0), 2)

    for number, (name, args) in enumerate(story.calls):
        story.turn(str)
        found = await story.work(name, Wanted.model_validate(args))
        assert Found.model_validate(found.model_dump()).mark == f"given-{number}-"


def test_every_runtime_has_what_it_is_compared_by() -> None:
    assert set(report.NAMES) == set(PLANNER.tables)
    assert set(report.WORKLOADS) == set(child.workloads_of("ours", PLANNER))
    assert child.workloads_of("forerunner", PLANNER) == ["prompted", "prompted.long"]
    assert environments.ready("ours", PLANNER).workloads == set(report.WORKLOADS)


def test_a_suite_of_another_package_is_measured_by_its_own_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    async def workload(run: Run) -> None:
        run.figures["figure"] = 7.0

    module = ModuleType("nowhere.adapter")
    works: dict[str, Callable[[Run], Awaitable[None]]] = {"W": workload}
    vars(module)["WORKLOADS"] = works
    monkeypatch.setitem(sys.modules, "nowhere", ModuleType("nowhere"))
    monkeypatch.setitem(sys.modules, module.__name__, module)

    suite = Suite("nowhere", {"fake": [("adapter", "WORKLOADS")]})

    assert child.workloads_of("fake", suite) == ["W"]
    assert child.measure("fake", "W", 0.0, suite=suite) == {"figure": 7.0}


def figures_of(
    ours: list[float], forerunner: list[float], langgraph: list[float]
) -> dict[tuple[str, str], list[dict[str, float]]]:
    return {
        ("ours", "native"): [{"step_us": each} for each in ours],
        ("forerunner", "prompted"): [{"step_us": each} for each in forerunner],
        ("langgraph", "native"): [{"step_us": each} for each in langgraph],
    }


def test_ours_is_held_against_the_best_of_each_round() -> None:
    """The best of each round is another one: against neither of them alone would it be as bad."""
    figures = figures_of([10.0, 10.0, 10.0], [5.0, 40.0, 5.0], [40.0, 5.0, 40.0])

    (line,) = report.judged(figures)

    assert line.best.spread == (2.0, 2.0, 2.0)
    assert line.best.met is False
    assert line.against["langgraph"].spread == (0.25, 0.25, 2.0)
    assert report.ratios_table(figures)[1][-1] == "**missed**"


@pytest.mark.parametrize(("ours", "verdict"), [(6.0, "met, aim not reached"), (3.0, "met, aim reached")])
def test_the_verdict_tells_of_the_aim(ours: float, verdict: str) -> None:
    table = report.ratios_table(figures_of([ours], [10.0], [20.0]))

    assert table[0] == ["", "of 3.11.2", "of langgraph", "of the best", "must", "aim", ""]
    assert table[1][-1] == verdict


def test_what_was_not_measured_is_not_judged() -> None:
    assert report.judged({("ours", "native"): [{"step_us": 1.0}]}) == []


def test_the_tables_find_their_place_in_the_document() -> None:
    text = document.DOCUMENT.read_text(encoding="utf-8")

    filled = written(text, figures_of([3.0], [10.0], [20.0]), "about it")

    assert "<!-- planner-about -->\nabout it\n<!-- /planner-about -->" in filled
    assert "| µs a step | penguiflow | 3.11.2 | langgraph |" in filled
    assert written(filled, figures_of([3.0], [10.0], [20.0]), "about it") == filled


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--runtimes", "ours,crewai"], "there is no crewai"),
        (["--workloads", "native,W1"], "there is no W1"),
        (["--rounds", "0"], "--rounds has to be at least 1"),
        (["--seconds", "0"], "--seconds more than 0"),
        (["--write", "--workloads", "native"], "--write is for all"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(arguments)

    assert reason in capsys.readouterr().err
