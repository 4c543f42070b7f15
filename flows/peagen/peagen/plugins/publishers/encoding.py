"""Events as they are sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from peagen.plugins.errors import PublishFailed

DEFAULT_CHANNEL = "peagen.events"
TIMEOUT_S = 30.0


def encoded(payload: Mapping[str, Any]) -> bytes:
    """An event as JSON. Raises `PublishFailed` for what has no `type`, or is no plain data."""
    if not isinstance(payload.get("type"), str):
        raise PublishFailed("an event is a mapping with a `type`, which is a text")
    try:
        return json.dumps(dict(payload), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise PublishFailed(f"the event {payload['type']!r} is no plain data: {error}") from None
