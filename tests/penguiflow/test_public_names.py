"""The names that programs written for penguiflow 3 import."""

from __future__ import annotations

import importlib.metadata
from importlib import import_module

import pytest

import penguiflow

PUBLIC = """
    __version__ ArtifactRef ArtifactRetentionConfig ArtifactScope ArtifactStore InMemoryArtifactStore
    NoOpArtifactStore discover_artifact_store configure_logging ExtraFormatter StructuredFormatter Context CycleError
    PenguiFlow DEFAULT_QUEUE_MAXSIZE create call_playbook Node NodePolicy ModelRegistry NodeSpec SideEffect
    ToolInputExample ToolLoadingMode build_catalog tool Middleware log_flow_events LatencyCallback FlowEvent
    format_flow_event FlowError FlowErrorCode MessageBus BusEnvelope Headers Message StreamChunk PlanStep Thought WM
    FinalAnswer map_concurrent join_k predicate_router union_router DictRoutingPolicy RoutingPolicy RoutingRequest
    format_sse_event chunk_to_ws_json stream_flow emit_stream_events flow_to_mermaid flow_to_dot testkit
    SteeringCancelled SteeringEvent SteeringEventType SteeringInbox StateStore StoredEvent RemoteBinding
    SupportsConversationBindings RemoteTransport RemoteCallRequest RemoteCallResult RemoteStreamEvent RemoteNode
    REMOTE_TERMINAL_TASK_STATES RemotePushNotificationBinding RemoteTaskAuthRequired RemoteTaskEvent
    RemoteTaskInputRequired RemoteTaskPage RemoteTaskSnapshot RemoteTaskState RemoteTaskStatus SupportsRemoteTasks
"""
IN_MODULES = {
    "core": """TraceCancelled Endpoint OPEN_SEA ROOKERY Floe BUDGET_EXCEEDED_TEXT DEADLINE_EXCEEDED_TEXT
        TOKEN_BUDGET_EXCEEDED_TEXT""",
    "artifacts": "ScopedArtifacts sanitize_artifact_namespace",
    "policies": "evaluate_policy",
    "admin": "load_state_store render_events main",
    "state": """InMemoryStateStore PlaygroundArtifactStore require_capabilities missing_capabilities TaskState
        StateUpdate SteeringEvent SteeringEventType TaskContextSnapshot TaskStatus TaskType UpdateType RemoteBinding
        StateStore StoredEvent""",
    "state.in_memory": "InMemoryStateStore PlaygroundArtifactStore",
    "state.models": "TaskStateModel TaskState StoredEvent SteeringEvent",
    "state.protocol": """SupportsArtifacts SupportsConversationBindings SupportsMemoryState SupportsPlannerEvents
        SupportsPlannerState SupportsSteering SupportsTasks SupportsTrajectories""",
    "state.adapters": """get_artifact_store save_update_compat list_updates_compat save_task_compat list_tasks_compat
        save_steering_compat list_steering_compat save_planner_event_compat list_planner_events_compat
        maybe_save_remote_binding""",
    "steering": """sanitize_payload sanitize_steering_event validate_steering_event SteeringValidationError
        MAX_STEERING_PAYLOAD_BYTES MAX_STEERING_DEPTH MAX_STEERING_KEYS MAX_STEERING_LIST_ITEMS MAX_STEERING_STRING
        InMemoryGuardInbox SteeringGuardInbox SteeringGuardEvent SteeringGuardResponse""",
    "llm": "AudioPart LLMClient LLMRequest Provider ScriptedModel create_provider generate_structured provider_of",
    "llm.client": "LLMClient LLMClientConfig LLMResult generate_structured",
    "llm.errors": """LLMAuthError LLMCancelledError LLMContextLengthError LLMError LLMInvalidRequestError LLMParseError
        LLMRateLimitError LLMServerError LLMTimeoutError LLMValidationError extract_clean_error_message
        is_context_length_error is_retryable is_temperature_error map_status_to_error""",
    "llm.fallback": "CooldownStore FallbackLLMClient FallbackProvider GenericFallbackLLMClient ModelFallbackConfig",
    "llm.pricing": "calculate_cost calculate_cost_from_usage get_pricing register_pricing",
    "llm.profiles": "ModelProfile get_profile get_profiles get_schema_transformer register_profile",
    "llm.protocol": "NativeLLMAdapter NativeToolCallResult create_native_adapter",
    "llm.providers": "create_provider",
    "llm.providers.base": "Provider",
    "llm.retry": """ModelRetry RetryConfig RetryState ValidationRetry call_with_retry format_parse_retry_message
        format_validation_retry_message""",
    "llm.routing": """build_model_string estimate_context_window get_provider_for_model is_reasoning_model
        is_vision_model normalize_model_id parse_model_string""",
    "llm.schema.plan": "OutputMode SchemaPlan choose_output_mode plan_schema",
    "llm.schema.transformer": "JsonSchemaTransformer estimate_object_key_count has_composition_keywords has_refs",
    "llm.telemetry": """LLMEvent TelemetryCallback TelemetryHooks TimingContext create_mlflow_callback
        create_prometheus_callback default_logger_callback get_telemetry_hooks set_telemetry_hooks""",
    "llm.tracing": """TRACING_ENV_VAR LLMCallSpan LLMTraceSink LoggingLLMTraceSink MlflowLLMTraceSink
        resolve_trace_sink_from_env""",
    "llm.types": """AudioPart CancelToken CompletionResponse Cost ImagePart LLMMessage LLMRequest StreamEvent
        StructuredOutputSpec TextPart ToolCallPart ToolResultPart ToolSpec Usage extract_single_tool_call extract_text
        strip_markdown_fences""",
    "planner.memory": """ConversationTurn DefaultShortTermMemory MemoryBudget MemoryBudgetExceeded MemoryHealth
        MemoryIsolation MemoryKey ShortTermMemory ShortTermMemoryArtifacts ShortTermMemoryConfig
        ShortTermMemoryPersistence ShortTermMemorySerializable TrajectoryDigest default_token_estimator""",
    "steering.steering": "SteeringInbox SteeringEvent sanitize_payload",
    "steering.guard_inbox": "InMemoryGuardInbox SteeringGuardEvent",
}


def test_names_of_the_package() -> None:
    assert [name for name in PUBLIC.split() if name not in penguiflow.__all__] == []
    assert [name for name in PUBLIC.split() if not hasattr(penguiflow, name)] == []


@pytest.mark.parametrize("module", IN_MODULES)
def test_names_of_its_modules(module: str) -> None:
    home = import_module(f"penguiflow.{module}")
    assert [name for name in IN_MODULES[module].split() if not hasattr(home, name)] == []


def test_the_source_alone_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def finds_nothing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", finds_nothing)
    names: dict[str, object] = {}
    exec("from penguiflow import *", names)
    assert names["__version__"] == "0+unknown"
    assert set(penguiflow.__all__) <= set(names)
