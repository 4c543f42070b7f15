"""What all doors share: a request comes in, its session is looked up, the flow runs, the task is written."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from peeragent.errors import Refused
from peeragent.models.agents import DEFAULT_PRIORITY, PRIORITIES, Route
from peeragent.models.tasks import SessionRecord, TaskError, TaskEvent, TaskRecord, TaskStatus, new_id
from peeragent.models.turns import MAX_HISTORY, TurnRequest, TurnResult
from peeragent.orders import Order, Policy, Principal
from peeragent.outcomes import (
    GATHER_S,
    OnPiece,
    Outcome,
    Story,
    cancelled,
    classified,
    done_event,
    ended,
    failed,
    session_after,
    task_error,
    turn_of,
)
from peeragent.runs import Flows
from peeragent.sessions import Interrupted, Sessions
from peeragent.settings import Settings
from peeragent.store.base import Lease, SessionConflict, StoreUnavailable, TaskStore
from penguiflow import FlowError, Headers, Message
from penguiflow.types import StreamChunk

KEEP_AFTER_S = 0.25
"""A request that is answered within that writes its task once, when it is over."""
LOOK_S = 0.5
"""How often a process looks whether somebody wants one of its tasks to end."""
END_S = 10.0
"""What was ended has that long to write what became of its task: some milliseconds, where the store is well."""
STOPPED = TaskError(error="the service was stopped; ask again", code="SHUTDOWN")


class Service:
    """Runs tasks: at once, as streams, or for workers. `start` it before, `stop` it after."""

    def __init__(self, settings: Settings, store: TaskStore, flows: Flows) -> None:
        self.settings, self.store, self.flows = settings, store, flows
        self.worker = new_id("worker")
        """How this process is named in leases and in the log of transitions."""
        self.on_finished: list[Callable[[TaskRecord, float], None]] = []
        """Called with each task that this process finished, and the seconds it took. They neither wait nor raise."""
        self.sessions = Sessions(
            store,
            lease_s=settings.worker_lease,
            most=settings.max_waiting_per_session,
            cancel=self.cancel_task,
        )
        self._running: dict[str, asyncio.Task[Any]] = {}
        self._leases: dict[str, Lease] = {}
        self._asked: set[str] = set()
        """Tasks whose end was asked for here."""
        self._streams: set[asyncio.Task[Any]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def running(self) -> int:
        """Tasks under way here."""
        return len(self._running)

    async def start(self) -> None:
        """Begin to look after what runs."""
        self._watch = asyncio.create_task(self._look_after(), name="peeragent watch")

    async def stop(self, grace_s: float | None = None) -> None:
        """Let what runs finish for a while (`shutdown_grace`); what does not is handed back, or failed `SHUTDOWN`."""
        under_way = [*self._running.values(), *self._streams]
        if under_way:
            await asyncio.wait(under_way, timeout=self.settings.shutdown_grace if grace_s is None else grace_s)
        self._stopping = True
        ending = {*self._running.values(), *self._streams}
        for run in [*self._running.values()]:
            if not run.cancelling():  # else it writes already what became of its task
                run.cancel()
        if ending:
            await asyncio.wait(ending, timeout=END_S)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])

    # requests

    async def execute(self, who: Principal, order: Order) -> TaskRecord:
        """Do it, and give the task as it ended. Raises `Refused`."""
        task = self.new_task(who, order)
        earlier = await self._earlier(who, order, task)
        if earlier is not None:
            return await self._until_final(earlier)
        async with self._keyed(who, order, task):
            if order.session_id is None:
                # Nobody else can know it.
                return await self._inline(task, SessionRecord(session_id=task.session_id, owner=task.owner))
            async with self.sessions.turn(task, policy=self._policy(order)) as session:
                _check_answers(order, session)
                return await self._inline(task, session)

    async def submit(self, who: Principal, order: Order) -> TaskRecord:
        """Keep it for a worker. Raises `Refused`."""
        task = self.new_task(who, order).model_copy(update={"status": TaskStatus.PENDING, "attempts": 0})
        earlier = await self._earlier(who, order, task)
        if earlier is not None:
            return earlier
        async with self._keyed(who, order, task):
            if order.session_id is not None:
                await self.sessions.check(order.session_id, who.owner)
                await self.sessions.make_room(task, self._policy(order))
            await self.store.add(task, queue=True)
        return task

    async def stream(self, who: Principal, order: Order) -> TaskRecord:
        """Begin it here; `follow` gives what comes. It goes on when nobody follows. Raises `Refused`."""
        task = self.new_task(who, order)
        earlier = await self._earlier(who, order, task)
        if earlier is not None:
            return earlier
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        run = asyncio.create_task(self._streamed(task, order, begun), name=f"peeragent stream {task.task_id}")
        self._streams.add(run)
        run.add_done_callback(self._streams.discard)
        async with self._keyed(who, order, task):
            await begun
        return task

    def follow(self, task_id: str, after: int = 0) -> AsyncIterator[TaskEvent]:
        """The story of a task, from an event's id on."""
        return self.store.follow(task_id, after)

    async def find(self, who: Principal, task_id: str) -> TaskRecord:
        """The task. Raises `Refused` 404, also for somebody else's: nobody learns that it is there."""
        task = await self.store.get(task_id)
        if task is None or (task.owner != who.owner and not who.admin):
            raise Refused("TASK_NOT_FOUND", f"there is no task {task_id!r}, or no more", 404)
        return task

    async def cancel(self, who: Principal, task_id: str) -> TaskRecord:
        """End a task. Raises `Refused` 404, and 409 for one that is over."""
        task = await self.find(who, task_id)
        if not task.status.final:
            await self.cancel_task(task_id)
            task = await self._until_final(task)
        if task.status is not TaskStatus.CANCELLED:
            raise Refused("TASK_IS_OVER", f"the task is {task.status.value} already", 409)
        return task

    async def delete(self, who: Principal, task_id: str) -> None:
        """Forget a task; one that is not over is cancelled first."""
        task = await self.find(who, task_id)
        if not task.status.final:
            await self.cancel_task(task_id)
            await self._until_final(task)
        await self.store.delete(task_id)

    async def cancel_task(self, task_id: str) -> None:
        """Ask for the end of a task, wherever it runs."""
        if (run := self._running.get(task_id)) is not None:
            self._asked.add(task_id)
            run.cancel()
        asked = datetime.now(UTC)
        task = await self.store.request_cancel(task_id)
        if task is not None and task.status is TaskStatus.CANCELLED and (task.completed_at or asked) > asked:
            # Nobody had begun it: it ended here.
            self._tell(task, time.monotonic())

    # workers

    async def work(self, lease: Lease) -> TaskRecord | None:
        """Do a claimed task. None when the lease was lost on the way, or the task was handed back."""
        task = lease.task
        self._leases[task.task_id] = lease
        try:
            async with self.sessions.turn(task, policy="enqueue", bounded=False) as session:
                return await self._leased(task, session, lease)
        except SessionConflict:
            await self.store.hand_back(lease)
            return None
        except asyncio.CancelledError:
            await self.store.hand_back(lease)
            raise
        except Refused as error:
            outcome = failed(TaskError(error=error.message, code=error.code))
            if isinstance(error, Interrupted):
                outcome = cancelled()
            done = await self._finish(task, outcome, attempt=lease.attempt)
            self._tell(done, time.monotonic())
            return done
        finally:
            self._leases.pop(task.task_id, None)

    async def _leased(self, task: TaskRecord, session: SessionRecord, lease: Lease) -> TaskRecord | None:
        story = Story(self.store, task.task_id)
        began = time.monotonic()
        run = self._begin(task, session, story.add)
        try:
            outcome = await run
        except asyncio.CancelledError:
            if _is_cancelled_itself():
                run.cancel()
                await asyncio.wait((run,))
                raise
            if not await self._is_asked(task):
                await self.store.hand_back(lease)
                return None
            outcome = cancelled()
        finally:
            self._running.pop(task.task_id, None)
            self._asked.discard(task.task_id)
            await story.flush()
        done = await self._finish(task, outcome, attempt=lease.attempt)
        self._tell(done, began)
        return done

    # inside

    def new_task(self, who: Principal, order: Order) -> TaskRecord:
        """The task of an order, as it begins here. Raises `Refused` for one that is too long."""
        if len(order.task) > self.settings.max_task_chars:
            raise Refused("TASK_TOO_LONG", f"a task has at most {self.settings.max_task_chars} characters", 413)
        agent = order.agent
        priority = order.priority or (DEFAULT_PRIORITY if agent is None else PRIORITIES.get(agent, DEFAULT_PRIORITY))
        return TaskRecord(
            task_id=order.task_id or new_id(order.prefix),
            status=TaskStatus.PROCESSING,
            task=order.task,
            session_id=order.session_id or new_id("session"),
            owner=who.owner,
            kind=order.kind,
            agent=agent,
            priority=priority,
            started_at=datetime.now(UTC),
            attempts=1,
            context=order.context,
            answers=order.answers,
            webhook=order.webhook,
            metadata={"priority_given": order.priority is not None, "diagnose_now": order.diagnose_now},
        )

    def _policy(self, order: Order) -> Policy:
        return order.policy or self.settings.double_text

    async def _earlier(self, who: Principal, order: Order, task: TaskRecord) -> TaskRecord | None:
        if order.idempotency_key is None:
            return None
        reserved = await self.store.reserve_key(who.owner, order.idempotency_key, task.task_id, order.fingerprint)
        if reserved.first:
            return None
        if reserved.fingerprint != order.fingerprint:
            raise Refused("IDEMPOTENCY_KEY_REUSED", "this Idempotency-Key came with another request before", 409)
        # The first request may be about to write its task.
        for _ in range(int(2 * KEEP_AFTER_S / GATHER_S) + 10):
            found = await self.store.get(reserved.task_id)
            if found is not None:
                return found
            await asyncio.sleep(GATHER_S)
        raise Refused("IDEMPOTENCY_IN_PROGRESS", "the request with this Idempotency-Key has not begun yet", 409)

    @contextlib.asynccontextmanager
    async def _keyed(self, who: Principal, order: Order, task: TaskRecord) -> AsyncIterator[None]:
        """What is refused was not done: the same request may come again, with the same key."""
        try:
            yield
        except SessionConflict:
            await self._free_key(who, order, task)
            told = "this session was changed by another request; ask again"
            raise Refused("SESSION_BUSY", told, 409) from None
        except (Refused, StoreUnavailable):
            await self._free_key(who, order, task)
            raise

    async def _free_key(self, who: Principal, order: Order, task: TaskRecord) -> None:
        if order.idempotency_key is not None:
            with contextlib.suppress(StoreUnavailable):
                await self.store.release_key(who.owner, order.idempotency_key, task.task_id)

    async def _until_final(self, task: TaskRecord) -> TaskRecord:
        deadline = time.monotonic() + self.settings.task_timeout
        while not task.status.final and time.monotonic() < deadline:
            await asyncio.sleep(GATHER_S)
            found = await self.store.get(task.task_id)
            if found is None:
                break
            task = found
        return task

    async def _inline(self, task: TaskRecord, session: SessionRecord) -> TaskRecord:
        """Run it in the task that asks: most are over before another one would have begun."""
        if self._stopping:
            raise _stopped()
        began = time.monotonic()
        run = asyncio.current_task()
        assert run is not None
        self._running[task.task_id] = run
        adding: list[asyncio.Task[None]] = []
        keep = asyncio.get_running_loop().call_later(KEEP_AFTER_S, lambda: adding.append(self._keep(task)))
        try:
            outcome = await self._think(task, session, None)
        except asyncio.CancelledError:
            outcome = await self._stopped(task)
            if outcome.status is not TaskStatus.CANCELLED:
                if adding:
                    await adding[0]
                    await self._finish(task, outcome, attempt=1)
                raise _stopped() from None
            # It is the task's work that was cancelled, not whoever asked for it.
            run.uncancel()
        finally:
            keep.cancel()
            self._running.pop(task.task_id, None)
            self._asked.discard(task.task_id)
            self._leases.pop(task.task_id, None)
        if adding:
            await adding[0]
            done = await self._finish(task, outcome, attempt=1)
            done = done or await self.store.get(task.task_id) or ended(task, outcome)
        else:
            done = ended(task, outcome)
            await self.store.put_finished(done, outcome.session)
        self._tell(done, began)
        return done

    def _keep(self, task: TaskRecord) -> asyncio.Task[None]:
        """Begin to write a task that takes its time, so that others see it and can end it."""
        self._hold(task)
        adding = self.store.add(task, lease_s=self.settings.worker_lease, worker=self.worker)
        return asyncio.create_task(adding, name=f"peeragent keep {task.task_id}")

    async def _streamed(self, task: TaskRecord, order: Order, begun: asyncio.Future[None]) -> None:
        try:
            async with self.sessions.turn(task, policy=self._policy(order)) as session:
                _check_answers(order, session)
                if self._stopping:
                    raise _stopped()
                await self.store.add(task, lease_s=self.settings.worker_lease, worker=self.worker)
                begun.set_result(None)
                began, story = time.monotonic(), Story(self.store, task.task_id)
                run = self._begin(task, session, story.add)
                self._hold(task)
                try:
                    outcome = await run
                except asyncio.CancelledError:
                    outcome = await self._stopped(task)
                finally:
                    self._running.pop(task.task_id, None)
                    self._leases.pop(task.task_id, None)
                    self._asked.discard(task.task_id)
                    await story.flush()
                self._tell(await self._finish(task, outcome, attempt=1), began)
        except Exception as error:
            if begun.done():
                raise
            begun.set_exception(error)

    async def _stopped(self, task: TaskRecord) -> Outcome:
        """What a run that was cancelled comes to: somebody asked for it, or the service stops."""
        if await self._is_asked(task):
            return cancelled()
        return failed(STOPPED)

    async def _is_asked(self, task: TaskRecord) -> bool:
        return task.task_id in self._asked or task.task_id in await self.store.cancel_requested([task.task_id])

    def _hold(self, task: TaskRecord) -> None:
        until = time.time() + self.settings.worker_lease
        self._leases[task.task_id] = Lease(task=task, worker=self.worker, attempt=1, until=until)

    def _begin(self, task: TaskRecord, session: SessionRecord, on_piece: OnPiece | None) -> asyncio.Task[Outcome]:
        run = asyncio.create_task(self._think(task, session, on_piece), name=f"peeragent {task.task_id}")
        self._running[task.task_id] = run
        return run

    async def _think(self, task: TaskRecord, session: SessionRecord, on_piece: OnPiece | None) -> Outcome:
        request = TurnRequest(
            task=task.task,
            session_id=session.session_id,
            agent=task.agent,
            context=task.context,
            history=session.turns[-MAX_HISTORY:],
            last_agent=session.last_agent,
            socratic=session.socratic,
            answers=task.answers,
            diagnose_now=bool(task.metadata.get("diagnose_now")),
            demo=task.kind == "demo",
            stream=on_piece is not None,
        )
        headers = Headers(tenant=task.owner)
        message = Message(payload=request, headers=headers, meta={"session_id": session.session_id})
        try:
            async with asyncio.timeout(self.settings.task_timeout):
                turn = await (self._call(message) if on_piece is None else self._follow_flow(message, on_piece))
        except TimeoutError:
            return failed(TaskError(error=f"no answer within {self.settings.task_timeout:g} s", code="TASK_TIMEOUT"))
        except FlowError as error:
            return failed(task_error(error), trace_id=message.trace_id)
        changes: dict[str, Any] = {
            "result": turn.result.model_dump(mode="json"),
            "agent_type": turn.result.agent_type,
            "trace_id": message.trace_id,
        }
        if not task.metadata.get("priority_given"):
            changes["priority"] = PRIORITIES.get(turn.route.agent, DEFAULT_PRIORITY)
        done = done_event(
            task.task_id, turn.result.agent_type, changes.get("priority", task.priority), changes["result"]
        )
        events = [("done", done)]
        return Outcome(
            TaskStatus.COMPLETED,
            changes,
            session_after(session, task, turn, self.settings.max_messages_per_session),
            events,
        )

    async def _call(self, message: Message) -> TurnResult:
        return turn_of(await self.flows.next().call(message))

    async def _follow_flow(self, message: Message, on_piece: OnPiece) -> TurnResult:
        last: Any = None
        routed = False
        async with contextlib.aclosing(self.flows.next().stream(message)) as pieces:
            async for piece in pieces:
                payload = piece.payload if isinstance(piece, Message) else piece
                if not isinstance(payload, StreamChunk):
                    last = payload
                elif "route" in payload.meta:
                    routed = True
                    on_piece("classification", classified(Route.model_validate(payload.meta["route"])))
                elif payload.text:
                    on_piece("content", {"content": payload.text})
                elif "restart" in payload.meta:
                    # What came so far is void: the model was asked again.
                    on_piece("content", {"content": "", "restart": True})
        turn = turn_of(last)
        if not routed:
            on_piece("classification", classified(turn.route))
        return turn

    async def _finish(self, task: TaskRecord, outcome: Outcome, *, attempt: int) -> TaskRecord | None:
        return await self.store.finish(
            task.task_id,
            outcome.status,
            attempt=attempt,
            changes=outcome.changes,
            worker=self.worker,
            session=outcome.session,
            events=outcome.events,
        )

    def _tell(self, task: TaskRecord | None, began: float) -> None:
        if task is not None:
            for tell in self.on_finished:
                tell(task, time.monotonic() - began)

    async def _look_after(self) -> None:
        """Renew what is held here, and end what somebody wants to end."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            # A store that is away for a while must not end this: leases would run out under work that goes on.
            with contextlib.suppress(StoreUnavailable):
                for task_id in await self.store.cancel_requested([*self._running]) if self._running else ():
                    if (run := self._running.get(task_id)) is not None:
                        run.cancel()
                if time.monotonic() - renewed > self.settings.worker_lease / 3:
                    renewed = time.monotonic()
                    await self._renew()

    async def _renew(self) -> None:
        for task_id, lease in [*self._leases.items()]:
            held = await self.store.renew(lease, self.settings.worker_lease)
            if not held and (run := self._running.get(task_id)) is not None:
                run.cancel()
        await self.sessions.renew()


def _stopped() -> Refused:
    return Refused(STOPPED.code, STOPPED.error, 503, {"Retry-After": "1"})


def _is_cancelled_itself() -> bool:
    """Whether it is the current task that was cancelled, and not what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _check_answers(order: Order, session: SessionRecord) -> None:
    if order.kind == "continue" and (session.socratic is None or not session.socratic.waits):
        raise Refused("NO_OPEN_QUESTIONS", "this session has no open questions: begin with a task", 409)
