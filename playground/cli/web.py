"""`pf web`: the dashboard in a browser."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import NamedTuple

from playground.cli.addresses import check_port, refuse_remote
from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure
from playground.cli.outputs import WebOutput
from playground.cli.serve import Serving, tell, until_told_to_end
from playground.cli.targets import check_target
from playground.project import find_project
from playground.supervisor.spawn import LOOPBACK, PortInUse, listen
from playground.webserver import WebDashboard, command_line

__all__ = ["WebOptions", "serve_web"]


class WebOptions(NamedTuple):
    """What `pf web` was asked for, as it was typed."""

    paths: list[str]
    host: str = LOOPBACK
    port: int | None = None
    allow_remote: bool = False
    read_only: bool = False
    theme: str | None = None
    json: bool = False


def serve_web(options: WebOptions) -> int:
    """Serve the dashboard until interrupted or terminated; returns the exit code."""
    port = check_port(options.port)
    refuse_remote(options.host, allowed=options.allow_remote)
    for path in options.paths:
        check_target(path)
    project = find_project(options.paths)
    try:
        listening = listen(port, options.host)
    except PortInUse as error:
        raise Failure(str(error), hint="choose another port, or leave --port out for a free one") from None
    # The host behind it is for the dashboards here alone.
    serving = Serving(project, options.paths, host=LOOPBACK, port=0, debug=True)
    console = Console()

    def say_link() -> None:
        _announce(web, options, console)

    web = WebDashboard(_command(serving, options), listening, options.host, on_used=say_link)
    return asyncio.run(_serve(serving, web, options, console))


async def _serve(serving: Serving, web: WebDashboard, options: WebOptions, console: Console) -> int:
    ended = until_told_to_end()
    async with serving:
        await web.start()
        try:
            _announce(web, options, console)
            telling = asyncio.create_task(tell(serving.gateway, console))
            await ended.wait()
            telling.cancel()
        finally:
            await web.stop()
    return ExitCode.DONE


def _command(serving: Serving, options: WebOptions) -> str:
    """A dashboard for one tab. The token's file is named, the token is not."""
    token = serving.files.view if options.read_only else serving.files.control
    parts = [sys.executable, "-P", "-m", "playground", "tui", "--attach", serving.url, "--token-file", str(token)]
    parts += ["--read-only"] if options.read_only else []
    parts += ["--theme", options.theme] if options.theme else []
    return command_line(parts)


def _announce(web: WebDashboard, options: WebOptions, console: Console) -> None:
    if options.json:
        console.json(WebOutput(link=web.link, pid=os.getpid()).model_dump())
    else:
        console.line(f"open {web.link}")
        console.line("  the link is good once; a new one is printed when it was used")
    console.flush()
