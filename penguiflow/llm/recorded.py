"""A call of a model from a node's function: an `llm` span of the trace, answered from its recording in a replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penguiflow.callsite import CallSite
from penguiflow.llm.calls import AskPolicy, ask
from penguiflow.llm.errors import LLMError
from penguiflow.llm.stops import before_llm
from penguiflow.llm.text import mended_response
from penguiflow.llm.types import (
    CompletionResponse,
    Cost,
    LLMMessage,
    LLMRequest,
    StreamCallback,
    StreamEvent,
    Usage,
)
from penguiflow.llm.wire import call_about, dump_request, dump_response, load_response

if TYPE_CHECKING:
    from penguiflow.context import Context
    from penguiflow.llm.providers.base import Provider

__all__ = ["ask_in"]


async def ask_in(
    context: Context,
    provider: Provider,
    request: LLMRequest,
    *,
    policy: AskPolicy,
    purpose: str = "main",
    on_event: StreamCallback | None = None,
    on_restart: Callable[[], None] | None = None,
) -> CompletionResponse:
    """Ask a model from within a node, with retries. Recorded where the trace is; `before_llm` may decide otherwise.

    Args:
        context: What the node's function got.
        purpose: What the call is for; lists of calls show it.
        on_event: Gets the pieces of the answer as they come; from a recording the same pieces.
        on_restart: Told that an attempt failed after pieces of it were given out: these are void.

    Raises:
        LLMError: the model failed, after all retries.
    """
    name = f"{provider.provider_name}/{provider.model}"
    site = CallSite.of(context)
    decided = await before_llm(context, site, name, request, purpose)
    if isinstance(decided, str):
        if on_event is not None and decided:
            on_event(StreamEvent(delta_text=decided))
        return CompletionResponse(LLMMessage.of("assistant", decided), Usage.zero(), cost=Cost.zero())
    request = decided
    if not site.recorded:
        return mended_response(await _asked(provider, request, policy, on_event, _told(on_restart)))
    call = _Call(provider, request, policy, on_event, on_restart)
    told = {**dump_request(request), "purpose": purpose}
    answer = await site.call("llm", name, told, call.perform, inside=call.begin, about=call_about)
    if on_event is not None and not call.made:
        _again(answer, on_event)
    return load_response(answer)


async def _asked(
    provider: Provider,
    request: LLMRequest,
    policy: AskPolicy,
    on_event: StreamCallback | None,
    on_retry: Callable[[int, LLMError, float], None] | None,
) -> CompletionResponse:
    return await ask(provider, request, policy=policy, on_event=on_event, on_retry=on_retry)


def _told(on_restart: Callable[[], None] | None) -> Callable[[int, LLMError, float], None] | None:
    return None if on_restart is None else lambda attempt, error, seconds: on_restart()


class _Call:
    """One call on its way into the log."""

    def __init__(
        self,
        provider: Provider,
        request: LLMRequest,
        policy: AskPolicy,
        on_event: StreamCallback | None,
        on_restart: Callable[[], None] | None,
    ) -> None:
        self.provider = provider
        self.request = request
        self.policy = policy
        self.on_event = on_event
        self.on_restart = on_restart
        self.made = False
        self.attempts = 1
        self.pieces: list[int] = []
        """Characters of the pieces that were given out: a replay gives the same."""
        self.site: CallSite | None = None

    def begin(self, site: CallSite) -> None:
        self.site = site

    async def perform(self) -> dict[str, Any]:
        self.made = True
        listener = None if self.on_event is None else self._listen
        try:
            response = await _asked(self.provider, self.request, self.policy, listener, self._retried)
        except LLMError as error:
            # A recording makes it again from these.
            error.args = (error.message, error.provider, error.status_code, error.retryable)
            raise
        data = dump_response(mended_response(response))
        if self.pieces:
            data["pieces"] = self.pieces
        return data if self.attempts == 1 else {**data, "attempts": self.attempts}

    def _listen(self, event: StreamEvent) -> None:
        if event.delta_text:
            self.pieces.append(len(event.delta_text))
        assert self.on_event is not None
        self.on_event(event)

    def _retried(self, attempt: int, error: LLMError, seconds: float) -> None:
        self.attempts += 1
        self.pieces.clear()
        if self.site is not None:
            about = {"attempt": attempt, "sleep_s": seconds, "error": f"{type(error).__name__}: {error}"}
            self.site.event("node.retry", self.provider.model, about)
        if self.on_restart is not None:
            self.on_restart()


def _again(answer: dict[str, Any], on_event: StreamCallback) -> None:
    """Give out the pieces of a recorded answer."""
    text, start = load_response(answer).message.text, 0
    for length in answer.get("pieces", ()):
        on_event(StreamEvent(delta_text=text[start : start + length]))
        start += length
    on_event(StreamEvent(done=True, finish_reason=answer.get("finish_reason")))
