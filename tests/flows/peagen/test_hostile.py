"""A template set and a model that mean harm: each file fails with a clear error, and the others are made."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from peagen.core.sandbox import Limits, Renderer
from peagen.errors import LockFailed, PtreeError, TemplateFailed, TemplateTooLarge, TemplateTooSlow
from peagen.run import FileResult, ProcessOptions, Report, process
from peagen.run.build import Builder
from peagen.run.files import PlannedFile
from penguiflow.llm import LLMRequest, ScriptedModel

if TYPE_CHECKING:
    from tests.flows.peagen.conftest import MakeProject, MakeSet, WriteFiles

TEMPLATES = {
    "good.j2": "good\n",
    "loop.j2": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "output.j2": "{% for i in range(99999) %}{% for j in range(99999) %}0123456789{% endfor %}{% endfor %}",
    "memory.j2": "{{ '0123456789' * 10 ** 9 }}",
    "bigpow.j2": "{{ 2 ** (10 ** 9) }}",
    "deep.j2": "{% include 'deep.j2' %}",
    "nested.j2": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "class.j2": "{{ ().__class__.__base__.__subclasses__() }}",
    "globals.j2": "{{ lipsum.__globals__['os'].popen('touch pwned').read() }}",
    "format.j2": "{{ '{0.__class__.__mro__}'.format('') }}",
    "filter.j2": "{{ ['os'] | map('attr', '__class__') | list }}",
    "import.j2": "{% import 'os' as os %}{{ os.getcwd() }}",
    "passwd.j2": "{% include '/etc/passwd' %}",
    "parent.j2": "{% include '../outside/secret.txt' %}",
    "config.j2": "{% include '.peagen.toml' %}",
    "env.j2": "{% include '.env' ignore missing %}",
    "git.j2": "{% include '.git/config' %}",
}
TOLD = {
    "loop": "more than 1 s of processor time",
    "output": "makes more than 1,048,576 bytes",
    "memory": "takes more memory",
    "bigpow": "exponent of 1000000000 is too large",
    "deep": "calls itself too deeply",
    "nested": "calls itself too deeply",
    "class": "'__class__' of a tuple is not for templates",
    "globals": "'__globals__' of a function is not for templates",
    "format": "'__class__' of a str is not for templates",
    "filter": "'__class__' of a str is not for templates",
    "import": "'os' is neither in the template set nor in the work-tree",
    "passwd": "'/etc/passwd' is neither",
    "parent": "leads out of the folders",
    "config": "may hold secrets",
    "env": "may hold secrets",
    "git": "may hold secrets",
}
NAMES = {
    "../outside/a": "leads out",
    "a/../../outside/b": "leads out",
    "/etc/peagen-hostile": "must be relative",
    "link/c": "a symbolic link leads out",
    ".git/hooks/pre-commit": "git's own folder",
    "sub/.GIT/config": "git's own folder",
    ".peagen.toml": "Peagen's own files",
    ".peagen/cache/x": "Peagen's own files",
    "peagen.lock": "Peagen's own files",
    "small/good.j2": "the template set that makes it",
    "small/ptree.yaml.j2": "the template set that makes it",
    "a\\..\\b": "backslash",
    "nul": "name of a device",
}


@pytest.fixture(autouse=True)
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that are reached soon."""
    limits = Limits(cpu_seconds=1, memory_bytes=256 * 1024 * 1024, output_bytes=1024 * 1024)
    monkeypatch.setattr("peagen.run.engine.Renderer", functools.partial(Renderer, limits))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], str]], list[str]]:
    """Sets what the model answers to a prompt; returns the prompts that it is asked."""

    def use(reply: Callable[[str], str]) -> list[str]:
        prompts: list[str] = []

        async def say(request: LLMRequest) -> str:
            prompts.append(request.messages[-1].text)
            return reply(prompts[-1])

        model = ScriptedModel(rules=[(lambda request: True, say)])
        monkeypatch.setattr("peagen.core.models.connect", lambda choice: model)
        return prompts

    return use


