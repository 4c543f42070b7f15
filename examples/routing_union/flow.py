"""A router takes a union of models and sends each message to the node named as its `kind`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from penguiflow import Context, Headers, Message, Node, NodePolicy, create, union_router


class WebSearch(BaseModel):
    """Look it up on the web."""

    kind: Literal["web"] = "web"
    query: str


class SqlQuery(BaseModel):
    """Look it up in the database."""

    kind: Literal["sql"] = "sql"
    table: str
    limit: int = 10


Lookup = Annotated[WebSearch | SqlQuery, Field(discriminator="kind")]

NOT_VALIDATED = NodePolicy(validate="none")
"""The router has validated what these nodes get."""


async def web(message: Message, ctx: Context) -> Message:
    """Search."""
    return message.model_copy(update={"payload": f"three pages about {message.payload.query}"})


async def sql(message: Message, ctx: Context) -> Message:
    """Select."""
    lookup: SqlQuery = message.payload
    return message.model_copy(update={"payload": f"{lookup.limit} rows of {lookup.table}"})


router = union_router("router", Lookup)
flow = create(router.to(Node(web, policy=NOT_VALIDATED), Node(sql, policy=NOT_VALIDATED)))

SAMPLES: list[dict[str, Any]] = [{"kind": "web", "query": "penguins"}, {"kind": "sql", "table": "birds", "limit": 3}]

__flow__ = {"title": "Routing by type", "samples": SAMPLES}


async def main() -> None:
    """Look two things up."""
    flow.run()
    for lookup in SAMPLES:
        result = await flow.call(Message(payload=lookup, headers=Headers(tenant="acme")))
        print(f"{lookup['kind']}: {result.payload}")
    await flow.stop()


if __name__ == "__main__":
    asyncio.run(main())
