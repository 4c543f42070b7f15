"""`/v1/agent`: tasks, at once, as streams or for workers, and what became of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic_core import to_json
from sse_starlette import EventSourceResponse, ServerSentEvent

from peeragent.api.access import ASKED, Asked, asked, limited
from peeragent.api.bodies import (
    SESSION_ID,
    AsyncRequest,
    BusinessQuestionInput,
    Classification,
    Deleted,
    StreamRequest,
    TaskAccepted,
    TaskAnswer,
    TaskExecuteRequest,
    TaskState,
    answer_of,
)
from peeragent.api.errors import refusals
from peeragent.errors import Refused
from peeragent.models.agents import Agent
from peeragent.models.tasks import LAST_EVENTS, TaskEvent, TaskRecord, TaskStatus
from peeragent.models.turns import TurnRequest
from peeragent.orders import Order, Principal
from peeragent.outcomes import last_event
from peeragent.service import Service

router = APIRouter(tags=["agent"])

Executes = Annotated[Asked, asked("execute")]
Streams = Annotated[Asked, asked("stream")]
Asks = Annotated[Principal, limited("status")]
Lists = Annotated[Principal, limited("tasks")]
Anything = Annotated[Principal, limited("default")]
Demos = Annotated[Principal, limited("demo")]

TaskId = Annotated[str, Path(max_length=100)]
LastEventId = Annotated[int, Header(ge=0, description="The last event that came before the connection was lost.")]
Wanted = Annotated[TaskStatus | None, Query(description="Only those with this status.")]
Session = Annotated[str | None, Query(pattern=SESSION_ID)]

LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
"""Some clients take these for the ends of lines, and JSON does not escape them."""

FAILED = {
    500: "The agent failed.",
    502: "No model gave an answer that can be used.",
    504: "The answer took too long.",
}
_ENDS: dict[str, int] = {
    "TASK_TIMEOUT": 504,
    "TASK_CANCELLED": 409,
    "EXECUTION_ERROR": 500,
    "SHUTDOWN": 503,
    # What was asked does not go with what was given for it.
    **dict.fromkeys(("BAD_DATA", "NO_DATA", "NO_TASK", "NO_OPEN_QUESTIONS"), 409),
}
"""The status that a task's failure is answered with, by its code; 502 for the others: a model, or a search, failed."""


def outcomes(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Refusals, and what a task that failed is answered with."""
    told = refusals(400, 403, 409, *statuses)
    return told | {status: {"model": TaskAnswer, "description": why} for status, why in FAILED.items()}


def service_of(request: Request) -> Service:
    """The application's."""
    service: Service = request.app.state.service
    return service


def ended(task: TaskRecord) -> Response:
    """The answer that tells how a task ended."""
    body = answer_of(task)
    if task.error is None:
        # Most answers are these; what they are made of is checked already.
        return Response(to_json(body), 200 if task.status.final else 202, media_type="application/json")
    body["detail"] = {"error": task.error.error, "code": task.error.code}
    return JSONResponse(body, _ENDS.get(task.error.code, 502))


def order_of(body: TaskExecuteRequest, **more: Any) -> Order:
    """What a request asks for. Raises `Refused` for a blank task."""
    if not body.task.strip():
        raise Refused("EMPTY_TASK", "the task is blank", 400)
    return Order(task=body.task, session_id=body.session_id, context=body.context or {}, priority=body.priority, **more)


def agent_of(name: str) -> Agent:
    """The agent of a name. Raises `Refused`."""
    try:
        return Agent(name)
    except ValueError:
        known = ", ".join(Agent)
        raise Refused("INVALID_AGENT_TYPE", f"there is no agent {name[:100]!r}; there are {known}") from None


@router.post("/execute", response_model=TaskAnswer, responses=outcomes(), openapi_extra=ASKED)
async def execute(
    request: Request,
    body: TaskExecuteRequest,
    by: Executes,
) -> Response:
    """Do a task: the router decides which agent."""
    order = order_of(body, idempotency_key=by.key, policy=by.policy)
    return ended(await service_of(request).execute(by.who, order))


@router.post("/execute/direct/{agent_type}", response_model=TaskAnswer, responses=outcomes(), openapi_extra=ASKED)
async def execute_direct(
    request: Request,
    agent_type: Annotated[str, Path(json_schema_extra={"enum": [agent.value for agent in Agent]})],
    body: TaskExecuteRequest,
    by: Executes,
) -> Response:
    """Have a task done by the agent that the path names."""
    agent = agent_of(agent_type)
    order = order_of(body, agent=agent, kind="direct", idempotency_key=by.key, policy=by.policy)
    return ended(await service_of(request).execute(by.who, order))


@router.post("/execute/async", response_model=TaskAccepted, responses=refusals(400, 403, 409), openapi_extra=ASKED)
async def execute_async(request: Request, body: AsyncRequest, by: Executes) -> Response:
    """Keep a task for a worker, and answer at once. `status/{id}` tells how it goes, `tasks/{id}/events` streams it."""
    if body.webhook is not None:
        await request.app.state.webhooks.check(body.webhook)
    order = order_of(body, webhook=body.webhook, idempotency_key=by.key, policy=by.policy)
    task = await service_of(request).submit(by.who, order)
    told = {"task_id": task.task_id, "status": task.status.value, "session_id": task.session_id}
    return JSONResponse({**told, "message": f"the task is kept; GET status/{task.task_id} tells how it goes"})


_EVENT = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
    "description": "A server-sent event; `data` is a JSON object.",
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events with ids: the classification, pieces of the answer, then `done` or an error.",
        "content": {"text/event-stream": {"schema": _EVENT}},
    }
}


