"""`peeragent serve`, `worker`, `tasks`, `chat`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import json
import signal
import socket
import sys
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from peeragent.logs import configure_logging
from peeragent.settings import LOOPBACK, Settings
from peeragent.settings import settings as settings_of_environment

app = typer.Typer(
    name="peeragent",
    help="A service that routes tasks to specialized agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

USAGE = 2
NOT_FOUND = 3
STORE_AWAY = 5
INTERRUPTED = 130
HANG_UP_S = 2
"""After `shutdown_grace`: how long connections have to close."""


def fail(message: str, code: int = USAGE) -> typer.Exit:
    """Say what is wrong; the exit to raise."""
    typer.echo(f"peeragent: {message}", err=True)
    return typer.Exit(code)


def read_settings(**given: Any) -> Settings:
    """Those of the environment, with what the command line says."""
    try:
        # The flow reads those of the environment alone: they must be right, too.
        found = settings_of_environment()
        if changed := {name: value for name, value in given.items() if value is not None}:
            found = Settings(**changed)
    except UnicodeError as error:
        raise fail(f"cannot read the settings in .env: {error}") from None
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, each['loc'])).upper() or 'settings'}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors()
        )
        raise fail(told) from None
    configure_logging(found)
    return found


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; API_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one; API_PORT.", min=0, max=65535)] = None,
) -> None:
    """Serve HTTP and WebSocket; works on queued tasks too, unless EMBEDDED_WORKER=false."""
    settings = read_settings(api_host=host, api_port=port)
    if settings.api_host not in LOOPBACK and not settings.needs_keys:
        raise fail(
            f"{settings.api_host} is reachable by others, and there are no keys: set API_KEYS=owner:key "
            "(16 characters or more), or listen on 127.0.0.1"
        )
    # What is loaded now reads settings, too: they are checked before.
    import uvicorn

    from peeragent.api.app import create_app
    from peeragent.parts import Parts
    from peeragent.store.base import StoreUnavailable
    from penguiflow.state.errors import StoreError

    try:
        asyncio.run(_try_store(settings))
    except StoreUnavailable as error:
        raise _unusable(error) from None
    listener = _listen(settings.api_host, settings.api_port)
    shown = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host
    try:
        parts = Parts.of(settings)
    except StoreError as error:
        raise fail(str(error), STORE_AWAY) from None
    application = create_app(settings, parts)
    # uvicorn ends in order and then has the signal take its effect, which is this one.
    signal.signal(signal.SIGTERM, _terminated)
    typer.echo(f"PeerAgent listens on http://{shown}:{listener.getsockname()[1]}", err=True)
    # What is there now stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    # Requests leave little that only the collector finds: it need not look after every few of them.
    gc.set_threshold(20_000, 20, 50)
    # A thread that writes needs the interpreter again after each statement: with the default of 5 ms, a batch of tasks
    # would wait for as long as all its statements together while requests keep the loop busy.
    sys.setswitchinterval(0.0005)
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=settings.max_frame_bytes,
        ws_ping_interval=settings.ws_ping_interval,
        ws_ping_timeout=settings.ws_ping_interval,
        # What runs is ended before, and said so: these are connections that do not close.
        timeout_graceful_shutdown=int(settings.shutdown_grace) + HANG_UP_S,
    )

    class Server(uvicorn.Server):
        """Ends what it works on while it waits for its connections: both have the same time."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            parts.begin_stop()
            await super().shutdown(sockets)

    server = Server(config)
    try:
        asyncio.run(server.serve(sockets=[listener]))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    if not server.started:
        raise fail("it could not be started: the log above tells why", 1)


async def _try_store(settings: Settings) -> None:
    from peeragent.store.open import make_store

    store = make_store(settings)
    try:
        await store.open()
    finally:
        await store.close()


def _unusable(error: Exception) -> typer.Exit:
    return fail(
        f"cannot keep tasks in {error}: name a folder for them with DATA_DIR that can be written to", STORE_AWAY
    )


def _terminated(_signal: int, _frame: object) -> None:
    raise SystemExit(0)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named, asyncio sends small answers at once (TCP_NODELAY): else each waits for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        why = "somebody listens there already; take another with --port" if error.errno == errno.EADDRINUSE else error
        raise fail(f"cannot listen on {host}:{port}: {why}") from None
    return listener


