"""Where artifacts go: a folder, and a real server that speaks S3."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from peagen.errors import InvalidPluginSpecError
from peagen.plugins.errors import StorageFailed
from peagen.plugins.git_filters.artifacts import open_artifacts
from peagen.plugins.git_filters.file_filter import FileFilter
from peagen.plugins.git_filters.minio_filter import MinioFilter
from peagen.plugins.git_filters.object_filter import ObjectFilter
from peagen.plugins.git_filters.s3fs_filter import S3FSFilter
from peagen.plugins.manager import PluginManager
from peagen.plugins.protocols import Storage

WAIT_S = 120.0
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a server with S3, in a process that ends with its stdin."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://")
        yield address
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def bucket(s3_server: str, request: pytest.FixtureRequest) -> str:
    """A bucket that nobody else has."""
    name = "b" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    assert httpx.put(f"{s3_server}/{name}", timeout=WAIT_S).status_code == 200
    return name


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys in the environment, and nothing else about AWS."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ada")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")


Make = Callable[[], Storage]


@pytest.fixture(params=["file", "s3", "minio"])
def make(request: pytest.FixtureRequest, tmp_path: Path, keys: None) -> Make:
    """Opens the same storage once more."""
    if request.param == "file":
        return lambda: FileFilter(tmp_path / "store")
    server, name = request.getfixturevalue("s3_server"), request.getfixturevalue("bucket")
    if request.param == "s3":
        return lambda: S3FSFilter(name, "deep/er", endpoint_url=server)
    return lambda: MinioFilter.from_uri(f"s3://{server.removeprefix('http://')}/{name}/deep")


def test_a_file_comes_back_as_it_was_kept(make: Make) -> None:
    store = make()
    assert isinstance(store, Storage)
    where = store.upload("a/b c/é.bin", io.BytesIO(b"one\0\xff"))
    assert where.startswith(store.root_uri)
    store.upload("a/b c/é.bin", io.BytesIO(b"two" * 1000))
    with make().download("a/b c/é.bin") as data:
        assert data.read() == b"two" * 1000
    store.upload("empty", io.BytesIO(b""))
    with make().download("empty") as data:
        assert data.read() == b""


def test_what_is_not_there_is_told(make: Make) -> None:
    with pytest.raises(StorageFailed, match="nothing/here"):
        make().download("nothing/here")
    assert list(make().iter_prefix("nothing/")) == []


def test_prefixes_go_by_letters(make: Make) -> None:
    store = make()
    for key in ("run/1/b", "run/1/a", "run/10/c", "other"):
        store.upload(key, io.BytesIO(key.encode()))
    assert list(store.iter_prefix("run/1")) == ["run/1/a", "run/1/b", "run/10/c"]
    assert list(store.iter_prefix("run/1/")) == ["run/1/a", "run/1/b"]
    assert list(store.iter_prefix("")) == ["other", "run/1/a", "run/1/b", "run/10/c"]


def test_a_folder_goes_and_comes_back(make: Make, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep").mkdir(parents=True)
    (source / "top.txt").write_text("top")
    (source / "deep" / "low.txt").write_text("low")
    (tmp_path / "secret").write_text("secret")
    (source / "link").symlink_to(tmp_path / "secret")
    assert make().upload_dir(source, prefix="project/run").endswith("project/run/")
    make().download_prefix("project/run", target)
    assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()) == [
        "deep/low.txt",
        "top.txt",
    ]
    assert (target / "deep" / "low.txt").read_text() == "low"
    with pytest.raises(StorageFailed):
        make().upload_dir(tmp_path / "nowhere")


def test_contents_are_kept_by_their_hash(make: Make) -> None:
    data = b"large file" * 100
    oid = make().clean(data)
    assert oid == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert make().clean(data) == oid
    assert make().smudge(f"{oid}\n") == data
    for wrong in ("sha256:" + "0" * 64, "sha256:../../etc/passwd", oid.removeprefix("sha256:"), ""):
        with pytest.raises(StorageFailed):
            make().smudge(wrong)


def test_another_content_under_a_hash_is_refused(make: Make) -> None:
    store = make()
    oid = store.clean(b"right")
    digest = oid.removeprefix("sha256:")
    store.upload(f"sha256/{digest[:2]}/{digest}", io.BytesIO(b"wrong"))
    with pytest.raises(StorageFailed, match="another content"):
        store.smudge(oid)


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../x", "", ".", "a\0b", "a\\..\\b"])
def test_keys_stay_inside(make: Make, key: str) -> None:
    with pytest.raises(StorageFailed):
        make().upload(key, io.BytesIO(b"x"))
    with pytest.raises(StorageFailed):
        make().download(key)


def test_links_in_the_folder_do_not_lead_out(tmp_path: Path) -> None:
    store = FileFilter(tmp_path / "store")
    store.upload("a", io.BytesIO(b"x"))
    (tmp_path / "store" / "out").symlink_to(tmp_path)
    with pytest.raises(StorageFailed, match="leads out"):
        store.upload("out/x", io.BytesIO(b"x"))
    assert not (tmp_path / "x").exists()


def test_without_keys_nobody_is_asked_for_some(s3_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", raising=False)
    with pytest.raises(StorageFailed, match="no keys") as caught:
        S3FSFilter(bucket, endpoint_url=s3_server).upload("a", io.BytesIO(b"x"))
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint
    assert S3FSFilter(bucket, endpoint_url=s3_server, anonymous=True).upload("a", io.BytesIO(b"x"))


def test_a_bucket_that_is_not_there_is_told(s3_server: str, keys: None) -> None:
    store = S3FSFilter("nobodys", endpoint_url=s3_server)
    with pytest.raises(StorageFailed) as caught:
        store.upload("a", io.BytesIO(b"x"))
    assert "hunter2" not in caught.value.report()
    assert "nobodys" in caught.value.report()


def test_the_endpoint_of_the_environment_counts(
    s3_server: str, bucket: str, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    made = open_artifacts(f"s3://{bucket}/runs")
    made.upload("a", io.BytesIO(b"x"))
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with S3FSFilter(bucket, endpoint_url=s3_server).download("runs/a") as data:
        assert data.read() == b"x"


@pytest.mark.parametrize(
    ("uri", "endpoint", "bucket", "prefix"),
    [
        ("s3://localhost:9000/peagen", "http://localhost:9000", "peagen", ""),
        ("s3://localhost:9000", "http://localhost:9000", "peagen", ""),
        ("s3://127.0.0.1:9000/b/c/d", "http://127.0.0.1:9000", "b", "c/d"),
        ("s3://store.example.com:9000/b", "https://store.example.com:9000", "b", ""),
        ("minio://store:9000/b", "http://store:9000", "b", ""),
        ("minios://ada:pw@store/b", "https://store", "b", ""),
    ],
)
def test_addresses_of_servers(uri: str, endpoint: str, bucket: str, prefix: str) -> None:
    for made in (MinioFilter.from_uri(uri), open_artifacts(uri)):
        assert isinstance(made, ObjectFilter)
        assert (made.endpoint, made.bucket, made.prefix) == (endpoint, bucket, prefix)
        assert "pw" not in repr(made)


def test_addresses_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for uri in (
        "file:///./out",
        "file://./out",
        "dir://out",
        "file://out",
        "./out",
        f"file://{tmp_path}/out",
        "dir:///./out",
    ):
        made = open_artifacts(uri)
        assert isinstance(made, FileFilter)
        assert made.folder == tmp_path / "out", uri
    folder: Any = S3FSFilter.from_uri("file:///./peagen_artifacts")
    assert folder.folder == tmp_path / "peagen_artifacts"


def test_a_filter_of_the_configuration(tmp_path: Path) -> None:
    config = {"storage": {"default_filter": "file", "filters": {"file": {"output_dir": str(tmp_path / "x")}}}}
    made = open_artifacts("file", PluginManager(config))
    assert isinstance(made, FileFilter)
    assert made.folder == tmp_path / "x"


@pytest.mark.parametrize("uri", ["gh_release://o/r", "github://o/r", "ftp://host/x", "s3://", "s3://u:p@bucket/x"])
def test_artifacts_refuse_what_is_no_storage(uri: str) -> None:
    with pytest.raises(InvalidPluginSpecError):
        open_artifacts(uri)


def test_git_keeps_large_files_by_their_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def called(function: str, data: bytes, uri: str) -> subprocess.CompletedProcess[bytes]:
        program = f"import sys; from peagen.plugins.git_filters import {function}; sys.exit({function}({uri!r}))"
        return subprocess.run(
            [sys.executable, "-c", program], input=data, capture_output=True, check=False, cwd=tmp_path
        )

    pointer = called("clean", b"large\0file", "file://kept").stdout
    assert pointer == f"sha256:{hashlib.sha256(b'large' + bytes(1) + b'file').hexdigest()}\n".encode()
    assert called("clean", pointer, "file://kept").stdout == pointer
    assert called("smudge", pointer, "file://kept").stdout == b"large\0file"
    assert called("smudge", b"from before", "file://kept").stdout == b"from before"
    lost = called("smudge", pointer, "file://elsewhere")
    assert lost.returncode == 1
    assert b"Traceback" not in lost.stderr
    assert b"cannot be read" in lost.stderr


def test_a_run_copies_what_it_makes(s3_server: str, bucket: str, tmp_path: Path, keys: None) -> None:
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "ptree.yaml.j2").write_text("- {FILE_NAME: a.j2, RENDERED_FILE_NAME: deep/a.txt}\n")
    (tmp_path / "hello" / "a.j2").write_text("made")
    payload = "PROJECTS: [{NAME: My P, ROOT: ., TEMPLATE_SET: hello, PACKAGES: [{NAME: p, MODULES: []}]}]\n"
    (tmp_path / "projects.yaml").write_text(payload)
    address = f"s3://{s3_server.removeprefix('http://')}/{bucket}/kept"
    command = [sys.executable, "-m", "peagen", "local", "process", "projects.yaml", "--provider", "scripted"]
    done = subprocess.run(
        [*command, f"--artifacts={address}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    store = open_artifacts(address)
    (key,) = store.iter_prefix("projects/my-p/runs/")
    assert key.endswith("/deep/a.txt")
    with store.download(key) as data:
        assert data.read() == b"made"
