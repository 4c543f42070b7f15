"""Not a test: a program that processes a project, kills itself in the middle, and goes on, until it is done.

`python killed_runs.py WORKTREE SEED`: each attempt is a process of its own (forked, so that nothing is imported twice)
which kills itself with SIGKILL before or after one of the things that it does to the disk, whichever number of them the
seed says. What is asked and answered is told in `WORKTREE/../story.txt`.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peagen.core.cache import AnswerCache
from peagen.core.lock import LockStore
from peagen.flow import make_flow
from peagen.run import ProcessOptions, process
from penguiflow.llm import LLMRequest, ScriptedModel

ATTEMPTS = 200
MODULES = ["a", "b", "c", "d", "e", "f"]
NEEDS = {"b": ["a"], "c": ["a"], "e": ["b", "c"]}
PROJECT = {
    "NAME": "Demo",
    "TEMPLATE_SET": "small",
    "PACKAGES": [
        {
            "NAME": "demo",
            "MODULES": [
                {"NAME": name, "EXTRAS": {"NEEDS": [f"out/{each}.py" for each in NEEDS.get(name, [])]}}
                for name in MODULES
            ],
        }
    ],
}


class Story:
    """What happened, in a file that outlives whoever writes it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def tell(self, *words: str) -> None:
        os.write(self._file, (" ".join(words) + "\n").encode())


class Killer:
    """Ends the process at the point that was chosen."""

    def __init__(self, at: int) -> None:
        self._left = at

    def point(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            self.point()
            result = function(*args, **more)
            self.point()
            return result

        return call


def attempt(worktree: Path, killer: Killer, story: Story) -> int:
    """One run. Returns its exit code, if it comes to that."""

    def reply(request: LLMRequest) -> str:
        name = request.messages[-1].text.split()[1]
        story.tell("asked", name)
        killer.point()
        return f"```python\n# {name}\nname = {name!r}\n```"

    put = AnswerCache.put

    def kept(cache: AnswerCache, key: str, answer: Any) -> None:
        put(cache, key, answer)
        story.tell("answered", answer.text.split()[2])

    model = ScriptedModel(rules=[(lambda request: True, reply)])
    patch = pytest.MonkeyPatch()
    patch.setattr("peagen.core.models.connect", lambda choice: model)
    patch.setattr(AnswerCache, "put", kept)
    patch.setattr(Path, "replace", killer.around(Path.replace))
    patch.setattr(LockStore, "note", killer.around(LockStore.note))
    options = ProcessOptions(worktree=worktree, provider="scripted", workers=2)
    report = asyncio.run(process([PROJECT], options))
    story.tell("ended", *(f"{name}={count}" for name, count in report.counts.items()))
    return report.exit_code


def main() -> int:
    worktree, chance = Path(sys.argv[1]), random.Random(sys.argv[2])
    story = Story(worktree.parent / "story.txt")
    assert make_flow is not None  # imported here, once, and not in each attempt
    for number in range(ATTEMPTS):
        # Later attempts live longer: one of them comes to its end.
        at = chance.randint(1, 12 + number * 2)
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = attempt(worktree, Killer(at), story)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            story.tell("killed", str(at))
            continue
        return os.WEXITSTATUS(status)
    return 71


if __name__ == "__main__":
    sys.exit(main())
