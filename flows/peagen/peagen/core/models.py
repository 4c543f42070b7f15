"""Asking a model for a file: which one, with which words, and what becomes of a failure."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from peagen.config.llm import SCRIPTED, ModelChoice
from peagen.core.cache import Answer, sha_of
from peagen.core.prompts import SYSTEM_PROMPT
from peagen.errors import ModelFailed

if TYPE_CHECKING:
    from penguiflow import Context
    from penguiflow.llm import AskPolicy, CompletionResponse, LLMError, LLMRequest, Provider

CHARACTERS_PER_TOKEN = 4
RETRIES = 4
"""Of a call that failed on its way, or was refused for too many others."""
BACKOFF_S = 1.0
NO_KEY = "unused"  # what a server of one's own is told, where no key is set
NAMES = {"gemini": "google", "o1": "openai"}
"""Providers that have another name here."""
SERVERS = {
    "ai21studio": "https://api.ai21.com/studio/v1",
    "cerebras": "https://api.cerebras.ai/v1",
    "cohere": "https://api.cohere.ai/compatibility/v1",
    "deepinfra": "https://api.deepinfra.com/v1/openai",
    "deepseek": "https://api.deepseek.com/v1",
    "groq": "https://api.groq.com/openai/v1",
    "hyperbolic": "https://api.hyperbolic.xyz/v1",
    "llamacpp": "http://localhost:8080/v1",
    "mistral": "https://api.mistral.ai/v1",
}
"""Who speaks OpenAI's protocol, and where; `base_url` says otherwise."""
KEYLESS = frozenset({"llamacpp"})
_OWN = frozenset({"openai", "anthropic", "google", "openrouter", "nim", "databricks"})

OnRetry = Callable[[int, str, float], None]
"""Told of an attempt that failed: its number, what went wrong ("" where only the recording tells), and the seconds
until the next one."""


def name_of(choice: ModelChoice) -> str:
    """As it is told to people, and in the lock file: `provider/model`."""
    return choice.model if choice.provider == choice.model else f"{choice.provider}/{choice.model}"


def priced_as(choice: ModelChoice) -> str:
    """The name by which `penguiflow.llm` knows its price."""
    provider = NAMES.get(choice.provider, choice.provider)
    return f"{provider}/{choice.model}" if provider in _OWN else choice.model


def answer_key(choice: ModelChoice, prompt: str) -> str:
    """The hash of all that decides an answer; where the model is, and the key, do not."""
    asked = [SYSTEM_PROMPT, prompt, choice.provider, choice.model, choice.temperature, choice.max_tokens]
    return sha_of(asked)


