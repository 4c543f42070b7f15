"""What a module offers to run: flows, planners, what makes them, objects with `execute`, and async functions."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, Literal, NamedTuple

from penguiflow import ModelRegistry, PenguiFlow
from playground.loader.errors import LoadProblem
from playground.loader.factories import (
    has_execute,
    is_planner,
    makes_flow,
    required_parameters,
    returns_flow,
    takes_context,
)
from playground.protocol import CodeError

SETTINGS_NAME = "__flow__"
SETTING_TYPES: dict[str, type] = {"title": str, "samples": list, "defaults": dict, "functions": list}

Kind = Literal["flow", "planner", "orchestrator", "function"]


class Settings(NamedTuple):
    """What `__flow__` says."""

    title: str | None = None
    samples: list[Any] = []  # noqa: RUF012 (a named tuple's default is never changed)
    defaults: dict[str, Any] = {}  # noqa: RUF012


class Offer(NamedTuple):
    """One thing that can be run, before it is built."""

    attribute: str
    kind: Kind
    value: Any
    """The flow, the factory, the object or the function itself."""
    settings: Settings
    is_factory: bool = False


def find_offers(module: ModuleType, attributes: Sequence[str], imported: set[str]) -> list[Offer]:
    """What the module offers, in the order of its names; `attributes` are what the user named, if anything.

    Raises `LoadProblem` for an attribute that is missing or cannot be run, and for a malformed `__flow__`.
    """
    settings = _read_settings(module)
    if attributes:
        return [_named_offer(module, attribute, settings) for attribute in attributes]
    is_package = hasattr(module, "__path__")
    # A value that another module made is offered there; a package's own face may re-export it.
    skipped = set() if is_package else imported
    names = [name for name in vars(module) if not name.startswith("_") and name not in skipped]
    return list(_discovered(module, names, settings))


def _discovered(module: ModuleType, names: Sequence[str], settings: dict[str, Any]) -> Iterator[Offer]:
    marked = settings.get("functions", [])
    seen: set[int] = set()
    for name in names:
        value = getattr(module, name)
        kind: Kind | None = None
        is_factory = False
        if isinstance(value, PenguiFlow):
            kind = "flow"
        elif _is_planner(value):
            kind = "planner"
        elif inspect.isfunction(value):
            if name in marked or isinstance(getattr(value, SETTINGS_NAME, None), dict):
                kind = "function"
            elif value.__module__ == module.__name__ and makes_flow(value):
                kind, is_factory = "flow", True
        elif _is_orchestrator(value) and type(value).__module__.partition(".")[0] not in ("penguiflow", "playground"):
            kind = "orchestrator"
        if kind is not None and id(value) not in seen:
            seen.add(id(value))
            yield Offer(name, kind, value, _settings_for(name, value, settings), is_factory)


def _named_offer(module: ModuleType, attribute: str, settings: dict[str, Any]) -> Offer:
    value = getattr(module, attribute, None)
    nodes = _node_functions(module)
    if value is None:
        made = bool(_factories(module))
        offered = [
            name
            for name, item in vars(module).items()
            if not (name.startswith("_") or id(item) in nodes or (made and takes_context(item)))
            and _is_own(item, module)
        ]
        hint = f"It has: {', '.join(offered)}." if offered else None
        raise LoadProblem(CodeError(kind="no_flow", message=f"has no attribute {attribute!r}", hint=hint))
    its_settings = _settings_for(attribute, value, settings)
    if isinstance(value, PenguiFlow):
        return Offer(attribute, "flow", value, its_settings)
    if _is_planner(value):
        return Offer(attribute, "planner", value, its_settings)
    if _is_orchestrator(value):
        return Offer(attribute, "orchestrator", value, its_settings)
    if attribute not in settings.get("functions", []):
        flows = [nodes[id(value)]] if id(value) in nodes else _factories(module) if takes_context(value) else []
        if flows:
            message = f"{attribute!r} is the function of a node, which its flow calls"
            hint = f"Name the flow: {' or '.join(flows)}."
            raise LoadProblem(CodeError(kind="no_flow", message=message, hint=hint))
    if inspect.iscoroutinefunction(value) and not makes_flow(value) and not returns_flow(value):
        return Offer(attribute, "function", value, its_settings)
    if callable(value) and not required_parameters(value):
        return Offer(attribute, "flow", value, its_settings, is_factory=True)
    message = f"{attribute!r} is {_kind_of(value)}, which cannot be run"
    hint = (
        "Name a flow, a planner, a function without parameters that returns one, an object with "
        "`async def execute`, or an async function."
    )
    raise LoadProblem(CodeError(kind="no_flow", message=message, hint=hint))


def find_registry(module: ModuleType, flow: PenguiFlow, attribute: str) -> ModelRegistry | None:
    """The registry that goes with a flow of this module: one that knows every node that wants to be validated.

    Several may: then the one whose name begins as the flow's, else `registry`, else the first. Raises `LoadProblem`
    when the module has registries and none of them fits.
    """
    registries = {name: value for name, value in vars(module).items() if isinstance(value, ModelRegistry)}
    if not registries:
        return None
    wanted = [str(node.name) for node in flow.nodes if node.policy.validate != "none"]
    fitting = [name for name, registry in registries.items() if all(registry.has(node) for node in wanted)]
    if not fitting:
        fullest = max(registries.values(), key=lambda registry: sum(registry.has(node) for node in wanted))
        missing = ", ".join(node for node in wanted if not fullest.has(node))
        raise LoadProblem(
            CodeError(
                kind="factory",
                message=f"the model registry lacks nodes of {attribute!r} that are to be validated: {missing}",
                hint='Register their models, or give them NodePolicy(validate="none").',
            )
        )
    stem = attribute.removesuffix("flow").rstrip("_")
    named = [name for name in fitting if stem and name.startswith(stem)]
    preferred = [*named, *(name for name in fitting if name == "registry"), *fitting]
    return registries[preferred[0]]


async def build(offer: Offer) -> tuple[Any, ModelRegistry | None]:
    """Call a factory, inside the event loop; returns what it made, and its registry if it gave one."""
    made = offer.value()
    if inspect.isawaitable(made):
        made = await made
    registry = None
    if isinstance(made, tuple) and len(made) == 2:
        made, registry = made
    if isinstance(made, PenguiFlow) or _is_orchestrator(made) or _is_planner(made):
        return made, registry if isinstance(registry, ModelRegistry) else None
    message = f"{offer.attribute}() returned {_kind_of(made)}, not a flow"
    hint = "A factory returns a PenguiFlow, or a PenguiFlow and its ModelRegistry."
    raise LoadProblem(CodeError(kind="factory", message=message, hint=hint))


def _is_planner(value: Any) -> bool:
    return not isinstance(value, type) and is_planner(value)


def _is_orchestrator(value: Any) -> bool:
    return not isinstance(value, type | ModuleType) and has_execute(type(value))


def _node_functions(module: ModuleType) -> dict[int, str]:
    """Functions of the nodes of a module's flows, by identity, with the name of the flow."""
    flows = {name: value for name, value in vars(module).items() if isinstance(value, PenguiFlow)}
    return {id(node.func): name for name, flow in flows.items() for node in flow.nodes}


