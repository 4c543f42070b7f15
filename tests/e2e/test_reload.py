"""Saves, and what runs after them: a real watcher, real worker processes, a real store."""

from __future__ import annotations

import asyncio
import importlib.util
import marshal
import os
import shutil
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

from penguiflow.state.traces import TraceQuery
from playground.loader.version import hash_source, version_of

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow, OpenLive

NUMBER = """
    from penguiflow import Node, create

    NUMBER = {number}


    async def give(message, ctx):
        return {{"number": NUMBER}}


    flow = create(Node(give).to())
"""

SHARING = """
    from penguiflow import Node, create

    from flows.shared import NUMBER


    async def give(message, ctx):
        return {"number": NUMBER}


    flow = create(Node(give).to())
"""

SLOW = """
    import asyncio
    from pathlib import Path

    from penguiflow import Node, create

    NUMBER = {number}


    async def give(message, ctx):
        Path("started").touch()
        while not Path("go").exists():
            await asyncio.sleep(0.01)
        return {{"number": NUMBER}}


    flow = create(Node(give).to())
"""


def write(path: Path, source: str) -> str:
    """Write a module; gives the version of a flow that imports nothing else."""
    content = dedent(source).lstrip()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return version_of({path.relative_to(path.parent.parent).as_posix(): hash_source(content.encode())})


async def test_the_next_run_uses_what_was_saved(project: Path, open_live: OpenLive) -> None:
    file = project / "flows/number.py"
    before = write(file, NUMBER.format(number=1))
    live = await open_live()
    first = await live.run("flows/number.py")
    after = write(file, NUMBER.format(number=2))
    await live.state("flows/number.py", "loaded", not_version=before)
    second = await live.run("flows/number.py")
    assert [(run.output, run.version) for run in (first, second)] == [({"number": 1}, before), ({"number": 2}, after)]
    recorded = await live.source.find_traces(TraceQuery())
    assert {trace.trace_id: trace.version for trace in recorded} == {first.trace_id: before, second.trace_id: after}


async def test_a_module_that_several_flows_import_reloads_them_all(
    project: Path, add_flow: AddFlow, open_live: OpenLive
) -> None:
    shared = project / "flows/shared.py"
    targets = [add_flow("one", SHARING), add_flow("two", SHARING)]
    write(shared, "NUMBER = 1\n")
    live = await open_live()
    assert set(live.modules) == set(targets)
    before = {target: live.modules[target].flows[0].version for target in targets}
    write(shared, "NUMBER = 2\n")
    for target in targets:
        await live.state(target, "loaded", not_version=before[target])
        assert (await live.run(target)).output == {"number": 2}


async def test_broken_code_is_shown_and_the_last_good_version_runs_until_it_is_repaired(
    project: Path, add_flow: AddFlow, open_live: OpenLive
) -> None:
    target = add_flow("number", NUMBER.format(number=1))
    other = add_flow("other", NUMBER.format(number=7))
    live = await open_live()
    (project / target).write_text("x = 1\ndef broken(:\n")
    module = await live.state(target, "stale")
    assert module.error is not None
    assert (module.error.kind, module.error.file, module.error.line) == ("syntax", target, 2)
    assert (await live.run(target)).output == {"number": 1}
    assert any(event["kind"] == "code.failed" and event["name"] == target for event in live.events)

    # The others go on, with new code, while it is broken.
    before = live.modules[other].flows[0].version
    add_flow("other", NUMBER.format(number=8))
    await live.state(other, "loaded", not_version=before)
    assert (await live.run(other)).output == {"number": 8}
    assert (await live.run(target)).output == {"number": 1}

    add_flow("number", NUMBER.format(number=3))
    await live.state(target, "loaded")
    assert (await live.run(target)).output == {"number": 3}
    assert (await live.run(other)).output == {"number": 8}


async def test_a_module_that_is_broken_from_the_start_can_be_repaired(
    project: Path, add_flow: AddFlow, open_live: OpenLive
) -> None:
    target = add_flow("number", "import nowhere_to_be_found\n")
    live = await open_live()
    module = await live.state(target, "error")
    assert module.error is not None
    assert module.error.kind == "missing_dependency"
    (project / "nowhere_to_be_found.py").write_text("")
    await live.until(lambda: (error := live.modules[target].error) is not None and error.kind == "no_flow")
    add_flow("number", NUMBER.format(number=1))
    await live.state(target, "loaded")
    assert (await live.run(target)).output == {"number": 1}


