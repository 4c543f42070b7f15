"""Messages that are more than the token budget: earlier steps become a summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from penguiflow.llm.errors import LLMError
from penguiflow.llm.types import LLMMessage, LLMRequest, StructuredOutputSpec, TextPart, ToolCallPart, ToolResultPart
from penguiflow.planner.extraction import read_reply
from penguiflow.planner.model_calls import CHARS_PER_TOKEN, ask_model
from penguiflow.planner.prompts.messages import shortened_messages
from penguiflow.planner.prompts.texts import as_json
from penguiflow.planner.trajectory import TrajectorySummary

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.planner.run import PlannerRun

__all__ = ["fit", "summarise_trajectory", "tokens_of"]

_SUMMARIZED = "summarized_steps"
_LEAST_CHARS = 80  # of one fact
_INSTRUCTION = (
    "Summarize the steps of an agent for the agent itself, which goes on with the query. Keep what was found out and "
    "what is still to be done; leave out what no longer matters. Reply with one JSON object that fits this schema and "
    "nothing else: {schema}"
)


def tokens_of(messages: list[LLMMessage]) -> int:
    """About how many tokens messages are: 3.5 characters each."""
    chars = 0
    for message in messages:
        for part in message.parts:
            if isinstance(part, TextPart):
                chars += len(part.text)
            elif isinstance(part, ToolCallPart):
                chars += len(part.arguments_json)
            elif isinstance(part, ToolResultPart):
                chars += len(part.result_json)
    return int(chars / CHARS_PER_TOKEN)


async def fit(run: PlannerRun, site: CallSite, messages: list[LLMMessage]) -> list[LLMMessage]:
    """The messages; if they are over the token budget, with a summary in the place of all steps but the last.

    Raises:
        LimitReached: a limit of the run is reached while the summarizer is asked.
    """
    budget = run.settings.token_budget
    if budget is None or len(run.trajectory.steps) < 2 or tokens_of(messages) <= budget:
        return messages
    summary = await summarise_trajectory(run, site)
    return shortened_messages(run, summary.compact())


async def summarise_trajectory(run: PlannerRun, site: CallSite) -> TrajectorySummary:
    """A summary of the steps but the last, by rule. If that is over the token budget too, the summarizer shortens it.

    Without a summarizer of its own (`summarizer_llm`), and where it fails, each fact is cut.
    """
    trajectory, budget = run.trajectory, run.settings.token_budget
    steps = len(trajectory.steps)
    if trajectory.summary is not None and trajectory.metadata.get(_SUMMARIZED) == steps:
        return trajectory.summary
    base = trajectory.compress(leave=1)  # which the model is shown besides
    if budget is not None and len(as_json(base.compact())) / CHARS_PER_TOKEN > budget:
        asked = None
        if run.models.summarizer is not run.models.main:
            asked = await _asked(run, site, base)
        trajectory.summary = asked or _cut(base, int(budget * CHARS_PER_TOKEN))
    trajectory.metadata[_SUMMARIZED] = steps
    assert trajectory.summary is not None
    return trajectory.summary


async def _asked(run: PlannerRun, site: CallSite, base: TrajectorySummary) -> TrajectorySummary | None:
    schema = TrajectorySummary.model_json_schema()
    told: dict[str, Any] = {"query": run.trajectory.query, "steps": base.compact()}
    request = LLMRequest(
        model=run.models.summarizer.model,
        messages=(
            LLMMessage.of("system", _INSTRUCTION.format(schema=as_json(schema))),
            LLMMessage.of("user", as_json(told)),
        ),
        structured_output=StructuredOutputSpec("trajectory_summary", schema, strict=False),
        temperature=run.settings.temperature,
    )
    try:
        response = await ask_model(run, site, request, purpose="summary")
    except LLMError:
        return None
    for found in read_reply(response.message.text).objects:
        try:
            summary = TrajectorySummary.model_validate(found.data)
        except ValidationError:
            continue
        if summary.compact():
            return summary.model_copy(update={"note": summary.note or "llm"})
    return None


def _cut(summary: TrajectorySummary, chars: int) -> TrajectorySummary:
    """The summary with facts of a bounded length; all of them together are about so many characters."""
    most = max(_LEAST_CHARS, chars // (2 * max(1, len(summary.facts))))
    facts = {}
    for name, value in summary.facts.items():
        text = as_json(value)
        facts[name] = value if len(text) <= most else text[:most] + "…"
    return summary.model_copy(update={"facts": facts})
