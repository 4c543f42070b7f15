"""Two messages interleave, turn by turn, and whichever carriers they are on: neither sees anything of the other."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from penguiflow import Context, FlowError, FlowErrorCode, Message, PenguiFlow, create

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, Start, Until

Body: TypeAlias = Callable[[str, "Turns"], Awaitable[Any]]
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody's")


class Turns:
    """Lets two parties go on in turns: each of them waits until the other one has had its go."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self._barrier = asyncio.Barrier(2)

    async def next(self, name: str) -> None:
        self.order.append(name)
        await self._barrier.wait()


@pytest.fixture(params=["one node", "two nodes", "second hop"])
def interleaved(
    request: pytest.FixtureRequest, start: Start, make_node: MakeNode, make_message: MakeMessage
) -> Callable[[Body], Awaitable[list[Any]]]:
    """Runs a body for the messages `a` and `b` at once, and gives their two results (or errors).

    Both are in one node, each is in its own, or both come out of a node that has not waited: then the carrier that had
    the first hop is the one that goes on.
    """

    async def run(body: Body) -> list[Any]:
        turns = Turns()

        async def work(message: Message, ctx: Context) -> Message:
            return message.model_copy(update={"payload": await body(message.payload, turns)})

        if request.param == "two nodes":
            nodes = [make_node(work, name=name) for name in "ab"]
            flow = start(create(*(node.to() for node in nodes)))
            targets: list[Any] = list(nodes)
        else:
            last = make_node(work, max_concurrency=2)
            first = make_node(name="first", max_concurrency=2)
            flow = start(create(first.to(last) if request.param == "second hop" else last.to()))
            targets = [None, None]
        calls = [flow.call(make_message(name), to=to) for name, to in zip("ab", targets, strict=True)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        # What they did to their carriers is not there for the next ones.
        later = await asyncio.gather(*(flow.call(make_message(name), to=targets[0]) for name in ("later", "later")))
        assert [each.payload for each in later] == [await untouched("later", turns)] * 2
        return [getattr(result, "payload", result) for result in results]

    return run


async def untouched(name: str, turns: Turns) -> str:
    return f"{variable.get()} {name}"


def told_later(body: Body) -> Body:
    """The body for the two messages; a check of what they left behind for the later ones."""

    async def choose(name: str, turns: Turns) -> Any:
        if name == "later":
            task = asyncio.current_task()
            assert task is not None
            assert not task.cancelling()
            return await untouched(name, turns)
        return await body(name, turns)

    return choose


async def test_context_variables(interleaved: Callable[[Body], Awaitable[list[Any]]]) -> None:
    async def body(name: str, turns: Turns) -> list[str]:
        seen = [variable.get()]
        token = variable.set(name)
        for _ in range(3):
            await turns.next(name)
            seen.append(variable.get())
        seen.append(await asyncio.create_task(untouched("child", turns)))
        variable.reset(token)
        await turns.next(name)
        return [*seen, variable.get()]

    assert await interleaved(told_later(body)) == [
        ["nobody's", name, name, name, f"{name} child", "nobody's"] for name in "ab"
    ]


async def test_the_current_task(interleaved: Callable[[Body], Awaitable[list[Any]]]) -> None:
    tasks: dict[str, set[Any]] = {"a": set(), "b": set()}

    async def body(name: str, turns: Turns) -> int:
        for _ in range(4):
            tasks[name].add(asyncio.current_task())
            await turns.next(name)
        return len(tasks[name])

    assert await interleaved(told_later(body)) == [1, 1]
    assert not tasks["a"] & tasks["b"]


async def test_task_groups(interleaved: Callable[[Body], Awaitable[list[Any]]]) -> None:
    """One group fails, and cancels its own children and its own parent; the other one goes on."""

    async def fail(name: str, turns: Turns) -> None:
        await turns.next(name)
        raise LookupError(name)

    async def body(name: str, turns: Turns) -> str:
        ended = "cut short"
        try:
            async with asyncio.TaskGroup() as group:
                if name == "a":
                    group.create_task(fail(name, turns))
                    await asyncio.Event().wait()
                children = [group.create_task(asyncio.sleep(0, number)) for number in range(3)]
                await turns.next(name)
                ended = str([await child for child in children])
        except* LookupError as errors:
            ended = f"failed: {errors.exceptions}"
        await turns.next(name)
        return ended

    assert await interleaved(told_later(body)) == ["failed: (LookupError('a'),)", "[0, 1, 2]"]


@pytest.mark.usefixtures("virtual_time")
async def test_timeouts(interleaved: Callable[[Body], Awaitable[list[Any]]]) -> None:
    """Both have a bound, one within the other; those of the one pass, those of the other do not."""

    async def body(name: str, turns: Turns) -> str:
        passed: list[str] = []
        soon = asyncio.get_running_loop().time() + 0.002
        try:
            async with asyncio.timeout(None if name == "a" else 60) as outer:
                try:
                    async with asyncio.timeout(None if name == "a" else 60) as inner:
                        await turns.next(name)
                        if name == "a":
                            inner.reschedule(soon)
                            await asyncio.Event().wait()
                        await asyncio.sleep(0.005)
                except TimeoutError:
                    passed.append("inner")
                if name == "a":
                    outer.reschedule(soon)
                    await asyncio.Event().wait()
                await asyncio.sleep(0.005)
        except TimeoutError:
            passed.append("outer")
        await turns.next(name)
        task = asyncio.current_task()
        assert task is not None
        return f"{passed} {task.cancelling()}"

    assert await interleaved(told_later(body)) == ["['inner', 'outer'] 0", "[] 0"]


@pytest.mark.usefixtures("virtual_time")
async def test_a_timeout_that_is_made_in_one_turn_and_moved_in_another(
    interleaved: Callable[[Body], Awaitable[list[Any]]],
) -> None:
    async def body(name: str, turns: Turns) -> str:
        async with asyncio.timeout(None) as bound:
            await turns.next(name)
            if name == "a":
                bound.reschedule(asyncio.get_running_loop().time())
            try:
                await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                assert name == "a"
                await turns.next(name)
                raise
            await turns.next(name)
        return "in time"

    first, second = await interleaved(told_later(body))
    assert isinstance(first, FlowError)
    assert (first.code, first.exception_type) == (FlowErrorCode.NODE_EXCEPTION, "TimeoutError")
    assert second == "in time"


async def both_under_way(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, seen: dict[str, list[str]]
) -> tuple[PenguiFlow, dict[str, asyncio.Task[Any]], asyncio.Event]:
    """A flow in whose node two messages wait for the event, and the calls that brought them there."""
    gate = asyncio.Event()

    async def waits(message: Message, ctx: Context) -> Message:
        task = asyncio.current_task()
        assert task is not None
        log = seen.setdefault(message.payload, [])
        try:
            await gate.wait()
        except asyncio.CancelledError:
            log.append(f"cancelled {task.cancelling()}")
            await asyncio.sleep(0)
            log.append("cleaned up")
            raise
        log.append(f"went on {task.cancelling()}")
        return message

    flow = start(create(make_node(waits, max_concurrency=2).to()))
    calls = {name: asyncio.create_task(flow.call(make_message(name, trace_id=name))) for name in "ab"}
    await until(lambda: len(seen) == 2)
    return flow, calls, gate


@pytest.mark.parametrize("how", ["trace", "caller"])
async def test_cancelling_one_leaves_the_other_alone(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, how: str
) -> None:
    seen: dict[str, list[str]] = {}
    flow, calls, gate = await both_under_way(start, make_node, make_message, until, seen)
    if how == "trace":
        assert await flow.cancel("a")
    else:
        calls["a"].cancel()
    await until(lambda: "cleaned up" in seen["a"])
    assert seen["b"] == []
    gate.set()
    assert (await calls["b"]).payload == "b"
    assert seen == {"a": ["cancelled 1", "cleaned up"], "b": ["went on 0"]}
    with pytest.raises(FlowError if how == "trace" else asyncio.CancelledError):
        await calls["a"]
    # The carriers are as good as new.
    seen.clear()
    assert [(await flow.call(make_message(name))).payload for name in "cd"] == ["c", "d"]
    assert seen == {"c": ["went on 0"], "d": ["went on 0"]}


async def test_a_node_that_cancels_its_helper_cancels_no_other(
    interleaved: Callable[[Body], Awaitable[list[Any]]],
) -> None:
    async def body(name: str, turns: Turns) -> str:
        helper = asyncio.create_task(asyncio.Event().wait())
        await turns.next(name)
        helper.cancel()
        try:
            await helper
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            await turns.next(name)
            return f"{helper.cancelled()} {task.cancelling()}"
        return "not cancelled"

    assert await interleaved(told_later(body)) == ["True 0", "True 0"]
