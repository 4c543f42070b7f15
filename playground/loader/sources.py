"""Project code is compiled from its sources, and it is known which sources those were.

A `.pyc` is valid for Python when the source's size and whole-second time match, so two saves within a second can give
stale code even to a fresh process. Here project modules never use one, and the hash that a version is made of is that
of the very bytes that were compiled.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import io
import linecache
import os
import sys
import tokenize
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, NamedTuple

from playground.loader.targets import module_name
from playground.loader.usercode import is_user_code
from playground.loader.version import hash_source, version_of
from playground.project import Project


class Import(NamedTuple):
    """One import statement: `from ..a import b, c` is `(2, "a", ("b", "c"))`."""

    level: int
    module: str
    names: tuple[str, ...] = ()


class Source(NamedTuple):
    """One project module that was compiled."""

    path: str
    """Relative to the project, or absolute when outside."""
    content_hash: str
    is_package: bool
    imports: tuple[Import, ...]


class ProjectSources:
    """The import system's hook for project code, and the record of what came through it."""

    def __init__(self, project: Project, folders: Sequence[Path] = ()) -> None:
        """`folders` hold named files; names of the standard library are not looked up there."""
        self.project = project
        source_folder = project.root / "src"
        self._roots = [project.root, source_folder] if source_folder.is_dir() else [project.root]
        self._folders = [folder for folder in dict.fromkeys(folders) if folder not in self._roots]
        self._modules: dict[str, Source] = {}
        self._importers: dict[str, set[str]] = {}
        self._versions: dict[str, str] = {}
        self._prefixes = tuple(str(path) + os.sep for path in (project.root, *self._folders))

    def install(self) -> None:
        """Put the project in front of `sys.path`, and this hook before the usual finder of files."""
        sys.path[:0] = [str(folder) for folder in (*self._roots, *self._folders)]
        position = next((at for at, finder in enumerate(sys.meta_path) if finder is PathFinder), len(sys.meta_path))
        sys.meta_path.insert(position, self)
        importlib.invalidate_caches()

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        """As the import system asks every finder."""
        if path is None and fullname in sys.stdlib_module_names:
            folders = {str(folder) for folder in self._folders}
            path = [entry for entry in sys.path if entry not in folders]
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None and self.owns(spec.origin):
            self._note_importer(fullname)
            spec.loader = SourceLoader(fullname, spec.origin, self)
        return spec

    def owns(self, filename: str) -> bool:
        """True for the project's own sources."""
        return filename.startswith(self._prefixes) and is_user_code(filename)

    def import_file(self, file: Path) -> ModuleType:
        """Import a file under its stable dotted name, or under another one where that name is taken."""
        name = module_name(file, (*reversed(self._roots), *self._folders)) or _invent_name(file, self.project.root)
        known = sys.modules.get(name)
        if known is None and self._can_import(name, file):
            return importlib.import_module(name)
        if known is not None and getattr(known, "__file__", None) == str(file):
            return known
        return self._import_alone(_invent_name(file, self.project.root), file)

    def import_name(self, name: str) -> ModuleType:
        """Import a dotted module."""
        return importlib.import_module(name)

    def _can_import(self, name: str, file: Path) -> bool:
        parent, _, _ = name.rpartition(".")
        search = None
        if parent:
            package = importlib.import_module(parent)
            search = list(getattr(package, "__path__", ()))
        spec = PathFinder.find_spec(name, search)
        return spec is not None and spec.origin == str(file)

    def _import_alone(self, name: str, file: Path) -> ModuleType:
        if name in sys.modules:
            return sys.modules[name]
        search = [str(file.parent)] if file.name == "__init__.py" else None
        loader = SourceLoader(name, str(file), self)
        spec = importlib.util.spec_from_file_location(name, file, loader=loader, submodule_search_locations=search)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            loader.exec_module(module)
        except BaseException:
            sys.modules.pop(name, None)
            raise
        return module

    def add(self, fullname: str, filename: str, content: bytes, tree: ast.Module) -> None:
        """Record a module that is about to be compiled from `content`."""
        path = Path(filename)
        shown = filename
        if path.is_relative_to(self.project.root):
            shown = path.relative_to(self.project.root).as_posix()
        is_package = path.name == "__init__.py"
        self._modules[fullname] = Source(shown, hash_source(content), is_package, tuple(_imports(tree.body)))
        self._versions.clear()

    @property
    def files(self) -> dict[str, str]:
        """Every project source that was compiled: relative path to content hash."""
        return {source.path: source.content_hash for source in self._modules.values()}

    def imported_by_others(self, name: str) -> bool:
        """True when a project module imports this one."""
        return any(name in self._targets(other) for other in self._modules if other != name)

    def imported_names(self, name: str) -> set[str]:
        """Names that a module's import statements bind."""
        source = self._modules.get(name)
        if source is None:
            return set()
        return {bound for statement in source.imports for bound in statement.names or (statement.module.split(".")[0],)}

    def version(self, module: ModuleType) -> str:
        """The hash over every project source that the module imported so far, at any depth."""
        name = module.__name__
        known = self._versions.get(name)
        if known is None:
            known = self._versions[name] = version_of(self._sources_of(module))
        return known

    def _sources_of(self, module: ModuleType) -> dict[str, str]:
        if module.__name__ not in self._modules:
            file = getattr(module, "__file__", None)
            return {module.__name__: hash_source(Path(file).read_bytes())} if file else {}
        found: set[str] = set()
        waiting = [module.__name__]
        while waiting:
            name = waiting.pop()
            if name in found or name not in self._modules:
                continue
            found.add(name)
            waiting += self._targets(name)
        return {self._modules[name].path: self._modules[name].content_hash for name in found}

    def _targets(self, name: str) -> set[str]:
        """Modules that this one imports, with the packages around them and around itself."""
        source = self._modules[name]
        named = set(self._importers.get(name, ()))
        for statement in source.imports:
            base = _absolute(statement, name, is_package=source.is_package)
            named.add(base)
            named.update(f"{base}.{bound}" for bound in statement.names)
        named.add(name.rpartition(".")[0])
        around = {".".join(parts[:end]) for parts in (n.split(".") for n in named) for end in range(1, len(parts) + 1)}
        return around & self._modules.keys()

    def _note_importer(self, fullname: str) -> None:
        """An import by whatever means belongs to the project module that is running it."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            importer = frame.f_globals.get("__name__")
            if importer in self._modules:
                self._importers.setdefault(importer, set()).add(fullname)
                return
            frame = frame.f_back


class SourceLoader(SourceFileLoader):
    """Compiles a project module from its source, never from a `.pyc`."""

    def __init__(self, fullname: str, path: str, sources: ProjectSources) -> None:
        super().__init__(fullname, path)
        self._sources = sources

    def get_code(self, fullname: str) -> CodeType:
        """Compile, and record what was compiled."""
        if not Path(self.path).is_file():
            raise ImportError(f"{self.path} is no regular file", name=fullname, path=self.path)
        content = Path(self.path).read_bytes()
        _remember_lines(self.path, content)
        tree = ast.parse(content, self.path)
        self._sources.add(fullname, self.path, content, tree)
        code: CodeType = compile(tree, self.path, "exec", dont_inherit=True)
        return code


def _remember_lines(filename: str, content: bytes) -> None:
    """Tracebacks must show the lines that run, not what the file holds by then: an entry without a time stays."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = content.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError):
        linecache.cache.pop(filename, None)
        return
    lines = io.StringIO(text, newline=None).readlines()
    linecache.cache[filename] = (len(content), None, lines, filename)