@router.post(
    "/execute/stream",
    response_class=EventSourceResponse,
    responses=refusals(400, 403, 409) | _STREAM,
    openapi_extra=ASKED,
)
async def execute_stream(
    request: Request,
    body: StreamRequest,
    by: Streams,
    last_event_id: LastEventId = 0,
) -> Response:
    """Do a task and tell what comes, as it comes. After a lost connection: the same request with the same
    `Idempotency-Key` and `Last-Event-ID`, or `GET tasks/{id}/events`."""
    chosen: dict[str, Any] = {}
    if body.agent_type is not None:
        chosen = {"agent": agent_of(body.agent_type), "kind": "direct"}
    order = order_of(body, prefix="task-stream", idempotency_key=by.key, policy=by.policy, **chosen)
    service = service_of(request)
    task = await service.stream(by.who, order)
    return _events(request, task.task_id, last_event_id)


@router.get("/tasks/{task_id}/events", response_class=EventSourceResponse, responses=refusals(404) | _STREAM)
async def task_events(request: Request, task_id: TaskId, who: Asks, last_event_id: LastEventId = 0) -> Response:
    """The story of a task, from the event after `Last-Event-ID` on."""
    await service_of(request).find(who, task_id)
    return _events(request, task_id, last_event_id)


def _events(request: Request, task_id: str, after: int) -> EventSourceResponse:
    service = service_of(request)

    async def told() -> AsyncIterator[ServerSentEvent]:
        last = None
        async for event in service.follow(task_id, after):
            last = event
            yield _sse(event)
        if last.type in LAST_EVENTS if last else after:
            return
        # It was done without a story, or forgotten in the middle of it: whoever listens is to learn the end.
        task = await service.store.get(task_id)
        gone = {"error": "the task was deleted", "code": "TASK_NOT_FOUND", "done": True}
        end = gone if task is None else last_event(task)
        yield _sse(TaskEvent(id=last.id + 1 if last else 1, type="error" if "error" in end else "done", data=end))

    ping = max(1, int(service.settings.ws_ping_interval))
    return EventSourceResponse(told(), ping=ping, headers={"X-Task-ID": task_id})


def _sse(event: TaskEvent) -> ServerSentEvent:
    # Unnamed, as ever: programs listen for messages.
    told = json.dumps(event.data, ensure_ascii=False).translate(LINE_ENDS)
    return ServerSentEvent(told, id=str(event.id))


@router.get("/status/{task_id}", response_model=TaskState, responses=refusals(404))
async def status(request: Request, task_id: TaskId, who: Asks) -> TaskState:
    """A task, as it is now."""
    return TaskState.of(await service_of(request).find(who, task_id))


