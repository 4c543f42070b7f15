"""The graph: `route` decides, one node for each agent does the work, `business` hands its diagnosis to `problem`.

Try it: `pf run peeragent.flow:flow --input '{"task": "Write a Python function that reverses a string"}'`

Where somebody can answer (a terminal, the dashboard) the rounds of the business agent are questions of one run; else a
run ends with the questions, and the next one takes `answers` and `socratic` from the one before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from peeragent.agents.business import business
from peeragent.agents.code import code
from peeragent.agents.competitor import competitor
from peeragent.agents.content import content
from peeragent.agents.data import data
from peeragent.agents.email import email
from peeragent.agents.problem import problem
from peeragent.agents.summary import summary
from peeragent.agents.tools import Tools
from peeragent.agents.translation import translation
from peeragent.errors import AgentFailed
from peeragent.llm import Model, make_model
from peeragent.models.agents import Agent
from peeragent.models.turns import Routed, TurnRequest, TurnResult
from peeragent.routing import Router, direct, resumed
from peeragent.search import SearchTool, make_search
from peeragent.settings import settings
from penguiflow import Context, ModelRegistry, Node, NodePolicy, PenguiFlow, StreamChunk, create

Work = Callable[[Routed, Context, Tools], Awaitable[TurnResult]]

AGENTS: dict[Agent, Work] = {
    Agent.CODE: code,
    Agent.CONTENT: content,
    Agent.PROBLEM: problem,
    Agent.SUMMARY: summary,
    Agent.TRANSLATE: translation,
    Agent.EMAIL: email,
    Agent.DATA: data,
    Agent.COMPETITOR: competitor,
}
"""All but the business agent, which decides where it goes on."""
BUSINESS = str(Agent.BUSINESS)
TELL = "tell"
"""The node by which pieces and questions of the rounds leave the flow: the business agent has successors."""
AT_ONCE = 1000
"""Turns that a node works on at once."""


def make_registry() -> ModelRegistry:
    """What the nodes take and give."""
    registry = ModelRegistry()
    registry.register("route", TurnRequest, Routed)
    registry.register(BUSINESS, Routed, TurnResult)
    registry.register(TELL, TurnResult, TurnResult)
    for agent in AGENTS:
        registry.register(str(agent), Routed, TurnResult)
    return registry


def make_flow(model: Model, search: SearchTool) -> PenguiFlow:
    """A flow from `TurnRequest` to `TurnResult`; run it with `make_registry()`.

    A turn that fails raises `FlowError`, whose `unwrap()` is an `AgentFailed`.
    """
    tools, router = Tools(model, search), Router(model)

    async def route(request: TurnRequest, ctx: Context) -> None:
        """Decide who does the task."""
        if request.answers:
            chosen = resumed()
        elif not request.task.strip():
            raise AgentFailed("NO_TASK", "the task is empty: say what is to be done")
        elif request.agent is not None:
            chosen = direct(request.agent)
        else:
            chosen = await router.classify(request, ctx)
            if chosen.agent is Agent.BUSINESS and chosen.method == "session" and request.socratic is not None:
                # Said in reply to the open questions: to each of them, as nobody knows to which.
                given = dict.fromkeys(request.socratic.asked, request.task)
                request = request.model_copy(update={"task": "", "answers": given})
        await ctx.emit(Routed(request=request, route=chosen), to=nodes[chosen.agent])

    async def rounds(turn: Routed, ctx: Context) -> None:
        """Ask, judge, and hand on what was found."""
        await _tell_route(turn, ctx, to=tell)
        done = await business(turn, ctx, tools)
        await ctx.emit(done, to=nodes[Agent.PROBLEM] if isinstance(done, Routed) else tell)

    async def told(result: TurnResult | StreamChunk, ctx: Context) -> TurnResult | StreamChunk:
        """Pass on a piece, or end the turn with questions: the next one brings the answers."""
        return result

    def working(agent: Agent, work: Work) -> Node:
        async def node(turn: Routed, ctx: Context) -> TurnResult:
            if turn.diagnosis is None:  # else it was told before
                await _tell_route(turn, ctx)
            return await work(turn, ctx, tools)

        node.__doc__ = work.__doc__
        return Node(node, name=str(agent), policy=NodePolicy(max_concurrency=AT_ONCE))

    takes = NodePolicy(validate="in", max_concurrency=AT_ONCE)
    entry = Node(route, name="route", policy=takes)
    tell = Node(told, name=TELL, policy=NodePolicy(validate="none", max_concurrency=AT_ONCE))
    nodes = {agent: working(agent, work) for agent, work in AGENTS.items()}
    nodes[Agent.BUSINESS] = Node(rounds, name=BUSINESS, policy=takes)
    ordered = [nodes[agent] for agent in Agent]
    leaves = [node.to() for node in ordered if node is not nodes[Agent.BUSINESS]]
    return create(entry.to(*ordered), nodes[Agent.BUSINESS].to(nodes[Agent.PROBLEM], tell), *leaves, tell.to())


async def _tell_route(turn: Routed, ctx: Context, *, to: Node | None = None) -> None:
    """Tell whoever follows the stream who does the work, before it begins: an empty piece with `meta["route"]`."""
    if turn.request.stream:
        meta = {"route": turn.route.model_dump(mode="json")}
        await ctx.emit_chunk(parent=ctx.message, text="", meta=meta, to=to)


registry = make_registry()
flow = make_flow(make_model(settings()), make_search(settings()))

__flow__ = {
    "title": "PeerAgent",
    "samples": [
        {"task": "Write a Python function that reverses a string"},
        {"task": "What is machine learning?"},
        {"task": "Our sales dropped 20% this quarter"},
        {"task": "Build a problem tree: our delivery costs are rising"},
        {"task": "Summarize: The city council met on Monday. It approved a new tram line. Work begins in May."},
        {"task": "Translate to Spanish: Good morning, my friend"},
        {"task": "Write a professional email to my customer about the sales team meeting"},
        {"task": "Analyze this data", "context": {"data": [12, 15, 14, 90, 13, 16]}},
        {"task": "Who are the main competitors in electric cars?"},
        {"task": "Our sales dropped 20% this quarter", "demo": True, "agent": "business"},
    ],
}
