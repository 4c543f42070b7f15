"""An answer becomes the payload of a run: what is missing is asked for, what does not fit is dropped and said."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from penguiflow.llm.errors import LLMError
from penguiflow.llm.types import LLMMessage, LLMRequest, StructuredOutputSpec
from penguiflow.planner.extraction import read_reply
from penguiflow.planner.model_calls import ask_model
from penguiflow.planner.outcomes import FinalPayload, Source, SuggestedAction
from penguiflow.planner.prompts.messages import render_run
from penguiflow.planner.prompts.texts import as_json, render_finish_repair_prompt, render_structured_repair_prompt
from penguiflow.planner.replies import text_of_reply
from penguiflow.planner.signals import LimitReached

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.planner.actions import PlannerAction
    from penguiflow.planner.run import PlannerRun

__all__ = ["NO_ANSWER", "build_payload", "finish", "typed"]

NO_ANSWER = "I could not put an answer together."
"""The answer of a model that gives none, also when it is asked for it."""
_ANSWERS = ("raw_answer", "answer")
_KNOWN = frozenset(
    {
        "raw_answer",
        "structured",
        "artifacts",
        "confidence",
        "sources",
        "route",
        "suggested_actions",
        "requires_followup",
        "warnings",
        "language",
    }
)


async def finish(run: PlannerRun, site: CallSite, action: PlannerAction) -> FinalPayload:
    """The answer of a final response.

    A blank one is asked for once more; a typed one (`final_response_model`) as often as `final_response_retries` says.

    Raises:
        LimitReached: there is no answer yet, and a limit is reached before there is.
    """
    args = dict(action.args)
    warnings: list[str] = []
    form = run.settings.final_response_model
    if form is not None:
        await _structure(run, site, form, args, warnings)
    _drop_odd(run, args)
    answer = _answer(args)
    if answer is None and isinstance(args.get("structured"), dict):
        answer = as_json(args["structured"])
    if answer is None:
        answer = await _repaired(run, site, action, warnings)
    return build_payload(run, args, answer, warnings)


def build_payload(run: PlannerRun, args: Mapping[str, Any], answer: str, warnings: list[str]) -> FinalPayload:
    """The payload of an answer; what is not of the right type is left out, what is not known goes into `extra`."""
    extra = {key: value for key, value in args.items() if key not in _KNOWN}
    extra["answer"] = answer
    said = args.get("warnings")
    told = [each for each in said if isinstance(each, str)] if isinstance(said, list) else []
    route, language, structured = args.get("route"), args.get("language"), args.get("structured")
    return FinalPayload(
        raw_answer=answer,
        structured=structured if isinstance(structured, dict) else None,
        artifacts=_artifacts(run, args.get("artifacts")),
        confidence=_confidence(args.get("confidence")),
        sources=_sources(run, args.get("sources")),
        route=route if isinstance(route, str) else None,
        suggested_actions=_suggested(args.get("suggested_actions")),
        requires_followup=args.get("requires_followup") in (True, "true", "True", "yes"),
        warnings=[*told, *warnings],
        language=language if isinstance(language, str) else None,
        extra=extra,
    )


def _drop_odd(run: PlannerRun, args: dict[str, Any]) -> None:
    """Answers that are no texts: numbers are said as they are written, everything else is dropped."""
    dropped = []
    for key in _ANSWERS:
        value = args.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            args[key] = str(value)
        elif key in args and not isinstance(value, str):
            del args[key]
            if value is not None:
                dropped.append(key)
    if dropped:
        run.events.emit("finish_invalid_answer_type_discarded", fields=dropped, action_seq=run.action_seq)


def _answer(args: Mapping[str, Any]) -> str | None:
    for key in _ANSWERS:
        value = args.get(key)
        if isinstance(value, str) and value.strip():
            return value
    return None


# A missing answer


async def _repaired(run: PlannerRun, site: CallSite, action: PlannerAction, warnings: list[str]) -> str:
    run.count("finish_repair_attempts")
    run.events.emit("finish_repair_attempt", thought=action.thought)
    started = perf_counter()
    prompt = render_finish_repair_prompt(action.thought or None, run.trajectory.query)
    messages = (LLMMessage.of("system", prompt), LLMMessage.of("user", render_run(run)))
    request = LLMRequest(model=run.models.main.model, messages=messages, temperature=run.settings.temperature)
    problem: str | None = None
    answer = ""
    try:
        response = await ask_model(run, site, request, purpose="finish_repair")
    except LLMError as error:
        problem = f"{type(error).__name__}: {error}"
    else:
        answer = text_of_reply(response.message.text)
    latency_ms = (perf_counter() - started) * 1e3
    if answer:
        run.count("finish_repair_success_count")
        run.events.emit("finish_repair_success", latency_ms=latency_ms, answer_len=len(answer))
        return answer
    run.count("finish_repair_failure_count")
    problem = problem or "the reply has no answer"
    run.events.emit("finish_repair_failure", latency_ms=latency_ms, error=problem)
    warnings.append(f"the model gave no answer: {problem}")
    return NO_ANSWER


# A typed answer


async def _structure(
    run: PlannerRun, site: CallSite, form: type[BaseModel], args: dict[str, Any], warnings: list[str]
) -> None:
    """Bring `structured` into the form that is wanted, or leave it out and say so."""
    value, problem = typed(form, _candidates(form, args))
    attempts = 0
    while value is None and attempts < run.settings.final_response_retries:
        attempts += 1
        about: dict[str, Any] = {"model": form.__name__, "attempt": attempts, "action_seq": run.action_seq}
        run.events.emit("final_response_structured_repair_attempt", error=problem, **about)
        site.event(
            "planner.repair", "final_response", {"purpose": "structured", "attempt": attempts, "problem": problem}
        )
        try:
            response = await ask_model(run, site, _typed_request(run, form, args, problem), purpose="structured_repair")
        except (LLMError, LimitReached) as error:
            problem = f"{type(error).__name__}: {error}"
            break
        objects = [found.data for found in read_reply(response.message.text).objects]
        value, problem = typed(form, [each for data in objects for each in _unwrapped(data)])
    about = {"model": form.__name__, "action_seq": run.action_seq}
    if value is not None:
        args["structured"] = value
        run.events.emit("final_response_structured_validated", repaired=attempts > 0, **about)
        return
    args.pop("structured", None)
    warnings.append(f"the answer does not fit {form.__name__}: {problem}")
    run.events.emit("final_response_structured_degraded", error=problem, attempt=attempts, **about)


def _candidates(form: type[BaseModel], args: Mapping[str, Any]) -> list[Any]:
    """Where a typed answer may stand: in `structured`, in the arguments themselves, as JSON in the answer."""
    found: list[Any] = []
    structured = args.get("structured")
    if isinstance(structured, str):
        found.extend(each.data for each in read_reply(structured).objects)
    elif structured is not None:
        found.append(structured)
    if any(name in args for name in form.model_fields):
        found.append({key: value for key, value in args.items() if key in form.model_fields})
    answer = args.get("answer")
    if isinstance(answer, str) and answer.lstrip().startswith("{"):
        found.extend(each.data for each in read_reply(answer).objects)
    elif isinstance(answer, dict):
        found.append(answer)
    return found


def _unwrapped(data: dict[str, Any]) -> list[Any]:
    """A reply may be the typed answer, or a final response with it."""
    args = data.get("args")
    inner = args.get("structured") if isinstance(args, dict) else None
    return [data, *(each for each in (data.get("structured"), inner) if each is not None)]


def typed(form: type[BaseModel], candidates: list[Any]) -> tuple[dict[str, Any] | None, str]:
    """The JSON of the first candidate that fits; else what is wrong with the first one."""
    problem = "'structured' is missing"
    for place, candidate in enumerate(candidates):
        try:
            value: dict[str, Any] = form.model_validate(candidate).model_dump(mode="json")
        except ValidationError as error:
            if place == 0:
                faults = error.errors(include_url=False, include_context=False, include_input=False)
                problem = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in faults)
        except Exception as error:  # a validator or serializer of the program's own may raise anything
            problem = f"{type(error).__name__}: {error}"
        else:
            return value, ""
    return None, problem


def _typed_request(run: PlannerRun, form: type[BaseModel], args: Mapping[str, Any], problem: str) -> LLMRequest:
    schema = form.model_json_schema()
    prompt = render_structured_repair_prompt(schema=schema, error=problem, answer=_answer(args))
    told = [LLMMessage.of("system", prompt), LLMMessage.of("user", render_run(run))]
    if args.get("structured") is not None:
        told.append(LLMMessage.of("user", f"What did not fit: {as_json(args['structured'])}"))
    return LLMRequest(
        model=run.models.main.model,
        messages=tuple(told),
        structured_output=StructuredOutputSpec(form.__name__, schema, strict=False),
        temperature=run.settings.temperature,
    )


# The parts of a payload


def _artifacts(run: PlannerRun, given: Any) -> dict[str, Any]:
    found = dict(run.trajectory.artifacts)
    if isinstance(given, Mapping):
        found.update((str(key), value) for key, value in given.items() if str(key) not in found)
    return found


def _confidence(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= 1.0
    return float(value) if fits else None


def _sources(run: PlannerRun, given: Any) -> list[Source]:
    """Those that tools gave and those that the model names, each once."""
    found: dict[tuple[str, str | None, str | None], Source] = {}
    for each in [*run.trajectory.sources, *(given if isinstance(given, list) else ())]:
        data = {"title": each} if isinstance(each, str) else each
        try:
            source = Source.model_validate(data)
        except ValidationError:
            continue
        found.setdefault((source.title, source.url, source.snippet), source)
    return list(found.values())


def _suggested(given: Any) -> list[SuggestedAction]:
    found = []
    for each in given if isinstance(given, list) else ():
        try:
            found.append(SuggestedAction.model_validate(each))
        except ValidationError:
            continue
    return found
