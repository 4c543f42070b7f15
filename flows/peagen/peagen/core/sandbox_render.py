"""Rendering one template, within a process that has nothing to lose: see `peagen.core.sandbox`.

Templates come from the folders of a template set. What is included from a work-tree (what was generated,
documents that files depend on) is data: it goes into the text as it is, and is never looked at for template code.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import stat
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any, NoReturn

from jinja2 import BaseLoader, Environment, Template, TemplateNotFound, TemplateSyntaxError
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

from peagen.core.documents import check_depth
from peagen.filters import FILTERS

_MAX_EXPONENT = 10_000
_MAX_MESSAGE = 2_000  # characters; what went wrong may quote what was rendered
_KEPT_CODES = 500
_codes: dict[tuple[str, str, str], CodeType] = {}
"""What templates compiled to, by content, name and path: a process renders the same ones many times."""
_SECRET_FILES = {".env", ".netrc", ".npmrc", ".peagen.toml", ".pypirc"}
_SECRET_FOLDERS = {".aws", ".git", ".peagen", ".ssh"}
_HARMLESS_ENV = {".env.example", ".env.sample", ".env.template"}


class TooLarge(Exception):
    """More text than allowed."""


@dataclass(frozen=True)
class Job:
    """What to render; the same fields as `peagen.core.sandbox.RenderJob`, with paths as text."""

    name: str
    context: dict[str, Any]
    template_path: str | None
    template_text: str | None
    search_path: tuple[str, ...]
    data_paths: tuple[str, ...]
    data_first: frozenset[str]
    parse_yaml: bool
    output_bytes: int
    shared: bytes = b""
    parts: dict[str, tuple[str | int, ...]] = field(default_factory=dict)

    def whole_context(self) -> dict[str, Any]:
        """The context, with what is shared; a copy of its own, as templates may change it."""
        if not self.shared:
            return self.context
        context: dict[str, Any] = pickle.loads(self.shared)  # noqa: S301 - whoever made the job made this
        for name, path in self.parts.items():
            part: Any = context
            for step in path:
                part = part[step]
            context[name] = part
        return {**context, **self.context}


@dataclass
class Used:
    """What went into the text: files by path, with the SHA-256 of their content."""

    templates: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)


class _Sandbox(SandboxedEnvironment):
    # What may be changed is the job's own copy of the context: sets build lists with `append`.
    intercepted_binops = frozenset(["**"])

    def unsafe_undefined(self, obj: Any, attribute: str) -> NoReturn:
        # Jinja prints nothing for it, and fails at the next step only.
        raise SecurityError(f"{attribute!r} of a {type(obj).__name__} is not for templates")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if isinstance(right, int) and abs(right) > _MAX_EXPONENT:
            raise SecurityError(f"an exponent of {str(right)[:20]} is too large")
        return super().call_binop(context, operator, left, right)


class _Loader(BaseLoader):
    def __init__(self, job: Job) -> None:
        self.job = job
        self.used = Used()
        self.names: dict[str, str] = {}  # of templates, by path: for messages

    def load(self, environment: Environment, name: str, globals: MutableMapping[str, Any] | None = None) -> Template:
        path, is_template = self._find(name)
        made = environment.make_globals(globals)
        content = self._read(path, name)
        if is_template:
            return self.compiled(environment, content, name, path, made)
        self.used.data[str(path)] = hashlib.sha256(content).hexdigest()
        return _as_data(environment, _text(content, name), name, path, made)

    def compiled(
        self, environment: Environment, content: bytes, name: str, path: Path, globals: MutableMapping[str, Any]
    ) -> Template:
        digest = self.used.templates[str(path)] = hashlib.sha256(content).hexdigest()
        self.names[str(path)] = name
        code = _codes.get((digest, name, str(path)))
        if code is None:
            if len(_codes) >= _KEPT_CODES:
                _codes.clear()
            code = _codes[digest, name, str(path)] = environment.compile(_text(content, name), name, str(path))
        return environment.template_class.from_code(environment, code, globals)

    def _find(self, name: str) -> tuple[Path, bool]:
        segments = _segments(name)
        places = [(folder, True) for folder in self.job.search_path]
        data = [(folder, False) for folder in self.job.data_paths]
        # What a run makes is meant by its name, even if the set has a file of that name.
        places = data + places if name in self.job.data_first else places + data
        for folder, is_template in places:
            path = Path(folder).joinpath(*segments)
            if path.is_file():
                return self._checked(path, Path(folder), is_template, name), is_template
        raise TemplateNotFound(name)

    def _checked(self, path: Path, folder: Path, is_template: bool, name: str) -> Path:
        resolved, root = path.resolve(), folder.resolve()
        if not resolved.is_relative_to(root):
            raise SecurityError(f"{name!r} is a link that leads out of {root}")
        if not is_template and _is_secret(resolved.relative_to(root).parts):
            raise SecurityError(f"{name!r} may hold secrets; it is not for templates")
        return path

    def _read(self, path: Path, name: str) -> bytes:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise TemplateNotFound(name)
        if status.st_size > self.job.output_bytes:
            raise TooLarge(f"{name!r} alone has {status.st_size:,} bytes")
        return path.read_bytes()


def _is_secret(parts: tuple[str, ...]) -> bool:
    last = parts[-1].casefold() if parts else ""
    return (
        any(part.casefold() in _SECRET_FOLDERS for part in parts[:-1])
        or last in _SECRET_FILES
        or (last.startswith(".env.") and last not in _HARMLESS_ENV)
    )


def _segments(name: str) -> list[str]:
    segments: list[str] = []
    for segment in str(name).split("/"):
        if segment == "..":
            if not segments:
                raise SecurityError(f"{name!r} leads out of the folders that templates may read")
            segments.pop()
        elif segment not in {"", "."}:
            segments.append(segment)
    if not segments or "\0" in name:
        raise TemplateNotFound(name)
    return segments


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name!r} is not UTF-8 (byte {error.start})") from None


def _as_data(environment: Environment, text: str, name: str, path: Path, globals: MutableMapping[str, Any]) -> Template:
    # As a template's, the text's newlines are made one kind and the last one goes.
    text = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")

    def root(context: Context, **_: Any) -> Iterator[str]:
        yield text

    module = {"name": name, "__file__": str(path), "blocks": {}, "root": root, "debug_info": ""}
    return environment.template_class.from_module_dict(environment, module, globals)


def render(job: Job) -> dict[str, Any]:
    """Render; returns what is sent back: `text`, `templates`, `data` and, where YAML is parsed, `value`.

    Where it fails, it is `error` (failed, large, unsafe), `message`, `where` and `hint`.
    """
    loader = _Loader(job)
    try:
        return _rendered(job, loader)
    except MemoryError:
        return _failure("large", "the template takes more memory than it may", job.name) | {"last": True}
    except TooLarge as error:
        return _failure("large", str(error), job.name)
    except RecursionError:
        return _failure("failed", "the template, or what it includes, calls itself too deeply", job.name)
    except SecurityError as error:
        return _failure("unsafe", str(error), _place(error, job, loader))
    except OverflowError as error:  # `range` is limited; so are the sizes of numbers
        return _failure("unsafe", str(error), _place(error, job, loader))
    except TemplateNotFound as error:
        return _failure(
            "failed",
            f"{error.name or error.message!r} is neither in the template set nor in the work-tree",
            _place(error, job, loader),
            "A file that is depended on is one that the run makes, or is there before.",
        )
    except TemplateSyntaxError as error:
        return _failure("failed", f"{error.message}", f"{error.name or job.name}:{error.lineno}")
    except Exception as error:  # whatever a template does, with whatever a payload holds, is told as its failure
        return _failure("failed", f"{_kind_of(error)}{error}", _place(error, job, loader))


def _rendered(job: Job, loader: _Loader) -> dict[str, Any]:
    environment = _Sandbox(loader=loader, autoescape=False)
    environment.filters.update(FILTERS)
    if job.template_path is not None:
        path = Path(job.template_path)
        content = loader._read(path, job.name)
        template = loader.compiled(environment, content, job.name, path, environment.make_globals(None))
    else:
        template = environment.from_string(job.template_text or "")
    text = io.StringIO()
    left = job.output_bytes
    for part in template.generate(job.whole_context()):
        left -= len(part)
        if left < 0:
            raise TooLarge(f"the template makes more than {job.output_bytes:,} bytes of text")
        text.write(part)
    made: dict[str, Any] = {"text": text.getvalue()}
    if job.parse_yaml:
        made["value"] = _parsed(made["text"], job)
    return made | {"templates": loader.used.templates, "data": loader.used.data}


def _parsed(text: str, job: Job) -> Any:
    import yaml

    try:
        check_depth(text)
        value = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 -- both are safe
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        lines = text.splitlines()
        quoted = f": {lines[mark.line].strip()}" if mark is not None and mark.line < len(lines) else ""
        at = f" (line {mark.line + 1} of what was rendered{quoted})" if mark is not None else ""
        raise ValueError(f"this is no YAML: {getattr(error, 'problem', None) or error}{at}") from None
    except RecursionError:
        raise ValueError("what was rendered is nested too deeply") from None
    # Aliases make a small text a huge value: counted as it is sent.
    size = 0
    for part in json.JSONEncoder(default=str, skipkeys=False).iterencode(value):
        size += len(part)
        if size > job.output_bytes:
            raise TooLarge(f"what the text stands for has more than {job.output_bytes:,} bytes")
    return value


def _kind_of(error: Exception) -> str:
    from jinja2 import TemplateError

    return "" if isinstance(error, TemplateError | ValueError) else f"{type(error).__name__}: "


def _place(error: BaseException, job: Job, loader: _Loader) -> str:
    """The template and line in which it happened."""
    place = job.name
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        name = job.name if file == "<template>" else loader.names.get(file)
        if name is not None:
            place = f"{name}:{line}"
    return place


def _failure(kind: str, message: str, where: str, hint: str = "") -> dict[str, Any]:
    # What a template says may be meant for the terminal.
    shown = "".join(
        char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in message[:_MAX_MESSAGE]
    )
    return {"error": kind, "message": shown, "where": where, "hint": hint}


def encoded(reply: Mapping[str, Any]) -> bytes:
    """The reply as it is sent."""
    return json.dumps(reply, default=str).encode()