def tokens_in(text: str) -> int:
    """About how many tokens a text has."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


class Model:
    """One model, asked for one file at a time by as many as want to."""

    def __init__(self, choice: ModelChoice, *, retries: int = RETRIES, backoff_s: float = BACKOFF_S) -> None:
        """Nothing is loaded before the first question."""
        self.choice = choice
        self._retries = retries
        self._backoff_s = backoff_s
        self._provider: Provider | None = None
        self._refused: ModelFailed | None = None

    async def ask(
        self, prompt: str, *, purpose: str, context: Context | None = None, on_retry: OnRetry | None = None
    ) -> Answer:
        """The answer to a prompt; within a flow it is recorded as a call of `context`'s node.

        Raises:
            ModelFailed: no answer came. Once a model refused its key, nobody asks again.
        """
        from penguiflow.llm import AskPolicy, LLMError, LLMMessage, LLMRequest

        if self._refused is not None:
            raise self._refused
        provider = self._connected()
        request = LLMRequest(
            provider.model,
            (LLMMessage.of("system", SYSTEM_PROMPT), LLMMessage.of("user", prompt)),
            temperature=self.choice.temperature,
            max_tokens=self.choice.max_tokens,
        )
        policy = AskPolicy(timeout_s=self.choice.timeout_s, max_retries=self._retries, backoff_s=self._backoff_s)
        try:
            response = await _asked(provider, request, policy, purpose, context, on_retry)
        except LLMError as error:
            raise self._failed(error) from error
        return self._read(response, prompt)

    def _connected(self) -> Provider:
        if self._provider is None:
            self._provider = connect(self.choice)
        return self._provider

    def _read(self, response: CompletionResponse, prompt: str) -> Answer:
        text, usage, known = response.message.text, response.usage, response.usage_known
        return Answer(
            text=text,
            input_tokens=usage.input_tokens if known else tokens_in(SYSTEM_PROMPT + prompt),
            output_tokens=usage.output_tokens if known else tokens_in(text),
            cost=None if response.cost is None else response.cost.total_cost,
            finish_reason=response.finish_reason,
        )

    def check(self, answer: Answer) -> None:
        """Raise `ModelFailed` for an answer that is none, or only the beginning of one."""
        who = name_of(self.choice)
        if answer.finish_reason == "length":
            raise ModelFailed(
                f"the answer of {who} was cut off after {self.choice.max_tokens} tokens",
                hint="Allow more with max_tokens in --agent-env, or llm.default_max_tokens in .peagen.toml.",
            )
        if answer.finish_reason == "content_filter":
            raise ModelFailed(f"{who} gave no answer: its content filter kept it back")
        if not answer.text.strip():
            raise ModelFailed(f"the answer of {who} is empty")

    def _failed(self, error: LLMError) -> ModelFailed:
        from penguiflow.llm import LLMAuthError, LLMContextLengthError

        who = name_of(self.choice)
        if isinstance(error, LLMContextLengthError):
            return ModelFailed(f"the prompt is longer than {who} takes: {error.message}")
        if isinstance(error, LLMAuthError):
            variable = f"{self.choice.provider.upper()}_API_KEY"
            self._refused = ModelFailed(
                f"{who} refuses the key: {error.message}", hint=f"Set {variable} to a valid one."
            )
            return self._refused
        return ModelFailed(f"{who} failed: {error.message}")


async def _asked(
    provider: Provider,
    request: LLMRequest,
    policy: AskPolicy,
    purpose: str,
    context: Context | None,
    on_retry: OnRetry | None,
) -> CompletionResponse:
    from penguiflow.llm import ask, ask_in

    def told(attempt: int, error: LLMError, seconds: float) -> None:
        if on_retry is not None:
            on_retry(attempt, error.message, seconds)

    if context is None:
        return await ask(provider, request, policy=policy, on_retry=told)
    failed = itertools.count(1)

    def restarted() -> None:  # why is recorded with the call
        if on_retry is not None:
            on_retry(next(failed), "", 0.0)

    return await ask_in(context, provider, request, policy=policy, purpose=purpose, on_restart=restarted)


def connect(choice: ModelChoice) -> Provider:
    """The provider for a choice. Raises `ModelFailed` for one that nobody knows, or that has no key."""
    if choice.provider == SCRIPTED:
        from peagen.scripted import scripted_model

        return scripted_model()
    from penguiflow.llm import create_provider

    provider = NAMES.get(choice.provider, choice.provider)
    url, key = choice.base_url, choice.api_key
    if provider in SERVERS:
        # The prefix tells which protocol is spoken there.
        name, url = f"openai/{choice.model}", url or SERVERS[provider]
    elif provider in _OWN:
        name = f"{provider}/{choice.model}"
    elif url is not None:
        name = f"openai/{choice.model}"
    else:
        known = ", ".join(sorted({*_OWN, *SERVERS, *NAMES, SCRIPTED}))
        raise ModelFailed(
            f"the provider {choice.provider!r} is not known",
            hint=f"Known are {known}; another one that speaks OpenAI's protocol needs base_url in --agent-env.",
        )
    if not key and (choice.base_url is not None or provider in KEYLESS):
        key = NO_KEY
    if not key:
        variable = f"{choice.provider.upper().replace('-', '_')}_API_KEY"
        raise ModelFailed(
            f"there is no key for {choice.provider}",
            hint=f"Set {variable}, api_key in --agent-env, or llm.api_keys in .peagen.toml;"
            " --provider scripted needs none.",
        )
    try:
        return create_provider(name, api_key=key, base_url=url)
    except (ImportError, ValueError) as error:
        raise ModelFailed(f"{name_of(choice)} cannot be asked: {error}") from error