@app.command()
def worker() -> None:
    """Work on queued tasks until it is told to stop; what it cannot finish is handed back."""
    settings = read_settings()
    try:
        stopped_by = asyncio.run(_work(settings))
    except KeyboardInterrupt:
        stopped_by = signal.SIGINT
    if stopped_by is signal.SIGINT:
        raise typer.Exit(INTERRUPTED)


async def _work(settings: Settings) -> signal.Signals | None:
    """Returns what ended it."""
    from peeragent.parts import Parts
    from peeragent.store.base import StoreUnavailable
    from penguiflow.state.errors import StoreError

    try:
        parts = Parts.of(settings)
        await parts.start(work=True)
    except StoreError as error:
        raise fail(str(error), STORE_AWAY) from None
    except StoreUnavailable as error:
        raise _unusable(error) from None
    loop = asyncio.get_running_loop()
    told: list[signal.Signals] = []

    def stop(by: signal.Signals) -> None:
        if not told:
            typer.echo("PeerAgent claims nothing more, and ends when what is under way is done", err=True)
        told.append(by)
        parts.begin_stop()

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop, each)
    typer.echo(f"PeerAgent works on the tasks of {parts.store.name}", err=True)
    try:
        await parts.worked()
    finally:
        await parts.stop()
    return told[0] if told else None


@app.command()
def tasks(
    task_id: Annotated[str | None, typer.Argument(help="One task, whole; else all, newest first.")] = None,
    status: Annotated[str | None, typer.Option(help="Only those with this status.")] = None,
    session: Annotated[str | None, typer.Option(help="Only those of this session.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """What became of tasks, straight from the store."""
    settings = read_settings()
    asyncio.run(_show(settings, task_id, status, session, limit, as_json))


async def _show(
    settings: Settings, task_id: str | None, status: str | None, session: str | None, limit: int, as_json: bool
) -> None:
    from peeragent.chat import plain
    from peeragent.models.tasks import TaskRecord, TaskStatus
    from peeragent.store.base import StoreUnavailable
    from peeragent.store.open import make_store

    if status is not None and status not in {each.value for each in TaskStatus}:
        raise fail(f"there is no status {status!r}; there are {', '.join(TaskStatus)}")
    store = make_store(settings)
    try:
        await store.open()
        found: list[TaskRecord] = []
        if task_id is None:
            wanted = None if status is None else TaskStatus(status)
            found = await store.list_tasks(status=wanted, session_id=session, limit=limit)
        elif (task := await store.get(task_id)) is not None:
            found = [task]
        else:
            raise fail(f"there is no task {task_id!r}, or no more", NOT_FOUND)
    except StoreUnavailable as error:
        raise fail(str(error), STORE_AWAY) from None
    finally:
        with contextlib.suppress(StoreUnavailable):
            await store.close()
    told = [task.model_dump(mode="json") for task in found]
    if as_json or task_id is not None:
        typer.echo(json.dumps(told[0] if task_id is not None else told, ensure_ascii=False, indent=2))
        return
    for task in found:
        words = plain(" ".join(task.task.split())[:60])
        typer.echo(f"{task.created_at:%Y-%m-%d %H:%M:%S}  {task.status.value:<10}  {task.task_id}  {words}")
    if not found:
        typer.echo("no tasks", err=True)


@app.command()
def chat(
    url: Annotated[str, typer.Option(help="Where the service is.")] = "http://127.0.0.1:8000",
    session: Annotated[str | None, typer.Option(help="A conversation that goes on.")] = None,
    key_file: Annotated[str | None, typer.Option(help="A file with the key.")] = None,
    agent: Annotated[str | None, typer.Option(help="Who is asked; the router decides where it is left out.")] = None,
) -> None:
    """Talk to the agents in the terminal: answers come as they are written."""
    from peeragent.chat import Chat, ChatError, plain

    try:
        asyncio.run(Chat(url, session, key_file, agent).run())
    except ChatError as error:
        raise fail(plain(str(error)), error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def main() -> None:
    """The command."""
    with contextlib.suppress(BrokenPipeError):
        app()
    sys.exit(0)
