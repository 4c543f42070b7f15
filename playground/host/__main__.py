"""`python -m playground.host CONTROL_FD LISTEN_FD`: what a supervisor starts."""

from __future__ import annotations

import sys

from playground.host.worker import work

if __name__ == "__main__":
    control_fd, listen_fd = (int(argument) for argument in sys.argv[1:3])
    sys.argv[:] = ["pf"]
    work(control_fd, listen_fd)
