"""A conversation that answers its own questions, to show how one goes."""

from __future__ import annotations

from typing import Any

from peeragent.models.agents import MORE_EMOJI
from peeragent.models.tasks import TaskRecord
from peeragent.service import Order, Principal, Service

ANSWERS = (
    "It began about three months ago, it costs us roughly 15% of our monthly revenue, and it is our first priority.",
    "Mostly customers in the middle segment; in six months we would have to let people go. Lower prices did not help.",
    "We need a solution rather than visibility. We track revenue and churn weekly; success is to be back in a quarter.",
)
MAX_TURNS = 8


class Demo:
    """Runs demos."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def run(self, who: Principal, order: Order) -> TaskRecord:
        """The last task of the conversation, with all its rounds as its result."""
        task = await self._service.execute(who, order)
        rounds: list[dict[str, Any]] = []
        for _ in range(MAX_TURNS):
            result = task.result or {}
            if task.error is not None or result.get("type") != "questions":
                break
            asked = result["data"]
            answer = ANSWERS[min(len(rounds), len(ANSWERS) - 1)]
            told = {"phase": asked["phase"], "phase_emoji": asked["phase_emoji"], "questions": asked["questions"]}
            if asked["phase_emoji"] != MORE_EMOJI:
                rounds.append({**told, "answer": answer})
            step = Order(
                task="",
                session_id=task.session_id,
                agent=order.agent,
                kind="continue",
                answers=dict.fromkeys(asked["questions"], answer),
                prefix=order.prefix,
            )
            task = await self._service.execute(who, step)
        if task.error is not None:
            return task
        data = (task.result or {}).get("data", {})
        made = {
            "type": "demo",
            "task": order.task,
            "rounds": rounds,
            "diagnosis": data.get("diagnosis"),
            "problem_tree": data.get("problem_tree"),
        }
        return task.model_copy(update={"result": made})
