"""A middleware turns events into metrics: to MLflow where it is installed, else into memory."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections import defaultdict
from typing import Any, Protocol

from pydantic import BaseModel

from penguiflow import Context, FlowEvent, Headers, Message, ModelRegistry, Node, create


class MetricSink(Protocol):
    """Where metrics go."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Take the metrics of one event."""
        ...


class MemorySink:
    """Keeps the values of each metric."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = defaultdict(list)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Take the metrics of one event."""
        for name, value in metrics.items():
            self.values[name].append(value)


class MlflowSink:
    """Logs to MLflow's active run, and begins one where there is none."""

    def __init__(self) -> None:
        self.mlflow: Any = importlib.import_module("mlflow")

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Take the metrics of one event."""
        self.mlflow.log_metrics(metrics, step=step)


class Metrics:
    """The middleware: one step for each node that is done, with everything that the event measures."""

    def __init__(self, sink: MetricSink) -> None:
        self.sink = sink
        self.steps = 0

    async def __call__(self, event: FlowEvent) -> None:
        """Take one event."""
        if event.event_type not in ("node_success", "node_error"):
            return
        node = event.tag_values()["node_name"]
        metrics = {f"{node}.{name}": value for name, value in event.metric_samples().items()}
        self.sink.log({f"{node}.{event.event_type}": 1.0, **metrics}, self.steps)
        self.steps += 1


class Text(BaseModel):
    """A text."""

    text: str


class Count(BaseModel):
    """How many words it has."""

    words: int


async def clean(text: Text, ctx: Context) -> Text:
    """Take the blanks off."""
    return Text(text=text.text.strip())


async def count(text: Text, ctx: Context) -> Count:
    """Count the words."""
    return Count(words=len(text.text.split()))


sink: MetricSink = MemorySink() if importlib.util.find_spec("mlflow") is None else MlflowSink()
clean_node = Node(clean)
count_node = Node(count)

flow = create(clean_node.to(count_node), middlewares=[Metrics(sink)])

registry = ModelRegistry()
registry.register("clean", Text, Text)
registry.register("count", Text, Count)

__flow__ = {"title": "Metrics", "samples": [{"text": " a waddle of penguins "}]}


async def main() -> None:
    """Count the words of three texts and show what was measured."""
    flow.run(registry=registry)
    for text in ("a waddle", "a waddle of penguins", "penguins"):
        await flow.call(Message(payload=Text(text=text), headers=Headers(tenant="acme")))
    await flow.stop()
    if isinstance(sink, MemorySink):
        for node in ("clean", "count"):
            latencies = sink.values[f"{node}.latency_ms"]
            print(f"{node}: {len(latencies)} runs, all under a minute: {max(latencies) < 60_000}")
    else:
        print("see the run in MLflow")


if __name__ == "__main__":
    asyncio.run(main())
