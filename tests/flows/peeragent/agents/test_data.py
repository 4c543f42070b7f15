"""The data agent: its numbers are computed."""

from __future__ import annotations

import json
import statistics
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peeragent.agents import data as agent
from peeragent.errors import AgentFailed
from peeragent.models.turns import TurnRequest

if TYPE_CHECKING:
    from peeragent.llm import Model
    from tests.flows.peeragent.agents.conftest import Take, Takes
    from tests.model_server import ModelServer

READING = {
    "data_overview": "o {x}",
    "patterns_found": ["p"],
    "insights": ["i"],
    "recommendations": ["r"],
    "data_quality": "q",
    "visualization_suggestions": ["v"],
}


def column(data: Any, name: str = "value") -> dict[str, Any]:
    told: dict[str, Any] = agent.statistics_of(agent.columns_of(data))["columns"][name]
    return told


async def test_numbers_of_the_context(take: Take) -> None:
    taken = await take("Analyze this data", context={"data": [12, 15, 14, 90, 13, 16]})
    told = taken.result.result.data["key_statistics"]["columns"]["value"]

    assert taken.result.result.type == "data_analysis"
    assert (told["count"], told["min"], told["max"], told["sum"]) == (6, 12, 90, 160)
    assert told["median"] == 14.5
    assert told["mean"] == pytest.approx(160 / 6, rel=1e-4)
    assert (told["outliers"], told["outlier_count"]) == ([90], 1)
    assert "90" in str(taken.result.result.data["insights"])


async def test_a_real_model_interprets_and_does_not_compute(
    openai_server: ModelServer, served: Model, takes: Takes
) -> None:
    openai_server.say(json.dumps(READING))
    context = {"data": [1, 2, 3, 4], "question": "is it growing?"}
    taken = await takes(served)("Analyze this data", context=context)

    data = taken.result.result.data
    assert data["key_statistics"]["columns"]["value"]["mean"] == 2.5
    assert {key: data[key] for key in READING} == READING
    assert taken.text == "o {x}"
    asked = str(openai_server.asked[0].body["messages"])
    assert "is it growing?" in asked
    assert "2.5" in asked
    assert '"data"' not in asked


async def test_numbers_in_the_task(take: Take) -> None:
    data = (await take("Analyze this data: 1, 2, 3, 4")).result.result.data
    assert data["key_statistics"]["columns"]["value"]["sum"] == 10
    table = "Analyze this data:\nmonth,sales\nJan,10\nFeb,20\nMar,30"
    assert (await take(table)).result.result.data["key_statistics"]["columns"]["sales"]["mean"] == 20


@pytest.mark.parametrize("task", ["Analyze this data", "Analyze the data of last year: none"])
async def test_without_numbers_it_says_what_it_needs(take: Take, task: str) -> None:
    with pytest.raises(AgentFailed, match="context") as failed:
        await take(task)
    assert failed.value.code == "NO_DATA"


def test_records() -> None:
    records = [
        {"city": "Rome", "people": "2,800,000", "area": 1285},
        {"city": "Oslo", "people": "700000", "area": None},
        {"city": "Rome", "people": "n/a", "area": 454, "extra": True},
        *({"city": f"C{n}", "people": n * 1000, "area": n} for n in range(1, 8)),
    ]
    told = agent.statistics_of(agent.columns_of(records))
    assert told["rows"] == 10
    assert told["columns"]["people"]["max"] == 2_800_000
    assert told["columns"]["people"]["unreadable"] == 1
    assert told["columns"]["area"]["missing"] == 1
    assert told["columns"]["city"]["distinct"] == 9
    assert told["columns"]["city"]["most_common"][0] == ["Rome", 2]
    assert told["columns"]["extra"]["kind"] == "text"
    assert told["correlations"][0]["columns"] == ["people", "area"]


@pytest.mark.parametrize(
    "data",
    [
        "a,b\n1,2\n3,4\n5,6\n",
        "a;b\r\n1;2\r\n3;4\r\n5;6",
        "a\tb\n1\t2\n\n3\t4\n5\t6",
        '"a","b"\n"1","2"\n3,4\n5,6',
        [["a", "b"], [1, 2], [3, 4], [5, 6]],
        {"a": [1, 3, 5], "b": [2, 4, 6]},
    ],
)
def test_forms_of_a_table(data: Any) -> None:
    told = agent.statistics_of(agent.columns_of(data))
    assert told["rows"] == 3
    assert told["columns"]["a"]["mean"] == 3
    assert told["columns"]["b"]["sum"] == 12
    assert told["correlations"] == [{"columns": ["a", "b"], "correlation": 1}]


def test_a_table_without_names() -> None:
    assert column("1,2\n3,4", "column_2")["sum"] == 6


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (None, "BAD_DATA"),
        (3, "BAD_DATA"),
        ([], "BAD_DATA"),
        ({}, "BAD_DATA"),
        ({"a": 1}, "BAD_DATA"),
        ({"a": []}, "NO_DATA"),
        ("", "NO_DATA"),
        ("a,b\n", "NO_DATA"),
        ([1] * 10_001, "BAD_DATA"),
        ("1\n" * 10_001, "BAD_DATA"),
        ("x" * 2_000_001, "BAD_DATA"),
        ([{str(n): 1 for n in range(51)}], "BAD_DATA"),
        ([[1] * 60], "BAD_DATA"),
        ("1," * 60, "BAD_DATA"),
    ],
)
def test_what_cannot_be_analyzed(data: Any, code: str) -> None:
    with pytest.raises(AgentFailed) as failed:
        agent.columns_of(data)
    assert failed.value.code == code


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("1,234.5", 1234.5),
        ("$12", 12),
        ("20%", 20),
        (" -3 ", -3),
        ("1e3", 1000),
        (True, None),
        ("nan", None),
        ("inf", None),
        (1e308, None),
        (float("nan"), None),
        (10**400, None),
        ("", None),
        (None, None),
        ("abc", None),
        ({}, None),
    ],
)
def test_what_is_a_number(cell: Any, number: float | None) -> None:
    assert agent.number_in(cell) == number


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=50))
def test_the_numbers_are_right(values: list[float]) -> None:
    told = column(values)
    assert told["count"] == len(values)
    assert told["mean"] == pytest.approx(statistics.fmean(values), rel=1e-4, abs=1e-30)
    assert told["median"] == pytest.approx(statistics.median(values), rel=1e-4, abs=1e-30)
    assert told["min"] == pytest.approx(min(values), rel=1e-4, abs=1e-30)
    json.dumps(told, allow_nan=False)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
        max_leaves=12,
    )
)
def test_any_data_is_analyzed_or_refused(given: Any) -> None:
    with suppress(AgentFailed):
        json.dumps(agent.statistics_of(agent.columns_of(given)), allow_nan=False)


async def test_much_data_is_computed_beside_the_loop(take: Take) -> None:
    rows = [{f"c{column}": row * column for column in range(12)} for row in range(5000)]
    told = (await take("Analyze this data", context={"data": rows})).result.result.data["key_statistics"]
    assert told["rows"] == 5000
    assert len(told["correlations"]) == 10


def test_one_value_and_constants() -> None:
    assert column([5])["stdev"] == 0
    assert column([5, 5, 5])["outlier_count"] == 0
    assert "correlations" not in agent.statistics_of({"a": [1, 1, 1], "b": [1, 2, 3]})
    assert "change" not in column([5])
    assert column([1, 1, 3, 3])["change"] == 2


def test_data_of_the_request_comes_first() -> None:
    assert agent.data_in(TurnRequest(task="Analyze: 1, 2", context={"data": [9]})) == [9]
