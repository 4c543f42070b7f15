"""What one rendering does, within this process: it has the sandbox, but not the limits."""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

import pytest

from peagen.core.sandbox_render import Job, encoded, render

OUTPUT = 100_000


def job(text: str | None = None, **fields: Any) -> Job:
    defaults: dict[str, Any] = {
        "name": "test.j2",
        "context": {},
        "template_path": None,
        "template_text": text,
        "search_path": (),
        "data_paths": (),
        "data_first": frozenset(),
        "parse_yaml": False,
        "output_bytes": OUTPUT,
    }
    return Job(**defaults | fields)


def text_of(text: str, **fields: Any) -> Any:
    reply = render(job(text, **fields))
    assert "error" not in reply, reply
    return reply["text"]


def error_of(text: str, **fields: Any) -> dict[str, Any]:
    reply = render(job(text, **fields))
    assert reply.get("error"), reply
    return reply


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ 'parsers' | upper | make_singular }}", "PARSER"),
        ("{{ 'parser' | make_singular }}{{ '' | make_singular }}", "parser"),
        ("{{ 'box' | make_plural }}{{ '' | make_plural }}", "boxes"),
        ("{{ 'a/b' | split('/') | join(',') }}", "a,b"),
        ("{{ 'a b' | split | length }}", "2"),
        ("{{ none_there }}|{{ d.missing }}", "|"),
        ("{{ '<&>' }}", "<&>"),
        ("{% set l = [] %}{% for i in range(3) %}{% set _ = l.append(i) %}{% endfor %}{{ l }}", "[0, 1, 2]"),
        ("{% set ns = namespace(n=1) %}{% set ns.n = 2 %}{{ ns.n }}", "2"),
        ("{{ d.when }} {{ d[1] }} {{ d | tojson if false else '' }}", "2024-01-02 one "),
        ("{% raw %}{{ PROJ.ROOT }}{% endraw %}/x", "{{ PROJ.ROOT }}/x"),
        ("a\n", "a"),
        ("a\n\n", "a\n"),
        ("{{ 2 ** 10 }}", "1024"),
    ],
)
def test_what_sets_rely_on(template: str, text: str) -> None:
    assert text_of(template, context={"d": {"when": dt.date(2024, 1, 2), 1: "one"}}) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ '' | attr('__class__') }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ ('{a.__class__}' | attr('format_map'))({'a': 1}) }}",
        "{{ lipsum.__globals__['os'].system('true') }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ self.__init__ }}",
        "{{ [1] | map(attribute='__class__') | list }}",
        "{{ ['a'] | sort(attribute='__class__') | list }}",
        "{{ [1] | groupby('__class__') }}",
        "{{ [''] | map('attr', '__class__') | list }}",
        "{% macro m() %}{% endmacro %}{{ m.__call__ }}",
        "{{ range(10 ** 9) }}",
        "{{ 10 ** (10 ** 8) }}",
        "{{ 3 ** -99999 }}",
        "{% include '../x' %}",
        "{% include 'a/../../x' %}",
    ],
)
def test_what_is_not_for_templates(template: str) -> None:
    error = error_of(template)
    assert error["error"] == "unsafe", error
    assert error["where"] == "test.j2:1"


@pytest.mark.parametrize(
    ("template", "message", "line"),
    [
        ("\n{{ a.b }}", "'a' is undefined", 2),
        ("\n\n{% if %}", "Expected an expression", 3),
        ("{{ 1 | kebab_case }}", "No filter named 'kebab_case'", 1),
        ("\n{{ 1 / 0 }}", "ZeroDivisionError: division by zero", 2),
        ("{{ [] + 1 }}", "TypeError", 1),
        ("{% import 'os' as os %}", "'os' is neither in the template set", 1),
        ("{% include '/etc/passwd' %}", "'/etc/passwd' is neither", 1),
        ("{% include 'a\\0b' %}", "is neither", 1),
        ("{% include '' %}", "is neither", 1),
        ("{{ '%d' | format('x') }}", "TypeError", 1),
    ],
)
def test_what_fails_is_told_with_its_line(template: str, message: str, line: int) -> None:
    error = error_of(template)
    assert error["error"] == "failed"
    assert message in error["message"]
    assert error["where"] == f"test.j2:{line}"


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(1000) %}{% for j in range(1000) %}xxxxxxxx{% endfor %}{% endfor %}",
        "{{ 'x' * 200000 }}",
        "{{ 'x' | center(200000) }}",
    ],
)
def test_output_has_a_limit(template: str) -> None:
    assert error_of(template)["error"] == "large"


