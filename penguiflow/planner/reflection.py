"""An answer is looked over before it is given: criticized, revised, and in the end given with doubts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from penguiflow.llm.errors import LLMError
from penguiflow.llm.types import LLMMessage, LLMRequest, StructuredOutputSpec
from penguiflow.planner.actions import FINAL_RESPONSE, PlannerAction
from penguiflow.planner.answer_stream import answer_stream
from penguiflow.planner.config import ClarificationResponse, ReflectionCriteria, ReflectionCritique
from penguiflow.planner.decisions import decision_request, read_decision
from penguiflow.planner.extraction import read_reply
from penguiflow.planner.finishing import build_payload, typed
from penguiflow.planner.model_calls import ask_model
from penguiflow.planner.native import mode_of
from penguiflow.planner.prompts.messages import build_messages, render_run
from penguiflow.planner.prompts.texts import as_json
from penguiflow.planner.replies import text_of_reply
from penguiflow.planner.signals import LimitReached
from penguiflow.planner.summaries import fit
from penguiflow.planner.trajectory import TrajectoryStep

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.planner.outcomes import FinalPayload
    from penguiflow.planner.run import PlannerRun

__all__ = [
    "build_critique_system_prompt",
    "build_revision_prompt",
    "reflect",
]

_FEEDBACK_CHARS = 200


def build_critique_system_prompt(criteria: ReflectionCriteria) -> str:
    """What whoever looks an answer over is told."""
    return (
        "You judge the answer of an agent to a query. You are given the query, the steps that the agent took and its "
        f"answer. Criteria:\n- completeness: {criteria.completeness}\n- accuracy: {criteria.accuracy}\n"
        f"- clarity: {criteria.clarity}\n"
        "An answer that says honestly what could not be found out is better than one that invents it. Reply with one "
        'JSON object and nothing else: {"score": 0.0 to 1.0, "passed": true or false, "feedback": "...", '
        '"issues": ["..."], "suggestions": ["..."]}'
    )


def build_revision_prompt(original_thought: str, critique: ReflectionCritique) -> str:
    """Ask for a better answer."""
    parts = [f"Your answer was not good enough (score {critique.score:.2f}): {critique.feedback}"]
    parts.extend(f"- issue: {issue}" for issue in critique.issues)
    parts.extend(f"- suggestion: {suggestion}" for suggestion in critique.suggestions)
    if original_thought:
        parts.append(f"You thought: {original_thought}")
    parts.append("Give a better answer now, from what is known; call no tool.")
    return "\n".join(parts)


async def reflect(run: PlannerRun, site: CallSite, payload: FinalPayload) -> FinalPayload:
    """The answer as it is, a revised one, or a clarification in its place. `trajectory.metadata["reflection"]` tells.

    What fails here costs no answer: the last one is given as it is.
    """
    config = run.settings.reflection_config
    if not config.enabled:
        return payload
    critique: ReflectionCritique | None = None
    revisions = 0
    try:
        while True:
            critique = await _critique(run, site, payload, revisions)
            if critique is None or critique.passed or critique.score >= config.quality_threshold:
                break
            if revisions >= config.max_revisions or _hops_spent(run):
                payload = await _clarified(run, site, payload, critique, revisions)
                break
            revised = await _revised(run, site, payload, critique, revisions + 1)
            if revised is None:
                break
            payload, revisions = revised, revisions + 1
    except (LimitReached, LLMError) as error:
        payload.warnings.append(f"the answer could not be looked over: {type(error).__name__}: {error}")
    if critique is not None:
        run.trajectory.metadata["reflection"] = {
            "score": critique.score,
            "revisions": revisions,
            "passed": critique.passed or critique.score >= config.quality_threshold,
            "feedback": critique.feedback,
        }
    return payload


def _hops_spent(run: PlannerRun) -> bool:
    return run.budgets.hop_budget is not None and run.budgets.hops_used >= run.budgets.hop_budget


async def _critique(run: PlannerRun, site: CallSite, payload: FinalPayload, revision: int) -> ReflectionCritique | None:
    """What is said of an answer; None when the reply says nothing."""
    answer = {"answer": payload.raw_answer, "structured": payload.structured}
    told = f"{render_run(run)}\nThe answer: {as_json({key: value for key, value in answer.items() if value})}"
    config = run.settings.reflection_config
    model = run.models.reflection if config.use_separate_llm else run.models.main
    request = _request(model.model, build_critique_system_prompt(config.criteria), told, ReflectionCritique)
    response = await ask_model(run, site, request, purpose="critique", provider=model)
    critique = _read(ReflectionCritique, response.message.text)
    if not isinstance(critique, ReflectionCritique):
        payload.warnings.append("the answer could not be looked over: the critique could not be read")
        return None
    about: dict[str, Any] = {"score": critique.score, "passed": critique.passed, "revision": revision}
    run.events.emit("reflection_critique", feedback=critique.feedback[:_FEEDBACK_CHARS], **about)
    site.event("planner.reflection", "critique", {**about, "feedback": critique.feedback})
    return critique


async def _revised(
    run: PlannerRun, site: CallSite, payload: FinalPayload, critique: ReflectionCritique, revision: int
) -> FinalPayload | None:
    """A better answer; None when the model gives none. The one that was not good enough becomes a step."""
    mode = mode_of(run)
    last = PlannerAction(next_node=FINAL_RESPONSE, args={"answer": payload.raw_answer})
    told = {"status": "revision_requested", "score": critique.score, "feedback": critique.feedback}
    run.trajectory.steps.append(TrajectoryStep(last, told))
    run.events.step = len(run.trajectory.steps)
    messages = await fit(run, site, build_messages(run))
    messages.append(LLMMessage.of("system", build_revision_prompt("", critique)))
    stream = answer_stream(run, site, mode, phase="revision", revision=revision)
    response = await ask_model(
        run,
        site,
        decision_request(run, mode, messages),
        purpose="revision",
        on_event=stream,
        on_restart=None if stream is None else stream.void,
    )
    action, _, _ = read_decision(run, mode, response)
    if action is not None and stream is not None:
        stream.end(action, response)
    answer = None if action is None else action.get_answer()
    if action is None or not answer or not answer.strip():
        payload.warnings.append("the answer was not revised: the reply is no answer")
        return None
    args = dict(action.args)
    form = run.settings.final_response_model
    if form is not None:
        args["structured"] = typed(form, [args["structured"]])[0] if "structured" in args else None
        args["structured"] = args["structured"] or payload.structured
    return build_payload(run, args, answer, [])


async def _clarified(
    run: PlannerRun, site: CallSite, payload: FinalPayload, critique: ReflectionCritique, revisions: int
) -> FinalPayload:
    """Words that say honestly how far it came, in the place of an answer that is not good enough."""
    instruction = (
        "The answer to the query is not good enough and cannot be made better. Say to the user honestly what was "
        "tried, what is missing, and what to ask or do next. Reply with one JSON object and nothing else: "
        '{"text": "...", "confidence": "unsatisfied", "attempted_approaches": ["..."], '
        '"clarifying_questions": ["..."], "suggestions": ["..."]}'
    )
    told = f"{render_run(run)}\nThe answer: {as_json(payload.raw_answer)}\nFeedback: {as_json(critique.feedback)}"
    config = run.settings.reflection_config
    model = run.models.reflection if config.use_separate_llm else run.models.main
    request = _request(model.model, instruction, told, ClarificationResponse)
    response = await ask_model(run, site, request, purpose="clarification", provider=model)
    made = _read(ClarificationResponse, response.message.text)
    text = made.text if isinstance(made, ClarificationResponse) else text_of_reply(response.message.text)
    if not text.strip():
        return payload
    run.events.emit("reflection_clarification_generated", score=critique.score, revisions=revisions)
    site.event("planner.reflection", "clarification", {"score": critique.score, "revisions": revisions})
    run.trajectory.metadata["confidence"] = "unsatisfied"
    extra = dict(payload.extra)
    if isinstance(made, ClarificationResponse):
        made = made.model_copy(update={"reflection_score": critique.score, "revision_attempts": revisions})
        extra["clarification"] = made.model_dump(mode="json")
    extra["answer"] = text
    return payload.model_copy(update={"raw_answer": text, "requires_followup": True, "extra": extra})


def _request(model: str, instruction: str, told: str, form: type[BaseModel]) -> LLMRequest:
    return LLMRequest(
        model=model,
        messages=(LLMMessage.of("system", instruction), LLMMessage.of("user", told)),
        structured_output=StructuredOutputSpec(form.__name__, form.model_json_schema(), strict=False),
        temperature=0.0,
    )


def _read(form: type[BaseModel], text: str) -> BaseModel | None:
    for found in read_reply(text).objects:
        try:
            return form.model_validate(found.data)
        except ValidationError:
            continue
    return None
