"""How long it takes to put the files of a large project in order.

Run: python -m benchmarks.peagen_sort [FILES]
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable

from peagen.core.records import FileRecord
from peagen.core.sort_core import sort_file_records

LIMIT_S = 2.0


def chain(i: int, _: random.Random) -> list[int]:
    """Each file needs the one before."""
    return [i - 1] if i else []


def wide(i: int, _: random.Random) -> list[int]:
    """All files need the first one."""
    return [0] if i else []


def layered(i: int, chance: random.Random) -> list[int]:
    """Each file needs three of the hundred before."""
    return [chance.randrange(max(0, i - 100), i) for _ in range(3)] if i else []


def free(i: int, _: random.Random) -> list[int]:
    """No file needs another."""
    return []


def project(files: int, needs: Callable[[int, random.Random], list[int]]) -> list[FileRecord]:
    """The records of a project, in no order."""
    chance = random.Random(1)
    names = [f"packages/p{chance.randrange(100):02}/module_{i:06}.py" for i in range(files)]
    records: list[FileRecord] = [
        {"RENDERED_FILE_NAME": names[i], "EXTRAS": {"DEPENDENCIES": [names[j] for j in needs(i, chance)]}}
        for i in range(files)
    ]
    chance.shuffle(records)
    return records


def main() -> int:
    """Sort each kind of project; 1 if one takes more than it may."""
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    slow = 0
    for needs in (chain, wide, layered, free):
        records = project(files, needs)
        start = time.process_time()
        ordered, _ = sort_file_records(file_records=records)
        whole = time.process_time() - start
        start = time.process_time()
        sort_file_records(file_records=records, start_file=ordered[-1]["RENDERED_FILE_NAME"], transitive=True)
        part = time.process_time() - start
        slow += max(whole, part) > LIMIT_S
        print(f"{needs.__name__:8} {files:,} files: {whole:.2f} s of CPU, for one file and its needs {part:.2f} s")
    return int(slow > 0)


if __name__ == "__main__":
    raise SystemExit(main())
