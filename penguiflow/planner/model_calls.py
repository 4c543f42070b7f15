"""One call of a model: decided upon, counted, bounded, recorded and told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from penguiflow.failures import InterceptorFailed
from penguiflow.llm.calls import AskPolicy, ask
from penguiflow.llm.errors import LLMError
from penguiflow.llm.text import mended_response
from penguiflow.llm.types import CompletionResponse, Cost, LLMMessage, LLMRequest, StreamCallback, Usage
from penguiflow.llm.wire import call_about, dump_message, dump_request, dump_response, load_request, load_response
from penguiflow.planner.bounds import bounded
from penguiflow.planner.budgets import CallKind
from penguiflow.planner.checkpoints import consult
from penguiflow.planner.signals import LimitReached

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.llm.providers.base import Provider
    from penguiflow.planner.run import PlannerRun

__all__ = ["ask_model"]

CHARS_PER_TOKEN = 3.5
BACKOFF_S = 1.0
_MOST_OLD = 16  # messages that no prompt has any more, beside as many as the last prompt has
_KINDS: dict[str, CallKind] = {"critique": "reflection", "clarification": "reflection", "summary": "summarizer"}
"""What a call counts as; `main` for all other purposes."""


async def ask_model(
    run: PlannerRun,
    site: CallSite,
    request: LLMRequest,
    *,
    purpose: str,
    provider: Provider | None = None,
    on_event: StreamCallback | None = None,
    on_restart: Callable[[], None] | None = None,
) -> CompletionResponse:
    """Ask a model, with retries, within the limits of the run. `before_llm` and `on_error` may decide otherwise.

    Args:
        purpose: What for: `decision`, `repair`, `arg_fill`, `critique`, `summary` …; by default it tells which of the
            run's models is asked, and what the call counts as.
        on_event: Gets the pieces of the answer; nothing when it comes from a recording.
        on_restart: Told that an attempt failed: the pieces until now are void.

    Raises:
        LimitReached: a limit of the run is reached; no (further) attempt was made.
        LLMError: the model failed, after all retries.
        RunAborted: an interceptor decided so.
        SteeringCancelled: the run is cancelled by a steering event.
    """
    kind = _KINDS.get(purpose, "main")
    if provider is None:
        provider = {"main": run.models.main, "reflection": run.models.reflection, "summarizer": run.models.summarizer}[
            kind
        ]
    name = f"{provider.provider_name}/{provider.model}"
    if run.interceptors or site.recorded:
        asked = request
        decision = await consult(run, site, "before_llm", name, lambda: {**dump_request(asked), "purpose": purpose})
        if decision.action == "skip":
            return _reply(decision.value)
        if decision.action == "edit":
            request = _given("before_llm", decision.value)
    while True:
        call = _Call(run, provider, request, kind, on_event, on_restart)
        try:
            return await call.made(site, name, purpose)
        except LLMError as error:
            if not (run.interceptors or site.recorded):
                raise
            decision = await consult(run, site, "on_error", name, partial(_failure, name, error))
            if on_restart is not None and decision.action in ("skip", "edit", "retry"):
                on_restart()
            if decision.action == "skip":
                return _reply(decision.value)
            if decision.action == "edit":
                request = _given("on_error", decision.value)
            elif decision.action != "retry":
                raise


class _Call:
    """One call on its way."""

    def __init__(
        self,
        run: PlannerRun,
        provider: Provider,
        request: LLMRequest,
        kind: CallKind,
        on_event: StreamCallback | None,
        on_restart: Callable[[], None] | None,
    ) -> None:
        self.run = run
        self.provider = provider
        self.request = request
        self.kind = kind
        self.on_event = on_event
        self.on_restart = on_restart
        self.attempts = 0
        self.site: CallSite | None = None
        """Within the call, where it is recorded."""

    async def made(self, site: CallSite, name: str, purpose: str) -> CompletionResponse:
        """The answer, from the model or from the recording, counted and told."""
        run, started = self.run, perf_counter()
        try:
            if site.recorded:
                response = await self._recorded(site, name, purpose)
            else:
                response = await self._perform()
        except LimitReached as reached:
            run.budgets.reached(reached.limit)
            self._count_replayed(reached.attempts)
            raise
        except LLMError as error:
            self._count_replayed(error.raw.get("attempts", 0) if isinstance(error.raw, dict) else 0)
            self._tell(name, purpose, perf_counter() - started, None, error)
            raise
        run.budgets.add(response)
        self._tell(name, purpose, perf_counter() - started, response, None)
        return response

    async def _recorded(self, site: CallSite, name: str, purpose: str) -> CompletionResponse:
        def inside(within: CallSite) -> None:
            self.site = within

        told = {**dump_request(self.request), "purpose": purpose}
        answer = await site.call("llm", name, told, self._perform_plain, inside=inside, about=call_about)
        self._count_replayed(answer.get("attempts", 1))
        return load_response(answer)

    def _count_replayed(self, attempts: int) -> None:
        """What comes from a recording counts as it did."""
        if not self.attempts:
            self.run.budgets.count_requests(self.kind, attempts)

    async def _perform_plain(self) -> dict[str, Any]:
        try:
            data = dump_response(await self._perform())
        except LLMError as error:
            # A recording makes it again from these.
            error.args = (
                error.message,
                error.provider,
                error.status_code,
                error.retryable,
                {"attempts": self.attempts},
            )
            raise
        return data if self.attempts == 1 else {**data, "attempts": self.attempts}

    async def _perform(self) -> CompletionResponse:
        budgets = self.run.budgets
        left = budgets.seconds_left()
        if left is None:
            return await self._asked()
        started = perf_counter()
        try:
            async with asyncio.timeout(left) as bound:
                return await self._asked()
        except (TimeoutError, LLMError) as error:
            if bound.expired() or perf_counter() - started >= left:
                raise LimitReached("deadline", self.attempts) from None
            if isinstance(error, LLMError):
                raise
            raise LLMError(f"the provider raised {type(error).__name__}: {error}") from error

    async def _asked(self) -> CompletionResponse:
        settings = self.run.settings
        asking = ask(
            self.provider,
            self.request,
            policy=AskPolicy(
                timeout_s=settings.llm_timeout_s, max_retries=settings.llm_max_retries, backoff_s=BACKOFF_S
            ),
            seconds_left=self.run.budgets.seconds_left,
            before_attempt=self._before_attempt,
            on_event=self.on_event,
            on_retry=self._on_retry,
        )
        response: CompletionResponse = await bounded(asking, None, self.run.steering)
        return mended_response(response)

    def _before_attempt(self) -> None:
        if not self.run.budgets.take_request(self.kind):
            raise LimitReached(self.run.budgets.exceeded() or "requests", self.attempts)
        self.attempts += 1

    def _on_retry(self, attempt: int, error: LLMError, sleep_s: float) -> None:
        if self.site is not None:
            about = {"attempt": attempt, "sleep_s": sleep_s, "error": f"{type(error).__name__}: {error}"}
            self.site.event("node.retry", self.provider.model, about)
        if self.on_restart is not None:
            self.on_restart()

    def _tell(
        self, name: str, purpose: str, seconds: float, response: CompletionResponse | None, error: LLMError | None
    ) -> None:
        events = self.run.events
        if not events.listening:
            return
        extra: dict[str, Any] = {"purpose": purpose, "model": name, "attempts": max(1, self.attempts)}
        extra["messages"], chars = _messages(self.run, self.request)
        if response is not None:
            extra["reply"] = response.message.text
            extra.update(call_about(dump_response(response)))
        failed = None if error is None else f"{type(error).__name__}: {error}"
        estimate = int(chars / CHARS_PER_TOKEN)
        events.emit("llm_call", latency_ms=seconds * 1e3, token_estimate=estimate, error=failed, **extra)


def _messages(run: PlannerRun, request: LLMRequest) -> tuple[list[dict[str, Any]], int]:
    """The messages as data, and the characters of their texts. Those that the last call had are not made again."""
    known, data, chars = run.dumped, [], 0
    for message in request.messages:
        made = known.get(id(message))
        if made is None:
            # The message is kept with it, or another one could come to have its id.
            made = known[id(message)] = (message, dump_message(message), len(message.text))
        data.append(made[1])
        chars += made[2]
    if len(known) > 2 * len(data) + _MOST_OLD:
        run.dumped = {id(each): known[id(each)] for each in request.messages}
    return data, chars


def _reply(value: Any) -> CompletionResponse:
    """What an interceptor gives in the place of a model's answer: a text, or an answer as `dump_response` gives it."""
    if isinstance(value, Mapping) and "message" in value:
        return replace(load_response(value), cost=Cost.zero())
    return CompletionResponse(LLMMessage.of("assistant", str(value)), Usage.zero(), cost=Cost.zero())


def _given(kind: str, value: Any) -> LLMRequest:
    """A request from outside."""
    try:
        return load_request(value)
    except (KeyError, TypeError, ValueError) as error:
        raise InterceptorFailed(f"what an interceptor gave at {kind} is no request: {error!r}") from error


def _failure(name: str, error: LLMError) -> dict[str, Any]:
    told = {"type": type(error).__name__, "message": str(error), "retryable": error.retryable}
    return {"where": "llm", "name": name, "error": told}
