"""Writing the bodies that a shape leaves open."""

from __future__ import annotations

import ast
import doctest
import textwrap

from peagen.scripted.bodies import KNOWN, Body

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def filled(shape: str) -> str:
    """A Python module whose functions have bodies in place of `...`; what is no Python comes back as it is."""
    try:
        tree = ast.parse(shape)
    except (SyntaxError, ValueError, RecursionError):
        return shape
    lines = shape.splitlines()
    open_ones = [node for node in ast.walk(tree) if isinstance(node, _Function) and _is_open(node)]
    needed: set[str] = set()
    # From the last to the first: so the lines of the others stay where they are.
    for function in sorted(open_ones, key=lambda each: each.lineno, reverse=True):
        body = _body(function)
        needed.update(body.imports)
        last = function.body[-1]
        assert last.end_lineno is not None
        written = textwrap.indent(body.lines, " " * last.col_offset).splitlines()
        if last.lineno == function.lineno:  # `def f(): ...`
            head = lines[last.lineno - 1][: last.col_offset].rstrip()
            deeper = " " * (function.col_offset + 4)
            written = [head, *textwrap.indent(body.lines, deeper).splitlines()]
        lines[last.lineno - 1 : last.end_lineno] = written
    return "\n".join(_imported(lines, tree, needed)) + "\n"


def _is_open(function: _Function) -> bool:
    last = function.body[-1]
    is_dots = isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant) and last.value.value is ...
    rest = function.body[:-1]
    return is_dots and (not rest or (len(rest) == 1 and ast.get_docstring(function) is not None))


def _body(function: _Function) -> Body:
    names = [each.arg for each in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    known = KNOWN.get(f"{function.name}({', '.join(names)})")
    if known is not None:
        return known
    examples = _examples(function, names)
    if not examples:
        return Body(f'raise NotImplementedError("the scripted model does not know `{function.name}`")')
    table = "".join(f"    (({arguments},), {gives}),\n" for arguments, gives in examples)
    return Body(
        "# The scripted model knows what the examples show, and no more.\n"
        f"asked = ({', '.join(names)},)\n"
        f"for arguments, gives in (\n{table}):\n"
        "    if asked == arguments:\n"
        "        return gives\n"
        f'raise NotImplementedError(f"the examples of `{function.name}` do not show {{asked}}")'
    )


def _examples(function: _Function, names: list[str]) -> list[tuple[str, str]]:
    """Arguments in the order of the parameters, and what they give: of examples that are made of plain values."""
    arguments = function.args
    positional = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    defaults = dict(zip(reversed(positional), reversed(arguments.defaults), strict=False))
    by_name = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    defaults |= {each.arg: value for each, value in by_name if value is not None}
    found: list[tuple[str, str]] = []
    for example in doctest.DocTestParser().get_examples(ast.get_docstring(function) or ""):
        try:
            call = ast.parse(example.source.strip(), mode="eval").body
            gives = repr(ast.literal_eval(example.want.strip()))
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != function.name:
                continue
            given = defaults | dict(zip(positional, call.args, strict=False))
            given |= {each.arg: each.value for each in call.keywords if each.arg is not None}
            values = [repr(ast.literal_eval(given[name])) for name in names]
        except (SyntaxError, ValueError, KeyError, RecursionError):
            continue
        if values:
            found.append((", ".join(values), gives))
    return found


def _imported(lines: list[str], tree: ast.Module, needed: set[str]) -> list[str]:
    """The lines with what is needed imported: after what is imported from `__future__`, else after the docstring."""
    if not needed:
        return lines
    own = {line for line in needed if line.startswith("from .")}
    add = [*sorted(needed - own, key=_sort_key), *([""] if own and needed - own else []), *sorted(own)]
    place = 0
    for node in tree.body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_docstring or (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            place = node.end_lineno or place
        else:
            break
    return [*lines[:place], *([""] if place else []), *add, *lines[place:]]


def _sort_key(line: str) -> tuple[bool, str]:
    return line.startswith("from "), line
