"""FlowError: what it says, what it carries, how it travels."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from penguiflow import FlowError, FlowErrorCode


def full() -> FlowError:
    return FlowError(
        trace_id="t",
        node_name="n",
        node_id="id",
        code=FlowErrorCode.NODE_EXCEPTION,
        message="it broke",
        original_exc=ValueError("why"),
        metadata={"attempt": 2},
    )


def test_the_payload_is_ready_for_json() -> None:
    payload = {
        "code": "NODE_EXCEPTION",
        "message": "it broke",
        "trace_id": "t",
        "node_name": "n",
        "node_id": "id",
        "exception_type": "ValueError",
        "metadata": {"attempt": 2},
    }
    assert full().to_payload() == payload
    assert json.loads(json.dumps(full().to_payload())) == payload


def test_the_payload_leaves_out_what_is_not_known() -> None:
    bare = FlowError(trace_id=None, node_name=None, code="CUSTOM", message="m")
    assert bare.to_payload() == {"code": "CUSTOM", "message": "m"}
    assert bare.unwrap() is None
    assert bare.exception_type is None


def test_its_text_says_what_and_where() -> None:
    assert str(full()) == "[NODE_EXCEPTION] it broke trace=t node=n"
    assert str(FlowError(trace_id=None, node_name=None, code="C", message="m")) == "[C] m"


@pytest.mark.parametrize("error", [full(), FlowError(trace_id=None, node_name=None, code="C", message="m")])
def test_it_survives_pickle_and_copy(error: FlowError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert isinstance(again, FlowError)
        assert again.to_payload() == error.to_payload()
        assert str(again) == str(error)
        assert type(again.unwrap()) is type(error.unwrap())


def test_it_comes_back_from_its_payload_without_the_exception() -> None:
    again = FlowError.from_payload(full().to_payload())
    assert again.to_payload() == full().to_payload()
    assert (again.exception_type, again.unwrap()) == ("ValueError", None)
    assert pickle.loads(pickle.dumps(again)).exception_type == "ValueError"


def test_metadata_cannot_be_changed_from_outside() -> None:
    metadata = {"attempt": 1}
    error = FlowError(trace_id=None, node_name=None, code="C", message="m", metadata=metadata)
    metadata["attempt"] = 2
    assert error.metadata["attempt"] == 1
    with pytest.raises(TypeError):
        error.metadata["attempt"] = 3  # type: ignore[index]


@pytest.mark.parametrize(
    ("exc", "message", "expected"),
    [
        (ValueError("why"), None, "why"),
        (ValueError(), None, "ValueError"),
        (ValueError("why"), "said", "said"),
    ],
)
def test_an_exception_can_be_wrapped(exc: Exception, message: str | None, expected: str) -> None:
    error = FlowError.from_exception(
        trace_id="t", node_name="n", node_id=None, exc=exc, code=FlowErrorCode.NODE_TIMEOUT, message=message
    )
    assert error.message == expected
    assert error.unwrap() is exc
    assert (error.code, error.exception_type) == ("NODE_TIMEOUT", "ValueError")


def test_codes_are_their_own_text() -> None:
    assert {str(code) for code in FlowErrorCode} == {
        *("NODE_TIMEOUT", "NODE_EXCEPTION", "TRACE_CANCELLED", "DEADLINE_EXCEEDED"),
        *("HOP_BUDGET_EXHAUSTED", "TOKEN_BUDGET_EXHAUSTED"),
    }
    assert FlowErrorCode("NODE_TIMEOUT") == "NODE_TIMEOUT"
