"""A run: what is made, what is left alone, what is asked, and what a person's changes are worth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peagen.core.lock import LOCK_NAME, LockStore
from peagen.errors import DependencySortError, LockFailed, PeagenError, UnknownProject
from peagen.run import ProcessOptions, Report, check, process
from penguiflow.llm import LLMRequest, LLMServerError, ScriptedModel, ScriptedReply

SET = {
    "ptree.yaml.j2": """
        {% set PKG = PROJ.PKGS[0] %}
        - FILE_NAME: "note.txt.j2"
          RENDERED_FILE_NAME: "out/note.txt"
          PROJECT_NAME: "{{ PROJ.NAME }}"
          EXTRAS: {}
        {% for MOD in PKG.MODULES %}
        - FILE_NAME: "module.py.j2"
          RENDERED_FILE_NAME: "out/{{ MOD.NAME }}.py"
          PROCESS_TYPE: GENERATE
          AGENT_PROMPT_TEMPLATE: agent.j2
          PROJECT_NAME: "{{ PROJ.NAME }}"
          PACKAGE_NAME: "{{ PKG.NAME }}"
          MODULE_NAME: "{{ MOD.NAME }}"
          EXTRAS:
            DEPENDENCIES: {{ MOD.EXTRAS.NEEDS | default([]) | tojson }}
        {% endfor %}
        """,
    "note.txt.j2": "{{ PROJ.NAME }}: {{ PROJ.EXTRAS.NOTE }}\nsecond\nthird\nfourth\nfifth\n\n",
    "module.py.j2": "# {{ MOD.NAME }}\n",
    "agent.j2": "Write {{ MOD.NAME }}: {{ MOD.EXTRAS.PURPOSE }}\n"
    "{% for d in FILE.EXTRAS.DEPENDENCIES %}{% include d %}{% endfor %}",
}

Reply = Callable[[LLMRequest], Any]


class Asked:
    """Who was asked for what: the scripted model of a test."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.reply: Callable[[str], Any] = lambda prompt: f"```python\n# {prompt.splitlines()[0]}\n```"
        self.now = self.most = 0
        self.gate: asyncio.Event | None = None
        self.wanted = 0
        self.there = asyncio.Event()
        """Set when `wanted` are asked at once."""

    async def say(self, request: LLMRequest) -> Any:
        self.prompts.append(request.messages[-1].text)
        self.now += 1
        self.most = max(self.most, self.now)
        if self.now == self.wanted:
            self.there.set()
        try:
            if self.gate is not None:
                await self.gate.wait()
            return self.reply(request.messages[-1].text)
        finally:
            self.now -= 1

    @property
    def names(self) -> list[str]:
        """Of the modules that were asked for, in order."""
        return [prompt.split()[1].rstrip(":") for prompt in self.prompts]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    found = Asked()
    model = ScriptedModel(rules=[(lambda request: True, found.say)])
    monkeypatch.setattr("peagen.core.models.connect", lambda choice: model)
    return found


@pytest.fixture
def options(worktree_root: Path, make_set: Any) -> ProcessOptions:
    make_set("small", SET)
    return ProcessOptions(worktree=worktree_root, provider="scripted", model_backoff_s=0.0)


def project_of(needs: Mapping[str, list[str]], note: str = "one", **purposes: str) -> dict[str, Any]:
    modules = [
        {
            "NAME": name,
            "EXTRAS": {"NEEDS": [f"out/{each}.py" for each in of], "PURPOSE": purposes.get(name, "it works")},
        }
        for name, of in needs.items()
    ]
    return {
        "NAME": "Demo",
        "TEMPLATE_SET": "small",
        "EXTRAS": {"NOTE": note},
        "PACKAGES": [{"NAME": "demo", "MODULES": modules}],
    }


def statuses(report: Report) -> dict[str, str]:
    return {result.name.removeprefix("out/"): result.status for result in report.results}


CHAIN: dict[str, list[str]] = {"a": [], "b": ["a"], "c": ["b"], "other": []}


