"""`pf serve`: a host without a screen, for dashboards elsewhere."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import NamedTuple

from playground.cli.addresses import check_port, refuse_remote, written
from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure
from playground.cli.outputs import ServeOutput
from playground.cli.targets import check_target
from playground.dashboard.text import one_line
from playground.gateway import Gateway
from playground.host.tokens import TokenFiles, TokenProblem, Tokens
from playground.live import LiveSource
from playground.project import Project, find_project
from playground.protocol import ModuleInfo
from playground.sources import HostState
from playground.supervisor.spawn import LOOPBACK, PortInUse, listen

__all__ = ["ServeOptions", "Serving", "serve"]

TOLD_EVERY_S = 0.1
"""How often it is looked whether there is something to say."""


class ServeOptions(NamedTuple):
    """What `pf serve` was asked for, as it was typed."""

    targets: list[str]
    debug: bool = False
    host: str = LOOPBACK
    port: int | None = None
    allow_remote: bool = False
    json: bool = False
    tokens: Path | None = None
    """A folder that keeps the tokens from one start to the next."""


class Serving:
    """A gateway with its port and its token files; an asynchronous context."""

    def __init__(
        self, project: Project, targets: list[str], *, host: str, port: int, debug: bool, tokens: Tokens | None = None
    ) -> None:
        """Raises `Failure` when the port is taken. Without `tokens` there are new ones."""
        self.project = project
        self.debug = debug
        try:
            self._listening: socket.socket = listen(port, host)
        except PortInUse as error:
            raise Failure(str(error), hint="choose another port, or leave --port out for a free one") from None
        self.address = written(host, self._listening.getsockname()[1])
        self.url = f"ws://{self.address}/"
        self.files = TokenFiles.of(project.home, self._listening.getsockname()[1])
        self._tokens = tokens or Tokens.new()
        self._targets = targets

    async def __aenter__(self) -> Serving:
        """Write the tokens and accept clients; the project is loaded meanwhile. Raises `Failure`."""
        try:
            self.files.write(self._tokens)
        except TokenProblem as problem:
            self._listening.close()
            raise Failure(str(problem)) from None
        self._source = LiveSource(self.project, self._targets, attends=False)
        self.gateway = Gateway(self._source, self.project, self._listening, self._tokens, stops=self.debug)
        await self.gateway.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """End everything, and remove the tokens."""
        self.files.remove(self._tokens)
        await self.gateway.stop()


def serve(options: ServeOptions) -> int:
    """Serve until interrupted or terminated; returns the exit code."""
    port = check_port(options.port)
    refuse_remote(options.host, allowed=options.allow_remote)
    for target in options.targets:
        check_target(target)
    project = find_project(options.targets)
    try:
        tokens = None if options.tokens is None else Tokens.kept(options.tokens.absolute())
    except TokenProblem as problem:
        raise Failure(f"--tokens: {problem}") from None
    serving = Serving(project, options.targets, host=options.host, port=port, debug=options.debug, tokens=tokens)
    console = Console()
    return asyncio.run(_serve(serving, options, console))


async def _serve(serving: Serving, options: ServeOptions, console: Console) -> int:
    ended = until_told_to_end()
    async with serving:
        _announce(serving, options, console)
        telling = asyncio.create_task(tell(serving.gateway, console))
        await ended.wait()
        telling.cancel()
    return ExitCode.DONE


def until_told_to_end() -> asyncio.Event:
    """Set by SIGINT and SIGTERM, which are the ways to end such a command and no failure."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    return ended


def _announce(serving: Serving, options: ServeOptions, console: Console) -> None:
    files = serving.files
    if options.json:
        output = ServeOutput(
            url=serving.url,
            pid=os.getpid(),
            project=str(serving.project.root),
            debug=serving.debug,
            control_token=str(files.control),
            view_token=str(files.view),
        )
        console.json(output.model_dump())
        console.flush()
        return
    console.line(f"serving {one_line(str(serving.project.root))} at {serving.url}")
    console.line(f"  full control  {one_line(str(files.control))}")
    console.line(f"  looking on    {one_line(str(files.view))}")
    console.line(f"  attach with   pf tui --attach {serving.url}")
    if not serving.debug:
        console.line("  nothing stops runs here; with --debug breakpoints do")
    console.flush()


async def tell(gateway: Gateway, console: Console) -> None:
    """Say what becomes of the host, one line each, until cancelled."""
    told: HostState | None = None
    broken: dict[str, str] = {}
    while True:
        if gateway.state != told:
            told = gateway.state
            console.tell(f"{told.state}{': ' + one_line(told.text) if told.text else ''}")
        now = {module.path: _problem(module) for module in gateway.flows().modules if module.error is not None}
        for path, problem in now.items():
            if broken.get(path) != problem:
                console.tell(f"{console.err_paint('error', 'broken:')} {one_line(problem)}")
        for path in broken.keys() - now.keys():
            console.tell(f"repaired: {one_line(path)}")
        broken = now
        await asyncio.sleep(TOLD_EVERY_S)


def _problem(module: ModuleInfo) -> str:
    assert module.error is not None
    where = f"{module.error.file or module.path}:{module.error.line}" if module.error.line else module.path
    return f"{where} {module.error.message}"
