"""Which functions make flows: those that say so, and those that can be seen to."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import typing
from collections.abc import Callable
from types import FunctionType
from typing import Any

from penguiflow import PenguiFlow, create

FACTORY_NAMES = ("build_flow", "create_flow", "make_flow", "build")


def makes_flow(function: Callable[..., Any]) -> bool:
    """A factory says so by what it returns, or by its name; it needs no arguments."""
    if required_parameters(function):
        return False
    try:
        returned = typing.get_type_hints(function).get("return")
    except Exception:  # an annotation is user code that may not resolve
        written = str(function.__annotations__.get("return", ""))
        return "PenguiFlow" in written or function.__name__ in FACTORY_NAMES
    if returned is None:
        return function.__name__ in FACTORY_NAMES
    parts = (returned, *typing.get_args(returned))
    types = [part for part in parts if isinstance(part, type)]
    return any(issubclass(part, PenguiFlow) or has_execute(part) or is_planner(part) for part in types)


def returns_flow(function: Callable[..., Any]) -> bool:
    """Whether the code of a function without a return annotation gives back a flow that it made, or one of its module.

    It is read, not called: a function that is no factory must not run before it is asked to.
    """
    if not isinstance(function, FunctionType) or "return" in function.__annotations__ or required_parameters(function):
        return False
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return False
    reader = _Reader(function)
    reader.visit(tree)
    return bool(reader.returned) and all(reader.is_flow(value) for value in reader.returned)


def required_parameters(function: Callable[..., Any]) -> list[str]:
    """The names of the arguments that a call has to give."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ["?"]
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]


def takes_context(function: Any) -> bool:
    """Whether a function looks like that of a node: a message, and the context by its annotation or its name."""
    if not inspect.iscoroutinefunction(function):
        return False
    needed = required_parameters(function)
    if len(needed) != 2:
        return False
    written = function.__annotations__.get(needed[1])
    told = written if isinstance(written, str) else getattr(written, "__name__", None)
    if told in (None, "Any", "object"):
        return needed[1] in ("ctx", "context", "_ctx")
    return told.rpartition(".")[2] == "Context"


def is_planner(value: object) -> bool:
    """Whether it is a planner, or a class of planners; nothing is imported to find out."""
    module = sys.modules.get("penguiflow.planner.react")
    if module is None:
        return False
    kind: type = module.ReactPlanner
    return issubclass(value, kind) if isinstance(value, type) else isinstance(value, kind)


def has_execute(cls: type) -> bool:
    """Whether a class has `async def execute`."""
    return inspect.iscoroutinefunction(inspect.getattr_static(cls, "execute", None))


class _Reader(ast.NodeVisitor):
    """Collects what one function assigns and returns; functions within it are left out."""

    def __init__(self, function: FunctionType) -> None:
        self._names = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
        self._assigned: dict[str, ast.expr] = {}
        self._inside = False
        self.returned: list[ast.expr] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Not what an inner function returns."""
        self._enter(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """The function itself, and not what an inner one returns."""
        self._enter(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Not what an inner function returns."""

    def visit_Assign(self, node: ast.Assign) -> None:
        """`flow = create(…)`."""
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._assigned[target.id] = node.value

    def visit_Return(self, node: ast.Return) -> None:
        """`return flow`, `return flow, registry`."""
        value = node.value
        if isinstance(value, ast.Tuple) and len(value.elts) == 2:
            value = value.elts[0]
        self.returned.append(value or ast.Constant(None))

    def is_flow(self, value: ast.expr) -> bool:
        """Whether an expression is a flow, as far as its names tell."""
        if isinstance(value, ast.Name) and value.id in self._assigned:
            return self.is_flow(self._assigned.pop(value.id))
        if isinstance(value, ast.Await):
            value = value.value
        if isinstance(value, ast.Call):
            called = self._find(value.func)
            return called is create or called is PenguiFlow or (inspect.isfunction(called) and makes_flow(called))
        return isinstance(self._find(value), PenguiFlow)

    def _enter(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if not self._inside:
            self._inside = True
            self.generic_visit(node)

    def _find(self, value: ast.expr) -> Any:
        if isinstance(value, ast.Name):
            return self._names.get(value.id)
        if isinstance(value, ast.Attribute):
            return inspect.getattr_static(self._find(value.value), value.attr, None)
        return None
