"""Artifacts in Amazon's S3, or what its variables point at."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from peagen.plugins.errors import masked
from peagen.plugins.git_filters.contents import ContentStore
from peagen.plugins.git_filters.object_filter import ObjectFilter, credentials


class S3FSFilter(ObjectFilter):
    """Keys and endpoint come from `AWS_…` variables where they are not given."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str | None = None,
        key: str | None = None,
        secret: str | None = None,
        token: str | None = None,
        region: str | None = None,
        anonymous: bool = False,
        instance_credentials: bool = False,
    ) -> None:
        """`endpoint_url`: by default `AWS_ENDPOINT_URL_S3`, then `AWS_ENDPOINT_URL`, then Amazon's own."""
        from_environment = key is None
        super().__init__(
            bucket,
            prefix,
            endpoint=endpoint_url or credentials("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
            access_key=key or credentials("AWS_ACCESS_KEY_ID"),
            secret_key=secret or credentials("AWS_SECRET_ACCESS_KEY"),
            session_token=token or (credentials("AWS_SESSION_TOKEN") if from_environment else None),
            region=region,
            anonymous=anonymous,
            instance_credentials=instance_credentials,
        )

    @classmethod
    def from_uri(cls, uri: str) -> ContentStore:
        """`s3://bucket/prefix`; a folder (`file:///./peagen_artifacts`) gets a `FileFilter`. Raises `ValueError`."""
        parts = urlsplit(uri)
        if parts.scheme in ("file", "dir"):
            from peagen.plugins.git_filters.file_filter import FileFilter

            return FileFilter.from_uri(uri)
        if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc:
            raise ValueError(f"this is no s3://bucket/prefix: {masked(uri)}")
        return cls(parts.netloc, unquote(parts.path).strip("/"))
