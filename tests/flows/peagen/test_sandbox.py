"""The processes that render: what they may use, and what becomes of those that take more."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from peagen.core.sandbox import Limits, Rendered, Renderer, RenderJob, plain
from peagen.errors import TemplateFailed, TemplateTooLarge, TemplateTooSlow, TemplateUnsafe

TIGHT = Limits(cpu_seconds=1, memory_bytes=256 * 1024 * 1024, output_bytes=1024 * 1024)


async def rendered(renderer: Renderer, text: str, **context: Any) -> str:
    return (await renderer.render(RenderJob("test.j2", context, template_text=text))).text


def seen_of(pid: int) -> tuple[bytes, str]:
    """A process's environment and limits."""
    proc = Path(f"/proc/{pid}")
    if not proc.exists():
        pytest.skip("no /proc here")
    return (proc / "environ").read_bytes(), (proc / "limits").read_text()


@pytest.mark.parametrize(
    ("template", "kind"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", TemplateTooSlow),
        ("{{ (9 ** 9999) ** 9999 }}", TemplateTooSlow),
        ("{{ 'a' * 10 ** 10 }}", TemplateTooLarge),
        ("{{ 'a' | center(10 ** 11) }}", TemplateTooLarge),
        ("{{ '%99999999999d' | format(1) }}", TemplateTooLarge),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}", TemplateTooLarge),
        (
            "{% set ns = namespace(x='0123456789') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
            TemplateTooLarge,
        ),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", TemplateFailed),
        ("{{ ''.__class__.__mro__ }}", TemplateUnsafe),
    ],
)
async def test_a_template_that_goes_too_far_is_stopped_and_others_go_on(
    template: str, kind: type[TemplateFailed]
) -> None:
    async with Renderer(TIGHT, size=1) as renderer:
        assert await rendered(renderer, "{{ x }}", x=1) == "1"
        with pytest.raises(kind) as raised:
            await rendered(renderer, template)
        assert type(raised.value) is kind
        assert raised.value.where.startswith("test.j2")
        assert await rendered(renderer, "{{ x }}", x=2) == "2"


async def test_the_wall_s_clock_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing that a template can do waits without working, so the process is stopped from outside.
    monkeypatch.setattr("peagen.core.sandbox._STARTING_S", 0.0)
    async with Renderer(Limits(wall_seconds=60)) as renderer:
        await rendered(renderer, "x")
        [child] = renderer._idle
        renderer.limits = Limits(wall_seconds=0.05)
        child.send_signal(signal.SIGSTOP)
        with pytest.raises(TemplateTooSlow, match=r"more than 0\.05 s"):
            await rendered(renderer, "x")
        assert await asyncio.wait_for(child.wait(), 60) == -signal.SIGKILL


async def test_many_at_once_use_few_processes() -> None:
    async with Renderer(size=2) as renderer:
        texts = await asyncio.gather(*(rendered(renderer, "{{ x }}", x=i) for i in range(50)))
        children = list(renderer._idle)
    assert texts == [str(i) for i in range(50)]
    assert 1 <= len(children) <= 2
    assert all(child.returncode is not None for child in children)


async def test_one_that_is_given_up_ends() -> None:
    async with Renderer(Limits(cpu_seconds=100), size=1) as renderer:
        await rendered(renderer, "x")
        [child] = renderer._idle
        endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
        task = asyncio.create_task(rendered(renderer, endless))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await rendered(renderer, "y") == "y"
    assert child.returncode is not None


async def test_a_process_that_died_is_replaced_or_told() -> None:
    async with Renderer(size=1) as renderer:
        await rendered(renderer, "x")
        [child] = renderer._idle
        child.kill()
        await asyncio.wait_for(child.wait(), 60)
        assert await rendered(renderer, "y") == "y"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="processes have no descriptors here")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("at_work", [False, True])