@pytest.fixture
def surroundings(worktree_root: Path, write_files: WriteFiles) -> Callable[[], dict[str, str]]:
    """What must not be changed or read: gives its hashes."""
    write_files(worktree_root.parent, {"outside/secret.txt": "the secret"})
    write_files(
        worktree_root,
        {".git/config": "the secret", ".git/hooks/x": "", ".env": "the secret", ".peagen.toml": "# the secret"},
    )
    (worktree_root / "link").symlink_to(worktree_root.parent / "outside")
    watched = [worktree_root.parent / "outside", worktree_root / ".git", worktree_root / "small"]

    def hashes() -> dict[str, str]:
        files = [path for folder in watched for path in folder.rglob("*") if path.is_file()]
        files += [worktree_root / ".env", worktree_root / ".peagen.toml"]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return hashes


def ptree(*records: dict[str, Any]) -> str:
    lines = []
    for record in records:
        fields = {"PROJECT_NAME": "Demo", "PACKAGE_NAME": "demo", **record}
        lines.append("- {% raw %}" + json.dumps(fields) + "{% endraw %}")
    return "\n".join(lines)


def pwned(folder: Path) -> list[Path]:
    """What a template would have left, had it come through."""
    return list(folder.rglob("pwned"))


def link_to(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def errors_of(report: Report) -> dict[str, str]:
    return {result.name: result.error for result in report.failed}


async def run(worktree_root: Path, project: dict[str, Any], **options: Any) -> Report:
    return await process(
        [project], ProcessOptions(worktree=worktree_root, provider="scripted", model_backoff_s=0.0, **options)
    )


@pytest.mark.parametrize("workers", [0, 4])
async def test_hostile_templates_fail_alone(
    worktree_root: Path,
    make_set: MakeSet,
    make_project: MakeProject,
    surroundings: Callable[[], dict[str, str]],
    workers: int,
) -> None:
    records: list[dict[str, Any]] = [
        {"FILE_NAME": name, "RENDERED_FILE_NAME": f"out/{name.removesuffix('.j2')}"} for name in TEMPLATES
    ]
    records.append({"FILE_NAME": "../outside/secret.txt", "RENDERED_FILE_NAME": "out/stolen"})
    odd = ["/dev/zero", "a\0b", "x" * 5000, "../../outside/secret.txt"]
    records.append({"FILE_NAME": "good.j2", "RENDERED_FILE_NAME": "out/odd", "EXTRAS": {"DEPENDENCIES": odd}})
    records += [{"FILE_NAME": name, "RENDERED_FILE_NAME": f"out/from{i}"} for i, name in enumerate(odd)]
    records.append(
        {"FILE_NAME": "good.j2", "RENDERED_FILE_NAME": "out/below", "EXTRAS": {"DEPENDENCIES": ["out/loop"]}}
    )
    make_set("small", {"ptree.yaml.j2": ptree(*records), **TEMPLATES})
    before = surroundings()
    report = await run(worktree_root, make_project(), workers=workers)
    errors = errors_of(report)
    for name, told in TOLD.items():
        assert told in errors.pop(f"out/{name}"), name
    assert "leads out" in errors.pop("out/stolen")
    for i in range(3):
        assert "there is no template" in errors.pop(f"out/from{i}")
    assert "leads out" in errors.pop("out/from3")
    assert errors == {}
    assert [result.name for result in report.skipped] == ["out/below"]
    assert report.exit_code == 1
    assert sorted(path.name for path in (worktree_root / "out").iterdir()) == ["good", "odd"]
    assert surroundings() == before
    assert not pwned(worktree_root)


async def test_names_that_lead_elsewhere_write_nothing(
    worktree_root: Path, make_set: MakeSet, make_project: MakeProject, surroundings: Callable[[], dict[str, str]]
) -> None:
    names = [*NAMES, "out/fine"]
    records = [{"FILE_NAME": "good.j2", "RENDERED_FILE_NAME": name} for name in names]
    make_set("small", {"ptree.yaml.j2": ptree(*records), "good.j2": "harm"})
    before = surroundings()
    report = await run(worktree_root, make_project())
    errors = errors_of(report)
    for name, told in NAMES.items():
        assert told in errors.pop(name), name
    assert errors == {}
    assert (worktree_root / "out/fine").read_text() == "harm"
    assert surroundings() == before


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        (TEMPLATES["loop.j2"], TemplateTooSlow, "processor time"),
        (TEMPLATES["output.j2"], TemplateTooLarge, "more than"),
        (TEMPLATES["class.j2"], TemplateFailed, "not for templates"),
        ("- !!python/object/apply:os.system ['touch pwned']", TemplateFailed, "constructor"),
        (
            "{% for i in range(9) %}a{{ i }}: &a{{ i }} [{{ ('*a%d,' % (i - 1)) * 9 if i else 'x' }}]\n{% endfor %}",
            TemplateTooLarge,
            "more than",
        ),
        ("- [a]", PtreeError, "no mapping"),
    ],
)
async def test_a_hostile_ptree_ends_the_run(
    worktree_root: Path,
    make_set: MakeSet,
    make_project: MakeProject,
    text: str,
    kind: type[Exception],
    told: str,
) -> None:
    make_set("small", {"ptree.yaml.j2": text})
    with pytest.raises(kind, match=told):
        await run(worktree_root, make_project())
    assert not pwned(worktree_root)


