"""A model that answers for a shop by rules, through native tool calls: see `flows/_research_model.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flows._conversation import Conversation, is_decision, objects_in, read_conversation, texts_in
from penguiflow.llm.scripted import ScriptedModel

_ORDER = re.compile(r"\b[A-Z]-\d+\b", re.IGNORECASE)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_MONEY = re.compile(r"\b(refund|money back|lost|never came|sent (it )?back)\b", re.IGNORECASE)
_APPROVED = re.compile(r"\b(yes|ok|approved?|fine)\b", re.IGNORECASE)
_REFUSED = re.compile(r"\b(no|not|never|refused?|denied)\b", re.IGNORECASE)
MAX_DECISIONS = 6


def support_model() -> ScriptedModel:
    """The scripted model of `support_agent`."""
    return ScriptedModel(
        rules=[(is_decision, lambda request: decide(read_conversation(request)))], model="scripted-support"
    )


def decide(told: Conversation) -> dict[str, Any]:
    """Look everything up at once, refund what is lost, answer."""
    if told.decisions >= MAX_DECISIONS:
        return answer(told)
    return _look_up(told) or _give_back(told) or answer(told)


def _look_up(told: Conversation) -> dict[str, Any] | None:
    """What the message names; once."""
    if told.calls:
        return None
    wanted: list[tuple[str, str, str]] = [
        *(("find_customer", "email", email) for email in _EMAIL.findall(told.query)),
        *(("find_order", "order_id", number.upper()) for number in _ORDER.findall(told.query)),
    ]
    if not wanted:
        wanted.append(("search_help", "question", told.query))
    steps = [{"node": name, "args": {key: value}} for name, key, value in wanted]
    if len(steps) == 1:
        return {"next_node": steps[0]["node"], "args": steps[0]["args"]}
    return {"next_node": "parallel", "args": {"steps": steps}}


def _give_back(told: Conversation) -> dict[str, Any] | None:
    order = _order(told)
    if order is None or order.get("status") == "refunded" or not _MONEY.search(told.query):
        return None
    if order.get("status") != "lost" and "sent" not in told.query.casefold():
        return None
    if _refunds(told) or told.failed("refund") or _was_refused(told):
        return None
    if any(call.tool == "refund" for call in told.calls) and told.resumed is None:
        return None
    reason = "lost" if order.get("status") == "lost" else "sent back"
    return {"next_node": "refund", "args": {"order_id": str(order.get("id")), "reason": reason}}


def answer(told: Conversation) -> dict[str, Any]:
    """The answer in words and as data."""
    order, refunds = _order(told), _refunds(told)
    name = next((found.get("name") for found in told.given("find_customer")), None)
    category = "refund" if _MONEY.search(told.query) else "order" if order is not None else "question"
    said = [f"Hello {name}." if name else "Hello."]
    if refunds:
        made = refunds[-1]
        amount = made.get("amount")
        money = f"{amount:.2f}" if isinstance(amount, int | float) else "Your money"
        said.append(f"{money} for order {made.get('order_id')} is on its way ({made.get('reference')}).")
    elif _was_refused(told) and order is not None:
        said.append(f"The refund of order {order.get('id')} was not approved; a colleague will write to you.")
    elif order is not None:
        said.append(f"Your order {order.get('id')}, {order.get('item')}, is {order.get('status')}.")
    said.extend(page for found in told.given("search_help") for page in texts_in(found, "pages")[:1])
    said.extend(f"I could not help with a part of it: {call.error}." for call in told.calls if call.error)
    known = len(said) > 1
    if not known:
        said.append("I know nothing of that yet, and have passed it on.")
    data = {
        "category": category,
        "resolved": known and not any(call.error for call in told.calls) and not _was_refused(told),
        "reply": " ".join(said),
        "order_id": None if order is None else order.get("id"),
        "refund": refunds[-1].get("amount") if refunds else None,
    }
    return {"next_node": "final_response", "args": {"structured": data, "answer": data["reply"]}}


def _order(told: Conversation) -> Mapping[str, Any] | None:
    """The order that is named; else the lost one of the customer, or the only one."""
    named = told.given("find_order")
    if named:
        return named[-1]
    orders = [order for found in told.given("find_customer") for order in objects_in(found, "orders")]
    lost = [order for order in orders if order.get("status") == "lost"]
    return next(iter(lost if _MONEY.search(told.query) else orders if len(orders) == 1 else []), None)


def _refunds(told: Conversation) -> list[Mapping[str, Any]]:
    """Those that were made; a call that paused gave none."""
    return [made for made in told.given("refund") if "reference" in made]


def _was_refused(told: Conversation) -> bool:
    said = told.resumed
    return said is not None and (bool(_REFUSED.search(said)) or not _APPROVED.search(said)) and not _refunds(told)
