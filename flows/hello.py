"""Two nodes and an edge: a name goes in, a greeting comes out.

Try it: `pf run flows/hello.py --input '{"name": "Pip"}'`
"""

from __future__ import annotations

from pydantic import BaseModel

from penguiflow import Context, ModelRegistry, Node, create


class Person(BaseModel):
    """Who is to be greeted."""

    name: str = "penguin"


class Greeting(BaseModel):
    """What is said to them."""

    text: str


async def compose(person: Person, ctx: Context) -> Greeting:
    """Find the words."""
    return Greeting(text=f"hello, {person.name.strip() or 'stranger'}")


async def polish(greeting: Greeting, ctx: Context) -> Greeting:
    """Make a sentence of them."""
    return Greeting(text=greeting.text[:1].upper() + greeting.text[1:] + "!")


compose_node = Node(compose, name="compose")
polish_node = Node(polish, name="polish")

flow = create(compose_node.to(polish_node))

registry = ModelRegistry()
registry.register("compose", Person, Greeting)
registry.register("polish", Greeting, Greeting)

__flow__ = {"title": "Hello", "samples": [{"name": "Pip"}, {}]}
