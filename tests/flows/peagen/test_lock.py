"""The lock file, the journal beside it, what is kept by content, and what is decided from these."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from peagen.core.cache import Answer, AnswerCache, Objects, sha
from peagen.core.lock import LOCK_NAME, LockEntry, LockFile, LockStore
from peagen.core.merge import merge, unified
from peagen.core.plan import decide
from peagen.errors import GitError, LockFailed

ENTRY = LockEntry(
    project="Demo",
    template_set="small",
    type="GENERATE",
    inputs="1" * 64,
    output=sha("one\n"),
    templates=("set:agent.j2",),
    data=("work:doc.md",),
    prompt="2" * 64,
    model="openai/gpt-4",
    settings={"temperature": None, "max_tokens": 10},
    answer="3" * 64,
    tokens=(10, 20),
)


def test_it_reads_what_it_writes_in_one_order(tmp_path: Path) -> None:
    one = LockFile({"b.py": ENTRY, "a.py": replace(ENTRY, type="COPY", prompt=None)}, {"small": {"digest": "d"}})
    other = LockFile(dict(reversed(one.files.items())), one.sets)
    text = one.to_text()
    assert text == other.to_text()
    assert LockFile.from_text(text) == one
    assert [line.split('"')[1] for line in text.splitlines()] == ["peagen.lock", "template_set", "file", "file"]

    store = LockStore(tmp_path)
    assert store.load() == LockFile()
    assert store.save(LockFile()) is False
    assert not (tmp_path / LOCK_NAME).exists()
    assert store.save(one) is True
    assert store.save(one) is False
    assert store.load() == one


def test_branches_that_make_other_files_merge(tmp_path: Path) -> None:
    base = LockFile(dict.fromkeys(("a", "c", "e"), ENTRY))
    mine = LockFile({**base.files, "b": ENTRY})
    theirs = LockFile({**base.files, "d": ENTRY, "e": replace(ENTRY, output=sha("two\n"))})
    merged = merge(mine.to_text().encode(), base.to_text().encode(), theirs.to_text().encode())
    assert merged is not None
    assert LockFile.from_text(merged.decode()).files == {**mine.files, **theirs.files}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("not json\n", "cannot be read"),
        ('{"file": "a"}\n', "project"),
        ('{"peagen.lock": 99}\n', "format 99"),
        ('{"peagen.lock": 1}\n<<<<<<< mine\n', "merge"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / LOCK_NAME).write_text(text)
    with pytest.raises(LockFailed, match=told) as failed:
        LockStore(tmp_path).load()
    assert LOCK_NAME in failed.value.where


def test_the_journal_counts_for_what_was_written(tmp_path: Path) -> None:
    store = LockStore(tmp_path)
    assert not store.was_interrupted()
    store.note("written", ENTRY)
    store.note("not-written", ENTRY)
    store.note("changed", ENTRY)
    with (tmp_path / ".peagen/journal.jsonl").open("a") as journal:
        journal.write('{"file": "half')
    (tmp_path / "written").write_text("one\n")
    (tmp_path / "changed").write_text("something else\n")

    assert store.was_interrupted()
    assert LockStore(tmp_path).load().files == {"written": ENTRY}
    store.save(store.load())
    assert not store.was_interrupted()
    assert store.load().files == {"written": ENTRY}
    assert (tmp_path / ".peagen/.gitignore").read_text() == "*\n"


def test_keys_count_for_the_entries_that_they_were_kept_with(tmp_path: Path) -> None:
    store = LockStore(tmp_path)
    store.save(LockFile({"a": replace(ENTRY, key="k"), "b": replace(ENTRY, key="k")}))
    assert '"k"' not in (tmp_path / LOCK_NAME).read_text()
    assert {name: entry.key for name, entry in store.load().files.items()} == {"a": "k", "b": "k"}
    # Another branch was checked out.
    (tmp_path / LOCK_NAME).write_text(LockFile({"a": ENTRY, "b": replace(ENTRY, output=sha("two"))}).to_text())
    assert {name: entry.key for name, entry in store.load().files.items()} == {"a": "k", "b": ""}
    (tmp_path / ".peagen/keys.json").write_text("[")
    assert {entry.key for entry in store.load().files.values()} == {""}


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with LockStore(tmp_path).held(), pytest.raises(LockFailed), LockStore(tmp_path).held():
        pass
    with LockStore(tmp_path).held():
        pass


def test_answers_and_contents_are_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    cache, objects = AnswerCache(tmp_path), Objects(tmp_path)
    answer = Answer(text="ünï\n", input_tokens=1, output_tokens=2, cost=0.5)
    assert cache.get("ab" * 32) is None
    cache.put("ab" * 32, answer)
    assert AnswerCache(tmp_path).get("ab" * 32) == answer
    (path,) = (tmp_path / ".peagen/cache").rglob("*.json")
    path.write_bytes(path.read_bytes()[:10])
    assert cache.get("ab" * 32) is None

    digest = objects.put(b"content")
    other = objects.put(b"other")
    assert (digest, objects.get(digest)) == (sha(b"content"), b"content")
    (tmp_path / ".peagen/objects" / other).write_bytes(b"oth")
    assert objects.get(other) is None
    objects.prune({digest})
    assert [path.name for path in (tmp_path / ".peagen/objects").iterdir()] == [digest]


def test_three_texts_become_one_unless_they_touch(monkeypatch: pytest.MonkeyPatch) -> None:
    base = b"1\n2\n3\n4\n5\n6\n7\n"
    assert merge(base.replace(b"1", b"one"), base, base.replace(b"7", b"seven")) == b"one\n2\n3\n4\n5\n6\nseven\n"
    assert merge(base.replace(b"1", b"one"), base, base.replace(b"1", b"uno")) is None
    assert merge(b"\0", base, base) is None

    def missing(*arguments: object, **more: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    with pytest.raises(GitError, match="git is not there"):
        merge(b"a", b"b", b"c")


def test_a_difference_reads_as_that_of_git() -> None:
    assert unified("a.txt", b"same", b"same") == ""
    assert unified("a.txt", None, b"new\n") == "--- /dev/null\n+++ b/a.txt\n@@ -0,0 +1 @@\n+new\n"
    assert unified("a.txt", b"x\n", b"y").endswith("-x\n+y\n\\ No newline at end of file\n")
    assert unified("a.bin", b"\xff", b"\xfe") == "Binary files a/a.bin and b/a.bin differ\n"


def test_what_is_decided() -> None:
    kept = {sha("one\n"): b"one\n"}

    def status(new: str, disk: str | None, entry: LockEntry | None = ENTRY, *, force: bool = False) -> str:
        found = None if disk is None else disk.encode()
        decision = decide(new.encode(), found, entry, base=kept.get, force=force)
        assert (decision.write is not None) == (decision.status in {"created", "updated", "merged"})
        return decision.status

    assert status("one\n", None) == "created"
    assert status("one\n", None, None) == "created"
    assert status("two\n", "two\n", None) == "unchanged"
    assert status("two\n", "one\n") == "updated"
    assert status("one\n", "mine\n") == "kept"
    assert status("one\n", "mine\n", replace(ENTRY, kept=sha("mine\n"))) == "unchanged"
    assert status("two\n", "mine\n") == "conflict"
    assert status("two\n", "mine\n", None) == "conflict"
    assert status("two\n", "mine\n", force=True) == "updated"
    assert status("two\n", "mine\n", replace(ENTRY, output="gone")) == "conflict"


def test_a_lock_line_keeps_what_says_something() -> None:
    line = replace(ENTRY, templates=(), data=(), kept=None).to_line("a")
    assert "kept" not in line
    assert "templates" not in line
    assert LockEntry.from_line({**json.loads(json.dumps(line)), "later": True}) == replace(ENTRY, templates=(), data=())
