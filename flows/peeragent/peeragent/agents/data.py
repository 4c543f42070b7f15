"""The data agent: numbers are computed here, the model says what they mean."""

from __future__ import annotations

import asyncio
import csv
import io
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from peeragent.agents import prompts
from peeragent.agents.tools import Tools, made
from peeragent.errors import AgentFailed
from peeragent.llm import Form
from peeragent.models.agents import DataAnalysisOutput
from peeragent.models.turns import Routed, TurnRequest, TurnResult
from penguiflow import Context

MAX_ROWS = 10_000
MAX_COLUMNS = 50
MAX_CSV = 2_000_000
"""Characters."""
NUMERIC = 0.8
"""The part of a column's values that must be numbers for it to be one of numbers."""
AT_ONCE = 200
"""Numbers that are computed on the event loop."""
MAX_SHOWN = 5
MAX_NUMBER = 1e150
"""Of larger ones not even the squares are numbers."""
OUTLIER = 1.5
"""Distances between quartiles, beyond the outer ones."""

Columns = dict[str, list[Any]]


class _Reading(BaseModel):
    data_overview: str
    patterns_found: list[str]
    insights: list[str]
    recommendations: list[str]
    data_quality: str
    visualization_suggestions: list[str]


READING = Form(_Reading)


def columns_of(data: Any) -> Columns:
    """Data as columns: a list of numbers, of records or of rows, a mapping of lists, or a text of CSV.

    Raises `AgentFailed`: `BAD_DATA` for anything else, and for what is too much.
    """
    if isinstance(data, str):
        return _from_csv(data)
    if isinstance(data, Mapping):
        if data and all(isinstance(each, list) for each in data.values()):
            return _bounded({str(name): list(values) for name, values in data.items()})
        raise AgentFailed("BAD_DATA", "data is a list of numbers, of records, a mapping of lists, or a text of CSV")
    if not isinstance(data, list) or not data:
        raise AgentFailed("BAD_DATA", "data is a list of numbers, of records, a mapping of lists, or a text of CSV")
    if len(data) > MAX_ROWS:
        raise AgentFailed("BAD_DATA", f"data has {len(data)} rows; {MAX_ROWS} is the most")
    if all(isinstance(each, Mapping) for each in data):
        names = list(dict.fromkeys(str(name) for each in data for name in each))[: MAX_COLUMNS + 1]
        return _bounded({name: [each.get(name) for each in data] for name in names})
    if all(isinstance(each, list) for each in data):
        return _from_rows([[str(each) for each in row] if not place else row for place, row in enumerate(data)])
    return _bounded({"value": list(data)})


