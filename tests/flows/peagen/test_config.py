"""`.peagen.toml`: what is found, replaced, merged, refused and warned of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peagen.config import Config, ModelChoice, find_config, load_config
from peagen.errors import ConfigError, PeagenError
from tests.flows.peagen.founding import CONFIG

SECTIONS = """\
schemaVersion = "1.0.3"
workers = 3
[workspace]
org = "acme"
template_set = "pythonpkg"
workers = 7
[llm]
default_provider = "groq"
default_model_name = "m"
default_temperature = 0.2
default_max_tokens = 99
[llm.groq]
API_KEY = "k-groq"
[storage]
default_storage_adapter = "minio"
[storage.adapters.minio]
endpoint = "localhost:9000"
[publishers]
default_publisher = "redis"
[publishers.adapters.redis]
host = "localhost"
port = 6379
[queues]
default_queue = "redis"
[queues.adapters.redis]
uri = "redis://localhost"
[result_backends]
default_backend = "in_memory"
[evaluation]
pool = "default"
max_workers = 2
async = false
strict = true
[evaluation.evaluators]
default_evaluator = "ruff"
[evaluation.evaluators.ruff]
cls = "mod:Cls"
[mutation.mutators]
default_mutator = "echo"
[secrets]
default_secret = "env"
[secrets.adapters.env]
prefix = "PEAGEN_"
[key_providers]
default_provider = "local"
[key_providers.providers.local]
[cryptos.adapters.pgp]
[plugins]
mode = "switch"
[plugins.switch]
publishers = "redis"
[[template_sets]]
name = "mine"
type = "local"
target = "./sets/mine"
[[source_packages]]
type = "git"
uri = "https://example.com/x.git"
ref = "main"
dest = "vendor/x"
expose_to_jinja = true
"""


def write(folder: Path, text: str) -> Path:
    path = folder / ".peagen.toml"
    path.write_text(text, encoding="utf-8")
    return path


def read(folder: Path, text: str, **environ: str) -> Config:
    return load_config(write(folder, text), environ=environ)


def test_the_sample_of_the_readme_is_valid(tmp_path: Path) -> None:
    config = read(tmp_path, CONFIG, OWNER="ada")
    assert config.warnings == []
    assert config.storage.default == "file"
    assert config.storage.items["file"] == {"output_dir": "./peagen_artifacts"}
    git = config.vcs.items["git"]
    assert git["owner"] == "ada"
    assert git["mirror_git_url"] == "${MIRROR_GIT_URL}"
    assert config.llm.resolve(environ={}) == ModelChoice("openai", "gpt-4")


def test_every_section_of_the_earlier_schemas(tmp_path: Path) -> None:
    config = read(tmp_path, SECTIONS)
    assert config.warnings == []
    assert config.schema_version == "1.0.3"
    assert config.worker_count == 3
    assert config.workspace.template_set == "pythonpkg"
    assert (config.storage.default, config.storage.items["minio"]["endpoint"]) == ("minio", "localhost:9000")
    assert (config.publishers.default, config.publishers.items["redis"]["port"]) == ("redis", 6379)
    assert (config.evaluation.default, list(config.evaluation.items)) == ("ruff", ["ruff"])
    assert config.mutation.default == "echo"
    assert config.plugins.mode == "switch"
    assert config.template_sets[0].target == "./sets/mine"
    assert config.source_packages[0].expose_to_jinja


def test_defaults_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config()
    assert config.path is None
    assert (config.queues.default, config.vcs.default, config.secrets.default) == ("in_memory", "git", "env")
    assert config.result_backends.items["local_fs"] == {"root_dir": "./task_runs"}
    assert config.worker_count == 0


def test_tables_are_merged_and_values_replaced(tmp_path: Path) -> None:
    path = write(
        tmp_path, '[llm]\ndefault_provider = "a"\ndefault_model_name = "b"\n[storage.filters.s3]\nbucket = "x"\n'
    )
    config = load_config(path, overrides={"llm": {"default_provider": "c"}})
    assert (config.llm.default_provider, config.llm.default_model_name) == ("c", "b")
    assert sorted(config.storage.items) == ["file", "s3"]


def test_the_named_file_then_the_work_tree_then_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, tree, named = (tmp_path / name for name in ("here", "tree", "named"))
    for folder in (here, tree, named):
        folder.mkdir()
        write(folder, f'[workspace]\norg = "{folder.name}"\n')
    monkeypatch.chdir(here)
    assert load_config().workspace.org == "here"
    assert load_config(None, tree).workspace.org == "tree"
    assert load_config(named, tree).workspace.org == "named"
    assert find_config(named / ".peagen.toml") == named / ".peagen.toml"
    with pytest.raises(ConfigError, match=r"no configuration at .*away"):
        load_config(tmp_path / "away")


@pytest.mark.parametrize(
    ("text", "environ", "org"),
    [
        ('org = "${ORG}"', {"ORG": "acme"}, "acme"),
        ('org = "${ORG}"', {}, "${ORG}"),
        ('org = "x-${ORG}-y"', {}, "x-${ORG}-y"),
        ('org = "x-${ORG}-y"', {"ORG": "acme"}, "x-acme-y"),
        ('org = "${ORG}"', {"ORG": 'a"\nworkers = 9 \\'}, 'a"\nworkers = 9 \\'),
        ("org = ${ORG} # bare", {"ORG": 'a "b"'}, 'a "b"'),
        ("org = ${ORG}", {}, "${ORG}"),
        ('org = """\nx = ${ORG}\n"""', {"ORG": "1"}, "x = 1\n"),
    ],
)
def test_variables(tmp_path: Path, text: str, environ: dict[str, str], org: str) -> None:
    config = read(tmp_path, f"[workspace]\n{text}\n", **environ)
    assert config.workspace.org == org
    assert config.worker_count == 0


def test_a_bare_variable_may_be_a_number(tmp_path: Path) -> None:
    assert read(tmp_path, "workers = ${N}\n", N="4").worker_count == 4


def test_unknown_keys_are_told_with_their_lines(tmp_path: Path) -> None:
    text = (
        '[workspace]\norg = "a"\ncolor = "red"\n\n[llm.openai]\nanything = 1\n[nowhere]\nx = 1\n[storage]\nwrong = 1\n'
    )
    config = read(tmp_path, text)
    where = tmp_path / ".peagen.toml"
    assert config.warnings == [
        f"{where}:3: nobody reads workspace.color",
        f"{where}:7: nobody reads nowhere",
        f"{where}:10: nobody reads storage.wrong",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[llm\n", "not TOML.*line 1"),
        ('x = "a"\n\n[workspace]\nworkers = -1\n', r"workspace.workers \(line 4\)"),
        ('[llm]\ndefault_temperature = "hot-secret"\n', r"llm.default_temperature \(line 2\)"),
        ('llm = "gpt"\n', r"llm \(line 1\)"),
        ('[storage]\nfilters = "x"\n', "filters must be a table"),
        ("[[template_sets]]\ntarget = 'x'\n", "template_sets.0.name"),
        ("x = " + "[" * 3000 + "]" * 3000, "nested|TOML"),
    ],
)
def test_a_wrong_file_gets_one_message(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        read(tmp_path, text)
    assert caught.value.where == str(tmp_path / ".peagen.toml")
    assert "hot-secret" not in caught.value.report()


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / ".peagen.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(path)
    path.write_bytes(b"\xef\xbb\xbfworkers = 2")
    assert load_config(path).worker_count == 2


MODEL = '[llm]\ndefault_provider = "openai"\ndefault_model_name = "gpt-4"\ndefault_temperature = 0.5\n'


@pytest.mark.parametrize(
    ("text", "given", "environ", "expected"),
    [
        (MODEL, {}, {}, ("openai", "gpt-4", 0.5, 8192, None)),
        (MODEL, {"agent_env": {"provider": "groq", "max_tokens": 7}}, {}, ("groq", "gpt-4", 0.5, 7, None)),
        (MODEL, {}, {"PROVIDER": "mistral", "MISTRAL_API_KEY": "k"}, ("mistral", "gpt-4", 0.5, 8192, "k")),
        (MODEL, {"provider": "scripted"}, {"PROVIDER": "x"}, ("scripted", "scripted", 0.5, 8192, None)),
        (
            MODEL + '[llm.openai]\nAPI_KEY = "own"\n',
            {},
            {"OPENAI_API_KEY": "env"},
            ("openai", "gpt-4", 0.5, 8192, "own"),
        ),
        (MODEL + '[llm.api_keys]\nopenai = "t"\n', {}, {"OPENAI_API_KEY": "e"}, ("openai", "gpt-4", 0.5, 8192, "t")),
        (
            MODEL + '[llm.api_keys]\nopenai = "sk-..."\n',
            {},
            {"OPENAI_API_KEY": "e"},
            ("openai", "gpt-4", 0.5, 8192, "e"),
        ),
        (
            MODEL + '[llm.api_keys]\nopenai = "${NO}"\n',
            {},
            {"OPENAI_API_KEY": "e"},
            ("openai", "gpt-4", 0.5, 8192, "e"),
        ),
        (MODEL, {"agent_env": {"api_key": "a", "temperature": "1"}}, {}, ("openai", "gpt-4", 1.0, 8192, "a")),
        ("", {"agent_env": {"provider": "o", "model_name": "m"}, "model_name": "n"}, {}, ("o", "n", None, 8192, None)),
    ],
)
def test_which_model_is_asked(
    tmp_path: Path, text: str, given: dict[str, Any], environ: dict[str, str], expected: tuple[Any, ...]
) -> None:
    choice = read(tmp_path, text).llm.resolve(**given, environ=environ)
    assert (choice.provider, choice.model, choice.temperature, choice.max_tokens, choice.api_key) == expected
    assert expected[4] is None or repr(expected[4]) not in repr(choice)


def test_where_a_model_is(tmp_path: Path) -> None:
    config = read(tmp_path, MODEL + '[llm.openai]\nbase_url = "http://a"\n')
    assert config.llm.resolve(environ={"OPENAI_BASE_URL": "http://b"}).base_url == "http://a"
    assert config.llm.resolve({"provider": "groq"}, environ={"GROQ_BASE_URL": "http://b"}).base_url == "http://b"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "no provider"),
        ({"provider": "openai"}, "no model of openai"),
        ({"provider": "o", "model_name": "m", "agent_env": {"max_tokens": "many"}}, "max_tokens must be a number"),
    ],
)
def test_a_model_that_nobody_named(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    with pytest.raises(PeagenError, match=says):
        read(tmp_path, "").llm.resolve(**given, environ={})