CODE = "{{ ''.__class__ }}{% include '.env' %}{{ 7 * 7 }}{% for i in range(99999) %}{# gone #}{% raw %}\n"


async def test_what_a_model_writes_is_text_wherever_it_goes(
    worktree_root: Path,
    make_set: MakeSet,
    make_project: MakeProject,
    surroundings: Callable[[], dict[str, str]],
    answers: Callable[[Callable[[str], str]], list[str]],
) -> None:
    asks: dict[str, Any] = {"PROCESS_TYPE": "GENERATE", "FILE_NAME": "good.j2", "AGENT_PROMPT_TEMPLATE": "ask.j2"}
    records: list[dict[str, Any]] = [
        {**asks, "RENDERED_FILE_NAME": "out/one.py"},
        {**asks, "RENDERED_FILE_NAME": "out/two.py", "EXTRAS": {"DEPENDENCIES": ["out/one.py"]}},
        # It would be a prompt, a template, and what a template is looked for as.
        {**asks, "RENDERED_FILE_NAME": "evil.j2"},
        {
            **asks,
            "RENDERED_FILE_NAME": "out/three.py",
            "AGENT_PROMPT_TEMPLATE": "evil.j2",
            "EXTRAS": {"DEPENDENCIES": ["evil.j2"]},
        },
        {"FILE_NAME": "evil.j2", "RENDERED_FILE_NAME": "out/four.py", "EXTRAS": {"DEPENDENCIES": ["evil.j2"]}},
        {
            "FILE_NAME": "copy.j2",
            "RENDERED_FILE_NAME": "out/five.py",
            "EXTRAS": {"DEPENDENCIES": ["evil.j2", "good.j2"]},
        },
        {**asks, "RENDERED_FILE_NAME": "good.j2"},
    ]
    make_set(
        "small",
        {
            "ptree.yaml.j2": ptree(*records),
            "good.j2": "of the set\n",
            "copy.j2": "{% for name in FILE.EXTRAS.DEPENDENCIES %}{% include name %}{% endfor %}",
            "ask.j2": "Write {{ FILE.RENDERED_FILE_NAME }}.{% for name in FILE.EXTRAS.DEPENDENCIES %}\n"
            "{% include name %}{% endfor %}",
        },
    )
    prompts = answers(lambda prompt: CODE)
    before = surroundings()
    report = await run(worktree_root, make_project())
    errors = errors_of(report)
    assert "it cannot be a template" in errors.pop("out/three.py")
    assert "it cannot be a template" in errors.pop("out/four.py")
    assert errors == {}
    text = CODE.strip()
    for name in ("out/one.py", "out/two.py", "evil.j2"):
        assert (worktree_root / name).read_text() == text
    assert (worktree_root / "out/five.py").read_text() == text * 2
    assert f"Write out/two.py.\n{text}" in prompts
    assert "the secret" not in "".join(prompts)
    assert surroundings() == before