def _from_csv(text: str) -> Columns:
    if len(text) > MAX_CSV:
        raise AgentFailed("BAD_DATA", f"data has {len(text)} characters; {MAX_CSV} is the most")
    sample = text[:4000]
    delimiter = max(",;\t|", key=sample.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise AgentFailed("BAD_DATA", f"data is no CSV that can be read: {error}") from error
    return _from_rows(rows)


def _from_rows(rows: Sequence[Sequence[Any]]) -> Columns:
    if not rows:
        raise AgentFailed("NO_DATA", "there are no rows in data")
    width = max(map(len, rows))
    if width > MAX_COLUMNS:
        raise AgentFailed("BAD_DATA", f"data has more than {MAX_COLUMNS} columns")
    headless = all(number_in(cell) is not None for cell in rows[0])
    body = rows if headless else rows[1:]
    if len(body) > MAX_ROWS:
        raise AgentFailed("BAD_DATA", f"data has {len(body)} rows; {MAX_ROWS} is the most")
    names = [str(rows[0][place]).strip() if not headless and place < len(rows[0]) else "" for place in range(width)]
    names = [name or f"column_{place + 1}" for place, name in enumerate(names)]
    return _bounded(
        {name: [row[place] if place < len(row) else None for row in body] for place, name in enumerate(names)}
    )


def _bounded(columns: Columns) -> Columns:
    if len(columns) > MAX_COLUMNS:
        raise AgentFailed("BAD_DATA", f"data has more than {MAX_COLUMNS} columns")
    rows = max((len(values) for values in columns.values()), default=0)
    if rows > MAX_ROWS:
        raise AgentFailed("BAD_DATA", f"data has {rows} rows; {MAX_ROWS} is the most")
    if not rows:
        raise AgentFailed("NO_DATA", "there are no rows in data")
    return columns


def number_in(cell: Any) -> float | None:
    """The number in a cell; None for what is none, for NaN, infinity, and what is too large to count with."""
    if isinstance(cell, bool):
        return None
    if isinstance(cell, str):
        text = cell.strip().lstrip("$€£").removesuffix("%").replace("_", "").strip()
        if text.count(",") and text.replace(",", "").replace(".", "", 1).lstrip("-").isdecimal():
            text = text.replace(",", "")
        try:
            cell = float(text)
        except ValueError:
            return None
    if not isinstance(cell, int | float):
        return None
    try:
        number = float(cell)
    except OverflowError:
        return None
    return number if abs(number) < MAX_NUMBER else None


def statistics_of(columns: Columns) -> dict[str, Any]:
    """What can be said of each column, and of each pair of columns of numbers."""
    rows = max(len(values) for values in columns.values())
    told: dict[str, Any] = {"rows": rows, "columns": {}}
    numeric: dict[str, list[float | None]] = {}
    for name, values in columns.items():
        numbers = [number_in(each) for each in values]
        present = [each for each in values if each is not None and str(each).strip()]
        known = [each for each in numbers if each is not None]
        missing = rows - len(present)
        if known and len(known) >= NUMERIC * len(present):
            told["columns"][name] = {
                **numeric_summary(known),
                "missing": missing,
                "unreadable": len(present) - len(known),
            }
            numeric[name] = numbers
        else:
            common = Counter(str(each)[:80] for each in present).most_common(MAX_SHOWN)
            told["columns"][name] = {
                "kind": "text",
                "count": len(present),
                "missing": missing,
                "distinct": len({str(each) for each in present}),
                "most_common": [[value, often] for value, often in common],
            }
    pairs = correlations(numeric)
    if pairs:
        told["correlations"] = pairs
    return told


def numeric_summary(values: Sequence[float]) -> dict[str, Any]:
    """Of one column."""
    ordered = sorted(values)
    low, middle, high = (_percentile(ordered, part) for part in (0.25, 0.5, 0.75))
    reach = OUTLIER * (high - low)
    outliers = [each for each in ordered if each < low - reach or each > high + reach]
    half = len(values) // 2
    told = {
        "kind": "number",
        "count": len(values),
        "sum": math.fsum(values),
        "mean": statistics.fmean(values),
        "median": middle,
        "stdev": statistics.stdev(values) if len(values) > 1 else 0.0,
        "min": ordered[0],
        "max": ordered[-1],
        "q1": low,
        "q3": high,
    }
    if half:
        told["change"] = statistics.fmean(values[-half:]) - statistics.fmean(values[:half])
    rounded: dict[str, Any] = {key: _rounded(value) for key, value in told.items()}
    rounded["outliers"] = [_rounded(each) for each in outliers[:MAX_SHOWN]]
    rounded["outlier_count"] = len(outliers)
    return rounded


def correlations(columns: Mapping[str, Sequence[float | None]]) -> list[dict[str, Any]]:
    """Pearson's, of pairs with three rows at least, the strongest ten."""
    names, found = list(columns)[:12], []
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            pairs = [
                (a, b) for a, b in zip(columns[one], columns[other], strict=False) if a is not None and b is not None
            ]
            if len(pairs) < 3:
                continue
            try:
                value = statistics.correlation([a for a, _ in pairs], [b for _, b in pairs])
            except statistics.StatisticsError:  # a column that is constant
                continue
            if math.isfinite(value):
                found.append({"columns": [one, other], "correlation": _rounded(value)})
    return sorted(found, key=lambda each: -abs(each["correlation"]))[:10]


def _percentile(ordered: Sequence[float], part: float) -> float:
    place = part * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    number = float(f"{value:.6g}")
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def data_in(request: TurnRequest) -> Any:
    """What is to be analyzed: `context["data"]`, else the numbers of the task itself."""
    if "data" in request.context:
        return request.context["data"]
    block = request.task.partition("\n")[2].strip() or request.task.partition(":")[2].strip()
    lines = [line for line in block.splitlines() if line.strip()]
    if len(lines) > 1:
        return block
    numbers = [number_in(each) for each in block.replace(";", ",").replace(",", " ").split()]
    known = [each for each in numbers if each is not None]
    if len(known) < 2:
        raise AgentFailed("NO_DATA", 'give the data as context {"data": …}: a list of numbers, of records, or CSV')
    return known


def _is_small(given: Any) -> bool:
    return (
        isinstance(given, list)
        and len(given) <= AT_ONCE
        and not any(isinstance(each, list | dict | str) for each in given)
    )


async def data(turn: Routed, ctx: Context, tools: Tools) -> TurnResult:
    """Compute statistics, and have them interpreted."""
    request = turn.request
    given = data_in(request)
    if _is_small(given):
        computed = statistics_of(columns_of(given))
    else:  # others are not to wait for it
        computed = await asyncio.to_thread(lambda: statistics_of(columns_of(given)))
    # The numbers are told once, as statistics: the rows themselves would only be repeated.
    context = {key: value for key, value in request.context.items() if key != "data"}
    shown = request.model_copy(update={"context": context})
    asked = prompts.messages(prompts.DATA, shown, statistics=to_json(computed, indent=1).decode())
    field = "data_overview" if request.stream else None
    said, used = await tools.model.form(ctx, asked, READING, purpose="data", stream_field=field)
    return made(turn, "data_analysis", DataAnalysisOutput(**said.model_dump(), key_statistics=computed), used)
