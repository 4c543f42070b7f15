"""The walk-through that Peagen promises, word for word, from an empty folder, with real processes.

Once with a model of OpenAI's, which is a server on this machine here, once with the scripted model.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from peagen.scripted import reply_to
from tests.flows.peagen.founding import CONFIG, PAYLOAD
from tests.model_server import Asked, ModelServer, Said

WAIT_S = 240.0
PROJECTS = """\
PROJECTS:
  - NAME: MyProject
    ROOT: "."
    TEMPLATE_SET: pythonpkg
    PACKAGES:
      - NAME: hello
        MODULES:
          - NAME: greetings
            EXTRAS:
              PURPOSE: "Greet somebody by name."
              FUNCTIONS:
                - SIGNATURE: 'greet(name: str = "world") -> str'
                  EXAMPLES:
                    - {CALL: 'greet("Ada")', GIVES: "'Hello, Ada!'"}
  - NAME: AnalyticsService
    ROOT: services
    TEMPLATE_SET: analytics
    PACKAGES:
      - NAME: services
        MODULES:
          - {NAME: source, EXTRAS: {}}
          - {NAME: data_pipeline, EXTRAS: {DEPENDENCIES: [services/source.py]}}
          - {NAME: report, EXTRAS: {DEPENDENCIES: [services/data_pipeline.py]}}
"""
ANALYTICS = {
    "analytics/ptree.yaml.j2": """\
        {% for MOD in PROJ.PKGS[0].MODULES %}
        - FILE_NAME: "{% raw %}{{ PROJ.ROOT }}/{{ MOD.NAME }}.py.j2{% endraw %}"
          RENDERED_FILE_NAME: "{{ PROJ.ROOT }}/{{ MOD.NAME }}.py"
          PROCESS_TYPE: GENERATE
          AGENT_PROMPT_TEMPLATE: agent_default.j2
          PROJECT_NAME: "{{ PROJ.NAME }}"
          PACKAGE_NAME: services
          MODULE_NAME: "{{ MOD.NAME }}"
          EXTRAS: {DEPENDENCIES: {{ (MOD.EXTRAS.DEPENDENCIES or []) | tojson }}}
        {% endfor %}
        """,
    "analytics/agent_default.j2": "Example Format\n```python\n{% include FILE.FILE_NAME %}\n```\n",
    "analytics/{{ PROJ.ROOT }}/{{ MOD.NAME }}.py.j2": "NAME = '{{ MOD.NAME }}'\n",
    "custom_prompts/my_agent.j2": "My own words.\n```python\nMINE = '{{ FILE.RENDERED_FILE_NAME }}'\n```\n",
}
SINGLE = """\
peagen local process projects.yaml \\
  --repo $(pwd) \\
  --project-name MyProject \\
  --agent-env '{"provider": "openai", "model_name": "gpt-4"}' \\
  -v
"""
ALL = """\
peagen local process projects.yaml \\
  --repo $(pwd) \\
  --agent-env '{"provider": "openai", "model_name": "gpt-4"}' \\
  -vv
"""
TRANSITIVE = """\
peagen local process projects.yaml \\
  --repo $(pwd) \\
  --project-name AnalyticsService \\
  --transitive \\
  --start-file services/data_pipeline.py \\
  -v
"""
CUSTOM_PROMPT = """\
peagen local process projects.yaml \\
  --repo $(pwd) \\
  --agent-env '{"provider": "openai", "model_name": "gpt-4"}' \\
  --agent-prompt-template-file ./custom_prompts/my_agent.j2
"""
IN_CI = """\
peagen local process projects.yaml \\
  --repo "$GITHUB_WORKSPACE" \\
  --agent-env '{"provider": "openai", "model_name": "gpt-4"}' \\
  --transitive \\
  -v
"""
ORDER = """\
from peagen.core.sort_core import sort_file_records

file_records = [
    {
        "RENDERED_FILE_NAME": "components/db.py",
        "EXTRAS": {"DEPENDENCIES": ["README.md"]},
    },
    {
        "RENDERED_FILE_NAME": "README.md",
        "EXTRAS": {"DEPENDENCIES": []},
    },
    {
        "RENDERED_FILE_NAME": "components/service.py",
        "EXTRAS": {"DEPENDENCIES": ["components/db.py"]},
    },
]