async def test_what_another_project_or_run_made_is_no_template(
    worktree_root: Path,
    make_set: MakeSet,
    make_project: MakeProject,
    answers: Callable[[Callable[[str], str]], list[str]],
) -> None:
    asks: dict[str, Any] = {"PROCESS_TYPE": "GENERATE", "FILE_NAME": "good.j2", "AGENT_PROMPT_TEMPLATE": "good.j2"}
    make_set("makes", {"ptree.yaml.j2": ptree({**asks, "RENDERED_FILE_NAME": "evil.j2"}), "good.j2": "good"})
    make_set("uses", {"ptree.yaml.j2": ptree({"FILE_NAME": "evil.j2", "RENDERED_FILE_NAME": "out/x"})})
    answers(lambda prompt: CODE)
    makes, uses = make_project(template_set="makes", NAME="makes"), make_project(template_set="uses", NAME="uses")
    options = ProcessOptions(worktree=worktree_root, provider="scripted", model_backoff_s=0.0)
    for projects in ([makes, uses], [uses]):
        report = await process(projects, options)
        assert "it cannot be a template" in errors_of(report)["out/x"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("", "empty"),
        ("```python\n```", "no content"),
        ("<think>all of it", "no content"),
        ("```python\nx = '\0'\n```", "a NUL in it"),
        ("0123456789" * 11, "has 110 bytes; a file may have 100"),
    ],
)
async def test_answers_that_are_no_file(
    worktree_root: Path,
    make_set: MakeSet,
    make_project: MakeProject,
    answers: Callable[[Callable[[str], str]], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    told: str,
) -> None:
    monkeypatch.setattr("peagen.run.answering.Limits", functools.partial(Limits, output_bytes=100))
    asks: dict[str, Any] = {"PROCESS_TYPE": "GENERATE", "FILE_NAME": "good.j2", "AGENT_PROMPT_TEMPLATE": "good.j2"}
    make_set("small", {"ptree.yaml.j2": ptree({**asks, "RENDERED_FILE_NAME": "out/one.py"}), "good.j2": "good"})
    answers(lambda prompt: answer)
    report = await run(worktree_root, make_project())
    assert told in errors_of(report)["out/one.py"]
    assert not (worktree_root / "out").exists()


@pytest.mark.parametrize("link", [".peagen", ".peagen/demo_ptree.yaml", ".peagen/journal.jsonl", ".peagen/cache/ab"])
async def test_links_that_a_repository_brings_are_not_followed(
    worktree_root: Path,
    make_set: MakeSet,
    make_project: MakeProject,
    surroundings: Callable[[], dict[str, str]],
    link: str,
) -> None:
    make_set("small", {"ptree.yaml.j2": "- {FILE_NAME: good.j2, RENDERED_FILE_NAME: out}", "good.j2": "x"})
    before = surroundings()
    link_to(worktree_root / link, worktree_root.parent / "outside")
    with pytest.raises(LockFailed, match="behind a link"):
        await run(worktree_root, make_project())
    assert surroundings() == before


@pytest.mark.parametrize("workers", [0, 3])
async def test_what_nobody_thought_of_ends_the_run(
    worktree_root: Path, make_set: MakeSet, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    async def broken(self: Builder, file: PlannedFile, *more: Any) -> FileResult:
        if file.name == "out/3":
            raise RuntimeError("nobody thought of this")
        return await build(self, file, *more)

    build = Builder.build
    monkeypatch.setattr(Builder, "build", broken)
    needs = {"EXTRAS": {"DEPENDENCIES": ["out/3"]}}
    records: list[dict[str, Any]] = [{"FILE_NAME": "good.j2", "RENDERED_FILE_NAME": f"out/{i}"} for i in range(9)]
    records[8] |= needs
    make_set("small", {"ptree.yaml.j2": ptree(*records), "good.j2": "good"})
    with pytest.raises(Exception, match="nobody thought of this"):
        await asyncio.wait_for(run(worktree_root, make_project(), workers=workers), 60)
