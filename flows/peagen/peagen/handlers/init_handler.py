"""`peagen init …`: folders to begin with."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from peagen.errors import PeagenError
from peagen.scaffold import FOLDER

_UNFIT = re.compile(r"[^a-z0-9_]+")


class WouldOverwrite(PeagenError):
    """What would be written is there already."""


def package_name(name: str) -> str:
    """A name for a Python package."""
    plain = _UNFIT.sub("_", name.lower()).strip("_") or "package"
    return plain if not plain[0].isdigit() else f"p_{plain}"


def write_files(folder: Path, files: Mapping[str, str], *, force: bool, into_filled: bool = False) -> list[str]:
    """Write files below a folder; all of them or, where one is in the way, none.

    Args:
        force: replace what is there.
        into_filled: the folder may hold other files; else one that is not empty is refused.

    Returns:
        Their paths, relative to the folder.

    Raises:
        WouldOverwrite: something is in the way.
    """
    if folder.exists() and not folder.is_dir():
        raise WouldOverwrite(f"{folder} is no folder")
    if not force:
        taken = sorted(name for name in files if (folder / name).exists())
        if into_filled and taken:
            raise WouldOverwrite(f"{', '.join(taken)} is there already", where=str(folder), hint="--force replaces it")
        if not into_filled and folder.exists() and any(each.name != ".git" for each in folder.iterdir()):
            raise WouldOverwrite("the folder is not empty", where=str(folder), hint="name another, or say --force")
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return sorted(files)


def scaffold(kind: str, values: Mapping[str, Any]) -> dict[str, str]:
    """The files of a scaffold by name, rendered."""
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 - no HTML is made here
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    files: dict[str, str] = {}
    root = FOLDER / kind
    for path in sorted(root.rglob("*")):
        if not path.is_file():
            continue
        relative = PurePosixPath(path.relative_to(root).as_posix())
        name = "/".join(f".{part[4:]}" if part.startswith("dot_") else part for part in relative.parts)
        text = path.read_text("utf-8")
        if name.endswith(".j2"):
            name, text = name.removesuffix(".j2"), environment.from_string(text).render(values)
        files[name] = text
    return files


def init_project(
    folder: Path,
    *,
    name: str | None = None,
    template_set: str = "pythonpkg",
    provider: str = "scripted",
    model_name: str = "gpt-4",
    force: bool = False,
) -> dict[str, Any]:
    """A payload, a configuration and a README that `peagen local process` makes a project of."""
    title = name or folder.resolve().name or "Project"
    values = {
        "name": title,
        "package": package_name(title),
        "template_set": template_set,
        "provider": provider,
        "model_name": model_name,
    }
    return {"path": str(folder), "files": write_files(folder, scaffold("project", values), force=force)}


def init_template_set(folder: Path, *, name: str | None = None, force: bool = False) -> dict[str, Any]:
    """A template set that works, to be changed."""
    values = {"name": name or folder.resolve().name}
    return {"path": str(folder), "files": write_files(folder, scaffold("template_set", values), force=force)}


def init_doe_spec(folder: Path, *, name: str | None = None, org: str = "org", force: bool = False) -> dict[str, Any]:
    """A design of experiments: the spec, its patches, the project that they change, and `spec.yaml` with a checksum."""
    import yaml

    title = name or folder.resolve().name
    files = scaffold("doe_spec", {"name": title})
    about = {
        "name": title,
        "org": org,
        "version": "v1",
        "description": "A design of experiments.",
        "checksum": hashlib.sha256(files["doe_spec.yml"].encode()).hexdigest(),
    }
    files["spec.yaml"] = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
    return {"path": str(folder), "files": write_files(folder, files, force=force)}


def init_ci(
    folder: Path, *, kinds: tuple[str, ...] = ("github",), payload: str = "projects_payload.yaml", force: bool = False
) -> dict[str, Any]:
    """A workflow for GitHub or GitLab that fails where what is committed is not what would be generated."""
    files: dict[str, str] = {}
    for kind in kinds:
        files |= scaffold(f"ci/{kind}", {"payload": payload})
    return {"path": str(folder), "files": write_files(folder, files, force=force, into_filled=True)}