@router.get("/tasks", response_model=list[TaskState], responses=refusals())
async def tasks(
    request: Request,
    who: Lists,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    status: Wanted = None,
    session_id: Session = None,
) -> list[TaskState]:
    """Your tasks, newest first."""
    found = await service_of(request).store.list_tasks(
        owner=None if who.admin else who.owner, status=status, session_id=session_id, limit=limit, offset=offset
    )
    return [TaskState.of(task) for task in found]


@router.delete("/tasks/{task_id}", response_model=Deleted, responses=refusals(404))
async def delete(request: Request, task_id: TaskId, who: Anything) -> Deleted:
    """Forget a task; one that is under way is cancelled first."""
    await service_of(request).delete(who, task_id)
    return Deleted(deleted=task_id)


@router.post("/tasks/{task_id}/cancel", response_model=TaskState, responses=refusals(404, 409))
async def cancel(request: Request, task_id: TaskId, who: Anything) -> TaskState:
    """End a task."""
    return TaskState.of(await service_of(request).cancel(who, task_id))


@router.post("/business/continue", response_model=TaskAnswer, responses=outcomes(404), openapi_extra=ASKED)
async def business_continue(
    request: Request,
    body: BusinessQuestionInput,
    by: Executes,
) -> Response:
    """Answer the open questions of a session; comes to further questions, or to the diagnosis."""
    answers = {question: text for question, text in body.answers.items() if text.strip()}
    if not answers:
        raise Refused("EMPTY_ANSWERS", "there are no answers", 400)
    order = Order(
        task="",
        session_id=body.session_id,
        agent=Agent.BUSINESS,
        kind="continue",
        answers=answers,
        diagnose_now=body.diagnose_now,
        idempotency_key=by.key,
        policy=by.policy,
    )
    return ended(await service_of(request).execute(by.who, order))


@router.post("/business/demo", responses=outcomes())
async def business_demo(request: Request, body: TaskExecuteRequest, who: Demos) -> Response:
    """All rounds at once, with answers that are made up."""
    order = order_of(body, agent=Agent.BUSINESS, kind="demo", prefix="demo")
    task = await service_of(request).execute(who, order)
    if task.error is not None:
        return ended(task)
    told = {"task_id": task.task_id, "status": task.status.value, "agent_type": Agent.BUSINESS.agent_type}
    demo = (task.result or {}).get("data")
    result = {"type": "demo", **(demo or {})}
    return JSONResponse({**told, "demo_mode": True, "session_id": task.session_id, "result": result})


@router.post("/business/problem-tree", responses=outcomes())
async def business_problem_tree(request: Request, body: TaskExecuteRequest, who: Demos) -> Response:
    """The tree of a problem, without questions."""
    order = order_of(body, agent=Agent.PROBLEM, kind="problem_tree", prefix="tree")
    task = await service_of(request).execute(who, order)
    if task.error is not None:
        return ended(task)
    tree = (task.result or {}).get("data")
    result = {"type": "problem_tree", "problem_description": body.task, "problem_tree": tree}
    told = {"task_id": task.task_id, "status": task.status.value, "agent_type": task.agent_type}
    return JSONResponse({**told, "session_id": task.session_id, "result": result})


@router.get("/classify", response_model=Classification, responses=refusals())
async def classify(
    request: Request, task: Annotated[str, Query(min_length=1, max_length=20_000)], who: Anything
) -> Classification:
    """Who would do a task, and why; nothing is done."""
    route = await request.app.state.router.classify(TurnRequest(task=task))
    return Classification(
        task=task,
        classification=route.agent.value,
        agent=f"{route.agent.value}_agent",
        routing_method=route.method,
        keyword_match=bool(route.keywords),
        score=route.score,
        reason=route.reason,
    )


@router.get("/stats", responses=refusals())
async def stats(request: Request, who: Anything) -> dict[str, Any]:
    """How many of your tasks have which status."""
    service = service_of(request)
    counts = await service.store.stats(owner=None if who.admin else who.owner)
    kind = {"type": service.store.name}
    hours = service.settings.task_ttl_hours
    return {"total_tasks": sum(counts.values()), "status_counts": counts, "ttl_hours": hours, **kind}