def _imports(body: Sequence[ast.stmt]) -> Iterator[Import]:
    """Import statements at any depth, except those that only a type checker sees."""
    for statement in body:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield Import(0, alias.name)
        elif isinstance(statement, ast.ImportFrom):
            yield Import(statement.level, statement.module or "", tuple(alias.name for alias in statement.names))
        elif isinstance(statement, ast.If) and _is_type_checking(statement.test):
            yield from _imports(statement.orelse)
        else:
            for field in ("body", "orelse", "finalbody"):
                yield from _imports(getattr(statement, field, ()))
            for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
                yield from _imports(part.body)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _absolute(statement: Import, importer: str, *, is_package: bool) -> str:
    if statement.level == 0:
        return statement.module
    parts = importer.split(".")
    keep = len(parts) - statement.level + (1 if is_package else 0)
    return ".".join([*parts[: max(keep, 0)], *([statement.module] if statement.module else [])])


def _invent_name(file: Path, root: Path) -> str:
    """A name for a file whose path makes none, or whose name belongs to somebody else."""
    path = file.relative_to(root) if file.is_relative_to(root) else Path(file.name)
    stem = path.parent if path.name == "__init__.py" else path.with_suffix("")
    return "project_" + "".join(letter if letter.isalnum() else "_" for letter in stem.as_posix())