async def test_files_are_made_in_order_and_a_second_run_touches_nothing(asked: Asked, options: ProcessOptions) -> None:
    report = await process([project_of(CHAIN)], options)

    assert report.exit_code == 0
    assert report.counts == {"created": 5}
    assert [result.name for result in report.results] == [
        "out/a.py",
        "out/b.py",
        "out/c.py",
        "out/note.txt",
        "out/other.py",
    ]
    assert asked.names == ["a", "b", "c", "other"]
    assert asked.prompts[1] == "Write b: it works\n# Write a: it works"
    assert (options.worktree / "out/a.py").read_text() == "# Write a: it works\n"
    assert (options.worktree / "out/note.txt").read_text() == "Demo: one\nsecond\nthird\nfourth\nfifth\n"
    before = {path: path.stat() for path in options.worktree.rglob("*")}

    again = await process([project_of(CHAIN)], options)

    assert again.counts == {"unchanged": 5}
    assert again.calls == 0
    assert len(asked.prompts) == 4
    after = {path: path.stat() for path in options.worktree.rglob("*")}
    assert {path: stat.st_mtime_ns for path, stat in after.items() if path.is_file()} == {
        path: stat.st_mtime_ns for path, stat in before.items() if path.is_file()
    }


async def test_what_comes_out_as_it_was_dirties_nobody(asked: Asked, options: ProcessOptions) -> None:
    await process([project_of(CHAIN)], options)
    asked.prompts.clear()
    asked.reply = lambda prompt: "```python\n# Write a: it works\n```"

    report = await process([project_of(CHAIN, a="something else")], options)

    # `a` was asked for again, and came out as it was: nobody else was.
    assert asked.names == ["a"]
    assert statuses(report) == {
        "a.py": "unchanged",
        "b.py": "unchanged",
        "c.py": "unchanged",
        "note.txt": "unchanged",
        "other.py": "unchanged",
    }
    asked.reply = lambda prompt: f"```python\n# new {prompt.split()[1]}\n```"
    report = await process([project_of(CHAIN, a="a third thing")], options)
    assert asked.names == ["a", "a", "b", "c"]
    assert statuses(report)["other.py"] == "unchanged"


async def test_a_lock_file_without_what_is_kept_beside_it_asks_for_nothing(
    asked: Asked, options: ProcessOptions, tmp_path: Path
) -> None:
    await process([project_of(CHAIN)], options)
    lock = (options.worktree / LOCK_NAME).read_text()
    clone = tmp_path / "clone"
    for path in options.worktree.rglob("*"):
        name = path.relative_to(options.worktree)
        if path.is_file() and name.parts[0] != ".peagen":
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes(path.read_bytes())

    report = await process([project_of(CHAIN)], replace(options, worktree=clone))

    assert report.counts == {"unchanged": 5}
    assert len(asked.prompts) == 4
    assert (clone / LOCK_NAME).read_text() == lock


async def test_a_failure_stops_only_what_depends_on_it(asked: Asked, options: ProcessOptions) -> None:
    def reply(prompt: str) -> Any:
        return LLMServerError("out of order", retryable=False) if prompt.startswith("Write b") else "# fine\n"

    asked.reply = reply
    report = await process([project_of({**CHAIN, "d": ["c"]})], replace(options, workers=4))

    assert report.exit_code == 1
    assert statuses(report) == {
        "a.py": "created",
        "b.py": "failed",
        "c.py": "skipped",
        "d.py": "skipped",
        "note.txt": "created",
        "other.py": "created",
    }
    (failed,) = report.failed
    assert "out of order" in failed.error
    assert {result.because for result in report.skipped} == {"out/b.py"}
    assert not (options.worktree / "out/b.py").exists()

    asked.reply, asked.prompts[:] = (lambda prompt: "# fine\n"), []
    report = await process([project_of({**CHAIN, "d": ["c"]})], options)
    assert report.exit_code == 0
    assert asked.names == ["b", "c", "d"]


