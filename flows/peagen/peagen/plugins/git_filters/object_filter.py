"""Artifacts in an object storage that speaks S3."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from peagen.plugins.errors import StorageFailed, masked, needs_extra
from peagen.plugins.git_filters.contents import ContentStore, checked_key

if TYPE_CHECKING:
    from obstore.store import S3Store

TIMEOUT = "60s"
CONNECT_TIMEOUT = "10s"
RETRIES = 3
_GRANTED = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Set where a platform lends its credentials."""


class ObjectFilter(ContentStore):
    """Keeps files in a bucket that is there, under a prefix. Connects when it is first asked.

    Without keys nobody is asked for any, unless the environment lends some or `instance_credentials` says so: the
    service that a cloud's machines have for it is an address of their private network.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
        region: str | None = None,
        anonymous: bool = False,
        instance_credentials: bool = False,
    ) -> None:
        """`endpoint`: `http[s]://host:port` of a server of one's own; by default that of Amazon.

        Raises `ValueError` without a bucket, or for an endpoint that is no address.
        """
        if not bucket:
            raise ValueError("an object storage needs the name of a bucket")
        if endpoint is not None and not endpoint.startswith(("http://", "https://")):
            raise ValueError(f"an endpoint begins with http:// or https://, unlike {masked(endpoint)!r}")
        self.bucket = bucket
        self.prefix = checked_key(prefix.strip("/"), prefix=True)
        self.endpoint = endpoint
        self._keys = {"access_key_id": access_key, "secret_access_key": secret_key, "session_token": session_token}
        self._region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        self._anonymous = anonymous
        self._instance_credentials = instance_credentials
        self._store: S3Store | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.root_uri!r})"

    @property
    def root_uri(self) -> str:
        """`s3://bucket/prefix/`, with the host of an endpoint in front."""
        host = "" if self.endpoint is None else self.endpoint.partition("://")[2].rpartition("@")[2] + "/"
        return f"s3://{host}{self.bucket}/{self.prefix}{'/' if self.prefix else ''}"

    def upload(self, key: str, data: BinaryIO) -> str:
        """Keep a file; where it is now. Large ones go in parts."""
        obstore = _library()
        where = self._at(key)
        with self._told(key):
            obstore.put(self._opened(), where, data)
        return f"{self.root_uri}{key}"

    def download(self, key: str) -> BinaryIO:
        """Open a file, which is read whole."""
        obstore = _library()
        where = self._at(key)
        with self._told(key):
            return io.BytesIO(bytes(obstore.get(self._opened(), where).bytes()))

    def iter_prefix(self, prefix: str) -> Iterator[str]:
        """The keys that begin so, in order."""
        obstore = _library()
        checked_key(prefix, prefix=True)
        top = f"{self.prefix}/" if self.prefix else ""
        # The storage looks for whole folders; the rest of a name is compared here.
        folder = f"{top}{prefix.rpartition('/')[0]}".rstrip("/")
        found: list[str] = []
        with self._told(prefix):
            for batch in obstore.list(self._opened(), folder or None):
                found += [str(each["path"]).removeprefix(top) for each in batch]
        yield from sorted(key for key in found if key.startswith(prefix))

    def has(self, key: str) -> bool:
        """Whether there is such a file."""
        obstore = _library()
        where = self._at(key)
        try:
            with self._told(key):
                obstore.head(self._opened(), where)
        except _Missing:
            return False
        return True

    def _at(self, key: str) -> str:
        return f"{self.prefix}/{checked_key(key)}" if self.prefix else checked_key(key)

    def _told(self, key: str) -> AbstractContextManager[None]:
        return _told(key, self.root_uri)

    def _opened(self) -> S3Store:
        if self._store is None:
            from obstore.store import S3Store

            options: dict[str, Any] = {"region": self._region, "virtual_hosted_style_request": False}
            options |= {name: value for name, value in self._keys.items() if value}
            if self.endpoint is not None:
                options["endpoint"] = self.endpoint
            if self._anonymous:
                options["skip_signature"] = True
            elif not self._keys["access_key_id"]:
                self._may_look_for_credentials()
            plain = self.endpoint is not None and self.endpoint.startswith("http://")
            client: dict[str, Any] = {"timeout": TIMEOUT, "connect_timeout": CONNECT_TIMEOUT, "allow_http": plain}
            self._store = S3Store(
                self.bucket, client_options=cast("Any", client), retry_config={"max_retries": RETRIES}, **options
            )
        return self._store

    def _may_look_for_credentials(self) -> None:
        if not self._instance_credentials and not any(os.environ.get(name) for name in _GRANTED):
            raise StorageFailed(
                "there are no keys for the object storage",
                where=self.root_uri,
                hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or anonymous = true or "
                "instance_credentials = true in the filter's table.",
            )


class _Missing(StorageFailed):
    """There is no such file."""


@contextmanager
def _told(key: str, where: str) -> Iterator[None]:
    """What the library raises, as `StorageFailed`."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise _Missing(f"there is no {key!r}", where=where) from None
    except (BaseError, OSError, ValueError) as error:
        said = " ".join(masked(str(error)).split("\n\n")[0].split())[:300]
        raise StorageFailed(f"the storage did not do it for {key!r}: {said}", where=where) from None


def _library() -> Any:
    try:
        import obstore
    except ImportError:
        raise needs_extra("obstore", "s3") from None
    return obstore


def credentials(*names: str) -> str | None:
    """The first of these variables that is set."""
    return next((value for name in names if (value := os.environ.get(name))), None)
