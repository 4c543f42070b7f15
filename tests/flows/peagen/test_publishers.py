"""Publishers, over real sockets: Valkey, an HTTP server, and a peer that speaks AMQP."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pamqp.frame
import pamqp.header
import pytest
import redis
from pamqp import body, commands, heartbeat

from peagen.errors import InvalidPluginSpecError
from peagen.plugins.errors import PublishFailed, masked
from peagen.plugins.manager import PluginManager
from peagen.plugins.publishers.notify import open_notify
from peagen.plugins.publishers.rabbitmq_publisher import RabbitMQPublisher
from peagen.plugins.publishers.redis_publisher import RedisPublisher
from peagen.plugins.publishers.webhook_publisher import WebhookPublisher

EVENT = {"type": "process.started", "extra": {"files": 3, "name": "é"}}
WAIT_S = 60.0


class Broker:
    """As much of RabbitMQ as one who publishes meets: it confirms what it gets, and can cut the line."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.got: list[tuple[str, str, bytes]] = []
        """Exchange, routing key and body of each message."""
        self.logins: list[bytes] = []
        self.goodbyes = 0
        """Connections that were closed as they should be."""
        self.cut = False
        """Close each connection after one message."""
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._clients: list[socket.socket] = []
        self._threads[0].start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._clients:
            client.close()
        for thread in self._threads:
            thread.join(WAIT_S)

    def wait_until_all_left(self) -> None:
        """Return when nobody is connected."""
        for thread in self._threads[1:]:
            thread.join(WAIT_S)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            assert self._read(client, 8) == b"AMQP\x00\x00\x09\x01"
            start = commands.Connection.Start(server_properties={"capabilities": {"publisher_confirms": True}})
            self._send(client, 0, start)
            published: Any = None
            tag = 0
            while True:
                channel, frame = self._frame(client)
                if isinstance(frame, commands.Connection.StartOk):
                    self.logins.append(str(frame.response).encode())
                    self._send(client, 0, commands.Connection.Tune(10, 131072, 0))
                elif isinstance(frame, commands.Basic.Publish):
                    published = frame
                elif isinstance(frame, body.ContentBody):
                    self.got.append((published.exchange, published.routing_key, frame.value))
                    tag += 1
                    cut = self.cut  # looked at before the other side goes on
                    self._send(client, channel, commands.Basic.Ack(delivery_tag=tag))
                    if cut:
                        client.close()
                        return
                elif isinstance(frame, commands.Connection.Close):
                    self.goodbyes += 1
                    self._send(client, channel, commands.Connection.CloseOk())
                elif (answer := _ANSWERS.get(type(frame))) is not None:
                    self._send(client, channel, answer())
        except (OSError, EOFError):
            return

    def _read(self, client: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = client.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def _frame(self, client: socket.socket) -> tuple[int, Any]:
        head = self._read(client, 7)
        (size,) = struct.unpack(">I", head[3:])
        _, channel, frame = pamqp.frame.unmarshal(head + self._read(client, size + 1))
        return channel, frame

    def _send(self, client: socket.socket, channel: int, frame: Any) -> None:
        client.sendall(pamqp.frame.marshal(frame, channel))


_ANSWERS: dict[type[Any], Callable[[], Any]] = {
    commands.Connection.Open: commands.Connection.OpenOk,
    commands.Channel.Open: commands.Channel.OpenOk,
    commands.Channel.Close: commands.Channel.CloseOk,
    commands.Confirm.Select: commands.Confirm.SelectOk,
    commands.Exchange.Declare: commands.Exchange.DeclareOk,
    heartbeat.Heartbeat: heartbeat.Heartbeat,
}


@pytest.fixture
def broker() -> Iterator[Broker]:
    server = Broker()
    yield server
    server.stop()


class Hook:
    """An HTTP server that keeps what is posted, and answers with a status."""

    def __init__(self) -> None:
        self.status = 204
        self.headers: dict[str, str] = {}
        self.got: list[tuple[str, dict[str, str], Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, json.loads(data)))
                self.send_response(hook.status)
                for name, value in hook.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing on the terminal."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/peagen"
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    yield server
    server.stop()


@pytest.fixture
def refusing() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else can take."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def heard(valkey_server: Any) -> Iterator[Callable[[str], Callable[[], Any]]]:
    """Subscribes to a channel; what it returns waits for the next event there."""
    client: Any = redis.Redis.from_url(valkey_server.url, socket_timeout=WAIT_S)
    subscriptions: list[Any] = []

    def subscribe(channel: str) -> Callable[[], Any]:
        listening = client.pubsub()
        subscriptions.append(listening)
        listening.subscribe(channel)
        assert listening.get_message(timeout=WAIT_S)["type"] == "subscribe"
        return lambda: json.loads(listening.get_message(timeout=WAIT_S)["data"])

    yield subscribe
    for each in subscriptions:
        each.close()
    client.close()


def test_redis_gets_events_as_json(valkey_server: Any, heard: Any) -> None:
    next_event = heard("custom.events")
    publisher = RedisPublisher(valkey_server.url, timeout_s=WAIT_S)
    publisher.publish("custom.events", EVENT)
    assert next_event() == EVENT
    publisher.close()
    publisher.close()


def test_redis_takes_an_address_or_its_parts() -> None:
    assert RedisPublisher(host="cache", port=6380, db=2, password="hunter2").address == "redis://cache:6380/2"
    with pytest.raises(ValueError, match="either"):
        RedisPublisher("redis://localhost", host="localhost")
    with pytest.raises(ValueError, match="either"):
        RedisPublisher()


def test_redis_that_is_away_is_told_without_its_password(refusing: int) -> None:
    publisher = RedisPublisher(f"redis://ada:hunter2@127.0.0.1:{refusing}/0")
    with pytest.raises(PublishFailed) as caught:
        publisher.publish("events", EVENT)
    assert "hunter2" not in caught.value.report()
    assert f"127.0.0.1:{refusing}" in caught.value.report()
    assert "hunter2" not in repr(publisher)


def test_what_is_no_event_is_not_sent(hook: Hook) -> None:
    publisher = WebhookPublisher(hook.url, timeout_s=WAIT_S)
    for payload in ({}, {"type": 3}, {"type": "x", "extra": {1, 2}}, {"type": "x", "extra": float("nan")}):
        with pytest.raises(PublishFailed, match="event"):
            publisher.publish("events", payload)
    assert hook.got == []


def test_a_webhook_gets_channel_and_payload(hook: Hook) -> None:
    publisher = WebhookPublisher(hook.url, headers={"Authorization": "Bearer hunter2"}, timeout_s=WAIT_S)
    publisher.publish("peagen.events", EVENT)
    publisher.close()
    path, headers, got = hook.got[0]
    assert path == "/peagen"
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == "Bearer hunter2"
    assert got == {"channel": "peagen.events", "payload": EVENT}


@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_webhook_that_refuses_is_told(hook: Hook, status: int) -> None:
    hook.status = status
    publisher = WebhookPublisher(hook.url, timeout_s=WAIT_S)
    with pytest.raises(RuntimeError, match=str(status)):
        publisher.publish("events", EVENT)
    publisher.close()


def test_a_redirect_is_not_followed(hook: Hook) -> None:
    hook.status, hook.headers = 307, {"Location": f"{hook.url}/elsewhere"}
    publisher = WebhookPublisher(f"{hook.url}?token=hunter2", timeout_s=WAIT_S)
    with pytest.raises(PublishFailed, match="another address") as caught:
        publisher.publish("events", EVENT)
    publisher.close()
    assert len(hook.got) == 1
    assert "hunter2" not in caught.value.report()


def test_a_webhook_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        publisher = WebhookPublisher(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=0.05)
        with pytest.raises(PublishFailed, match="timed out"):
            publisher.publish("events", EVENT)
        publisher.close()


@pytest.mark.parametrize("url", ["ftp://example.com/x", "peagen", "http://", "file:///etc/passwd"])
def test_a_webhook_is_an_address_of_http(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        WebhookPublisher(url)


def test_rabbitmq_gets_events_and_confirms_them(broker: Broker) -> None:
    publisher = RabbitMQPublisher(host="127.0.0.1", port=broker.port, routing_key="peagen.events", timeout_s=WAIT_S)
    publisher.publish("ignored", EVENT)
    publisher.publish("ignored", EVENT | {"type": "process.done"})
    publisher.close()
    publisher.close()
    assert [(exchange, key, json.loads(data)["type"]) for exchange, key, data in broker.got] == [
        ("", "peagen.events", "process.started"),
        ("", "peagen.events", "process.done"),
    ]
    assert len(broker.logins) == 1


def test_rabbitmq_routes_by_channel_to_an_exchange(broker: Broker) -> None:
    publisher = RabbitMQPublisher(f"amqp://ada:pw@127.0.0.1:{broker.port}/", exchange="builds", timeout_s=WAIT_S)
    publisher.publish("custom.events", EVENT)
    publisher.close()
    assert [(exchange, key) for exchange, key, _ in broker.got] == [("builds", "custom.events")]
    assert b"ada" in broker.logins[0]


def test_rabbitmq_connects_again_after_its_connection_broke(broker: Broker) -> None:
    publisher = RabbitMQPublisher(host="127.0.0.1", port=broker.port, timeout_s=WAIT_S)
    broker.cut = True
    publisher.publish("events", EVENT)
    broker.cut = False
    publisher.publish("events", EVENT)
    publisher.publish("events", EVENT)
    publisher.close()
    assert len(broker.got) == 3
    assert len(broker.logins) == 2


def test_rabbitmq_that_is_away_is_told_without_its_password(refusing: int) -> None:
    publisher = RabbitMQPublisher(host="127.0.0.1", port=refusing, user="ada", password="hunter2")
    with pytest.raises(PublishFailed) as caught:
        publisher.publish("events", EVENT)
    publisher.close()
    assert "hunter2" not in caught.value.report()
    assert "hunter2" not in repr(publisher)
    with pytest.raises(ValueError, match="either"):
        RabbitMQPublisher("amqp://localhost", host="localhost")


@pytest.mark.parametrize(
    ("uri", "address", "channel"),
    [
        ("redis://localhost:6379/0/custom.events", "redis://localhost:6379/0", "custom.events"),
        ("redis://localhost:6379/custom.events", "redis://localhost:6379", "custom.events"),
        ("redis://localhost:6379/3", "redis://localhost:6379/3", "peagen.events"),
        ("rediss://ada:pw@cache/1/a%2Fb", "rediss://***@cache/1", "a/b"),
        ("unix:///run/valkey.sock?db=1#builds", "unix:///run/valkey.sock?db=1", "builds"),
        ("rabbitmq://ada:pw@mq:5673/builds", "amqp://***@mq:5673/", "builds"),
        ("amqps://ada:pw@mq/vhost#builds", "amqps://***@mq/vhost", "builds"),
        ("https://example.com/hook?token=x#builds", "https://example.com/hook?token=***", "builds"),
        ("webhook://example.com/hook", "https://example.com/hook", "peagen.events"),
    ],
)
def test_notify_addresses(uri: str, address: str, channel: str) -> None:
    notify = open_notify(uri)
    made: Any = notify.publisher
    assert (made.address, notify.channel) == (address, channel)


def test_notify_takes_a_publisher_of_the_configuration() -> None:
    adapters = {"redis": {"host": "cache", "db": 4, "channel": "builds"}}
    manager = PluginManager({"publishers": {"default_publisher": "redis", "adapters": adapters}})
    notify = open_notify("redis", manager)
    made: Any = notify.publisher
    assert (made.address, notify.channel) == ("redis://cache:6379/4", "builds")
    assert open_notify("redis://other/0", manager).channel == "builds"


@pytest.mark.parametrize("uri", ["carrier-pigeon://home/x", "nothing", "redis", "http://"])
def test_notify_refuses_what_is_no_publisher(uri: str) -> None:
    with pytest.raises(InvalidPluginSpecError):
        open_notify(uri)


def test_secrets_are_masked() -> None:
    said = masked("see https://ada:pw@host/x?api_key=1&page=2&X-Amz-Signature=3#top and amqp://:pw@mq")
    assert said == "see https://***@host/x?api_key=***&page=2&X-Amz-Signature=***#top and amqp://***@mq"


def test_a_run_tells_rabbitmq_and_leaves_nothing_behind(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "ptree.yaml.j2").write_text("- {FILE_NAME: a.j2, RENDERED_FILE_NAME: a.txt}\n")
    (tmp_path / "hello" / "a.j2").write_text("a")
    payload = "PROJECTS: [{NAME: P, ROOT: ., TEMPLATE_SET: hello, PACKAGES: [{NAME: p, MODULES: []}]}]\n"
    (tmp_path / "projects.yaml").write_text(payload)
    notify = f"--notify=rabbitmq://127.0.0.1:{broker.port}/builds"
    done = subprocess.run(
        [sys.executable, "-m", "peagen", "local", "process", "projects.yaml", "--provider", "scripted", notify],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(data)["type"] for _, key, data in broker.got if key == "builds"]
    assert (events[0], events[-1]) == ("process.started", "process.done")
    assert "Task was destroyed" not in done.stderr
    broker.wait_until_all_left()
    assert broker.goodbyes == 1