def test_it_does_not_outlive_who_asks(at_work: bool, how: signal.Signals) -> None:
    """Neither one that waits for its next job nor one whose template does not end."""
    script = f"""
        import asyncio
        from peagen.core.sandbox import Limits, Renderer, RenderJob

        LOOP = "{{% for a in range(99999) %}}{{% for b in range(99999) %}}{{% endfor %}}{{% endfor %}}"

        async def main():
            renderer = Renderer(size=1, limits=Limits(cpu_seconds=600.0, wall_seconds=600.0))
            await renderer.render(RenderJob("x", {{}}, template_text="x"))
            pid = renderer._idle[0].pid
            if {at_work}:
                asyncio.get_running_loop().call_later(0.2, lambda: print(pid, flush=True))
                await renderer.render(RenderJob("x", {{}}, template_text=LOOP))
            print(pid, flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(how)
    try:
        assert select.select([child], [], [], 60)[0]
    finally:
        os.close(child)


async def test_it_has_no_environment_and_writes_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with Renderer(size=1) as renderer:
        await rendered(renderer, "x")
        [child] = renderer._idle
        environment, limits = seen_of(child.pid)
        assert b"sk-secret" not in environment
        assert "Max file size             0 " in limits
        assert "Max processes             0 " in limits
        assert os.getsid(child.pid) == child.pid


async def test_files_used_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.j2").write_text("{% include 'b' %}")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "b").write_text("{{ b }}")
    job = RenderJob(
        "a.j2", {}, template_path=tmp_path / "a.j2", search_path=(tmp_path,), data_paths=(tmp_path / "tree",)
    )
    async with Renderer(size=1) as renderer:
        got = await renderer.render(job)
    assert isinstance(got, Rendered)
    assert got.text == "{{ b }}"
    assert list(got.used_templates) == [str(tmp_path / "a.j2")]
    assert list(got.used_data) == [str(tmp_path / "tree" / "b")]


async def test_names_and_texts_of_every_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    folder = tmp_path / "Vorlagen für 日本"
    folder.mkdir()
    (folder / "é.j2").write_text("{{ who }} ✓ {% include 'ß.j2' %}", encoding="utf-8")
    (folder / "ß.j2").write_text("Straße", encoding="utf-8")
    job = RenderJob("é.j2", {"who": "日本"}, template_path=folder / "é.j2", search_path=(folder,))
    async with Renderer(size=1) as renderer:
        assert (await renderer.render(job)).text == "日本 ✓ Straße"


async def test_what_has_methods_comes_as_text(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    async with Renderer(size=1) as renderer:
        with pytest.raises(TemplateFailed, match="no attribute 'unlink'"):
            await rendered(renderer, "{{ path.unlink() }}", path=tmp_path / "there")
        assert await rendered(renderer, "{{ path }}", path=tmp_path / "there") == str(tmp_path / "there")
        endless: list[Any] = []
        endless.append(endless)
        with pytest.raises(TemplateFailed, match="contains itself"):
            await rendered(renderer, "x", endless=endless)


async def test_limits_grow_with_what_there_is_to_go_over() -> None:
    text = "{% for i in range(2000) %}{{ '0123456789' * 100 }}{% endfor %}"
    async with Renderer(TIGHT, size=1) as renderer:
        for items in (0, 1000, 0):
            job = RenderJob("test.j2", {}, template_text=text, items=items)
            if items:
                assert len((await renderer.render(job)).text) == 2_000_000
            else:
                with pytest.raises(TemplateTooLarge):
                    await renderer.render(job)
    assert Limits().for_items(0) == Limits()
    assert Limits().for_items(100_000).cpu_seconds > 100


def test_plain_keeps_what_is_shared() -> None:
    shared = {"a": (1, 2), "s": {3}}
    made = plain({"x": shared, "y": shared, (1,): None})
    assert made == {"x": {"a": [1, 2], "s": [3]}, "y": {"a": [1, 2], "s": [3]}, "[1]": None}
    assert made["x"] is made["y"]
