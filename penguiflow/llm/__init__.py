"""Talking to language models: one protocol, a scripted model that needs no key, and providers through an extra."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penguiflow.llm.calls import AskPolicy, ask
    from penguiflow.llm.client import LLMClient, LLMClientConfig, LLMResult, generate_structured
    from penguiflow.llm.connect import provider_of
    from penguiflow.llm.cooldown import CooldownStore, ModelFallbackConfig
    from penguiflow.llm.errors import (
        LLMAuthError,
        LLMCancelledError,
        LLMContextLengthError,
        LLMError,
        LLMInvalidRequestError,
        LLMParseError,
        LLMRateLimitError,
        LLMServerError,
        LLMTimeoutError,
        LLMValidationError,
    )
    from penguiflow.llm.fallback import FallbackLLMClient, FallbackProvider, GenericFallbackLLMClient
    from penguiflow.llm.json_stream import FieldStream
    from penguiflow.llm.pricing import register_pricing
    from penguiflow.llm.profiles import ModelProfile, get_profile, register_profile
    from penguiflow.llm.protocol import NativeLLMAdapter, NativeToolCallResult, create_native_adapter
    from penguiflow.llm.providers import Provider, create_provider
    from penguiflow.llm.recorded import ask_in
    from penguiflow.llm.schema.plan import OutputMode
    from penguiflow.llm.scripted import ScriptedModel, ScriptedReply
    from penguiflow.llm.telemetry import LLMEvent, TelemetryHooks, get_telemetry_hooks
    from penguiflow.llm.types import (
        AudioPart,
        CancelToken,
        CompletionResponse,
        ContentPart,
        Cost,
        ImagePart,
        LLMMessage,
        LLMRequest,
        StreamCallback,
        StreamEvent,
        StructuredOutputSpec,
        TextPart,
        ToolCallPart,
        ToolResultPart,
        ToolSpec,
        Usage,
    )

_MODULES = {
    "calls": (
        "AskPolicy",
        "ask",
    ),
    "client": (
        "LLMClient",
        "LLMClientConfig",
        "LLMResult",
        "generate_structured",
    ),
    "connect": ("provider_of",),
    "cooldown": (
        "CooldownStore",
        "ModelFallbackConfig",
    ),
    "errors": (
        "LLMAuthError",
        "LLMCancelledError",
        "LLMContextLengthError",
        "LLMError",
        "LLMInvalidRequestError",
        "LLMParseError",
        "LLMRateLimitError",
        "LLMServerError",
        "LLMTimeoutError",
        "LLMValidationError",
    ),
    "fallback": (
        "FallbackLLMClient",
        "FallbackProvider",
        "GenericFallbackLLMClient",
    ),
    "json_stream": ("FieldStream",),
    "pricing": ("register_pricing",),
    "profiles": (
        "ModelProfile",
        "get_profile",
        "register_profile",
    ),
    "protocol": (
        "NativeLLMAdapter",
        "NativeToolCallResult",
        "create_native_adapter",
    ),
    "providers": (
        "Provider",
        "create_provider",
    ),
    "recorded": ("ask_in",),
    "schema.plan": ("OutputMode",),
    "scripted": (
        "ScriptedModel",
        "ScriptedReply",
    ),
    "telemetry": (
        "LLMEvent",
        "TelemetryHooks",
        "get_telemetry_hooks",
    ),
    "types": (
        "AudioPart",
        "CancelToken",
        "CompletionResponse",
        "ContentPart",
        "Cost",
        "ImagePart",
        "LLMMessage",
        "LLMRequest",
        "StreamCallback",
        "StreamEvent",
        "StructuredOutputSpec",
        "TextPart",
        "ToolCallPart",
        "ToolResultPart",
        "ToolSpec",
        "Usage",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AskPolicy",
    "AudioPart",
    "CancelToken",
    "CompletionResponse",
    "ContentPart",
    "CooldownStore",
    "Cost",
    "FallbackLLMClient",
    "FallbackProvider",
    "FieldStream",
    "GenericFallbackLLMClient",
    "ImagePart",
    "LLMAuthError",
    "LLMCancelledError",
    "LLMClient",
    "LLMClientConfig",
    "LLMContextLengthError",
    "LLMError",
    "LLMEvent",
    "LLMInvalidRequestError",
    "LLMMessage",
    "LLMParseError",
    "LLMRateLimitError",
    "LLMRequest",
    "LLMResult",
    "LLMServerError",
    "LLMTimeoutError",
    "LLMValidationError",
    "ModelFallbackConfig",
    "ModelProfile",
    "NativeLLMAdapter",
    "NativeToolCallResult",
    "OutputMode",
    "Provider",
    "ScriptedModel",
    "ScriptedReply",
    "StreamCallback",
    "StreamEvent",
    "StructuredOutputSpec",
    "TelemetryHooks",
    "TextPart",
    "ToolCallPart",
    "ToolResultPart",
    "ToolSpec",
    "Usage",
    "ask",
    "ask_in",
    "create_native_adapter",
    "create_provider",
    "generate_structured",
    "get_profile",
    "get_telemetry_hooks",
    "provider_of",
    "register_pricing",
    "register_profile",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
