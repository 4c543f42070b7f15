"""The one protocol by which a planner talks to a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penguiflow.llm.errors import LLMError
    from penguiflow.llm.profiles.model import ModelProfile
    from penguiflow.llm.types import CancelToken, CompletionResponse, LLMRequest, StreamCallback

__all__ = ["Provider", "Rotation"]


class Provider(ABC):
    """One model at one place. An instance serves any number of calls at once and keeps nothing of them.

    It makes one attempt: retries, deadlines and what to do about a failure belong to `penguiflow.llm.calls.ask`.
    """

    @property
    @abstractmethod
    def provider_name(self) -> str:
        """`openai`, `anthropic`, `scripted` …"""

    @property
    @abstractmethod
    def profile(self) -> ModelProfile:
        """What the model can do."""

    @property
    @abstractmethod
    def model(self) -> str:
        """Its name, without the provider's."""

    @abstractmethod
    async def complete(
        self,
        request: LLMRequest,
        *,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
        stream: bool = False,
        on_stream_event: StreamCallback | None = None,
    ) -> CompletionResponse:
        """Ask once.

        With `stream` the pieces go to `on_stream_event` as they come, the last one `done`; the whole answer is
        returned either way, with its usage, and its cost if that is known. A task that is cancelled closes the
        connection.

        Raises:
            LLMError: of the kind that tells what went wrong; nothing else but `CancelledError`.
        """

    def validate_request(self, request: LLMRequest) -> None:  # noqa: B027 - most take any request
        """Raise `LLMInvalidRequestError` for what this model cannot be asked."""

    @property
    def temperature_unsupported(self) -> bool:
        """Whether the model has refused a temperature."""
        return getattr(self, "_temperature_unsupported", False)

    def mark_temperature_unsupported(self) -> None:
        """Send no temperature from here on."""
        self._temperature_unsupported = True


class Rotation(Provider):
    """Several models behind one provider: each attempt asks the one whose turn it is; a failure gives others a turn.

    `complete` goes on until one has answered. `ask` makes the attempts itself, to count and to tell each of them.
    """

    @abstractmethod
    async def attempt(
        self,
        request: LLMRequest,
        *,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
        stream: bool = False,
        on_stream_event: StreamCallback | None = None,
    ) -> CompletionResponse:
        """Ask the one whose turn it is, once. `timeout_s` holds for the wait for a turn, too."""

    @abstractmethod
    def has_another(self, error: LLMError, tried: int) -> bool:
        """Whether another one can be asked at once after this error; `tried` is the number that were."""