ordered, next_idx = sort_file_records(file_records=file_records)
print([rec["RENDERED_FILE_NAME"] for rec in ordered])
print(next_idx)
"""
EMBEDDED = """\
from peagen.core import Peagen
import os

agent_env = {
    "provider": "openai",
    "model_name": "gpt-4",
    "api_key": os.environ["OPENAI_API_KEY"],
}
pea = Peagen(
    projects_payload_path="projects.yaml",
    agent_env=agent_env,
)

projects = pea.load_projects()
result, idx = pea.process_single_project(projects[0], start_idx=0)
print(len(result), idx)
"""
PUBLISHED = """\
from peagen.core import Peagen
from peagen.plugins.git_filters.minio_filter import MinioFilter
from peagen.plugins.publishers.webhook_publisher import WebhookPublisher

store = MinioFilter.from_uri("s3://localhost:9000/peagen")
bus = WebhookPublisher("https://example.com/peagen")

from peagen.plugins.publishers.redis_publisher import RedisPublisher
from peagen.plugins.publishers.rabbitmq_publisher import RabbitMQPublisher

bus = RedisPublisher("redis://localhost:6379/0")
bus = RabbitMQPublisher(host="localhost", port=5672, routing_key="peagen.events")
print(store.root_uri)
"""


class Ended(NamedTuple):
    """What became of a command."""

    code: int
    out: str
    err: str


Shell = Callable[..., Awaitable[Ended]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Empty."""
    made = tmp_path / "empty"
    made.mkdir()
    return made


@pytest.fixture
def model(openai_server: ModelServer) -> ModelServer:
    """A server that speaks as OpenAI's, and says what the scripted model would."""

    def reply(asked: Asked) -> Said:
        content: Any = asked.body["messages"][-1]["content"]
        return Said(text=reply_to(content if isinstance(content, str) else content[0]["text"]), pieces=400)

    openai_server.otherwise = reply
    return openai_server


