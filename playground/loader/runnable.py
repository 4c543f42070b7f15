"""Whatever a module offers, as one thing: a flow with its registry and its input."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict
from types import ModuleType
from typing import Any

import pydantic_core

from penguiflow import Message, ModelRegistry, Node, NodePolicy, PenguiFlow, create
from playground.loader.errors import LoadProblem
from playground.loader.factories import is_planner
from playground.loader.inputs import Input, first_annotation, flow_input, function_input, return_annotation
from playground.loader.offers import Offer, Settings, build, find_registry
from playground.protocol import CodeError, FlowInfo, NodeInfo


class Runnable:
    """Something that can be run, with what is to be known of it."""

    def __init__(
        self,
        flow: PenguiFlow,
        registry: ModelRegistry | None,
        takes: Input,
        info: FlowInfo,
        module: ModuleType,
        *,
        planner: Any = None,
    ) -> None:
        """`planner` is what the flow was made of, if it is one."""
        self.attribute = info.name
        """Its name in the module."""
        self.flow = flow
        self.registry = registry
        self.takes = takes
        self.info = info
        self.module = module
        self._planner = planner

    @property
    def planners(self) -> list[Any]:
        """The planners that are known of: the one that it is, and those that its module has."""
        found = [value for value in list(vars(self.module).values()) if is_planner(value)]
        own = [] if self._planner is None or self._planner in found else [self._planner]
        return [planner for planner in (*own, *found) if not isinstance(planner, type)]


def runnable_of(flow: PenguiFlow, name: str, module: ModuleType) -> Runnable:
    """A flow of this very process. Raises `LoadProblem` for one without an entry."""
    _refuse_no_entry(flow)
    takes = flow_input(flow, flow.registry)
    info = FlowInfo(target=name, name=name, input_type=takes.type_name, input_schema=takes.schema())
    info.nodes = [_describe_node(node, flow.registry) for node in flow.nodes]
    info.edges = list(flow.edges)
    return Runnable(flow, flow.registry, takes, info, module)


async def make_runnable(offer: Offer, module: ModuleType, target: str) -> Runnable:
    """Build what is offered; calls factories. Raises `LoadProblem` and whatever user code raises."""
    value, registry = await build(offer) if offer.is_factory else (offer.value, None)
    info = FlowInfo(target=target, name=offer.attribute, kind=offer.kind, doc=_doc(offer, module))
    function, planner = None, None
    if isinstance(value, PenguiFlow):
        flow = value
        _refuse_no_entry(flow)
        registry = registry or find_registry(module, flow, offer.attribute)
        takes = flow_input(flow, registry)
    elif is_planner(value):
        info.kind, planner = "planner", value
        info.tools = [str(name) for name in value.specs]
        flow, registry = value.as_flow()
        takes = flow_input(flow, registry)
    else:
        function = value.execute if not inspect.isfunction(value) else value
        info.kind = "function" if inspect.isfunction(value) else "orchestrator"
        takes = function_input(function)
        flow = _flow_around(function, takes, offer.attribute)
    info.input_type = takes.type_name
    info.input_schema = takes.schema()
    info.nodes = [_describe_node(node, registry) for node in flow.nodes]
    if function is not None:
        info.nodes[0].input_type = takes.type_name
        info.nodes[0].output_type = _type_name(return_annotation(function))
    info.edges = list(flow.edges)
    _apply(offer.settings, info)
    return Runnable(flow, registry, takes, info, module, planner=planner)


def same_shape(one: Runnable, other: Runnable) -> bool:
    """True when two flows have the same nodes and edges: a factory and what it made, most likely."""
    return one.info.edges == other.info.edges and [n.name for n in one.info.nodes] == [n.name for n in other.info.nodes]


def _refuse_no_entry(flow: PenguiFlow) -> None:
    if flow.nodes and not flow.ingress:
        names = ", ".join(str(node.name) for node in flow.nodes)
        message = f"the flow has no entry: each of its nodes is the successor of one of them ({names})"
        hint = "Begin with a node that no other sends to; one that sends to itself needs Node(…, allow_cycle=True)."
        raise LoadProblem(CodeError(kind="cycle", message=message, hint=hint))


def _flow_around(function: Callable[..., Any], takes: Input, name: str) -> PenguiFlow:
    """A function as a flow of one node, so that it is recorded, bounded and cancelled like any other."""

    async def call(message: Any, ctx: Any) -> Any:
        value = message.payload
        if takes.arguments:
            arguments = {field: getattr(value, field) for field in type(value).model_fields}
            result = await function(**arguments)
        else:
            result = await function(value)
        if isinstance(result, PenguiFlow):
            raise TypeError(f"{name}() returned a flow: to have that flow run, annotate the function `-> PenguiFlow`")
        return None if result is None else message.model_copy(update={"payload": result})

    node = Node(call, name=name, policy=NodePolicy(validate="none"))
    return create(node.to())


def _describe_node(node: Node, registry: ModelRegistry | None) -> NodeInfo:
    name = str(node.name)
    if registry is not None and registry.has(name):
        takes, gives = registry.models(name)
    else:
        takes, gives = first_annotation(node.func), return_annotation(node.func)
    return NodeInfo(name=name, policy=asdict(node.policy), input_type=_type_name(takes), output_type=_type_name(gives))


def _type_name(annotation: Any) -> str | None:
    if annotation is Any or annotation is None or annotation is type(None):
        return None
    if annotation is Message:
        return "Message"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _doc(offer: Offer, module: ModuleType) -> str | None:
    """A function speaks for itself, a flow through its module."""
    own = inspect.getdoc(offer.value) if inspect.isfunction(offer.value) else None
    doc = own or module.__doc__
    return inspect.cleandoc(doc) if doc else None


def _apply(settings: Settings, info: FlowInfo) -> None:
    info.title = settings.title
    info.samples = pydantic_core.to_jsonable_python(settings.samples, fallback=repr)
    info.defaults = pydantic_core.to_jsonable_python(settings.defaults, fallback=repr)
