"""What calls cost, in US dollars. A cost that nobody knows is None, not 0.

Prices that a program registers come first, then those of `genai-prices` (extra `llm`), which come with the package and
are not fetched.
"""

from __future__ import annotations

import logging
from threading import Lock
from typing import Any

from penguiflow.llm.routing import ProviderType, normalize_model_id, parse_model_string
from penguiflow.llm.types import Cost, Usage

__all__ = ["calculate_cost", "calculate_cost_from_usage", "cost_of", "get_pricing", "register_pricing"]

logger = logging.getLogger(__name__)

_SELLERS: dict[ProviderType, str | None] = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "google",
    "openrouter": "openrouter",
    "bedrock": "aws",
    "unknown": None,
}
"""How `genai-prices` calls them; what is missing here it does not know."""
_registered: dict[str, tuple[float, float]] = {}
_told: set[str] = set()
_lock = Lock()


def register_pricing(model: str, input_price: float, output_price: float) -> None:
    """Say what 1,000 tokens of a model cost. Raises `ValueError` for a negative price."""
    if input_price < 0 or output_price < 0:
        raise ValueError(f"a price of {model} is negative: {input_price}, {output_price}")
    with _lock:
        _registered[model] = (input_price, output_price)


def cost_of(model: str, usage: Usage, *, listed: bool = True) -> Cost | None:
    """What a call cost, None if that is not known.

    Args:
        model: Its name, with the provider's (`anthropic/claude-sonnet-4-6`) or without.
        usage: Of the call.
        listed: Whether the list prices hold. They do not for a server of one's own that serves a model of that name.
    """
    known = _registered_price(model)
    if known is not None:
        inputs, outputs = usage.input_tokens * known[0] / 1000, usage.output_tokens * known[1] / 1000
        return Cost(inputs, outputs, inputs + outputs)
    return _listed_cost(model, usage) if listed else None


def get_pricing(model: str) -> tuple[float, float]:
    """What 1,000 tokens of input and of output cost. For a model that nobody knows it is 0, and the log says so."""
    known = _registered_price(model)
    if known is None:
        inputs = _listed_cost(model, Usage(1000, 0, 1000))
        outputs = _listed_cost(model, Usage(0, 1000, 1000))
        known = (inputs.input_cost, outputs.output_cost) if inputs is not None and outputs is not None else None
    if known is not None:
        return known
    _tell_unknown(model)
    return 0.0, 0.0


def calculate_cost(model: str, input_tokens: int, output_tokens: int) -> float:
    """What a call cost; 0 for a model that nobody knows, and the log says so."""
    return calculate_cost_from_usage(model, Usage(input_tokens, output_tokens, input_tokens + output_tokens)).total_cost


def calculate_cost_from_usage(model: str, usage: Usage) -> Cost:
    """What a call cost, split; zero for a model that nobody knows, and the log says so."""
    cost = cost_of(model, usage)
    if cost is not None:
        return cost
    _tell_unknown(model)
    return Cost.zero()


def _registered_price(model: str) -> tuple[float, float] | None:
    if not _registered:
        return None
    parsed = parse_model_string(model)
    bare = parsed.model_id.rpartition("/")[2]
    for name in (model, parsed.model_id, bare):
        if name in _registered:
            return _registered[name]
    wanted = normalize_model_id(model)
    with _lock:
        names = list(_registered)
    found = next((name for name in names if normalize_model_id(name) == wanted), None)
    return None if found is None else _registered[found]


def _listed_cost(model: str, usage: Usage) -> Cost | None:
    try:
        import genai_prices
    except ModuleNotFoundError:
        return None
    parsed = parse_model_string(model)
    if parsed.provider not in _SELLERS:
        return None
    about: dict[str, Any] = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    if usage.cached_tokens:
        about["cache_read_tokens"] = usage.cached_tokens
    try:
        price = genai_prices.calc_price(
            genai_prices.Usage(**about), parsed.model_id, provider_id=_SELLERS[parsed.provider]
        )
    except (LookupError, ValueError):  # a model that the list has not; numbers that cannot be (more cached than read)
        return None
    return Cost(float(price.input_price), float(price.output_price), float(price.total_price))


def _tell_unknown(model: str) -> None:
    if model not in _told:
        _told.add(model)
        logger.warning("no price is known for the model %r: it counts as 0; `register_pricing` sets one", model)
