"""Questions to people: what a node or a tool asks with `ctx.ask`, and whoever answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json, to_jsonable_python

from penguiflow.calls import call_out, has_answer
from penguiflow.callsite import CallSite

if TYPE_CHECKING:
    from penguiflow.context import Context

__all__ = [
    "MAX_ANSWERS",
    "Answerer",
    "FromCode",
    "NobodyAnswers",
    "Question",
    "answerer_of",
    "ask",
    "may_ask",
    "node_may_ask",
    "read_answer",
]

MAX_ANSWERS = 10
"""That do not fit, from one who answers while the node waits."""
CALL = "ctx.ask"
"""How the call is named in the log."""


class NobodyAnswers(RuntimeError):
    """There is nobody who could answer, or nobody any more."""

    is_answer = True
    """Logs need no traceback of it."""


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody is asked."""

    prompt: str
    """With what was wrong with the answer before, if there was one."""
    schema: Any
    """The type of the answer."""
    json_schema: dict[str, Any]
    trace_id: str | None = None
    span_id: str = ""
    asker: str = ""
    """The node, or the tool."""

    def problem(self, answer: Any) -> str | None:
        """What is wrong with an answer; None for one that fits."""
        try:
            read_answer(TypeAdapter(self.schema), answer, text=True)
        except ValidationError as error:
            return told(answer, error)
        return None


class Answerer(Protocol):
    """Answers the questions of a flow's runs."""

    @property
    def there(self) -> bool:
        """Whether somebody would answer now."""
        ...

    async def answer(self, question: Question) -> Any:
        """The answer, as JSON or as text that somebody typed. Raises `NobodyAnswers`."""
        ...


class FromCode:
    """A function `(prompt, schema)` that answers, awaited if need be."""

    there = True

    def __init__(self, on_ask: Callable[[str, Any], Awaitable[Any] | Any]) -> None:
        self._on_ask = on_ask

    async def answer(self, question: Question) -> Any:
        """What the function gives."""
        made = self._on_ask(question.prompt, question.schema)
        return to_jsonable_python(await made if isawaitable(made) else made)


def answerer_of(context: Context | None) -> Answerer | None:
    """Who answers what is asked in an invocation: set by `flow.answer_with`, of the flow or of one that called it."""
    runtime = None if context is None else context.runtime
    return None if runtime is None else runtime._answerer


async def ask(context: Context, prompt: str, schema: Any) -> Any:
    """The answer to a question of a node, of the type `schema`. Recorded: a replay and a resumed run ask nobody twice.

    Raises:
        NobodyAnswers: nobody is there.
        ValueError: whoever answers gives nothing that fits, again and again.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(schema)
    form = adapter.json_schema()
    problem: str | None = None
    for _ in range(MAX_ANSWERS):
        asked = prompt if problem is None else f"{prompt}\n({problem})"
        question = Question(asked, schema, form, context.trace_id, context._span, str(context.owner.name))
        raw = await call_out(context, "record", CALL, [asked, form], _given, answerer_of(context), question)
        try:
            return read_answer(adapter, raw, text=True)
        except ValidationError as error:
            problem = told(raw, error)
    raise ValueError(f"no answer to {prompt!r} that fits, {MAX_ANSWERS} times; the last one: {problem}")


async def _given(answerer: Answerer | None, question: Question) -> Any:
    if answerer is None or not answerer.there:
        raise NobodyAnswers(
            f"nobody is there to answer {question.prompt!r}: run the flow in a terminal (`pf run`), in a dashboard "
            "that shows questions, or give it somebody with `flow.answer_with(…)`"
        )
    return await answerer.answer(question)


def may_ask(site: CallSite, request: Any) -> bool:
    """Whether a question may be asked here: one that is recorded is answered, and a replay asks nothing else."""
    if site.context is None or site.context._trace is None or site.scope is None:
        return _is_there(site.context)
    if has_answer(site.context, "record", CALL, request, site.scope):
        return True
    tape = site.context._trace.tape
    return (tape is None or tape.live) and _is_there(site.context)


def node_may_ask(context: Context, prompt: str, schema: Any) -> bool:
    """The same for what a node's function would ask next."""
    return may_ask(CallSite.of(context), [prompt, TypeAdapter(schema).json_schema()])


def _is_there(context: Context | None) -> bool:
    answerer = answerer_of(context)
    return answerer is not None and answerer.there


def read_answer(adapter: TypeAdapter[Any], raw: Any, *, text: bool = False) -> Any:
    """The value of an answer. `text`: it is what somebody typed, and may be JSON. Raises `ValidationError`."""
    try:
        return adapter.validate_python(raw)
    except ValidationError:
        if not (text and isinstance(raw, str)):
            # JSON knows less than Python: a date is a string there.
            return adapter.validate_json(to_json(raw))
    try:
        return adapter.validate_json(raw)
    except ValidationError as error:
        if any(each["type"] == "json_invalid" for each in error.errors(include_url=False)):
            return adapter.validate_python(raw)
        raise


def told(raw: Any, error: ValidationError) -> str:
    """What is wrong with an answer."""
    first = error.errors(include_url=False, include_context=False)[0]
    at = ".".join(map(str, first["loc"]))
    return f"the answer {json.dumps(raw, default=str)[:200]} does not fit: {at and at + ': '}{first['msg']}"
