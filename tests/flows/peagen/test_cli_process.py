"""`peagen local process` and `check`: what they tell, and what a payload that is a point of a design chooses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

PTREE = """
FILES:
{%- for MOD in PROJ.PKGS[0].MODULES %}
  - FILE_NAME: "{{ MOD.EXTRAS.TEMPLATE }}.j2"
    RENDERED_FILE_NAME: "{{ MOD.NAME }}"
    PROCESS_TYPE: "{{ MOD.EXTRAS.KIND | default('COPY') }}"
    AGENT_PROMPT_TEMPLATE: "ask.j2"
    PROJECT_NAME: P
    PACKAGE_NAME: p
    MODULE_NAME: "{{ MOD.NAME }}"
    EXTRAS: {DEPENDENCIES: {{ MOD.EXTRAS.NEEDS | default([]) | tojson }}}
{%- endfor %}
"""
SET = {"ptree.yaml.j2": PTREE, "ok.j2": "{{ MOD.NAME }}\n", "bad.j2": "{{ 1 / 0 }}", "ask.j2": "Write {{ MOD.NAME }}."}


@pytest.fixture
def tree(worktree_root: Path, make_set: Any) -> Path:
    make_set("tiny", SET)
    return worktree_root


def payload(folder: Path, **modules: dict[str, Any]) -> None:
    listed = [{"NAME": name, "EXTRAS": {"TEMPLATE": "ok", **extras}} for name, extras in modules.items()]
    project = {"NAME": "P", "TEMPLATE_SET": "tiny", "PACKAGES": [{"NAME": "p", "MODULES": listed}]}
    (folder / "p.yaml").write_text(yaml.safe_dump({"PROJECTS": [project]}))


def test_a_file_that_fails_stops_what_needs_it(peagen: Any, tree: Path) -> None:
    payload(tree, a={}, b={"TEMPLATE": "bad"}, c={"NEEDS": ["b"]}, d={"NEEDS": ["a"]})
    done = peagen("local", "process", "p.yaml", "--workers", "3", at=tree)
    assert done.code == 1
    assert done.json["counts"] == {"created": 2, "failed": 1, "skipped": 1}
    assert "[ERROR] b: " in done.err
    assert "[ERROR] c: not made, because b was not\n" in done.err
    assert done.err.splitlines()[-1].startswith("2 created, 1 failed, 1 skipped; 0 calls of a model; ")
    assert (tree / "d").read_text() == "d"


def test_a_dry_run_and_a_diff(peagen: Any, tree: Path) -> None:
    payload(tree, a={}, b={"KIND": "GENERATE"})
    done = peagen("local", "process", "p.yaml", "--dry-run", "--provider", "scripted", at=tree)
    assert done.code == 0, done.err
    assert done.json["counts"] == {"created": 1, "pending": 1}
    assert "would be created: a\nwould be pending: b\n" in done.err
    assert sorted(path.name for path in tree.iterdir()) == ["p.yaml", "tiny"]
    peagen("local", "process", "p.yaml", "--provider", "scripted", at=tree)
    (tree / "tiny" / "ok.j2").write_text("new {{ MOD.NAME }}\n")
    done = peagen("local", "process", "p.yaml", "--dry-run", "--diff", "--provider", "scripted", at=tree)
    assert "-a\n" in done.out
    assert "+new a\n" in done.out
    assert (tree / "a").read_text() == "a"


def test_check(peagen: Any, tree: Path) -> None:
    payload(tree, a={}, b={})
    done = peagen("check", "p.yaml", at=tree)
    assert (done.code, done.out) == (1, "a: it is missing\nb: it is missing\n")
    peagen("local", "process", "p.yaml", at=tree)
    done = peagen("local", "check", "p.yaml", "--repo", tree, at=tree.parent)
    assert (done.code, done.out, done.err) == (0, "", "everything is as it would be generated\n")
    (tree / "a").write_text("mine")
    done = peagen("check", "p.yaml", "--json", at=tree)
    assert done.code == 1
    assert [each["file"] for each in done.json["drift"]] == ["a"]


def test_what_a_person_changed_is_kept(peagen: Any, tree: Path) -> None:
    payload(tree, a={})
    peagen("local", "process", "p.yaml", at=tree)
    (tree / "a").write_text("mine")
    (tree / "tiny" / "ok.j2").write_text("new\n")
    done = peagen("local", "process", "p.yaml", at=tree)
    assert (done.code, done.json["counts"]) == (1, {"conflict": 1})
    assert "[ERROR] a: written or changed by hand" in done.err
    assert "that is beside it, as a.peagen-new. " in done.err
    assert "or run again with --force\n" in done.err
    assert (tree / "a.peagen-new").read_text() == "new"
    assert (tree / "a").read_text() == "mine"
    assert peagen("local", "process", "p.yaml", "--force", at=tree).code == 0
    assert (tree / "a").read_text() == "new"


def test_a_cap_says_how_to_go_on(peagen: Any, tree: Path) -> None:
    payload(tree, b={"KIND": "GENERATE"}, c={"NEEDS": ["b"]})
    done = peagen("local", "process", "p.yaml", "--provider", "scripted", "--max-tokens", "1", at=tree)
    assert (done.code, done.json["counts"], done.json["calls"]) == (1, {"skipped": 2}, 0)
    assert "[ERROR] b: the cap of 1 tokens is reached" in done.err
    assert "a higher --max-tokens" in done.err
    assert "[ERROR] c: not made, because b was not\n" in done.err


def test_a_run_that_cannot_keep_its_lock_file_says_so_once(
    tree: Path, own_home: Path, write_files: Any, tmp_path: Path
) -> None:
    payload(tree, a={})
    # The disk is full when everything is made: said by the command itself, for its logs are a process's.
    full = """\
        import sys
        import peagen.core.lock as lock
        from peagen.cli import run
        from peagen.errors import WriteFailed

        def save(self, entries):
            raise WriteFailed("it cannot be written: No space left on device", where="peagen.lock")

        lock.LockStore.save = save
        sys.exit(run(sys.argv[1:]))
        """
    write_files(tmp_path, {"full.py": full})
    command = [sys.executable, str(tmp_path / "full.py"), "local", "process", "p.yaml"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "[ERROR] peagen.lock: it cannot be written: No space left on device\n"


def test_verbosity(peagen: Any, tree: Path) -> None:
    payload(tree, b={"KIND": "GENERATE"})
    done = peagen("local", "process", "p.yaml", "--provider", "scripted", "-vv", at=tree)
    assert "[1/1] created: b\n" in done.err
    assert "Write b." in done.err
    (tree / "b").unlink()
    assert "Write b." not in peagen("local", "process", "p.yaml", "--provider", "scripted", "-v", at=tree).err
    assert peagen("local", "process", "p.yaml", "--provider", "scripted", "-q", at=tree).err == ""


def test_a_point_of_a_design_chooses_its_model(peagen: Any, tree: Path) -> None:
    payload(tree, b={"KIND": "GENERATE"})
    (tree / "spec.yml").write_text("LLM_FACTORS: {provider: {levels: [scripted, nobody]}}\nFACTORS: {}\n")
    assert peagen("local", "doe", "gen", "spec.yml", "p.yaml", at=tree).code == 0
    done = peagen("local", "process", "project_payloads_001.yaml", at=tree)
    assert done.code == 1
    assert "nobody" in done.err
    assert peagen("local", "process", "project_payloads_000.yaml", at=tree).code == 0
    assert (tree / "b").is_file()


@pytest.mark.parametrize("where", ["work-tree", "option", "folder"])
def test_the_configuration_decides(peagen: Any, tree: Path, where: str) -> None:
    payload(tree, b={"KIND": "GENERATE"})
    folder = tree if where == "work-tree" else tree.parent / "elsewhere"
    folder.mkdir(exist_ok=True)
    (folder / ".peagen.toml").write_text('workers = 2\n[llm]\ndefault_provider = "scripted"\n')
    named = {"work-tree": (), "option": ("-c", folder / ".peagen.toml"), "folder": ("--config", folder)}[where]
    assert peagen("local", "process", "p.yaml", *named, at=tree).code == 0
    assert peagen("check", "p.yaml", *named, at=tree).code == 0


@pytest.fixture
def told() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Where a webhook listens, and what it was told."""
    events: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            events.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/hook#channel", events
        finally:
            server.shutdown()
            thread.join()


def test_who_listens_is_told(peagen: Any, tree: Path, told: tuple[str, list[dict[str, Any]]]) -> None:
    url, events = told
    payload(tree, a={})
    assert peagen("local", "process", "p.yaml", "--notify", url, at=tree).code == 0
    assert {each["channel"] for each in events} == {"channel"}
    kinds = [each["payload"]["type"] for each in events]
    assert (kinds[0], kinds[-1]) == ("process.started", "process.done")
    events.clear()
    (tree / "spec.yml").write_text("FACTORS: {size: {levels: [1, 2]}}\n")
    assert peagen("local", "doe", "gen", "spec.yml", "p.yaml", "--notify", url, at=tree).code == 0
    done = {"type": "peagen.experiment.done", "output": "project_payloads.yaml", "count": 2}
    assert [each["payload"] for each in events] == [done]