async def test_as_many_files_as_workers_are_worked_on_at_once(asked: Asked, options: ProcessOptions) -> None:
    asked.gate, asked.wanted = asyncio.Event(), 3
    needs: dict[str, list[str]] = {f"m{number}": [] for number in range(6)}

    async def let_go() -> None:
        assert asked.gate is not None
        async with asyncio.timeout(60):
            await asked.there.wait()
        asked.gate.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(let_go())
        run = group.create_task(process([project_of(needs)], replace(options, workers=3)))
    assert run.result().exit_code == 0
    assert asked.most == 3


async def test_an_answer_is_tried_for_again_where_that_may_help(asked: Asked, options: ProcessOptions) -> None:
    replies: list[Any] = [LLMServerError("busy", retryable=True), "# there\n"]
    asked.reply = lambda prompt: replies.pop(0)
    events: list[Mapping[str, Any]] = []

    report = await process([project_of({"a": []})], options, on_event=events.append)

    assert report.exit_code == 0
    assert [event["type"] for event in events if event.get("file") == "out/a.py"] == [
        "file.started",
        "file.asked",
        "file.retry",
        "file.done",
    ]


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ("", "is empty"),
        ("```python\n```", "no content"),
        (ScriptedReply(text="half of", finish_reason="length"), "cut off"),
    ],
)
async def test_an_answer_that_is_none_fails_the_file(
    asked: Asked, options: ProcessOptions, reply: Any, told: str
) -> None:
    asked.reply = lambda prompt: reply
    report = await process([project_of({"a": []})], options)
    (failed,) = report.failed
    assert told in failed.error
    # It is not taken for an answer the next time.
    asked.reply = lambda prompt: "# there\n"
    assert (await process([project_of({"a": []})], options)).exit_code == 0


async def test_what_a_person_changed_is_kept(asked: Asked, options: ProcessOptions) -> None:
    await process([project_of(CHAIN)], options)
    (options.worktree / "out/note.txt").write_text("mine\n")

    assert [name for name, _ in (await check([project_of(CHAIN)], options)).drift] == ["out/note.txt"]
    report = await process([project_of(CHAIN)], options)
    assert statuses(report)["note.txt"] == "kept"
    assert (options.worktree / "out/note.txt").read_text() == "mine\n"
    # Now it is known of.
    assert (await check([project_of(CHAIN)], options)).drift == []
    assert statuses(await process([project_of(CHAIN)], options))["note.txt"] == "unchanged"

    forced = await process([project_of(CHAIN)], replace(options, force=True))
    assert statuses(forced)["note.txt"] == "updated"
    assert (options.worktree / "out/note.txt").read_text().startswith("Demo: one\n")


async def test_changes_of_a_person_and_of_a_template_are_merged(asked: Asked, options: ProcessOptions) -> None:
    await process([project_of(CHAIN)], options)
    note = options.worktree / "out/note.txt"
    note.write_text(note.read_text().replace("fifth", "my fifth"))

    report = await process([project_of(CHAIN, note="two")], replace(options, diff=True))

    result = next(each for each in report.results if each.name == "out/note.txt")
    assert result.status == "merged"
    assert note.read_text() == "Demo: two\nsecond\nthird\nfourth\nmy fifth\n"
    assert "+Demo: two" in result.diff
    assert (await check([project_of(CHAIN, note="two")], options)).drift == []
    # And the next change has the new text for its base.
    await process([project_of(CHAIN, note="three")], options)
    assert note.read_text() == "Demo: three\nsecond\nthird\nfourth\nmy fifth\n"


async def test_changes_of_the_same_line_are_a_conflict_that_a_person_settles(
    asked: Asked, options: ProcessOptions
) -> None:
    await process([project_of(CHAIN)], options)
    note, beside = options.worktree / "out/note.txt", options.worktree / "out/note.txt.peagen-new"
    note.write_text(note.read_text().replace("Demo: one", "Demo: mine"))

    for _ in range(2):
        report = await process([project_of(CHAIN, note="two")], options)
        assert [result.name for result in report.conflicts] == ["out/note.txt"]
        assert report.exit_code == 1
        assert note.read_text().startswith("Demo: mine\n")
        assert beside.read_text().startswith("Demo: two\n")

    beside.unlink()
    report = await process([project_of(CHAIN, note="two")], options)
    assert (report.exit_code, statuses(report)["note.txt"]) == (0, "unchanged")
    assert note.read_text().startswith("Demo: mine\n")
    assert not beside.exists()