def _factories(module: ModuleType) -> list[str]:
    """What makes the flows of a module: which functions are those of nodes is not known before they are made."""
    functions = {name: value for name, value in vars(module).items() if inspect.isfunction(value)}
    own = {name: value for name, value in functions.items() if value.__module__ == module.__name__ and name[0] != "_"}
    return [name for name, value in own.items() if makes_flow(value)]


def _is_own(value: Any, module: ModuleType) -> bool:
    """True for a flow, an object with `execute`, or a function that was not imported."""
    if inspect.isfunction(value):
        return value.__module__ == module.__name__
    return isinstance(value, PenguiFlow) or _is_planner(value) or _is_orchestrator(value)


def _kind_of(value: Any) -> str:
    if value is None:
        return "None"
    if inspect.isfunction(value):
        needed = required_parameters(value)
        return f"a function that needs {', '.join(needed)}" if needed else "a function"
    return f"a class ({value.__name__})" if isinstance(value, type) else f"of type {type(value).__name__}"


def _read_settings(module: ModuleType) -> dict[str, Any]:
    settings = vars(module).get(SETTINGS_NAME, {})
    _check_settings(settings, SETTINGS_NAME)
    checked: dict[str, Any] = settings
    return checked


def _settings_for(attribute: str, value: Any, settings: dict[str, Any]) -> Settings:
    """The module's settings, overridden by its entry for this attribute, overridden by the function's own."""
    merged = dict(settings)
    for label, more in (
        (f"{SETTINGS_NAME}[{attribute!r}]", settings.get(attribute)),
        (f"{attribute}.{SETTINGS_NAME}", getattr(value, SETTINGS_NAME, None) if inspect.isfunction(value) else None),
    ):
        if more is not None:
            _check_settings(more, label)
            merged.update(more)
    return Settings(merged.get("title"), merged.get("samples", []), merged.get("defaults", {}))


def _check_settings(settings: Any, label: str) -> None:
    problem = None
    if not isinstance(settings, dict):
        problem = f"{label} must be a dict"
    else:
        wrong = [key for key, kind in SETTING_TYPES.items() if key in settings and not isinstance(settings[key], kind)]
        if wrong:
            problem = f"{label}[{wrong[0]!r}] must be a {SETTING_TYPES[wrong[0]].__name__}"
    if problem is not None:
        raise LoadProblem(CodeError(kind="import", message=problem))
