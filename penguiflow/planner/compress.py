"""Large observations are summarized, so that a request fits the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penguiflow.llm.errors import LLMError
from penguiflow.llm.types import LLMMessage, LLMRequest
from penguiflow.planner.model_calls import ask_model
from penguiflow.planner.prompts.texts import as_json

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.planner.run import PlannerRun

__all__ = ["DEFAULT_COMPRESSION_THRESHOLD", "CompressionResult", "compress_trajectory"]

DEFAULT_COMPRESSION_THRESHOLD = 2000
"""Characters."""
_MOST_CHARS = 60_000  # of one observation that a model is asked to summarize
_INSTRUCTION = (
    "Summarize what a tool gave, for somebody who goes on with the task below. Keep every name, number, date, id, URL "
    "and statement that may matter. Write plain text, {chars} characters at most, and nothing else.\nTask: {query}"
)


@dataclass(frozen=True, slots=True)
class CompressionResult:
    """What was made shorter."""

    compressed: bool
    steps_compressed: int
    original_size_chars: int
    compressed_size_chars: int


async def compress_trajectory(run: PlannerRun, site: CallSite) -> CompressionResult:
    """Replace what the model is shown of large observations by summaries: `{"_compressed": true, "summary": …}`.

    The observations themselves stay. Where the summarizer fails, or is not to be asked, the two ends are kept.

    Raises:
        LimitReached: a limit of the run is reached.
    """
    config = run.settings.error_recovery
    threshold = config.compression_threshold_chars
    count = before = after = 0
    for step in run.trajectory.steps:
        shown = step.serialise_for_llm()
        if shown is None or (isinstance(shown, dict) and shown.get("_compressed")):
            continue
        text = as_json(shown)
        if len(text) <= threshold:
            continue
        summary = await _summary(run, site, text, threshold) if config.summarize_on_compress else ""
        step.llm_observation = {"_compressed": True, "summary": summary or _ends(text, threshold)}
        count += 1
        before += len(text)
        after += len(as_json(step.llm_observation))
    return CompressionResult(count > 0, count, before, after)


async def _summary(run: PlannerRun, site: CallSite, text: str, threshold: int) -> str:
    instruction = _INSTRUCTION.format(chars=threshold, query=run.trajectory.query)
    request = LLMRequest(
        model=run.models.summarizer.model,
        messages=(LLMMessage.of("system", instruction), LLMMessage.of("user", _ends(text, _MOST_CHARS))),
        temperature=run.settings.temperature,
    )
    try:
        response = await ask_model(run, site, request, purpose="summary")
    except LLMError:
        return ""
    return _ends(response.message.text.strip(), threshold)


def _ends(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = max(1, most // 2)
    return f"{text[:half]} … {text[-half:]}"
