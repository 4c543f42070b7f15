"""Names of models, what they tell, and what models can do."""

from __future__ import annotations

import pytest

from penguiflow.llm import profiles
from penguiflow.llm.profiles import ModelProfile, get_profile, get_profiles, get_schema_transformer, register_profile
from penguiflow.llm.profiles.families import DEFAULT, FAMILIES
from penguiflow.llm.routing import (
    ParsedModel,
    build_model_string,
    estimate_context_window,
    get_provider_for_model,
    is_reasoning_model,
    is_vision_model,
    normalize_model_id,
    parse_model_string,
)


@pytest.mark.parametrize(
    ("name", "provider", "model", "sub"),
    [
        ("openai/gpt-5-mini", "openai", "gpt-5-mini", None),
        ("anthropic/claude-opus-4-6", "anthropic", "claude-opus-4-6", None),
        ("google/gemini-2.5-pro", "google", "gemini-2.5-pro", None),
        ("bedrock/anthropic.claude-3", "bedrock", "anthropic.claude-3", None),
        ("databricks/databricks-gpt-5", "databricks", "databricks-gpt-5", None),
        ("nim/qwen/qwen3", "nim", "qwen/qwen3", None),
        ("nvidia/llama-3", "nim", "llama-3", None),
        ("openrouter/anthropic/claude-3", "openrouter", "anthropic/claude-3", "anthropic"),
        ("openrouter/auto", "openrouter", "auto", None),
        ("gpt-4o", "openai", "gpt-4o", None),
        ("o3-mini", "openai", "o3-mini", None),
        ("claude-3-5-haiku", "anthropic", "claude-3-5-haiku", None),
        ("gemini-2.5-flash", "google", "gemini-2.5-flash", None),
        ("databricks-claude-sonnet", "databricks", "databricks-claude-sonnet", None),
        ("anthropic.claude-3-sonnet", "bedrock", "anthropic.claude-3-sonnet", None),
        ("meta-llama/llama-3", "unknown", "meta-llama/llama-3", None),
        ("ollama", "unknown", "ollama", None),
    ],
)
def test_names_are_taken_apart(name: str, provider: str, model: str, sub: str | None) -> None:
    parsed = parse_model_string(name)

    assert (parsed.provider, parsed.model_id, parsed.sub_provider, parsed.original) == (provider, model, sub, name)
    assert get_provider_for_model(name) == provider
    built = build_model_string(parsed.provider, parsed.model_id, sub_provider=parsed.sub_provider)
    assert parse_model_string(built) == ParsedModel(parsed.provider, parsed.model_id, built, parsed.sub_provider)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        parse_model_string("  ")


def test_spellings_of_one_model() -> None:
    assert normalize_model_id("openrouter/anthropic/Claude-3.5") == normalize_model_id("claude-3-5") == "claude-3-5"
    assert build_model_string("openrouter", "claude-3", sub_provider="anthropic") == "openrouter/anthropic/claude-3"


def test_what_a_name_tells() -> None:
    reasoning = [
        "o3-mini",
        "openai/gpt-5",
        "claude-opus-4-6",
        "gemini-2.5-pro",
        "deepseek-r1",
        "nim/qwen/qwq-32b-thinking",
    ]
    others = ["gpt-4o", "gpt-5-chat-latest", "claude-3-5-haiku", "gemini-2.0-flash", "llama-3"]
    assert [is_reasoning_model(name) for name in [*reasoning, *others]] == [True] * 6 + [False] * 5
    assert [is_vision_model(name) for name in ("gpt-4o", "claude-3-opus", "gemini-2.5-pro", "o3")] == [True] * 4
    assert [is_vision_model(name) for name in ("gpt-3.5-turbo", "llama-3", "o1-mini")] == [False] * 3
    windows = {"gpt-4.1-mini": 1_000_000, "gpt-5": 400_000, "claude-3-opus": 200_000, "gpt-4": 8_192, "x": 128_000}
    assert {name: estimate_context_window(name) for name in windows} == windows


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("gpt-5-mini", "gpt-5"),
        ("openai/gpt-4o-2024-08-06", "gpt-4o"),
        ("openrouter/anthropic/claude-sonnet-4.5", "claude-sonnet-4"),
        ("claude-opus-4.7", "claude-opus-4-7"),
        ("gpt-4-1-nano", "gpt-4.1"),
        ("nim/qwen/qwq-32b", "qwq"),
        ("Gemini-2.5-pro", "gemini-2.5"),
    ],
)
def test_a_model_is_one_of_its_family(name: str, family: str) -> None:
    assert get_profile(name) is FAMILIES[family]


def test_profiles_of_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "_registered", {})
    mine = ModelProfile(max_tools=3)
    register_profile("gpt-5-mini", mine)

    assert get_profile("openai/gpt-5-mini") is mine
    assert get_profile("gpt-5") is FAMILIES["gpt-5"]
    assert get_profiles()["gpt-5-mini"] is mine
    assert get_profile("nobody-knows-1") is DEFAULT
    assert DEFAULT.default_output_mode == "tools"


def test_each_family_has_the_transformer_that_it_names() -> None:
    for name, profile in get_profiles().items():
        transformer = get_schema_transformer(profile, {"type": "object"}, strict=False)
        assert (transformer is None) == (profile.schema_transformer_name is None), name


def test_every_name_of_the_package_is_there() -> None:
    import penguiflow.llm as package

    assert [name for name in package.__all__ if not hasattr(package, name)] == []
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing
