"""A host inside of any asyncio service: its flows, watched and stopped from a dashboard elsewhere.

```python
from playground import embed

flow.run(registry=registry, state_store=store)
async with embed(flow, port=8765):
    await serve_requests()
```
"""

from __future__ import annotations

from playground.embedding.host import Embedding, EmbedProblem

__all__ = ["EmbedProblem", "Embedding"]
