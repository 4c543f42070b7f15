"""`ctx.ask`: a tool asks a human, and goes on in place with the answer, also in another process and a week later.

No coroutine waits meanwhile. The tool is called again, and its journal answers what it had asked for before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_jsonable_python

from penguiflow.asking import (
    CALL,
    MAX_ANSWERS,
    Answerer,
    FromCode,
    NobodyAnswers,
    Question,
    answerer_of,
    may_ask,
    read_answer,
    told,
)
from penguiflow.planner.requests import Resumption
from penguiflow.planner.signals import AskSignal
from penguiflow.traces import TraceCancelled

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.planner.run import PlannerRun

__all__ = ["Journal", "ask_human", "given_answer"]

SEED_BITS = 53
"""Readers of JSON may know no longer integers."""


class Journal:
    """What one call of a tool was given from outside: by name and in order, so that it is given the same again.

    Args:
        told: `data()` of the same call when it was made before.
    """

    def __init__(self, told: Mapping[str, Any] | None = None) -> None:
        before = told or {}
        self._told: Mapping[str, Any] = before
        self._records: dict[str, list[dict[str, Any] | None]] = {}
        self._times: list[float] = []
        self._seed: int | None = None
        self._random: Random | None = None
        self._asks: list[dict[str, Any]] = []
        self._asked = 0
        self._given: dict[str, Any] | None = before.get("given")

    async def record(self, site: CallSite, name: str, fn: Callable[..., Any], *args: Any) -> Any:
        """`fn(*args)`, once: what it gave, or raised, is given again where it was called before."""
        mine = self._records.setdefault(name, [])
        ordinal = len(mine)
        mine.append(None)
        before = (self._told.get("records") or {}).get(name, [])
        if ordinal < len(before) and before[ordinal] is not None:
            mine[ordinal] = before[ordinal]
            return _again(name, before[ordinal])
        try:
            value = await site.call("record", name, list(args), fn, *args)
        except TraceCancelled:
            raise
        except Exception as error:  # whatever the tool's function raises: it is raised again too
            mine[ordinal] = {"error": _error(error)}
            raise
        mine[ordinal] = {"value": _stored(value)}
        return value

    def now(self, site: CallSite) -> float:
        """Unix seconds."""
        before = self._told.get("times") or ()
        place = len(self._times)
        self._times.append(float(before[place]) if place < len(before) else site.now())
        return self._times[place]

    def random(self, site: CallSite) -> Random:
        """The call's generator: it draws the same numbers each time the call is made."""
        if self._random is None:
            before = self._told.get("seed")
            self._seed = site.random().getrandbits(SEED_BITS) if before is None else int(before)
            self._random = Random(self._seed)
        return self._random

    def begin_ask(self, prompt: str, adapter: TypeAdapter[Any]) -> _Question:
        """The next question of the call."""
        number = self._asked
        self._asked += 1
        before = self._told.get("asks") or ()
        if number < len(self._asks):
            before = self._asks
        known = before[number] if number < len(before) else None
        asked = known["prompt"] if known is not None else self._told.get("open") if number == len(before) else None
        if asked not in (None, prompt):
            raise RuntimeError(
                f"the tool asked {asked!r} before it was paused, and asks {prompt!r} now: what may differ "
                "from one call of it to the next must come from ctx.record, ctx.now or ctx.random"
            )
        given = None
        if known is None and self._given is not None:
            given, self._given = self._given, None
        return _Question(self, prompt, adapter, known, given)

    def answered(self, prompt: str, answer: Any) -> None:
        """Keep an answer, as JSON."""
        if len(self._asks) < self._asked:
            self._asks.append({"prompt": prompt, "answer": answer})

    def try_again(self) -> None:
        """The tool is tried once more: what it asks is asked of the world again, but not of the human."""
        self._asked = 0

    def data(self, prompt: str | None = None) -> dict[str, Any]:
        """What it takes to make the call again; `prompt` is the question that waits for its answer.

        Raises `TypeError` when something cannot be written down.
        """
        from penguiflow.recording.payloads import cuts

        for name, entries in self._records.items():
            for entry in entries:
                cut = next(iter(cuts(entry["value"])), None) if entry and "value" in entry else None
                if cut is not None:
                    raise TypeError(
                        f"the run cannot wait for an answer: what ctx.record({name!r}) gave cannot be written down "
                        f"({cut}); give JSON, a model or a dataclass"
                    )
        found: dict[str, Any] = {"records": self._records, "times": self._times, "asks": self._asks}
        if self._seed is not None:
            found["seed"] = self._seed
        return found if prompt is None else {**found, "open": prompt}


