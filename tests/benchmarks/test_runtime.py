"""The benchmark of the runtime measures what it says, and a runtime that skips work is found out. Nothing is timed."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

from benchmarks.runtime import child, document, environments, lines, report, rounds
from benchmarks.runtime.__main__ import parse, wanted
from benchmarks.runtime.environments import Environment
from benchmarks.runtime.measure import Run, SkippedWork
from benchmarks.runtime.rounds import Job
from benchmarks.runtime.targets import TARGETS, Target, judge

CALLS = {"W1": 5, "W2": 52, "W3": 1, "W4": 1, "W5": 20, "W8": 5, "W9": 5, "W11": 4, "W12": 3}
"""Node executions that a unit of each workload takes."""
FEW = {"W2": 3, "W3": 1, "W9": 8, "W11": 4, "W12": 4}
VARIANTS = ["W1.message", "W1.bare", "W1.call", "W1.one", "W3.stream", "W8.quiet"]


def fake(monkeypatch: pytest.MonkeyPatch, workload: Callable[[Run], Awaitable[None]]) -> None:
    """A runtime `fake` with one workload."""
    module = ModuleType("benchmarks.runtime.peers.fake")
    vars(module)["WORKLOADS"] = {"W1": workload}
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(child.TABLES, "fake", [("peers.fake", "WORKLOADS")])


@pytest.mark.parametrize("workload", [*CALLS, *VARIANTS])
def test_our_nodes_do_what_a_workload_asks_for(workload: str) -> None:
    base = workload.partition(".")[0]

    figures = child.measure("ours", workload, cpu_s=0.0, units=FEW.get(base, 70))

    assert figures["calls"] == CALLS[base]
    assert figures["units"] == FEW.get(base, 70)
    assert figures["cpu_us"] > 0


@pytest.mark.parametrize("limit", ["limit_b", "limit_c"])
@pytest.mark.parametrize("workload", ["W1", "W1.one", "W2", "W3", "W4", "W5", "W8", "W11", "W12"])
def test_the_limits_do_the_same_work(limit: str, workload: str) -> None:
    base = workload.partition(".")[0]

    figures = child.measure(limit, workload, cpu_s=0.0, units=FEW.get(base, 70))

    assert figures["calls"] == CALLS[base]


def test_nobody_who_listens_costs_no_event_and_a_listener_gets_two_a_node() -> None:
    assert child.measure("ours", "W8.quiet", cpu_s=0.0, units=64)["events"] == 0
    assert child.measure("ours", "W8", cpu_s=0.0, units=64)["events"] == 10


@pytest.mark.parametrize(("calls", "wrong"), [(4, "40"), (6, "60")])
def test_a_runtime_that_skips_or_repeats_work_fails(monkeypatch: pytest.MonkeyPatch, calls: int, wrong: str) -> None:
    async def workload(run: Run) -> None:
        async def drive(count: int) -> None:
            run.calls += calls * count

        await run.measure(drive, calls=5)

    fake(monkeypatch, workload)

    with pytest.raises(SkippedWork, match=f"called {wrong} times, and should have been 50 times"):
        child.measure("fake", "W1", cpu_s=0.0, units=10)


def test_this_version_is_not_taken_for_its_forerunner() -> None:
    with pytest.raises(ValueError, match="forerunner is penguiflow"):
        child.measure("forerunner", "W1.bare", cpu_s=0.0, units=10)


def test_a_failure_is_told_and_leaves_no_figures() -> None:
    places = {"ours": Environment(Path(sys.executable), frozenset())}

    figures, failures = rounds.measure([Job("ours", "W0")], places, rounds=2, seconds=0.01)

    assert figures == {}
    (failure,) = failures
    assert failure.startswith("FAILED W0 on ours: ")
    assert "W0" in failure.removeprefix("FAILED W0")


def test_a_process_of_its_own_sees_this_checkout() -> None:
    place = environments.ready("ours")

    assert {"W1", "W7", "D29"} <= place.workloads
    assert place.python == Path(sys.executable)


def test_bounds_hold_within_a_round() -> None:
    """A ratio of medians would be 1 here: the slow round of one is the quick one of the other."""
    target = Target("W1", "W1", "cpu_us", must=1.6, aim=0.9, against=("limit_c", "W1", "cpu_us"))
    figures = {
        ("ours", "W1"): [{"cpu_us": 10.0}, {"cpu_us": 20.0}, {"cpu_us": 30.0}],
        ("limit_c", "W1"): [{"cpu_us": 5.0}, {"cpu_us": 20.0}, {"cpu_us": 40.0}],
    }

    (judged,) = judge(figures, [target])

    assert judged.spread == (1.0, 0.75, 2.0)
    assert judged.met is True
    assert judged.reached is False


def test_what_was_not_measured_is_not_judged_and_what_is_missed_stands_in_the_table() -> None:
    figures = {
        ("ours", "W6"): [{"most": 9_999.0, "wall_s": 0.4, "kb": 18.0}],
        ("forerunner", "W6"): [{"most": 1.0}],
    }

    verdicts = {row[0]: row[-1] for row in report.judged_table(figures)[1:]}

    assert verdicts == {
        "W6 10,000 traces: at once": "**missed** by 0%",
        "W6 10,000 traces: time": "met, aim reached",
        "W6 10,000 traces: memory": "**missed** by 100%",
    }


def test_a_peer_that_is_ahead_is_named() -> None:
    figures = {
        ("ours", "W1"): [{"cpu_us": 10.0}],
        ("burr", "W1"): [{"cpu_us": 8.0}],
        ("langgraph", "W1"): [{"cpu_us": 900.0}],
    }

    _, row = report.peers_table(figures, ["langgraph", "burr"])

    assert row[-2:] == ["90", "0.80 **ahead of ours**"]


def test_every_bound_is_on_a_workload_that_there_is() -> None:
    ours = set(child.workloads_of("ours"))

    assert {target.workload for target in TARGETS} <= ours
    assert set(lines.WORKLOADS) <= ours | set(child.workloads_of("limit_b"))
    assert set(lines.NAMES) == set(child.TABLES)


def test_a_name_means_its_variants_too_and_nothing_else() -> None:
    chosen = [workload for workload in lines.WORKLOADS if wanted(workload, ["W1", "D9"])]

    assert "W1.bare.one" in chosen
    assert {"W10", "W2", "D29"}.isdisjoint(chosen)
    assert not wanted("memory", [])
    assert wanted("memory", [], everything=True)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--runtimes", "ours,asyncio"], "there is no asyncio"),
        (["--workloads", "W1,W99"], "there is no W99"),
        (["--rounds", "0"], "--rounds has to be at least 1"),
        (["--rounds", "-1"], "--rounds has to be at least 1"),
        (["--rounds", "0", "--figures", "there-is-no-such-file.json"], "--rounds has to be at least 1"),
        (["--write", "--workloads", "W1"], "--write is for all"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(arguments)

    assert reason in capsys.readouterr().err


def test_tables_find_their_place_in_the_document() -> None:
    text = "# A\n\n<!-- bounds -->\nold\n<!-- /bounds -->\n\nB\n"

    assert document.fill(text, {"bounds": "new"}) == "# A\n\n<!-- bounds -->\nnew\n<!-- /bounds -->\n\nB\n"
    with pytest.raises(ValueError, match="no place for 'peers'"):
        document.fill(text, {"peers": "new"})


def test_the_document_has_all_places() -> None:
    text = document.DOCUMENT.read_text(encoding="utf-8")

    document.fill(text, dict.fromkeys(("about", "figures", "bounds", "peers"), "x"))


def test_the_plot_is_a_picture_with_a_bar_for_each_that_was_measured() -> None:
    figures = {
        (runtime, "W1"): [{"cpu_us": cost}] for runtime, cost in (("ours", 12.0), ("limit_c", 6.0), ("burr", 300.0))
    }

    picture = ET.fromstring(document.draw(figures))

    texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"W1 chain", "2", "50"} <= set(texts)
    assert "W2 fan-out" not in texts
