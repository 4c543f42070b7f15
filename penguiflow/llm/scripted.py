"""A model that says what it is told to: no key, no network, the same every time."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from penguiflow.llm.errors import LLMInvalidRequestError
from penguiflow.llm.profiles.model import ModelProfile
from penguiflow.llm.providers.base import Provider
from penguiflow.llm.schema.sample import sample_of
from penguiflow.llm.types import (
    CancelToken,
    CompletionResponse,
    Cost,
    LLMMessage,
    LLMRequest,
    StreamCallback,
    StreamEvent,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)

__all__ = ["Reply", "ScriptedModel", "ScriptedReply", "When", "estimate_usage"]

PIECE = 8  # characters that are streamed at once
KEPT = 1000  # requests
_QUOTED = 200  # characters of the question, in an answer that no script gives
_CHARS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedReply:
    """A reply with all that one may have."""

    text: str = ""
    tool_calls: Sequence[ToolCallPart] = ()
    reasoning: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    """An estimate by default."""
    cost: Cost | None = None
    """Nothing by default."""
    error: Exception | None = None
    """Raised after the text was streamed: an answer that breaks off."""


Reply = (
    str
    | Mapping[str, Any]
    | ToolCallPart
    | ScriptedReply
    | CompletionResponse
    | Exception
    | Sequence[Any]
    | Callable[[LLMRequest], Any]
)
"""Text; an action (`{"next_node": …, "args": …}`) or other data, said as JSON, or as a tool call where the request
offers the tool; a tool call, or a list of nothing but tool calls; an exception to raise; or a function of the request
that gives one of these, or an awaitable of it."""

When = str | re.Pattern[str] | Callable[[LLMRequest], bool]
"""Which requests a rule is for: a text or pattern that stands in what was said last, or a function of the request."""


class ScriptedModel(Provider):
    """Replies from a script, by rules, and if neither has a reply, with what fits the request.

    A **script** is a list of replies, given one after the other to whoever asks: it has a cursor of its own, so it is
    for one run at a time. A **rule** is `(when, reply)`; the first that fits is taken. Its reply may be a list: then
    the one is taken whose place is the number of the assistant's messages in the request, the last one when there are
    more. So what a rule says depends on the request alone, and any number of runs may ask at once.

    Once the script is used up the rules go on; without one that fits, the model answers: an instance of the schema that
    is asked for, else a final answer.
    """

    def __init__(
        self,
        replies: Iterable[Reply] = (),
        *,
        rules: Iterable[tuple[When, Reply]] = (),
        model: str = "scripted",
        piece: int = PIECE,
        profile: ModelProfile | None = None,
    ) -> None:
        """`piece` is the number of characters that are streamed at once. Raises `ValueError` if it is below 1."""
        if piece < 1:
            raise ValueError(f"a piece has at least one character, not {piece}")
        self._script: Iterator[Reply] = iter([replies] if isinstance(replies, str) else list(replies))
        self._rules = list(rules)
        self._model = model
        self._piece = piece
        self._profile = profile or ModelProfile(supports_schema_guided_output=True, supports_reasoning=True)
        self.requests: deque[LLMRequest] = deque(maxlen=KEPT)
        """What was asked, the last thousand of it."""

    @property
    def provider_name(self) -> str:
        """`scripted`."""
        return "scripted"

    @property
    def profile(self) -> ModelProfile:
        """It can do everything, unless it was given another one."""
        return self._profile

    @property
    def model(self) -> str:
        """The name that it was given."""
        return self._model

    async def complete(
        self,
        request: LLMRequest,
        *,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
        stream: bool = False,
        on_stream_event: StreamCallback | None = None,
    ) -> CompletionResponse:
        """Give the next reply. Raises what the script says is to be raised."""
        self.requests.append(request)
        reply: Any = self._choose(request)
        while callable(reply) and not isinstance(reply, Exception):
            reply = reply(request)
            if inspect.isawaitable(reply):
                reply = await _awaited(reply)
        if isinstance(reply, CompletionResponse):
            response, broken = reply, None
        else:
            said = _as_reply(reply, request)
            response, broken = _response(said, request), said.error
        if stream and on_stream_event is not None:
            await self._stream(response, on_stream_event, finish=broken is None)
        if broken is not None:
            raise broken
        return response

    def _choose(self, request: LLMRequest) -> Reply:
        for reply in self._script:
            return reply
        for when, reply in self._rules:
            if _fits(when, request):
                turns = _turns(reply)
                if not turns:
                    return reply
                said = sum(message.role == "assistant" for message in request.messages)
                return turns[min(said, len(turns) - 1)]
        return _last_reply(request)

    async def _stream(self, response: CompletionResponse, on_event: StreamCallback, *, finish: bool) -> None:
        for piece in _pieces(response.reasoning_content or "", self._piece):
            on_event(StreamEvent(delta_reasoning=piece))
            await asyncio.sleep(0)
        for piece in _pieces(response.message.text, self._piece):
            on_event(StreamEvent(delta_text=piece))
            await asyncio.sleep(0)
        for call in response.message.tool_calls:
            on_event(StreamEvent(delta_tool_call=replace(call, arguments_json="")))
            for piece in _pieces(call.arguments_json, self._piece):
                on_event(StreamEvent(delta_tool_call=replace(call, arguments_json=piece)))
                await asyncio.sleep(0)
        if finish:
            on_event(StreamEvent(usage=response.usage, done=True, finish_reason=response.finish_reason))


def estimate_usage(request: LLMRequest, message: LLMMessage, reasoning: str | None = None) -> Usage:
    """Tokens as a quarter of the characters: the same for the same texts."""
    asked = sum(_length(each) for each in request.messages)
    asked += sum(len(tool.name) + len(tool.description) for tool in request.tools or ())
    thought = -(-len(reasoning or "") // _CHARS_PER_TOKEN)
    inputs, outputs = -(-asked // _CHARS_PER_TOKEN), -(-_length(message) // _CHARS_PER_TOKEN) + thought
    return Usage(inputs, outputs, inputs + outputs, reasoning_tokens=thought)


def _length(message: LLMMessage) -> int:
    length = 0
    for part in message.parts:
        if isinstance(part, TextPart):  # almost all are
            length += len(part.text)
        elif isinstance(part, ToolCallPart):
            length += len(part.name) + len(part.arguments_json)
        elif isinstance(part, ToolResultPart):
            length += len(part.name) + len(part.result_json)
        else:
            length += len(part.data)
    return length


async def _awaited(reply: Awaitable[Any]) -> Any:
    return await reply


def _pieces(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))


def _fits(when: When, request: LLMRequest) -> bool:
    if callable(when):
        return when(request)
    asked = _last_said(request)
    return when in asked if isinstance(when, str) else when.search(asked) is not None


def _last_said(request: LLMRequest) -> str:
    """What the user or a tool said last."""
    for message in reversed(request.messages):
        if message.role in ("user", "tool"):
            results = [part.result_json for part in message.parts if isinstance(part, ToolResultPart)]
            return "\n".join([message.text, *results])
    return ""


def _turns(reply: Any) -> Sequence[Reply]:
    """The replies of a list of them; nothing for one reply, which a list of tool calls is."""
    if not isinstance(reply, (list, tuple)) or all(isinstance(each, ToolCallPart) for each in reply):
        return ()
    return reply


def _as_reply(reply: Any, request: LLMRequest) -> ScriptedReply:
    match reply:
        case ScriptedReply():
            return reply
        case Exception():
            return ScriptedReply(error=reply)
        case str():
            return ScriptedReply(text=reply)
        case ToolCallPart():
            return ScriptedReply(tool_calls=(reply,))
        case Mapping():
            return _of_data(reply, request)
        case list() | tuple() if reply and not _turns(reply):
            return ScriptedReply(tool_calls=tuple(reply))
    raise LLMInvalidRequestError(f"a scripted reply is no {type(reply).__name__}: see `penguiflow.llm.scripted.Reply`")


def _of_data(data: Mapping[str, Any], request: LLMRequest) -> ScriptedReply:
    """Data as JSON; an action as the tool call that it is, where the request offers tools."""
    name, args = data.get("next_node"), data.get("args")
    offered = {tool.name for tool in request.tools or ()}
    if not offered or not isinstance(name, str):
        return ScriptedReply(text=json.dumps(data, ensure_ascii=False))
    args = args if isinstance(args, Mapping) else {}
    said = sum(len(message.tool_calls) for message in request.messages)
    if name in offered:
        return ScriptedReply(tool_calls=(_call(name, args, said),))
    steps = args.get("steps") if name == "parallel" else None
    if isinstance(steps, list) and steps:
        calls = [_call(step["node"], step.get("args", {}), said + place) for place, step in enumerate(steps)]
        return ScriptedReply(tool_calls=tuple(calls))
    answer = args.get("answer") if name == "final_response" else None
    return ScriptedReply(text=answer if isinstance(answer, str) else json.dumps(data, ensure_ascii=False))


def _call(name: str, args: Mapping[str, Any], place: int) -> ToolCallPart:
    return ToolCallPart(name, json.dumps(args, ensure_ascii=False), f"call_{place}")


def _response(said: ScriptedReply, request: LLMRequest) -> CompletionResponse:
    texts = [TextPart(said.text)] if said.text or not said.tool_calls else []
    message = LLMMessage("assistant", (*texts, *said.tool_calls))
    return CompletionResponse(
        message=message,
        usage=said.usage or estimate_usage(request, message, said.reasoning),
        reasoning_content=said.reasoning,
        finish_reason=said.finish_reason or ("tool_calls" if said.tool_calls else "stop"),
        cost=said.cost or Cost.zero(),
    )


def _last_reply(request: LLMRequest) -> Reply:
    """What is said when nothing is scripted: it ends whatever was asked for."""
    answer = f"Nothing is scripted for: {_last_said(request)[:_QUOTED].strip()}"
    form = request.structured_output
    properties = form.json_schema.get("properties", {}) if form is not None else {}
    told = any(message.role == "system" and '"next_node"' in message.text for message in request.messages)
    if "next_node" in properties or (form is None and not request.tools and told):
        return json.dumps({"next_node": "final_response", "args": {"answer": answer}}, ensure_ascii=False)
    return answer if form is None else json.dumps(sample_of(form.json_schema, text=answer), ensure_ascii=False)