class _Question:
    """One question, and what is known of its answer."""

    def __init__(
        self,
        journal: Journal,
        prompt: str,
        adapter: TypeAdapter[Any],
        known: Mapping[str, Any] | None,
        given: Mapping[str, Any] | None,
    ) -> None:
        self._journal = journal
        self._prompt = prompt
        self._adapter = adapter
        self.known = known
        self.given = given
        self.problem: str | None = None
        """What is wrong with the last answer."""

    def take(self, raw: Any, *, text: bool = False) -> tuple[bool, Any]:
        """Whether an answer fits, and its value. `text`: it is what somebody typed, and may be JSON."""
        try:
            value = read_answer(self._adapter, raw, text=text)
        except ValidationError as error:
            self.problem = told(raw, error)
            return False, None
        self._journal.answered(self._prompt, self._adapter.dump_python(value, mode="json"))
        return True, value


async def ask_human(
    run: PlannerRun, site: CallSite, journal: Journal, prompt: str, schema: Any, *, name: str = ""
) -> Any:
    """The answer to a question of a tool: known from before, given with the resumption, or given now.

    Raises:
        AskSignal: nobody is there to answer: the run pauses.
        RuntimeError: nor may it pause; or the tool asks something else than it did before.
        ValueError: whoever answers gives nothing that fits, again and again.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(schema)
    question = journal.begin_ask(prompt, adapter)
    if question.known is not None:
        fits, value = question.take(question.known["answer"])
        if fits:
            return value
    if question.given is not None:
        fits, value = question.take(question.given["answer"], text=bool(question.given.get("text")))
        if fits:
            return value
    form = adapter.json_schema()
    for _ in range(MAX_ANSWERS):
        asked = prompt if question.problem is None else f"{prompt}\n({question.problem})"
        if run.on_ask is None and not may_ask(site, [asked, form]):
            break
        answerer = answerer_of(site.context) if run.on_ask is None else FromCode(run.on_ask)
        put = Question(asked, schema, form, run.trace_id, site.span, name)
        try:
            raw = await site.call("record", CALL, [asked, form], _answered, answerer, put)
        except NobodyAnswers:
            break
        fits, value = question.take(raw, text=True)
        if fits:
            return value
    else:
        raise ValueError(f"no answer to {prompt!r} that fits, {MAX_ANSWERS} times; the last one: {question.problem}")
    if run.pauses is None:
        raise RuntimeError(f"nobody can answer {prompt!r}: the run has no on_ask, and pausing is off")
    about = {"prompt": prompt, "schema": form}
    said = {**about, "problem": question.problem} if question.problem else about
    raise AskSignal("await_input", to_jsonable_python(said, fallback=str), journal.data(prompt))


async def _answered(answerer: Answerer | None, question: Question) -> Any:
    if answerer is None:  # the recording has it
        raise NobodyAnswers(question.prompt)
    return await answerer.answer(question)


def given_answer(journal: Mapping[str, Any], resumption: Resumption) -> dict[str, Any]:
    """The journal of a call that waits, with what the resumption answers."""
    if resumption.answer is not None:
        return {**journal, "given": {"answer": resumption.answer}}
    if resumption.user_input is not None:
        return {**journal, "given": {"answer": resumption.user_input, "text": True}}
    return dict(journal)


def _stored(value: Any) -> Any:
    from penguiflow.recording.payloads import encode_payload

    return from_json(encode_payload(value))


def _error(error: Exception) -> dict[str, Any]:
    kind = type(error)
    return {
        "type": kind.__qualname__,
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "message": str(error),
        "args": _stored(list(error.args)),
    }


def _again(name: str, entry: Mapping[str, Any]) -> Any:
    """What a call gave before, or the exception that it raised."""
    from penguiflow.recording.rebuilding import rebuild

    if "error" in entry:
        raise _raised(entry["error"])
    return rebuild(entry["value"], at=f"ctx.record({name!r})")


def _raised(data: Mapping[str, Any]) -> Exception:
    """The exception, of its type if that can be imported and made."""
    from penguiflow.recording.rebuilding import rebuild
    from penguiflow.recording.tape import RecordedError

    with suppress(Exception):  # the class is user code that may be gone, or want other arguments now
        module, _, name = data["class"].partition(":")
        kind: Any = attrgetter(name)(import_module(module))
        if issubclass(kind, Exception):
            error: Exception = kind(*rebuild(data["args"]))
            if str(error) == data["message"]:
                return error
    return RecordedError(data["type"], data["message"])