@pytest.fixture
def shell(folder: Path, tmp_path: Path, model: ModelServer) -> Shell:
    """Runs a line as a person types it, in the folder; `keyless=True` without any key."""
    home = tmp_path / "home"
    home.mkdir()
    commands = Path(sys.executable).parent

    async def run(line: str, *, code: int = 0, keyless: bool = False) -> Ended:
        environ = {
            "PATH": f"{commands}:{os.environ['PATH']}",
            "HOME": str(home),
            "PENGUIFLOW_HOME": str(home / "penguiflow"),
            "GITHUB_WORKSPACE": str(folder),
            "NO_COLOR": "1",
        }
        if not keyless:
            environ |= {"OPENAI_API_KEY": "sk-local", "OPENAI_BASE_URL": model.url}
        process = await asyncio.create_subprocess_shell(
            line, cwd=folder, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(WAIT_S):
            out, err = await process.communicate()
        ended = Ended(process.returncode or 0, out.decode(), err.decode())
        assert ended.code == code, ended.out + ended.err
        return ended

    return run


TESTS = "python -m pytest -q -p no:cacheprovider -p no:xdist -W ignore"


@pytest.mark.parametrize("provider", ["openai", "scripted"])
async def test_one_project_appears_and_its_tests_pass(
    shell: Shell, folder: Path, model: ModelServer, provider: str
) -> None:
    (folder / "projects.yaml").write_text(PROJECTS)
    line = (
        SINGLE
        if provider == "openai"
        else SINGLE.replace('{"provider": "openai", "model_name": "gpt-4"}', '{"provider": "scripted"}')
    )
    done = await shell(line, keyless=provider == "scripted")
    said = json.loads(done.out)
    names = [each["RENDERED_FILE_NAME"] for each in said["processed"]["MyProject"]]
    assert set(names) >= {"hello/README.md", "hello/src/hello/greetings.py", "hello/tests/test_greetings.py"}
    assert "AnalyticsService" not in said["processed"]
    assert "hello/README.md" in done.err
    assert "sk-local" not in done.err + done.out
    assert len(model.asked) == (3 if provider == "openai" else 0)
    assert all(asked.body["model"] == "gpt-4" for asked in model.asked)
    assert all(asked.headers["authorization"] == "Bearer sk-local" for asked in model.asked)
    assert "1 passed" in (await shell(f"cd hello && {TESTS}")).out
    again = json.loads((await shell(line, keyless=True)).out)
    assert again["calls"] == 0


async def test_all_projects_then_one_up_to_a_file(
    shell: Shell, folder: Path, model: ModelServer, write_files: Any
) -> None:
    write_files(folder, {"projects.yaml": PROJECTS, ".peagen.toml": CONFIG, **ANALYTICS})
    transitive = json.loads((await shell(TRANSITIVE)).out)
    assert [each["RENDERED_FILE_NAME"] for each in transitive["processed"]["AnalyticsService"]] == [
        "services/source.py",
        "services/data_pipeline.py",
    ]
    assert not (folder / "services" / "report.py").exists()
    done = await shell(ALL)
    assert list(json.loads(done.out)["processed"]) == ["MyProject", "AnalyticsService"]
    assert "NAME = 'report'" in (folder / "services" / "report.py").read_text()
    assert json.loads((await shell(IN_CI)).out)["calls"] == 0
    before = len(model.asked)
    await shell(CUSTOM_PROMPT)
    assert (folder / "services" / "report.py").read_text() == "MINE = 'services/report.py'\n"
    assert "My own words." in json.dumps(model.asked[before].body)


async def test_the_payload_and_the_configuration_of_the_page(
    shell: Shell, folder: Path, model: ModelServer, write_files: Any
) -> None:
    write_files(folder, {"projects_payload.yaml": PAYLOAD, ".peagen.toml": CONFIG})
    order = await shell("peagen local sort projects_payload.yaml --show-dependencies")
    assert "0) pkgs/base/swarmauri_base/parsers/ParserBase.py" in order.out
    assert "(deps: None)" in order.out  # no record makes the interface
    await shell("peagen local process projects_payload.yaml --repo $(pwd)")
    assert model.asked
    code = (folder / "pkgs/base/swarmauri_base/parsers/ParserBase.py").read_text()
    assert "class ParserBase(IParser, ComponentBase):" in code
    compile(code, "ParserBase.py", "exec")
    assert (folder / "pkgs/base/swarmauri_base/parsers/__init__.py").read_text() == ""


async def test_events_and_copies(shell: Shell, folder: Path, valkey_server: Any, write_files: Any) -> None:
    write_files(folder, {"projects.yaml": PROJECTS, **ANALYTICS})
    client: Any = redis.Redis.from_url(valkey_server.url, socket_timeout=WAIT_S)
    listening = client.pubsub()
    channel = f"custom.{folder.parent.name}"
    try:
        listening.subscribe(channel)
        assert listening.get_message(timeout=WAIT_S)["type"] == "subscribe"
        line = "peagen local process projects.yaml --repo $(pwd) --provider scripted --workers 4"
        await shell(f"{line} --notify '{valkey_server.url}#{channel}' --artifacts file:///./peagen_artifacts")
        types = []
        while "process.done" not in types:
            event = json.loads(listening.get_message(timeout=WAIT_S)["data"])
            types.append(event["type"])
    finally:
        listening.close()
        client.close()
    assert types[0] == "process.started"
    listed = (await shell("find peagen_artifacts -name '*.py'")).out.split()
    copies = [name for name in listed if name.startswith("peagen_artifacts/projects/myproject/runs/")]
    assert any(name.endswith("/hello/src/hello/greetings.py") for name in copies)
    refused = await shell("peagen local process projects.yaml --provider scripted --notify pigeon://x", code=1)
    assert "pigeon" in refused.err
    assert "Traceback" not in refused.err


async def test_the_programs_of_the_page(shell: Shell, folder: Path, write_files: Any) -> None:
    write_files(folder, {"projects.yaml": PROJECTS, **ANALYTICS})
    for name, program in {"order": ORDER, "embedded": EMBEDDED, "published": PUBLISHED}.items():
        (folder / f"{name}.py").write_text(program)
    order = await shell("python order.py")
    assert order.out == "['README.md', 'components/db.py', 'components/service.py']\n3\n"
    assert (await shell("python embedded.py")).out.splitlines()[-1] == "9 9"
    assert "1 passed" in (await shell(f"cd hello && {TESTS}")).out
    assert (await shell("python published.py")).out == "s3://localhost:9000/peagen/\n"


async def test_the_commands_of_the_page(shell: Shell) -> None:
    shown = (await shell("peagen --help")).out
    assert all(word in shown for word in ("fetch", "local", "remote", "tui"))
    sets = (await shell("peagen local template-set list")).out
    assert all(name in sets for name in ("fastapi_service", "pythonpkg", "swarmauri_base", "Total: 3 set(s)"))