async def test_a_file_that_was_there_before_is_not_overwritten(asked: Asked, options: ProcessOptions) -> None:
    note = options.worktree / "out/note.txt"
    note.parent.mkdir()
    note.write_text("older than the project\n")

    report = await process([project_of(CHAIN)], options)

    assert [result.name for result in report.conflicts] == ["out/note.txt"]
    assert note.read_text() == "older than the project\n"
    forced = await process([project_of(CHAIN)], replace(options, force=True))
    assert statuses(forced)["note.txt"] == "updated"
    assert not note.with_name("note.txt.peagen-new").exists()


async def test_a_dry_run_tells_and_does_nothing(asked: Asked, options: ProcessOptions) -> None:
    project = project_of(CHAIN)
    report = await process([project], replace(options, dry_run=True, diff=True))

    assert statuses(report) == {
        "a.py": "pending",
        "b.py": "pending",
        "c.py": "pending",
        "note.txt": "created",
        "other.py": "pending",
    }
    assert report.estimate is not None
    assert (report.estimate.calls, report.estimate.cost) == (4, 0.0)
    assert report.estimate.input_tokens > 0
    assert "+Demo: one" in next(each.diff for each in report.results if each.name == "out/note.txt")
    assert asked.prompts == []
    assert sorted(path.name for path in options.worktree.iterdir()) == ["small"]


async def test_a_check_tells_what_is_not_as_it_would_be(asked: Asked, options: ProcessOptions) -> None:
    await process([project_of(CHAIN)], options)
    assert (await check([project_of(CHAIN)], options)).drift == []
    # Whose model is asked need not be known to see that.
    assert (await check([project_of(CHAIN)], replace(options, provider=None))).drift == []
    asked.prompts.clear()
    (options.worktree / "out/other.py").unlink()

    found = await check([project_of({"b": ["a"], "a": [], "other": []}, note="two", b="other")], options)

    assert dict(found.drift) == {
        "out/b.py": "it is out of date: a model would have to be asked",
        "out/note.txt": "it is out of date",
        "out/other.py": "it is missing",
        "out/c.py": "no record makes it any longer",
    }
    assert asked.prompts == []


async def test_a_cap_stops_asking_and_what_was_answered_is_not_asked_again(
    asked: Asked, options: ProcessOptions
) -> None:
    asked.reply = lambda prompt: ScriptedReply(text=f"# {prompt.split()[1]}\n" + "# more\n" * 400)
    needs: dict[str, list[str]] = {"a": [], "b": [], "c": []}

    report = await process([project_of(needs)], replace(options, max_tokens=1000))

    assert asked.names == ["a"]
    assert report.exit_code == 1
    assert [result.name for result in report.skipped] == ["out/b.py", "out/c.py"]
    assert "the cap of 1000 tokens is reached" in report.skipped[0].error
    assert report.input_tokens + report.output_tokens > 700
    report = await process([project_of(needs)], options)
    assert asked.names == ["a", "b", "c"]
    assert report.exit_code == 0


async def test_answers_are_asked_for_again_if_that_is_wanted(asked: Asked, options: ProcessOptions) -> None:
    await process([project_of({"a": []})], options)
    (options.worktree / "out/a.py").unlink()
    await process([project_of({"a": []})], options)
    assert asked.names == ["a"]
    await process([project_of({"a": []})], replace(options, use_cache=False))
    assert asked.names == ["a", "a"]


