from __future__ import annotations

import time
from pathlib import Path

import pytest

from flows import _sources
from flows._sources import definitions, language_of, read_source


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("a.py", "python"),
        ("A.PY", "python"),
        ("README.md", "markdown"),
        ("types.d.ts", "typescript"),
        ("Makefile", "makefile"),
        ("py", "text"),
        (".py", "python"),
        ("archive.", "text"),
        ("LICENSE", "text"),
    ],
)
def test_the_name_tells_the_language(name: str, language: str) -> None:
    assert language_of(name) == language


@pytest.mark.parametrize(
    ("language", "text", "names"),
    [
        ("python", "class A:\n    def inner(self): ...\nasync def b(): ...\nif True:\n    def c(): ...\n", ["A", "b"]),
        ("python", "# -*- coding: latin-1 -*-\ndef f(): ...\n", ["f"]),
        ("python", "def f():\n  '\\d'\n", ["f"]),
        ("python", "class A:\ndef b(:\n  def inner():\n", ["A", "b"]),
        ("python", "def f(): ...\n\0", ["f"]),
        (
            "markdown",
            "# One #\ntext\n## Two\n```sh\n# no heading\n```\n#hashtag\n   ### C#\n#\n",
            ["One", "Two", "C#", ""],
        ),
        ("markdown", "~~~\n# a\n```\n# b\n~~~~\n# Title\n", ["Title"]),
        (
            "javascript",
            (
                "export default function main() {}\nexport class View {}\nconst add = (a, b) => a + b\nlet n = 3\n"
                "async function* pages() {}\n  function inner() {}\nexport const load = async id => {}\n"
            ),
            ["main", "View", "add", "pages", "load"],
        ),
        (
            "typescript",
            (
                "export interface Props<T> {}\ntype Id = string\nexport abstract class A {}\nexport enum Kind {}\n"
                "const f: (a: number) => void = (a: number): void => {}\ndeclare function g(): void\n"
            ),
            ["Props", "Id", "A", "Kind", "f", "g"],
        ),
        (
            "go",
            "package main\nfunc main() {\n}\nfunc (s *Server) Run() {}\ntype Server struct {\n",
            ["main", "Run", "Server"],
        ),
        (
            "rust",
            "pub struct P;\nimpl P {\n    fn inner() {}\n}\npub(crate) async fn go() {}\nmacro_rules! m {\nenum E {}\n",
            ["P", "go", "m", "E"],
        ),
        ("java", "public final class A {\n  class Inner {}\n}\ninterface B {}\nrecord C(int x) {}\n", ["A", "B", "C"]),
        (
            "c",
            (
                "#include <a.h>\nstruct point { int x; };\nstatic int add(int a, int b) {\n  return sum(a);\n}\n"
                "int declared(void);\nchar *name(void)\n{\n}\nstruct point other;\n"
            ),
            ["point", "add", "name"],
        ),
        ("json", '{"class A": 1}', []),
        ("text", "class A\n", []),
    ],
)
def test_definitions(language: str, text: str, names: list[str]) -> None:
    assert definitions(text, language) == names


@pytest.mark.parametrize(
    ("data", "lines"), [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (b"a\r\nb\r\n", 2), (b"\n\n\n", 3)]
)
def test_lines_end_in_a_newline_and_the_last_one_need_not(tmp_path: Path, data: bytes, lines: int) -> None:
    file = tmp_path / "file.txt"
    file.write_bytes(data)

    assert read_source(file) == _sources.Source(len(data), lines, "text", [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["", "\n"])
def test_large_files_are_counted_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, end: str
) -> None:
    monkeypatch.setattr(_sources, "LARGEST_SOURCE", 1000)
    monkeypatch.setattr(_sources, "PIECE", 7)
    text = "class A: ...  # é☃\n" * 99 + "class B: ..." + end
    file = tmp_path / "large.py"
    file.write_text(text, encoding=encoding)

    assert read_source(file) == _sources.Source(file.stat().st_size, 100, "python", [])


def test_a_nul_makes_a_binary_unless_a_mark_says_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    for data, language in [(b"a\0b\n", "binary"), (b"a" * 8192 + b"\0", "python"), ("a\n".encode("utf-16"), "python")]:
        file.write_bytes(data)
        assert read_source(file).language == language


def test_a_large_python_file_gets_names_without_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sources, "LARGEST_TREE", 10)

    assert definitions("class A: ...\nx = '''\nclass B: ...\n'''\n", "python") == ["A", "B"]


def test_deep_nesting_is_no_failure() -> None:
    assert definitions("def f(): ...\nx = " + "(" * 100_000 + ")" * 100_000, "python") == ["f"]


@pytest.mark.parametrize("language", sorted({*_sources.RULES, "markdown"}))
def test_no_text_takes_long(language: str) -> None:
    """Texts that would make a careless rule go back again and again."""
    beginnings = ["", "# ", "function ", "const a ", "const a = (", "int ", "func (", "pub ", "public ", "class ", "`"]
    fillers = [" ", "a", "a ", "(", "# ", "public ", "async ", "=", "\n", "a\n", "<", "*"]
    started = time.process_time()
    for beginning in beginnings:
        for filler in fillers:
            definitions(beginning + filler * (20_000 // len(filler)) + "!", language)
    assert time.process_time() - started < 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs a file that says it is empty and is not")
def test_a_file_with_more_in_it_than_it_says_is_read_to_its_end() -> None:
    source = read_source(Path("/proc/self/status"))

    assert source.lines > 10
    assert source.bytes > 100
