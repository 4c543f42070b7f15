"""`--artifacts URI`: a storage out of an address."""

from __future__ import annotations

from urllib.parse import urlsplit

from peagen.errors import InvalidPluginSpecError
from peagen.plugins.errors import masked
from peagen.plugins.manager import PluginManager
from peagen.plugins.protocols import Storage

_ELSEWHERE = {"github", "gh_release"}


def open_artifacts(uri: str, manager: PluginManager | None = None) -> Storage:
    """The storage that an address names; nothing is connected yet.

    - `file:///./peagen_artifacts`, `dir://folder`, or a path: a folder.
    - `s3://bucket/prefix`: Amazon's S3, or what `AWS_ENDPOINT_URL` points at.
    - `s3://host:port/bucket/prefix`, `minio[s]://host/bucket/prefix`: a server of one's own.
    - the name of any filter, alone (made as the configuration says) or as a scheme (made by its `from_uri`).

    Raises:
        InvalidPluginSpecError: no filter of that name, or not an address of it.
    """
    manager = manager or PluginManager()
    parts = urlsplit(uri)
    scheme = uri.partition("://")[0] if "://" in uri else ""  # names of plugins may have what schemes may not
    where = f"--artifacts {masked(uri)}"
    try:
        if not scheme:
            made = manager.get("git_filters", uri) if uri in manager.names("git_filters") else _folder(uri)
        elif scheme in ("file", "dir"):
            made = _folder(uri)
        elif scheme in ("minio", "minios") or (scheme == "s3" and parts.port is not None):
            made = manager.load("git_filters", "minio").from_uri(uri)
        elif scheme in _ELSEWHERE and scheme not in manager.names("git_filters"):
            raise InvalidPluginSpecError(
                f"artifacts are not kept at {scheme}://",
                where=where,
                hint="Known are file://, s3:// and minio://.",
            )
        else:
            made = manager.load("git_filters", scheme).from_uri(uri)
    except InvalidPluginSpecError:
        raise
    except (ValueError, AttributeError) as error:
        raise InvalidPluginSpecError(masked(str(error)), where=where) from None
    assert isinstance(made, Storage)
    return made


def _folder(uri: str) -> Storage:
    from peagen.plugins.git_filters.file_filter import FileFilter

    return FileFilter.from_uri(uri)
