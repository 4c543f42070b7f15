"""What is done when a model refuses a request: it is asked again with less, or the run ends with an apology."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from penguiflow.llm.errors import (
    LLMContextLengthError,
    LLMError,
    LLMInvalidRequestError,
    LLMRateLimitError,
    LLMServerError,
    LLMTimeoutError,
    extract_clean_error_message,
    is_context_length_error,
)
from penguiflow.planner.actions import FINAL_RESPONSE, PlannerAction
from penguiflow.planner.compress import compress_trajectory

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.planner.run import PlannerRun

__all__ = ["LLMErrorType", "classify_llm_error", "extract_clean_error_message", "with_recovery"]


class LLMErrorType(StrEnum):
    """What kind of failure a model's error is."""

    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    RATE_LIMIT = "rate_limit"
    SERVICE_UNAVAILABLE = "service_unavailable"
    TIMEOUT = "timeout"
    BAD_REQUEST_OTHER = "bad_request_other"
    UNKNOWN = "unknown"


def classify_llm_error(exc: Exception) -> LLMErrorType:
    """The kind of an error, by its class; by its text where that says that there were too many tokens."""
    if isinstance(exc, LLMContextLengthError) or (
        isinstance(exc, LLMInvalidRequestError) and is_context_length_error(exc)
    ):
        return LLMErrorType.CONTEXT_LENGTH_EXCEEDED
    if isinstance(exc, LLMRateLimitError):
        return LLMErrorType.RATE_LIMIT
    if isinstance(exc, LLMTimeoutError | TimeoutError):
        return LLMErrorType.TIMEOUT
    if isinstance(exc, LLMServerError | ConnectionError):
        return LLMErrorType.SERVICE_UNAVAILABLE
    return LLMErrorType.BAD_REQUEST_OTHER if isinstance(exc, LLMInvalidRequestError) else LLMErrorType.UNKNOWN


async def with_recovery(
    run: PlannerRun, site: CallSite, decide: Callable[[], Awaitable[PlannerAction]]
) -> PlannerAction:
    """What `decide` gives. When a request is too long, observations are made shorter and it is called again.

    A request that is refused otherwise becomes an answer that says so, with `args["_recovery"]`. A model
    that is not there, what another attempt may mend (rate limits, failures of the server, time-outs) and what nobody
    knows are raised.
    """
    config = run.settings.error_recovery
    tries = 0
    while True:
        try:
            return await decide()
        except LLMError as error:
            kind = classify_llm_error(error)
            known = kind in (LLMErrorType.CONTEXT_LENGTH_EXCEEDED, LLMErrorType.BAD_REQUEST_OTHER)
            # Nothing is there under this name or address: that is for the program to mend, not for an answer.
            if not config.enabled or not known or error.status_code == 404:
                raise
            message = extract_clean_error_message(error)
            if kind is LLMErrorType.CONTEXT_LENGTH_EXCEEDED and tries < config.max_compress_retries:
                tries += 1
                run.events.emit("error_recovery_attempt", error_type=kind.value, error_message=message)
                done = await compress_trajectory(run, site)
                if done.compressed:
                    run.events.emit(
                        "trajectory_compressed",
                        steps_compressed=done.steps_compressed,
                        original_size_chars=done.original_size_chars,
                        compressed_size_chars=done.compressed_size_chars,
                    )
                    run.events.emit("error_recovery_success", error_type=kind.value, reason="compressed")
                    continue
            run.events.emit("error_recovery_failed", error_type=kind.value, error_message=message, reason="answered")
            return _apology(kind, message)


def _apology(kind: LLMErrorType, message: str) -> PlannerAction:
    if kind is LLMErrorType.CONTEXT_LENGTH_EXCEEDED:
        answer = "I am sorry: this has become more than the model can take in at once. Please ask for a part of it."
    else:
        answer = "I am sorry: the model did not accept this request, so I could not finish it."
    recovery = {"error_type": kind.value, "message": message}
    args = {"answer": answer, "requires_followup": True, "warnings": [message], "_recovery": recovery}
    return PlannerAction(next_node=FINAL_RESPONSE, args=args, thought="the model refused the request")