def test_endless_recursion_is_told() -> None:
    assert "too deeply" in error_of("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")["message"]
    assert "too deeply" in error_of("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}")["message"]


def test_messages_are_no_commands_for_terminals() -> None:
    for template in ("a: ]\x1b[2J", "{{ {}['\x1b[2J'].x }}", "{% include '\x1b[2J' %}", "{{ 1 | x\x1b[2J }}"):
        assert "\x1b" not in error_of(template, parse_yaml=True)["message"]


def test_messages_are_short() -> None:
    assert len(error_of("{% include 'x' * 50000 %}")["message"]) <= 2000


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Any]:
    """A set with templates and a work-tree with what looks like some."""
    templates, data = tmp_path / "set", tmp_path / "tree"
    (templates / "{{ PROJ.ROOT }}").mkdir(parents=True)
    data.mkdir()
    (templates / "{{ PROJ.ROOT }}" / "{{ MOD.NAME }}.py.j2").write_text("class {{ name }}: ...\n")
    (templates / "both").write_text("template {{ name }}\n")
    (data / "both").write_text("data {{ name }}\r\n\r\n")
    (data / "made.py").write_text("x = '{{ name }}' {# kept #} {% raw %} {{ ''.__class__ }}\n")
    return {"search_path": (str(templates),), "data_paths": (str(data),), "context": {"name": "Name", "PROJ": {}}}


def test_a_template_of_the_set_is_compiled(folders: dict[str, Any]) -> None:
    reply = render(job("{% include '{{ PROJ.ROOT }}/{{ MOD.NAME }}.py.j2' %}", **folders))
    assert reply["text"] == "class Name: ..."
    assert [Path(path).name for path in reply["templates"]] == ["{{ MOD.NAME }}.py.j2"]
    assert reply["data"] == {}


def test_a_file_of_the_work_tree_is_data(folders: dict[str, Any]) -> None:
    whole = "x = '{{ name }}' {# kept #} {% raw %} {{ ''.__class__ }}"
    for statement in ("include 'made.py'", "extends 'made.py'", "include ['gone', './made.py']"):
        reply = render(job(f"{{% {statement} %}}", **folders))
        assert reply["text"] == whole
        assert [Path(path).name for path in reply["data"]] == ["made.py"]
    assert text_of("{% import 'made.py' as m %}{{ m }}", **folders) == whole
    assert error_of("{% from 'made.py' import x %}{{ x() }}", **folders)["error"] == "failed"


def test_templates_of_a_set_build_on_each_other(folders: dict[str, Any], tmp_path: Path) -> None:
    for name, text in {
        "base.j2": "<{% block body %}base{% endblock %}>{{ self.body() }}",
        "macros.j2": "{% macro hi(who) %}hi {{ who }}{% endmacro %}{% set LIMIT = 3 %}",
        "part.j2": "{{ loop_value }}{{ name }};",
    }.items():
        (tmp_path / "set" / name).write_text(text)
    assert text_of("{% extends 'base.j2' %}{% block body %}{{ super() }}+{{ name }}{% endblock %}", **folders) == (
        "<base+Name>base+Name"
    )
    text = "{% import 'macros.j2' as m %}{% from 'macros.j2' import hi with context %}{{ m.hi(m.LIMIT) }} {{ hi('b') }}"
    assert text_of(text, **folders) == "hi 3 hi b"
    loop = "{% for loop_value in [1, 2] %}{% include 'part.j2' %}{% endfor %}{% include 'part.j2' without context %}"
    assert text_of(loop, **folders) == "1Name;2Name;;"
    assert text_of("{% for x in [1] %}{% include 'made.py' without context %}{% endfor %}", **folders).startswith("x =")


