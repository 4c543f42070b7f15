"""`python -m peagen`."""

from __future__ import annotations

from peagen.cli import main

if __name__ == "__main__":
    main()