async def test_runs_in_flight_finish_on_the_code_they_began_with(project: Path, open_live: OpenLive) -> None:
    file = project / "flows/number.py"
    before = write(file, SLOW.format(number=1))
    live = await open_live()
    old = await live.start("flows/number.py")
    await live.until((project / "started").exists)
    after = write(file, SLOW.format(number=2))
    await live.state("flows/number.py", "loaded", not_version=before)
    new = await live.start("flows/number.py")
    (project / "go").touch()
    results = [await live.end(trace_id) for trace_id in (old, new)]
    assert [(run.output, run.version) for run in results] == [({"number": 1}, before), ({"number": 2}, after)]
    assert live.kinds(old)[-1] == live.kinds(new)[-1] == "trace.end"


async def test_a_save_without_a_change_loads_nothing(project: Path, add_flow: AddFlow, open_live: OpenLive) -> None:
    target = add_flow("number", NUMBER.format(number=1))
    live = await open_live()
    module = live.modules[target]
    (project / target).touch()
    add_flow("number", NUMBER.format(number=1))
    add_flow("number", NUMBER.format(number=2))
    changed = await live.state(target, "loaded", not_version=module.flows[0].version)
    assert changed.flows[0].generation == module.flows[0].generation + 1


async def test_modules_come_and_go(project: Path, add_flow: AddFlow, open_live: OpenLive) -> None:
    first = add_flow("first", NUMBER.format(number=1))
    live = await open_live()
    assert set(live.modules) == {first}
    second = add_flow("second", NUMBER.format(number=2))
    await live.state(second, "loaded")
    # A package in a folder that was not there when the watch began.
    write(project / "flows/package/__init__.py", "from flows.package.numbers import flow\n")
    write(project / "flows/package/numbers.py", NUMBER.format(number=3))
    await live.state("flows/package", "loaded")
    assert (await live.run("flows/package")).output == {"number": 3}

    (project / first).unlink()
    (project / "flows/package").rename(project / "flows/renamed")
    await live.until(lambda: first not in live.modules and "flows/renamed" in live.modules)
    assert "flows/package" not in live.modules
    renamed = await live.state("flows/renamed", "error")
    assert renamed.error is not None
    assert renamed.error.kind == "import"
    write(project / "flows/renamed/__init__.py", "from flows.renamed.numbers import flow\n")
    await live.state("flows/renamed", "loaded")
    shutil.rmtree(project / "flows/renamed")
    await live.until(lambda: set(live.modules) == {second})


async def test_what_a_flow_reads_beside_its_code_is_loaded_again(
    project: Path, add_flow: AddFlow, open_live: OpenLive
) -> None:
    source = NUMBER.format(number="int((Path(__file__).parent / 'number.txt').read_text())")
    (project / "flows").mkdir()
    (project / "flows/number.txt").write_text("1")
    target = add_flow("number", "\n    from pathlib import Path\n" + source)
    live = await open_live()
    generation = live.modules[target].flows[0].generation
    assert (await live.run(target)).output == {"number": 1}
    (project / "flows/number.txt").write_text("2")
    await live.until(lambda: live.modules[target].flows[0].generation > generation)
    assert (await live.run(target)).output == {"number": 2}


def write_stale_bytecode(source: Path) -> None:
    """What Python leaves behind when a file is saved twice within a second: right in size and time, not in content."""
    stat = source.stat()
    code = compile("NUMBER = 666\n", str(source), "exec")
    header = importlib.util.MAGIC_NUMBER + b"\0\0\0\0" + int(stat.st_mtime).to_bytes(4, "little")
    cached = Path(importlib.util.cache_from_source(str(source)))
    cached.parent.mkdir(exist_ok=True)
    cached.write_bytes(header + stat.st_size.to_bytes(4, "little") + marshal.dumps(code))


