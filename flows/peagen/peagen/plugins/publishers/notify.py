"""`--notify URI`: a publisher and its channel out of an address."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from peagen.errors import InvalidPluginSpecError
from peagen.plugins.errors import masked
from peagen.plugins.manager import PluginManager
from peagen.plugins.protocols import Publisher
from peagen.plugins.publishers.encoding import DEFAULT_CHANNEL

_NAMES = {
    "rediss": "redis",
    "unix": "redis",
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "http": "webhook",
    "https": "webhook",
}


@dataclass(frozen=True, slots=True)
class Notify:
    """Where events go."""

    publisher: Publisher
    channel: str


def open_notify(uri: str, manager: PluginManager | None = None) -> Notify:
    """The publisher that an address names; nothing is connected yet.

    - `redis[s]://[user:password@]host:port[/db][/channel]`, `unix:///path[?db=0]#channel`
    - `amqp[s]://[user:password@]host:port/vhost#channel`, `rabbitmq://host:port[/channel][?exchange=name]`
    - `http[s]://host/path#channel`, `webhook://host/path#channel` (over https)
    - the name of any publisher, alone or as `name://…/channel`: made as the configuration says.

    Without a channel in the address it is `[publishers.adapters.<name>].channel`, else `peagen.events`.

    Raises:
        InvalidPluginSpecError: no publisher of that name, or not an address of it.
    """
    manager = manager or PluginManager()
    parts = urlsplit(uri)
    name = _NAMES.get(parts.scheme, parts.scheme) or uri
    fallback = str(manager.options("publishers", name).get("channel") or DEFAULT_CHANNEL)
    try:
        publisher, channel = _made(uri, name, manager)
    except InvalidPluginSpecError:
        raise
    except ValueError as error:
        raise InvalidPluginSpecError(masked(str(error)), where=f"--notify {masked(uri)}") from None
    return Notify(publisher, unquote(parts.fragment) or channel or fallback)


def _made(uri: str, name: str, manager: PluginManager) -> tuple[Publisher, str]:
    parts = urlsplit(uri)
    where = parts.path.strip("/")
    made = manager.load("publishers", name)
    if not parts.scheme:
        return manager.get("publishers", name), ""
    if parts.scheme == "unix":
        return made(uri.partition("#")[0]), ""
    if name == "redis":
        first, _, rest = where.partition("/")
        db, channel = (first, rest) if first.isdigit() else ("", where)
        return made(urlunsplit(parts._replace(path=f"/{db}" if db else "", fragment=""))), unquote(channel)
    if parts.scheme == "rabbitmq":
        exchange = parse_qs(parts.query).get("exchange", [""])[0]
        login = {"user": parts.username, "password": parts.password}
        decoded = {key: None if value is None else unquote(value) for key, value in login.items()}
        return made(host=parts.hostname or "localhost", port=parts.port, exchange=exchange, **decoded), unquote(where)
    if name == "rabbitmq":
        return made(uri.partition("#")[0]), ""
    if name == "webhook":
        scheme = "https" if parts.scheme == "webhook" else parts.scheme
        return made(urlunsplit(parts._replace(scheme=scheme, fragment=""))), ""
    return manager.get("publishers", name), unquote(where)
