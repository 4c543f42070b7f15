"""Every name that goes to OpenTelemetry, in one place.

Those of the GenAI semantic conventions are still in development and will change; then they change here.
"""

from __future__ import annotations

SCOPE = "penguiflow"
"""Instrumentation scope of spans and metrics."""

# GenAI semantic conventions: attributes
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
AGENT = "gen_ai.agent.name"
WORKFLOW = "gen_ai.workflow.name"
CONVERSATION = "gen_ai.conversation.id"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_TOP_P = "gen_ai.request.top_p"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - the name of an attribute
TOOL = "gen_ai.tool.name"
TOOL_CALL = "gen_ai.tool.call.id"

# … that are set only when content is captured
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_RESULT = "gen_ai.tool.call.result"
REQUEST = "penguiflow.request"
RESPONSE = "penguiflow.response"
PAYLOAD = "penguiflow.payload"

# … operations
CHAT = "chat"
EXECUTE_TOOL = "execute_tool"
INVOKE_AGENT = "invoke_agent"
INVOKE_WORKFLOW = "invoke_workflow"

# … and metrics
OPERATION_DURATION = "gen_ai.client.operation.duration"
TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105 - the name of a metric

# General semantic conventions
ERROR_TYPE = "error.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
EXCEPTION_EVENT = "exception"
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"
EXCEPTION_STACKTRACE = "exception.stacktrace"

# penguiflow's own
TRACE_ID = "penguiflow.trace.id"
EPOCH = "penguiflow.trace.epoch"
ORIGIN = "penguiflow.trace.origin"
TARGET = "penguiflow.target"
VERSION = "penguiflow.code.version"
KIND = "penguiflow.span.kind"
STATUS = "penguiflow.status"
NODE = "penguiflow.node.name"
MESSAGE_ID = "penguiflow.message.id"
ATTEMPT = "penguiflow.attempt"
CHUNKS = "penguiflow.stream.chunks"
COST = "penguiflow.cost"
REPLAYED = "penguiflow.replayed"
EDGE = "penguiflow.edge"
PREFIX = "penguiflow."

SKILL = "penguiflow.remote.skill"
STREAMING = "penguiflow.remote.streaming"
REASON = "penguiflow.remote.cancel.reason"
REMOTE_STATUS = "penguiflow.remote.status"
REMOTE_CALLS = "penguiflow.remote.calls"
REMOTE_DURATION = "penguiflow.remote.duration"
REMOTE_REQUEST_SIZE = "penguiflow.remote.request.size"
REMOTE_RESPONSE_SIZE = "penguiflow.remote.response.size"
REMOTE_CHUNK_BYTES = "penguiflow.remote.chunks.size"
REMOTE_CANCEL_DURATION = "penguiflow.remote.cancel.duration"
