"""Names of branches that Peagen makes: `pea/<kind>/…`."""

from __future__ import annotations

import re

PREFIX = "pea"
KINDS = ("factor", "run", "analysis", "evo", "promoted", "key_audit")
REFSPEC = f"refs/heads/{PREFIX}/*:refs/heads/{PREFIX}/*"
_UNFIT = re.compile(r"[^A-Za-z0-9._=-]+")


def pea_ref(kind: str, *parts: object) -> str:
    """`pea/<kind>/<part>/…`; what branches cannot be named becomes a dash. Raises `ValueError` for another kind."""
    if kind not in KINDS:
        raise ValueError(f"there are no branches of the kind {kind!r}: {', '.join(KINDS)}")
    names = [_part(str(part)) for part in parts]
    if not names:
        raise ValueError("a branch needs a name below its kind")
    return "/".join((PREFIX, kind, *names))


def run_ref(factors: dict[str, object]) -> str:
    """The branch of a run: `pea/run/<factor>-<level>_<factor>-<level>`."""
    return pea_ref("run", "_".join(f"{name}-{level}" for name, level in factors.items()))


def _part(text: str) -> str:
    plain = re.sub(r"\.{2,}", ".", _UNFIT.sub("-", text)).strip(".-")
    return (plain.removesuffix(".lock") or "_")[:100]
