"""Reading a design of experiments, version 1 or 2."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from peagen.core.documents import DocumentError, Lines, parse_yaml, read_text, shown, validate

LLM_NAMES = frozenset(
    {
        "frequency_penalty",
        "max_context_tokens",
        "max_tokens",
        "model",
        "model_name",
        "provider",
        "temperature",
        "top_p",
    }
)
"""Factors of these names choose the model."""
MAX_POINTS = 10_000


class DoeSpecError(DocumentError):
    """A design of experiments is not what it should be."""


@dataclass(frozen=True)
class Level:
    """One value of a factor."""

    value: Any
    """Version 2: its id. Version 1: the value itself, which may be a mapping."""
    patch: Path | None = None
    kind: str = "json-patch"
    output_path: str = ""


@dataclass(frozen=True)
class Factor:
    """What varies."""

    name: str
    levels: tuple[Level, ...]
    code: str
    """How patches of version 1 call it."""
    chooses_model: bool = False
    patches: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Spec:
    """A design, checked."""

    path: Path
    version: Literal["v1", "v2"]
    name: str
    factors: tuple[Factor, ...]
    """In the order in which the last one changes fastest."""
    checksum: str
    """SHA-256 of the file, in hex."""
    base_artifact: Path | None = None
    rules: tuple[Any, ...] = ()
    """PATCHES of version 1."""
    warnings: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many points there are."""
        product = 1
        for factor in self.factors:
            product *= len(factor.levels)
        return product


def load_spec(path: Path) -> Spec:
    """Read and check a design.

    Raises:
        DoeSpecError: with all that is wrong, by path and line.
    """
    try:
        text = read_text(path)
        document = parse_yaml(text, str(path))
        if not isinstance(document, dict):
            raise DoeSpecError("a design of experiments is a mapping", where=str(path))
        version = document.get("version")
        if version == "v2":
            validate(document, "doe_spec.v2.json", text, str(path))
            spec = _second(path, document, text)
        elif version in {None, "v1", 1, "1"} and ("FACTORS" in document or "LLM_FACTORS" in document):
            validate(document, "doe_spec.v1.json", text, str(path))
            spec = _first(path, document, text)
        elif version is None:
            raise DoeSpecError(
                "it has no version, and no FACTORS of version 1",
                where=str(path),
                hint="write `version: v2`, meta and factors; `peagen init doe-spec` shows how",
            )
        else:
            raise DoeSpecError(f"there is no version {version!r}; there are v1 and v2", where=str(path))
    except DoeSpecError:
        raise
    except DocumentError as error:
        raise DoeSpecError(error.message, where=error.where, hint=error.hint) from None
    if not 0 < spec.count <= MAX_POINTS:
        raise DoeSpecError(f"it makes {spec.count} points; there may be {MAX_POINTS}", where=str(path))
    return spec


def _second(path: Path, document: dict[str, Any], text: str) -> Spec:
    lines = Lines(text)
    problems: list[str] = []
    warnings: list[str] = []
    folder = path.parent

    def problem(place: Sequence[str | int], what: str) -> None:
        problems.append(f"{shown(place)} (line {lines.of(place)}): {what}")

    factors = []
    _unique([str(each["name"]) for each in document["factors"]], ["factors"], "name", problem)
    for i, given in enumerate(document["factors"]):
        place: list[str | int] = ["factors", i, "levels"]
        _unique([str(each["id"]) for each in given["levels"]], place, "id", problem)
        levels = []
        for j, each in enumerate(given["levels"]):
            patch = folder / each["patchRef"].removeprefix("file://")
            if not patch.is_file():
                problem([*place, j, "patchRef"], f"there is no file {patch}")
            levels.append(Level(each["id"], patch, each.get("patchKind", "json-patch"), each["output_path"]))
            if each.get("replicates", 1) != 1:
                warnings.append(f"{shown([*place, j])}: replicates is not used")
        if given.get("lock"):
            warnings.append(f"factors[{i}]: lock is not used")
        name = str(given["name"])
        factors.append(Factor(name, tuple(levels), name, name in LLM_NAMES))
    known = {factor.name: {str(level.value) for level in factor.levels} for factor in factors}
    for i, each in enumerate(document.get("factorSets") or []):
        for name, ids in each["cartesianProduct"].items():
            unknown = [str(one) for one in ids if str(one) not in known.get(str(name), set())]
            if str(name) not in known or unknown:
                told = (
                    f"there is no level {unknown[0]} of {name}" if str(name) in known else f"there is no factor {name}"
                )
                problem(["factorSets", i, "cartesianProduct", str(name)], told)
    base = document.get("baseArtifact")
    artifact = folder / base.removeprefix("file://") if base else None
    if artifact is not None and not artifact.is_file():
        problem(["baseArtifact"], f"there is no file {artifact}")
    if problems:
        raise DoeSpecError("it cannot be used:", errors=problems, where=str(path))
    name = document["meta"]["name"]
    return Spec(path, "v2", name, tuple(factors), _checksum(path), artifact, warnings=warnings)


def _first(path: Path, document: dict[str, Any], text: str) -> Spec:
    lines = Lines(text)
    problems: list[str] = []

    def problem(place: Sequence[str | int], what: str) -> None:
        problems.append(f"{shown(place)} (line {lines.of(place)}): {what}")

    separate = "LLM_FACTORS" in document
    first: list[Factor] = []
    others: list[Factor] = []
    for key in ("LLM_FACTORS", "FACTORS"):
        for name, given in (document.get(key) or {}).items():
            chooses = key == "LLM_FACTORS" or (not separate and str(name) in LLM_NAMES)
            levels = tuple(Level(value) for value in given["levels"])
            code = str(given.get("code") or name)
            factor = Factor(str(name), levels, code, chooses, tuple(given.get("patches") or ()))
            (first if chooses else others).append(factor)
    factors = (*first, *others)
    _unique([factor.code for factor in factors], ["FACTORS"], "code", problem)
    _unique([factor.name for factor in factors], ["FACTORS"], "name", problem)
    codes = {factor.code for factor in factors}
    rules = tuple(document.get("PATCHES") or ())
    for i, rule in enumerate(rules):
        for code in rule.get("when") or {}:
            if str(code) not in codes:
                problem(["PATCHES", i, "when", str(code)], "there is no factor with this code")
    if problems:
        raise DoeSpecError("it cannot be used:", errors=problems, where=str(path))
    meta = document.get("meta")
    name = str(meta["name"]) if isinstance(meta, dict) and meta.get("name") else path.stem
    return Spec(path, "v1", name, factors, _checksum(path), rules=rules)


def _unique(names: list[str], place: list[str | int], what: str, problem: Any) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            problem(place, f"{count} have the {what} {name!r}")


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
