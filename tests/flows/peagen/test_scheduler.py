"""Which file is next, and what a failed one takes with it."""

from __future__ import annotations

import asyncio
import random

from peagen.core.graph import file_graph
from peagen.core.sort_core import sort_file_records
from peagen.run.flow import Turns
from peagen.run.scheduler import Scheduler


def records(needs: dict[str, list[str]]) -> list[dict[str, object]]:
    return [{"RENDERED_FILE_NAME": name, "EXTRAS": {"DEPENDENCIES": of}} for name, of in needs.items()]


def scheduler_of(needs: dict[str, list[str]], order: list[str] | None = None) -> Scheduler:
    graph = file_graph(records(needs))
    if order is None:
        order = [record["RENDERED_FILE_NAME"] for record in sort_file_records(file_records=records(needs))[0]]
    return Scheduler(order, graph.parents, graph.children)


def test_one_after_the_other_is_the_order_of_the_sort() -> None:
    chance = random.Random(7)
    for _ in range(50):
        names = [f"f{number}" for number in range(30)]
        chance.shuffle(names)
        needs = {name: chance.sample(names[:at], min(at, chance.randint(0, 3))) for at, name in enumerate(names)}
        scheduler = scheduler_of(needs)
        taken = []
        while (name := scheduler.take()) is not None:
            taken.append(name)
            scheduler.settle(name)
        assert taken == scheduler.order
        assert scheduler.left == 0


def test_what_fails_takes_along_what_needs_it_and_nothing_else() -> None:
    scheduler = scheduler_of({"a": [], "b": ["a"], "c": ["b"], "d": ["b", "e"], "e": [], "f": ["e"]})
    assert [scheduler.take(), scheduler.take(), scheduler.take()] == ["a", "e", None]
    scheduler.settle("e")
    assert scheduler.fail("a") == ["b", "c", "d"]
    assert scheduler.take() == "f"
    scheduler.settle("f")
    assert (scheduler.take(), scheduler.left) == (None, 0)


def test_what_is_left_out_is_there() -> None:
    scheduler = scheduler_of({"a": [], "b": ["a"], "c": ["b"]}, ["b", "c"])
    assert scheduler.take() == "b"


async def test_many_files_without_a_node_for_each() -> None:
    needs = {f"f{number:04}": [f"f{number - 3:04}"] if number >= 3 else [] for number in range(3000)}
    scheduler = scheduler_of(needs)
    made: list[str] = []
    lost: list[str] = []
    now = most = 0

    async def make(name: str, context: object, known: object) -> bool:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        made.append(name)
        return name != "f2000"

    turns = Turns(scheduler, 3, make, lambda name, because: lost.append(name))
    await turns.work_all(None)
    assert scheduler.left == 0
    assert most == 3
    assert len(made) + len(lost) == 3000
    assert lost == [f"f{number:04}" for number in range(2003, 3000, 3)]
    position = {name: at for at, name in enumerate(made)}
    assert all(position[parent] < position[name] for name in made for parent in needs[name])
