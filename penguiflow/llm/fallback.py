"""Going on with another key or another model when one fails.

An entry is one model with one key. Who fails for its key, for too many requests, for a failure of the server or for the
time it takes, is left alone for a while (its cooldown), and the next one is asked: first the other keys of the model,
then the other models.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from penguiflow.llm.calls import fitted
from penguiflow.llm.cooldown import CooldownStore, Entry, ModelFallbackConfig, Turns
from penguiflow.llm.errors import LLMError, LLMTimeoutError
from penguiflow.llm.json_client import known_error
from penguiflow.llm.profiles.model import ModelProfile
from penguiflow.llm.providers.base import Provider, Rotation
from penguiflow.llm.types import CancelToken, CompletionResponse, LLMRequest, StreamCallback, StreamEvent

__all__ = [
    "AdapterFactory",
    "CooldownStore",
    "Entry",
    "FallbackLLMClient",
    "FallbackProvider",
    "GenericFallbackLLMClient",
    "ModelFallbackConfig",
    "ProviderFactory",
]

AdapterFactory = Callable[..., Any]
"""Makes a client from a model and `api_key=`."""
ProviderFactory = Callable[..., Provider]
"""Makes a provider from a model and `api_key=`."""


class FallbackProvider(Rotation):
    """A provider over several. `response.model` tells who answered when that was not the first."""

    def __init__(
        self,
        primary_model: str,
        config: ModelFallbackConfig,
        *,
        provider_factory: ProviderFactory,
        cooldown_store: CooldownStore | None = None,
        default_api_key: str | None = None,
        **provider_kwargs: Any,
    ) -> None:
        """`provider_kwargs` go to the factory; `base_url` only for models of the first one's provider."""
        self._turns = Turns(primary_model, config, cooldown_store, default_api_key)
        self._factory = provider_factory
        self._kwargs = provider_kwargs
        self._made: dict[Entry, Provider] = {}
        self._primary_model = primary_model
        self._first = self._provider(self._turns.entries[0])

    @property
    def provider_name(self) -> str:
        """That of the first."""
        return self._first.provider_name

    @property
    def profile(self) -> ModelProfile:
        """That of the first."""
        return self._first.profile

    @property
    def model(self) -> str:
        """That of the first."""
        return self._first.model

    async def complete(
        self,
        request: LLMRequest,
        *,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
        stream: bool = False,
        on_stream_event: StreamCallback | None = None,
    ) -> CompletionResponse:
        """Ask one after the other until one has answered; `timeout_s` is for each.

        Once pieces of an answer were given out, its failure is raised: nobody could tell them from those of another.
        """
        told = False

        def listen(event: StreamEvent) -> None:
            nonlocal told
            told = True
            assert on_stream_event is not None
            on_stream_event(event)

        listener = listen if on_stream_event is not None else None
        return await self._turns.until_answered(
            lambda: self.attempt(request, timeout_s=timeout_s, cancel=cancel, stream=stream, on_stream_event=listener),
            lambda: not told,
        )

    async def attempt(
        self,
        request: LLMRequest,
        *,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
        stream: bool = False,
        on_stream_event: StreamCallback | None = None,
    ) -> CompletionResponse:
        """Ask the first that is not left alone; wait for one if all are."""
        entry: Entry | None = None
        try:
            async with asyncio.timeout(timeout_s) as bound:
                entry = await self._turns.take()
                provider = self._provider(entry)
                response = await provider.complete(
                    fitted(provider, replace(request, model=entry[0])),
                    timeout_s=timeout_s,
                    cancel=cancel,
                    stream=stream,
                    on_stream_event=on_stream_event,
                )
        except LLMError as error:
            if entry is not None:
                self._turns.failed(entry, error)
            raise
        except TimeoutError as error:
            if not bound.expired():
                raise
            late = LLMTimeoutError(f"{(entry or self._turns.entries[0])[0]} did not answer within {timeout_s:.3g} s")
            if entry is not None:
                self._turns.failed(entry, late)
            raise late from error
        if entry[0] != self._primary_model and response.model is None:
            return replace(response, model=entry[0])
        return response

    def has_another(self, error: LLMError, tried: int) -> bool:
        """Whether an entry that was not asked yet is free."""
        return self._turns.has_another(error, tried)

    def _provider(self, entry: Entry) -> Provider:
        if entry not in self._made:
            kwargs = dict(self._kwargs)
            if not self._turns.is_at_home(entry[0]):
                kwargs.pop("base_url", None)
            self._made[entry] = self._factory(entry[0], api_key=self._turns.key(entry), **kwargs)
        return self._made[entry]