async def test_each_project_begins_at_its_first_file(asked: Asked, options: ProcessOptions, make_set: Any) -> None:
    one, two = project_of({"a": [], "b": []}), project_of({"x": [], "y": []})
    two["NAME"] = "Second"
    make_set("small", {"note.txt.j2": "note\n"})

    report = await process([one, two], options)

    assert [result.name for result in report.files["Second"]] == ["out/note.txt", "out/x.py", "out/y.py"]
    assert report.next_idx == {"Demo": 3, "Second": 3}
    assert report.counts == {"created": 5, "unchanged": 1}


async def test_a_run_may_begin_later(asked: Asked, options: ProcessOptions) -> None:
    report = await process([project_of(CHAIN)], replace(options, start_file="out/b.py", start_idx=2))
    assert [result.name for result in report.results] == ["out/note.txt", "out/other.py"]
    report = await process([project_of(CHAIN)], replace(options, start_file="out/b.py", transitive=True))
    assert [result.name for result in report.results] == ["out/a.py", "out/b.py"]
    report = await process([project_of(CHAIN)], replace(options, start_file="out/no.py"))
    assert "out/no.py is no file of Demo" in report.warnings[0]


async def test_what_cannot_begin_is_an_error(asked: Asked, options: ProcessOptions) -> None:
    with pytest.raises(UnknownProject, match="'Nobody' not found"):
        await process([project_of(CHAIN)], replace(options, project_name="Nobody"))
    with pytest.raises(DependencySortError, match=r"out/a\.py, out/b\.py"):
        await process([project_of({"a": ["b"], "b": ["a"]})], options)
    with pytest.raises(PeagenError, match="no provider"):
        await process([project_of(CHAIN)], replace(options, provider=None))
    with LockStore(options.worktree).held(), pytest.raises(LockFailed, match="another run"):
        await process([project_of(CHAIN)], options)


async def test_names_that_lead_elsewhere_fail_and_write_nothing(
    asked: Asked, options: ProcessOptions, make_set: Any, tmp_path: Path
) -> None:
    names = [
        "../escaped.txt",
        str(tmp_path / "absolute.txt"),
        ".git/hooks/pre-commit",
        LOCK_NAME,
        ".peagen/x",
        "ok.txt",
    ]
    records = "".join(f"- {{FILE_NAME: note.txt.j2, RENDERED_FILE_NAME: '{name}'}}\n" for name in names)
    make_set("small", {"ptree.yaml.j2": records, "note.txt.j2": "note\n"})

    report = await process([project_of({})], options)

    assert sorted(result.name for result in report.failed) == sorted(names[:-1])
    assert [result.name for result in report.of("created")] == ["ok.txt"]
    assert not (tmp_path / "escaped.txt").exists()
    assert not (tmp_path / "absolute.txt").exists()
    assert not (options.worktree / ".git").exists()


async def test_what_a_model_wrote_is_never_evaluated(asked: Asked, options: ProcessOptions) -> None:
    asked.reply = lambda prompt: "{{ 6 * 7 }}{% for x in range(9) %}{{ undefined.boom }}{% endfor %}{# gone? #}\n"
    report = await process([project_of({"a": [], "b": ["a"]})], options)
    assert report.exit_code == 0
    assert "{{ 6 * 7 }}{% for x in range(9) %}{{ undefined.boom }}{% endfor %}{# gone? #}" in asked.prompts[1]


async def test_publishers_and_storages_get_what_is_theirs(asked: Asked, options: ProcessOptions) -> None:
    published: list[tuple[str, Mapping[str, Any]]] = []
    stored: dict[str, bytes] = {}

    class Publisher:
        def publish(self, channel: str, payload: Mapping[str, Any]) -> None:
            published.append((channel, payload))

    class Storage:
        def upload(self, key: str, data: Any) -> str:
            stored[key] = data.read()
            return key

    await process([project_of({"a": []})], replace(options, publisher=Publisher(), storage=Storage(), channel="c"))

    assert [payload["type"] for _, payload in published] == [
        "process.started",
        "file.done",
        "file.done",
        "process.done",
    ]
    assert published[0] == ("c", {"type": "process.started"})
    assert published[-1][1]["seconds"] >= 0
    assert published[1][1]["extra"] == {"project": "Demo", "file": "out/a.py", "status": "created"}
    assert sorted(key.split("/", 4)[-1] for key in stored) == ["out/a.py", "out/note.txt"]
    assert all(key.startswith("projects/demo/runs/") for key in stored)