def test_the_set_comes_first_but_for_what_the_run_makes(folders: dict[str, Any]) -> None:
    assert text_of("{% include 'both' %}", **folders) == "template Name"
    assert text_of("{% include 'both' %}", data_first=frozenset({"both"}), **folders) == "data {{ name }}\n"


def test_data_that_nobody_should_read(folders: dict[str, Any], tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tmp_path / "outside").write_text("secret")
    (tree / "out").symlink_to(tmp_path / "outside")
    (tree / ".git").mkdir()
    (tree / ".git" / "config").write_text("secret")
    (tree / "link").symlink_to(tree / ".git" / "config")
    (tree / "sub").mkdir()
    (tmp_path / "set" / "out.j2").symlink_to(tmp_path / "outside")
    for name in (".env", ".env.local", ".peagen.toml", "sub/.env", ".ENV"):
        (tree / name).write_text("secret")
    (tree / ".env.example").write_text("KEY=")
    for name in ("out", ".git/config", "link", ".env", ".env.local", ".peagen.toml", "sub/.env", ".ENV", "out.j2"):
        for statement in (f"include '{name}'", f"include '{name}' ignore missing"):
            error = error_of(f"{{% {statement} %}}", **folders)
            assert error["error"] == "unsafe", name
            assert "secret" not in error["message"].replace("hold secrets", "")
    assert text_of("{% include '.env.example' %}", **folders) == "KEY="


def test_odd_files(folders: dict[str, Any], tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "latin").write_bytes(b"\xff")
    (tree / "large").write_bytes(b"x" * (OUTPUT + 1))
    (tree / "bom").write_bytes(b"\xef\xbb\xbfx")
    (tree / "folder").mkdir()
    os.mkfifo(tree / "pipe")
    assert "not UTF-8" in error_of("{% include 'latin' %}", **folders)["message"]
    assert error_of("{% include 'large' %}", **folders)["error"] == "large"
    assert text_of("{% include 'bom' %}", **folders) == "x"
    for name in ("folder", "pipe"):
        assert "is neither" in error_of(f"{{% include '{name}' %}}", **folders)["message"]


def test_a_template_by_path_knows_its_name(folders: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "set" / "bad.j2"
    path.write_text("\n\n{{ gone.x }}")
    assert error_of("", template_path=str(path), name="{{ X }}.j2", **folders)["where"] == "{{ X }}.j2:3"
    (tmp_path / "set" / "outer.j2").write_text("{% include 'bad.j2' %}")
    path.write_text("\n{% if %}")
    assert error_of("\n{% include 'outer.j2' %}", **folders)["where"] == "bad.j2:2"


def test_yaml_is_read_within_the_limits() -> None:
    assert render(job("- {FILE_NAME: a, N: 1, D: 2024-01-02}", parse_yaml=True))["value"][0]["N"] == 1
    assert "(line 2 of what was rendered: b: ])" in error_of("a: 1\nb: ]", parse_yaml=True)["message"]
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 9)
    )
    assert error_of(bomb, parse_yaml=True)["error"] == "large"
    assert error_of("&a [*a]", parse_yaml=True)["error"] == "failed"
    assert "nested too deeply" in error_of("[" * 90_000, parse_yaml=True)["message"]
    assert (
        "could not determine a constructor"
        in error_of("!!python/object/apply:os.system [x]", parse_yaml=True)["message"]
    )


def test_a_reply_is_json() -> None:
    reply = render(job("{x: 2024-01-02, 3: .nan}", parse_yaml=True))
    assert json.loads(encoded(reply))["value"]["x"] == "2024-01-02"
