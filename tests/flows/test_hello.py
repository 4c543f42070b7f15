from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flows import hello

if TYPE_CHECKING:
    from tests.flows.conftest import RunFlow


@pytest.mark.parametrize(
    ("payload", "greeting"),
    [({"name": "Pip"}, "Hello, Pip!"), ({}, "Hello, penguin!"), ({"name": "  "}, "Hello, stranger!")],
)
async def test_it_greets(run_flow: RunFlow, payload: dict[str, str], greeting: str) -> None:
    outcome = await run_flow(hello, payload)

    assert outcome.result == hello.Greeting(text=greeting)


def test_it_is_two_nodes_and_an_edge() -> None:
    assert hello.flow.edges == (("OpenSea", "compose"), ("compose", "polish"), ("polish", "Rookery"))
