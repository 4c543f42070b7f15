"""Artifacts in a server of one's own that speaks S3, such as MinIO."""

from __future__ import annotations

import ipaddress
from urllib.parse import unquote, urlsplit

from peagen.plugins.errors import masked
from peagen.plugins.git_filters.object_filter import ObjectFilter, credentials

DEFAULT_BUCKET = "peagen"


class MinioFilter(ObjectFilter):
    """Keys come from `MINIO_ACCESS_KEY` and `MINIO_SECRET_KEY`, else from `AWS_…`, where they are not given."""

    def __init__(
        self,
        endpoint: str,
        bucket: str = DEFAULT_BUCKET,
        prefix: str = "",
        *,
        access_key: str | None = None,
        secret_key: str | None = None,
        secure: bool | None = None,
        region: str | None = None,
        anonymous: bool = False,
    ) -> None:
        """`endpoint`: `host:port`, or its address.

        `secure` says whether it is asked over https; by default it is, unless it is this machine.
        """
        if "://" not in endpoint:
            secure = not _is_here(endpoint) if secure is None else secure
            endpoint = f"http{'s' if secure else ''}://{endpoint}"
        super().__init__(
            bucket,
            prefix,
            endpoint=endpoint,
            access_key=access_key or credentials("MINIO_ACCESS_KEY", "MINIO_ROOT_USER", "AWS_ACCESS_KEY_ID"),
            secret_key=secret_key or credentials("MINIO_SECRET_KEY", "MINIO_ROOT_PASSWORD", "AWS_SECRET_ACCESS_KEY"),
            region=region,
            anonymous=anonymous,
        )

    @classmethod
    def from_uri(cls, uri: str) -> MinioFilter:
        """`s3://host:port[/bucket[/prefix]]`, `minio://…` (http) or `minios://…` (https). Raises `ValueError`."""
        parts = urlsplit(uri)
        if parts.scheme not in ("s3", "minio", "minios") or not parts.hostname:
            raise ValueError(f"this is no s3://host:port/bucket/prefix: {masked(uri)}")
        bucket, _, prefix = unquote(parts.path).strip("/").partition("/")
        secure = {"s3": None, "minio": False, "minios": True}[parts.scheme]
        login = (None if part is None else unquote(part) for part in (parts.username, parts.password))
        access_key, secret_key = login
        host = parts.netloc.rpartition("@")[2]
        return cls(host, bucket or DEFAULT_BUCKET, prefix, access_key=access_key, secret_key=secret_key, secure=secure)


def _is_here(endpoint: str) -> bool:
    host = urlsplit(f"//{endpoint}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
