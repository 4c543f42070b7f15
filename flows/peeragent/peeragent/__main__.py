"""`python -m peeragent`."""

from __future__ import annotations

from peeragent.cli import main

main()
