"""What a flow has on a NATS server: a stream of its edges, a consumer for each of them, a stream of dead letters."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from penguiflow.bus.codec import FORMAT
from penguiflow.bus.errors import BusError, BusForeign
from penguiflow.bus.naming import token
from penguiflow.bus.protocol import PRIVATE_S, Limits
from penguiflow.bus.waiting import Patience

__all__ = ["Place"]

_log = logging.getLogger("penguiflow.bus")

MAX_DEAD = 100_000
"""So many dead letters of an edge are kept, the latest."""
_FORMAT_KEY = "penguiflow.format"
_OVERLAP = 10065
_IN_USE = 10058
_ASK_S = 10.0
_MOST_EDGES = 100_000
"""Of one flow. A server that is told nothing takes a thousand consumers of a stream."""


class Place:
    """The names, and how they come to be there.

    Dead letters are found by who receives: a message that was delivered too often is not handed over but buried. The
    server's own advisory of that is sent once, to whoever listens at that moment, and the message stays where it is.
    """

    def __init__(self, flow: str, edges: Sequence[str], limits: Limits) -> None:
        name = token(flow)
        self.flow = flow
        self.stream = f"pf_{name}"
        self.dead = f"pf_{name}_dead"
        self.answers = f"pf_{name}_answers"
        self.feed = f"pf.{name}.feed"
        self.limits = limits
        self._queue = f"pf.{name}.edge"
        self._grave = f"pf.{name}.dead"
        self._answer = f"pf.{name}.answer"
        self.tokens = {edge: token(edge) for edge in edges}
        self.listening: dict[str, str] = {}
        """Edges of this process alone, and their tokens."""
        self._made = False

    def subject(self, edge: str) -> str:
        """Where messages of an edge are put."""
        return f"{self._queue}.{self.tokens[edge]}"

    def grave(self, edge: str) -> str:
        """Where its dead letters are put."""
        return f"{self._grave}.{self.tokens[edge]}"

    def answer(self, edge: str) -> str:
        """Where is put what one process is told."""
        return f"{self._answer}.{token(edge)}"

    async def listen(self, client: Client, edge: str) -> None:
        """Make an edge that is there for as long as somebody gets from it."""
        js = client.jetstream(timeout=_ASK_S)
        config = replace(self._consumer(edge, token(edge), self.answer(edge)), inactive_threshold=PRIVATE_S)
        await js.add_consumer(self.answers, config, timeout=_ASK_S)
        self.listening[edge] = token(edge)

    async def leave(self, client: Client, edge: str) -> None:
        """Make an end of it."""
        if self.listening.pop(edge, None) is not None:
            with suppress(NotFoundError):
                await client.jetstream(timeout=_ASK_S).delete_consumer(self.answers, token(edge))

    async def make(self, client: Client, server: str, patience: Patience) -> None:
        """See to it that everything is there, with patience for as long as it goes on. Raises `BusForeign`."""
        js = client.jetstream(timeout=_ASK_S)
        try:
            found = await self._find(js, server)
            theirs = {} if found is None else await self._consumers(js, server, patience)
            await self._make_streams(js, found)
            for done, (edge, name) in enumerate(self.tokens.items(), 1):
                wanted = self._consumer(edge, name, self.subject(edge))
                if not _same(wanted, theirs.get(name)):
                    await js.add_consumer(self.stream, wanted, timeout=_ASK_S)
                    patience.answered(f"{done:,} of {len(self.tokens):,} edges are open")
            for edge in list(self.listening):
                await self.listen(client, edge)
        except ServiceUnavailableError:
            raise  # it has only just begun: ask again
        except APIError as error:
            if error.err_code in (_OVERLAP, _IN_USE):
                raise BusForeign(
                    f"the stream '{self.stream}' at {server} cannot be made: {error.description}. "
                    f"Another stream has its subjects; give the flow '{self.flow}' another name"
                ) from error
            raise BusError(f"JetStream at {server} refuses what the flow needs: {error.description}") from error
        if found is None and self._made:
            _log.warning("the bus at %s came back without its data", server)
        self._made = True

    async def _find(self, js: JetStreamContext, server: str) -> api.StreamConfig | None:
        """The stream's settings as they are, if it is there and this flow's."""
        try:
            config = (await js.stream_info(self.stream)).config
        except NotFoundError:
            return None
        form = (config.metadata or {}).get(_FORMAT_KEY)
        if form is None:
            raise BusForeign(f"the stream '{self.stream}' at {server} is not penguiflow's: name the flow differently")
        if int(form) > FORMAT:
            raise BusForeign(f"the stream '{self.stream}' at {server} was made by a newer penguiflow (format {form})")
        return config

    async def _consumers(self, js: JetStreamContext, server: str, patience: Patience) -> dict[str, api.ConsumerConfig]:
        """Those that the stream has."""
        theirs: dict[str, api.ConsumerConfig] = {}
        offset = 0
        while page := await js.consumers_info(self.stream, offset=offset):  # at most 256 at a time
            offset += len(page)
            theirs |= {str(each.name): each.config for each in page if each.config}
            patience.answered(f"{offset:,} edges were looked at", further=False)
        if theirs and theirs.keys().isdisjoint(self.tokens.values()):
            raise BusForeign(
                f"'{self.flow}' at {server} is another flow (its consumers: {', '.join(sorted(theirs))}): "
                "give this one a name of its own"
            )
        return theirs

    async def _make_streams(self, js: JetStreamContext, found: api.StreamConfig | None) -> None:
        capacity = self.limits.capacity or -1
        if found is None:
            config = api.StreamConfig(
                name=self.stream,
                subjects=[f"{self._queue}.*"],
                retention=api.RetentionPolicy.WORK_QUEUE,
                storage=api.StorageType.FILE,
                discard=api.DiscardPolicy.NEW,
                discard_new_per_subject=capacity > 0,
                max_msgs_per_subject=capacity,
                duplicate_window=self.limits.dedupe_s,
                max_consumers=_MOST_EDGES,
                metadata={_FORMAT_KEY: str(FORMAT)},
            )
            await js.add_stream(config)
        elif 0 < found.max_msgs_per_subject != capacity and not 0 < capacity < found.max_msgs_per_subject:
            # Never less than before: the server would drop what is too much.
            await js.update_stream(replace(found, max_msgs_per_subject=capacity, discard_new_per_subject=capacity > 0))
        graves = api.StreamConfig(
            name=self.dead,
            subjects=[f"{self._grave}.*"],
            storage=api.StorageType.FILE,
            max_msgs_per_subject=MAX_DEAD,
            duplicate_window=self.limits.dedupe_s,
            metadata={_FORMAT_KEY: str(FORMAT)},
        )
        # What nobody listens to is not kept.
        answers = api.StreamConfig(
            name=self.answers,
            subjects=[f"{self._answer}.*"],
            retention=api.RetentionPolicy.INTEREST,
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.NEW,
            discard_new_per_subject=capacity > 0,
            max_msgs_per_subject=capacity,
            duplicate_window=self.limits.dedupe_s,
            metadata={_FORMAT_KEY: str(FORMAT)},
        )
        for stream in (graves, answers):
            try:
                await js.add_stream(stream)
            except APIError as error:
                if error.err_code != _IN_USE:  # made before, with another window
                    raise

    def _consumer(self, edge: str, name: str, subject: str) -> api.ConsumerConfig:
        return api.ConsumerConfig(
            durable_name=name,
            filter_subject=subject,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=self.limits.lease_s,
            max_deliver=-1,
            max_ack_pending=-1,
            max_waiting=8192,
            metadata={"penguiflow.edge": edge},
        )


def _same(wanted: api.ConsumerConfig, found: api.ConsumerConfig | None) -> bool:
    """Whether a consumer is as it should be: making each anew takes longer than asking for all of them."""
    return found is not None and (wanted.filter_subject, wanted.ack_wait) == (found.filter_subject, found.ack_wait)