async def test_a_publisher_that_is_not_there_is_told_before_anything_is_done(
    asked: Asked, options: ProcessOptions
) -> None:
    class Publisher:
        calls = 0

        def publish(self, channel: str, payload: Mapping[str, Any]) -> None:
            self.calls += 1
            if self.calls in self.fails:
                raise ConnectionError("nobody is there")

        fails = frozenset({1})

    with pytest.raises(PeagenError, match="nobody is there"):
        await process([project_of({"a": []})], replace(options, publisher=Publisher()))
    assert asked.prompts == []

    class Later(Publisher):
        fails = frozenset({2})

    # What fails later does not end the run.
    report = await process([project_of({"a": []})], replace(options, publisher=Later()))
    assert report.exit_code == 0


async def test_payloads_with_odd_keys_and_records_with_odd_values(
    asked: Asked, options: ProcessOptions, make_set: Any
) -> None:
    record = "{FILE_NAME: note.txt.j2, RENDERED_FILE_NAME: a, PROJECT_NAME: Demo, EXTRAS: {EXAMPLES: 7}}"
    make_set("small", {"ptree.yaml.j2": f"- {record}\n"})
    project = {**project_of({}), "EXTRAS": {1: "one", "two": 2, None: 3, 2.5: 4}}
    for expected in ({"created": 1}, {"unchanged": 1}):
        assert (await process([project], options)).counts == expected


async def test_a_file_that_two_projects_make_is_told(asked: Asked, options: ProcessOptions) -> None:
    report = await process([project_of({}), {**project_of({}), "NAME": "Second"}], options)
    assert report.warnings == ["out/note.txt is made by Demo and by Second: the last one counts"]


async def test_what_changes_while_a_model_answers_counts_the_next_time(asked: Asked, options: ProcessOptions) -> None:
    document = options.worktree / "doc.md"
    document.write_text("first\n")
    project = project_of({"a": []})
    project["PACKAGES"][0]["MODULES"][0]["EXTRAS"]["NEEDS"] = ["doc.md"]

    def reply(prompt: str) -> str:
        document.write_text("second\n")
        return "# answer\n"

    asked.reply = reply
    await process([project], options)
    await process([project], options)
    await process([project], options)
    assert [prompt.splitlines()[-1] for prompt in asked.prompts] == ["first", "second"]


async def test_projects_of_one_name_are_told_together(asked: Asked, options: ProcessOptions) -> None:
    one, two = project_of({"a": []}), project_of({"b": []})
    for expected in ("created", "unchanged"):
        report = await process([one, two], options)
        assert statuses(report) == {"a.py": expected, "b.py": expected, "note.txt": "unchanged"}
        assert report.orphaned == []
    moved = await process([{**two, "NAME": "Other"}], options)
    assert moved.orphaned == []
    assert (await check([two], options)).orphaned == ["out/a.py"]


async def test_a_work_tree_that_cannot_be_written_is_one_message(options: ProcessOptions, tmp_path: Path) -> None:
    (tmp_path / "worktree" / ".peagen").write_text("in the way")
    with pytest.raises(PeagenError, match="cannot be written"):
        await process([project_of({})], options)


async def test_a_run_that_is_given_up_keeps_what_it_has(asked: Asked, options: ProcessOptions) -> None:
    asked.gate, asked.wanted = asyncio.Event(), 2
    run = asyncio.create_task(process([project_of({"a": [], "b": []})], replace(options, workers=3)))
    async with asyncio.timeout(60):
        await asked.there.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    assert not LockStore(options.worktree).was_interrupted()

    asked.gate = None
    report = await process([project_of({"a": [], "b": []})], options)
    assert report.exit_code == 0
    assert {result.status for result in report.results} <= {"created", "unchanged"}
    assert len(asked.prompts) == 4  # the first two were never answered