class GenericFallbackLLMClient:
    """A `JSONLLMClient` over several of them."""

    def __init__(
        self,
        primary_model: str,
        config: ModelFallbackConfig,
        *,
        client_factory: AdapterFactory,
        cooldown_store: CooldownStore | None = None,
        default_api_key: str | None = None,
        **client_kwargs: Any,
    ) -> None:
        """`client_factory(model, api_key=…, **client_kwargs)` makes each of them when it is first needed."""
        self._turns = Turns(primary_model, config, cooldown_store, default_api_key)
        self._factory = client_factory
        self._kwargs = client_kwargs
        self._made: dict[Entry, Any] = {}
        self._model = primary_model

    @property
    def model(self) -> str:
        """The model that was asked last, at first the first one."""
        return self._model

    async def complete(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        response_format: Mapping[str, Any] | None = None,
        stream: bool = False,
        on_stream_chunk: Callable[[str, bool], None] | None = None,
        on_reasoning_chunk: Callable[[str, bool], None] | None = None,
    ) -> Any:
        """What the first client that succeeds gives."""
        given: dict[str, Any] = {"messages": messages, "response_format": response_format, "stream": stream}
        return await self._call("complete", given, on_stream_chunk, on_reasoning_chunk)

    async def _call(
        self,
        method: str,
        given: dict[str, Any],
        on_stream_chunk: Callable[[str, bool], None] | None,
        on_reasoning_chunk: Callable[[str, bool], None] | None,
    ) -> Any:
        told = False

        def listening(callback: Callable[[str, bool], None] | None) -> Callable[[str, bool], None] | None:
            def tell(piece: str, done: bool) -> None:
                nonlocal told
                told = True
                assert callback is not None
                callback(piece, done)

            return tell if callback is not None else None

        given["on_stream_chunk"] = listening(on_stream_chunk)
        if on_reasoning_chunk is not None:
            given["on_reasoning_chunk"] = listening(on_reasoning_chunk)

        async def attempt() -> Any:
            entry = await self._turns.take()
            client = self._client(entry)
            self._model = entry[0]
            try:
                return await getattr(client, method)(**given)
            except LLMError as error:
                self._turns.failed(entry, error)
                raise
            except Exception as error:  # a client's library has its own errors; unknown ones go on as they are
                known = known_error(error, entry[0])
                if known is None:
                    raise
                self._turns.failed(entry, known)
                raise known from error

        return await self._turns.until_answered(attempt, lambda: not told)

    def _client(self, entry: Entry) -> Any:
        if entry not in self._made:
            self._made[entry] = self._factory(entry[0], api_key=self._turns.key(entry), **self._kwargs)
        return self._made[entry]


class FallbackLLMClient(GenericFallbackLLMClient):
    """A planner's client over several models: each is a `NativeLLMAdapter`, or what `adapter_factory` makes."""

    def __init__(
        self,
        primary_model: str,
        config: ModelFallbackConfig,
        *,
        cooldown_store: CooldownStore | None = None,
        adapter_factory: AdapterFactory | None = None,
        default_api_key: str | None = None,
        **adapter_kwargs: Any,
    ) -> None:
        """`adapter_kwargs` go to each adapter. One attempt of an adapter is enough where another can be asked."""
        if adapter_factory is None:
            from penguiflow.llm.protocol import NativeLLMAdapter

            adapter_factory = NativeLLMAdapter
            adapter_kwargs.setdefault("max_retries", 0)
        super().__init__(
            primary_model,
            config,
            client_factory=adapter_factory,
            cooldown_store=cooldown_store,
            default_api_key=default_api_key,
            **adapter_kwargs,
        )

    async def complete_with_tools(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Any],
        stream: bool = False,
        on_stream_chunk: Callable[[str, bool], None] | None = None,
        on_reasoning_chunk: Callable[[str, bool], None] | None = None,
    ) -> Any:
        """What the first adapter that succeeds gives."""
        given: dict[str, Any] = {"messages": messages, "tools": tools, "stream": stream}
        return await self._call("complete_with_tools", given, on_stream_chunk, on_reasoning_chunk)