async def test_bytecode_is_never_trusted(project: Path, add_flow: AddFlow, open_live: OpenLive) -> None:
    target = add_flow("number", SHARING)
    shared = project / "flows/shared.py"
    shared.write_text("NUMBER = 1\n")
    write_stale_bytecode(shared)
    live = await open_live()
    assert (await live.run(target)).output == {"number": 1}


async def test_what_a_run_imports_belongs_to_its_version(project: Path, add_flow: AddFlow, open_live: OpenLive) -> None:
    late = SHARING.replace("from flows.shared import NUMBER", "").replace(
        'return {"number"', 'from flows.shared import NUMBER; return {"number"'
    )
    shared = project / "flows/shared.py"
    write(shared, "NUMBER = 1\n")
    target = add_flow("late", late)
    live = await open_live(target)
    before = live.modules[target].flows[0].version
    result = await live.run(target)
    assert result.output == {"number": 1}
    files = {name: hash_source((project / name).read_bytes()) for name in (target, "flows/shared.py")}
    assert result.version == version_of(files) != before
    start, *_, end = [event for event in live.events if event["trace_id"] == result.trace_id]
    assert (start["data"]["version"], end["data"]["version"]) == (before, result.version)

    write(shared, "NUMBER = 2\n")
    await live.state(target, "loaded", not_version=result.version)
    assert (await live.run(target)).output == {"number": 2}


async def test_a_project_may_own_our_names(project: Path, add_flow: AddFlow, open_live: OpenLive) -> None:
    write(project / "playground/__init__.py", "OWNER = 'user'\n")
    write(project / "playground/protocol.py", "NUMBER = 5\n")
    (project / "types.py").write_text("raise RuntimeError('not this one')\n")
    (project / "penguiflow.py").write_text("raise RuntimeError('not this one')\n")
    target = add_flow(
        "number",
        """
        import types

        import playground
        from penguiflow import Node, create
        from playground.protocol import NUMBER


        async def give(message, ctx):
            types.SimpleNamespace()
            return {"number": NUMBER, "owner": playground.OWNER}


        flow = create(Node(give).to())
        """,
    )
    live = await open_live()
    assert live.modules[target].error is None
    assert (await live.run(target)).output == {"number": 5, "owner": "user"}
    before = live.modules[target].flows[0].version
    write(project / "playground/protocol.py", "NUMBER = 6\n")
    await live.state(target, "loaded", not_version=before)
    assert (await live.run(target)).output == {"number": 6, "owner": "user"}


async def test_a_storm_of_saves_ends_with_the_last_one(project: Path, open_live: OpenLive) -> None:
    file = project / "flows/number.py"
    versions = {write(file, NUMBER.format(number=1000)): 1000}
    live = await open_live()
    last = 1040
    saving = asyncio.create_task(_save_often(file, versions, range(1001, last + 1)))
    runs = []
    while not saving.done():
        runs.append(await live.run("flows/number.py"))
    await saving
    newest = next(version for version, number in versions.items() if number == last)
    await live.until(lambda: live.modules["flows/number.py"].flows[0].version == newest)
    runs.append(await live.run("flows/number.py"))
    assert runs[-1].output == {"number": last}
    assert {run.status for run in runs} == {"ok"}
    assert [run.output["number"] for run in runs] == [versions[run.version or ""] for run in runs]


async def _save_often(file: Path, versions: dict[str, int], numbers: range) -> None:
    for number in numbers:
        versions[write(file, NUMBER.format(number=number))] = number
        await asyncio.sleep(0.05)


async def test_old_workers_end_and_their_number_is_bounded(project: Path, open_live: OpenLive) -> None:
    file = project / "flows/number.py"
    version = write(file, NUMBER.format(number=0))
    live = await open_live()
    pids = set()
    for number in range(1, 5):
        saved = write(file, NUMBER.format(number=number))
        await live.state("flows/number.py", "loaded", not_version=version)
        version = saved
        pids.update(live.source.worker_pids)
        assert len(live.source.worker_pids) <= 4
    await live.until(lambda: len(live.source.worker_pids) <= 2)
    gone = pids - set(live.source.worker_pids)
    assert gone
    await live.until(lambda: not any(_exists(pid) for pid in gone))
    assert os.getpid() not in pids


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
