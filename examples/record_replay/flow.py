"""A basket is priced by an exchange whose prices change with every question."""

from __future__ import annotations

import asyncio
import random

from pydantic import BaseModel, Field

from penguiflow import Context, Headers, Message, ModelRegistry, Node, create, map_concurrent
from penguiflow.recording import Recorder
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.events import EventRecord
from penguiflow.recording.replay import replay


class Basket(BaseModel):
    """What is to be priced: how many of each."""

    symbols: dict[str, int] = Field(min_length=1)


class Quotes(BaseModel):
    """The basket with a price for each symbol."""

    symbols: dict[str, int]
    prices: dict[str, float]
    asked_at: float


class Priced(BaseModel):
    """What the basket costs."""

    total: float
    lucky: str
    asked_at: float


async def ask_exchange(symbol: str) -> float:
    """Stands for a service far away: slow, and never of the same opinion."""
    await asyncio.sleep(0.05)
    return round(random.uniform(10, 99), 2)


async def quote(basket: Basket, ctx: Context) -> Quotes:
    """Ask for all prices at once; each question and answer goes into the trace."""

    async def price(symbol: str) -> float:
        answer: float = await ctx.record("exchange", ask_exchange, symbol)
        return answer

    prices = await map_concurrent(basket.symbols, price)
    return Quotes(symbols=basket.symbols, prices=dict(zip(basket.symbols, prices, strict=True)), asked_at=ctx.now())


async def add_up(quotes: Quotes, ctx: Context) -> Priced:
    """The sum, and one symbol by chance: the context's, which a replay repeats."""
    total = sum(count * quotes.prices[symbol] for symbol, count in quotes.symbols.items())
    lucky = ctx.random().choice(sorted(quotes.symbols))
    return Priced(total=round(total, 2), lucky=lucky, asked_at=quotes.asked_at)


quote_node, add_up_node = Node(quote), Node(add_up)
flow = create(quote_node.to(add_up_node), add_up_node.to())

registry = ModelRegistry()
registry.register("quote", Basket, Quotes)
registry.register("add_up", Quotes, Priced)

BASKET = {"ICE": 2, "FISH": 7, "ROCK": 1}

__flow__ = {"title": "Record and replay", "samples": [{"symbols": BASKET}]}


class Memory:
    """Keeps the events of a trace; a project has a store for that."""

    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def write(self, record: EventRecord) -> None:
        """Take one event."""
        self.records.append(record)


async def main() -> None:
    """Price a basket, then price it again from the recording."""
    memory = Memory()
    flow.run(registry=registry, recorder=Recorder(memory, name="record_replay"))
    message = Message(payload=Basket(symbols=BASKET), headers=Headers(tenant="acme"))
    first = (await flow.call(message)).payload
    await flow.stop()

    cassette = Cassette.of(record.decode() for record in memory.records)
    again = await replay(flow, cassette, registry=registry)
    print(f"replayed: {again.answered} answers from the recording, {again.made} calls made")
    print(f"the same total: {again.output.total == first.total}")
    print(f"the same draw, at the same time: {again.output == first}")


if __name__ == "__main__":
    asyncio.run(main())
