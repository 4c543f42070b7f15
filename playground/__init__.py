"""The developer's tools: the `pf` command, the runtime host and the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penguiflow import PenguiFlow
    from playground.embedding import Embedding

__all__ = ["embed"]


def embed(flows: PenguiFlow | Mapping[str, PenguiFlow], **options: Any) -> Embedding:
    """Serve the flows of this process to dashboards: `async with embed(flow): …`, or `host = await embed(flow)`.

    The flows have to run already (`flow.run(…)`); several are given by name. What they do goes on into their own
    store. Runs stop at breakpoints only while a client with full control is there.

    The options are those of `playground.embedding.Embedding`: `port`, `host`, `home`, `hold_s`, `allow_remote`,
    `tokens`.
    Raises `playground.embedding.EmbedProblem`.
    """
    from playground.embedding import Embedding

    return Embedding(flows, **options)
