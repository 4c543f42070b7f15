"""The model of the settings: who is asked, in which order, and what becomes of the replies."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from peeragent.chunks import Chunks
from peeragent.errors import AgentFailed
from peeragent.models.agents import ModelUsed
from peeragent.models.plain import plain_json
from peeragent.providers import Create, Named, connected, names_of
from peeragent.scripted import scripted_model
from peeragent.settings import Settings
from penguiflow import Context
from penguiflow.llm import (
    AskPolicy,
    CompletionResponse,
    LLMAuthError,
    LLMContextLengthError,
    LLMError,
    LLMInvalidRequestError,
    LLMMessage,
    LLMRateLimitError,
    LLMRequest,
    LLMServerError,
    LLMTimeoutError,
    Provider,
    StructuredOutputSpec,
    ask,
    ask_in,
    create_provider,
)

T = TypeVar("T", bound=BaseModel)
REPAIRS = 2
"""How often a model is told what is wrong with its reply."""
RETRIES = 2
"""Of a call that failed on its way."""
BACKOFF = 0.5  # seconds
_SHOWN = 300  # characters of a complaint


class Form(Generic[T]):
    """A reply that is to be JSON of a given form."""

    def __init__(self, model: type[T]) -> None:
        self.model = model
        self.spec = StructuredOutputSpec(model.__name__.strip("_"), model.model_json_schema())

    def read(self, text: str) -> T:
        """The reply; what stands around the JSON is passed over. Raises `ValueError`, which says what is wrong."""
        begin, end = text.find("{"), text.rfind("}")
        if begin < 0 or end < begin:
            raise ValueError("there is no JSON object in your reply")
        try:
            # What it says is kept, and read again.
            return self.model.model_validate(plain_json(json.loads(text[begin : end + 1])))
        except RecursionError as error:
            raise ValueError("the JSON in your reply is nested too deeply") from error
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            told = [f"{'.'.join(map(str, each['loc'])) or 'the object'}: {each['msg']}" for each in problems[:5]]
            raise ValueError("; ".join(told)) from error


@dataclass(frozen=True, slots=True)
class _FormCall(Generic[T]):
    """What is asked for with a form."""

    messages: Sequence[LLMMessage]
    form: Form[T]
    purpose: str
    check: Callable[[T], str | None] | None
    code: str
    temperature: float | None
    repairs: int

    def read(self, said: str) -> tuple[T | None, str, str]:
        """The reply; None for one that is not right, with the code of that failure and what is wrong."""
        try:
            reply = self.form.read(said)
        except ValueError as error:
            return None, "LLM_BAD_REPLY", str(error)
        problem = None if self.check is None else self.check(reply)
        return (reply, "", "") if problem is None else (None, self.code, problem)


class Model:
    """Asks, for agents: as an `llm` span of their node's trace, streamed if they say so, and with typed failures."""

    def __init__(
        self,
        make: Callable[[], Provider],
        names: Sequence[Named] = (),
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout_s: float = 60.0,
        backoff_s: float = BACKOFF,
    ) -> None:
        """`make` is called when the model is first needed. `names`: in the order in which they are asked."""
        self._make = make
        self._made: Provider | None = None
        self._names = {each.name: each for each in names}
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._policy = AskPolicy(timeout_s=timeout_s, max_retries=RETRIES, backoff_s=backoff_s)
        self._first = _used(names[0]) if names else ModelUsed(provider="scripted", model="scripted", scripted=True)

    @property
    def first(self) -> ModelUsed:
        """Who is asked first."""
        return self._first

    @property
    def provider(self) -> Provider:
        """Who is asked."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def load(self) -> None:
        """Load what the providers need, which takes seconds where keys are set: before requests come, who serves."""
        assert self.provider is not None

    async def text(
        self, ctx: Context | None, messages: Sequence[LLMMessage], *, purpose: str, stream: bool = False
    ) -> tuple[str, ModelUsed]:
        """A reply in words. Raises `AgentFailed`, also for an empty one."""
        request = self._request(messages)
        if ctx is None or not stream:
            response = await self._asked(ctx, request, purpose, None)
        else:
            async with Chunks(ctx) as chunks:
                response = await self._asked(ctx, request, purpose, chunks)
        text = response.message.text.strip()
        if not text:
            raise AgentFailed("LLM_BAD_REPLY", f"{self._who(response)} gave an empty reply")
        return text, self._used_for(response)

    async def form(
        self,
        ctx: Context | None,
        messages: Sequence[LLMMessage],
        form: Form[T],
        *,
        purpose: str,
        check: Callable[[T], str | None] | None = None,
        code: str = "LLM_BAD_REPLY",
        stream_field: str | None = None,
        temperature: float | None = None,
        repairs: int = REPAIRS,
    ) -> tuple[T, ModelUsed]:
        """A reply that has a form. What is wrong with one is told to the model, `repairs` times at most.

        Args:
            check: Says what is wrong with a reply that has the form; None where nothing is.
            code: Of the failure, when the last reply did not pass `check`.
            stream_field: The field whose text is streamed; nothing is by default.

        Raises:
            AgentFailed: no reply came, or none that is right.
        """
        call = _FormCall(messages, form, purpose, check, code, temperature, repairs)
        if ctx is None or stream_field is None:
            return await self._filled(ctx, call, None)
        async with Chunks(ctx, field=stream_field) as chunks:
            return await self._filled(ctx, call, chunks)

    async def _filled(self, ctx: Context | None, call: _FormCall[T], chunks: Chunks | None) -> tuple[T, ModelUsed]:
        asked, purpose = list(call.messages), call.purpose
        for left in range(call.repairs, -1, -1):
            response = await self._asked(ctx, self._request(asked, call.form.spec, call.temperature), purpose, chunks)
            said = response.message.text
            reply, failed, problem = call.read(said)
            if reply is not None:
                return reply, self._used_for(response)
            if not left:
                who = self._who(response)
                raise AgentFailed(failed, f"no good reply of {who} to {call.purpose!r}: {problem[:_SHOWN]}")
            complaint = f"Your reply cannot be used: {problem}. Give the whole JSON object again, corrected."
            asked += [LLMMessage.of("assistant", said or "(nothing)"), LLMMessage.of("user", complaint)]
            purpose = f"{call.purpose}.repair"
            if chunks is not None:
                chunks.restart()
        raise AssertionError("unreachable")

    def _request(
        self,
        messages: Sequence[LLMMessage],
        form: StructuredOutputSpec | None = None,
        temperature: float | None = None,
    ) -> LLMRequest:
        return LLMRequest(
            self.provider.model,
            tuple(messages),
            structured_output=form,
            temperature=self._temperature if temperature is None else temperature,
            max_tokens=self._max_tokens,
        )

    async def _asked(
        self, ctx: Context | None, request: LLMRequest, purpose: str, chunks: Chunks | None
    ) -> CompletionResponse:
        try:
            if ctx is None:
                return await ask(self.provider, request, policy=self._policy)
            return await ask_in(
                ctx,
                self.provider,
                request,
                policy=self._policy,
                purpose=purpose,
                on_event=None if chunks is None else chunks.take,
                on_restart=None if chunks is None else chunks.restart,
            )
        except LLMError as error:
            raise _failed(error, " and ".join(self._names) or "the scripted model") from error

    def _used_for(self, response: CompletionResponse) -> ModelUsed:
        answered = self._names.get(response.model or "")
        if answered is None or answered.provider == self._first.provider:
            return self._first
        return _used(answered, fallback=True)

    def _who(self, response: CompletionResponse) -> str:
        used = self._used_for(response)
        return f"{used.provider}/{used.model}"


def make_model(settings: Settings, *, create: Create = create_provider, backoff_s: float = BACKOFF) -> Model:
    """The model of the settings; a scripted one where no key is set."""
    names = names_of(settings)
    about: dict[str, Any] = {
        "temperature": settings.llm_temperature,
        "max_tokens": settings.llm_max_tokens,
        "timeout_s": settings.llm_timeout,
        "backoff_s": backoff_s,
    }
    if not names:
        return Model(scripted_model, **about)
    return Model(lambda: connected(names, create), names, **about)


def _used(named: Named, *, fallback: bool = False) -> ModelUsed:
    return ModelUsed(provider=named.provider, model=named.model, scripted=False, fallback=fallback)


def _failed(error: LLMError, who: str) -> AgentFailed:
    """What is told of a failure: its kind, and nothing of what the provider said, which may quote keys and prompts."""
    if isinstance(error, LLMContextLengthError):
        return AgentFailed("LLM_REFUSED", f"the request is longer than {who} takes")
    if isinstance(error, LLMInvalidRequestError):
        return AgentFailed("LLM_REFUSED", f"{who} does not take the request (status {error.status_code})")
    kinds: tuple[tuple[type[LLMError], str], ...] = (
        (LLMTimeoutError, "did not answer in time"),
        (LLMRateLimitError, "has too many requests now"),
        (LLMAuthError, "refuses its key"),
        (LLMServerError, "cannot be reached, or failed"),
    )
    what = next((said for kind, said in kinds if isinstance(error, kind)), "failed")
    return AgentFailed("LLM_UNAVAILABLE", f"{who} {what}")
