"""Tokens of a host: what they open, and the files that keep them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from playground.host.tokens import TokenFiles, TokenProblem, Tokens, read_token


class TestRoles:
    def test_each_token_opens_what_it_is_for(self) -> None:
        tokens = Tokens.new()
        assert tokens.role(f"Bearer {tokens.control}") == "control"
        assert tokens.role(f"Bearer {tokens.view}") == "view"

    @pytest.mark.parametrize("shown", ["", "Bearer ", "Bearer x", "Bearer None", "\udcff", "Bearer é"])
    def test_anything_else_opens_nothing(self, shown: str) -> None:
        assert Tokens.new().role(shown) is None
        assert Tokens("secret").role(shown) is None

    def test_without_a_token_for_looking_on_there_is_one_role(self) -> None:
        tokens = Tokens("secret")
        assert tokens.role("Bearer secret") == "control"
        assert tokens.role(tokens.control) is None

    def test_no_two_are_alike(self) -> None:
        found = [token for _ in range(50) for token in Tokens.new()]
        assert len(set(found)) == 100
        assert all(token is not None and len(token) >= 40 for token in found)


class TestFiles:
    def test_they_are_their_owners_alone(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            files, tokens = TokenFiles.of(tmp_path, 4711), Tokens.new()
            files.write(tokens)
        finally:
            os.umask(before)
        assert stat.S_IMODE(files.control.stat().st_mode) == 0o600
        assert stat.S_IMODE(files.view.stat().st_mode) == 0o600
        assert stat.S_IMODE(files.view.parent.stat().st_mode) == 0o700
        assert (read_token(files.control), read_token(files.view)) == tokens
        assert (files.view.parent / ".gitignore").read_text() == "*\n"

    def test_they_are_removed_and_those_of_another_host_stay(self, tmp_path: Path) -> None:
        files, tokens, others = TokenFiles.of(tmp_path, 4711), Tokens.new(), Tokens.new()
        files.write(tokens)
        files.write(others)
        files.remove(tokens)
        assert read_token(files.control) == others.control
        files.remove(others)
        assert not files.control.exists()
        assert not files.view.exists()
        files.remove(others)

    def test_a_link_in_their_place_is_replaced_and_what_it_leads_to_untouched(self, tmp_path: Path) -> None:
        files = TokenFiles.of(tmp_path, 4711)
        files.control.parent.mkdir(parents=True)
        (tmp_path / "precious").write_text("keep me")
        files.control.symlink_to(tmp_path / "precious")
        files.write(Tokens.new())
        assert (tmp_path / "precious").read_text() == "keep me"
        assert not files.control.is_symlink()

    def test_a_folder_that_cannot_be_made_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "hosts").write_text("in the way")
        with pytest.raises(TokenProblem, match=r"4711\.control cannot be written"):
            TokenFiles.of(tmp_path, 4711).write(Tokens.new())


class TestReading:
    def test_one_that_others_can_read_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "token"
        path.write_text("secret\n")
        path.chmod(0o640)
        with pytest.raises(TokenProblem, match="chmod 600"):
            read_token(path)
        path.chmod(0o600)
        assert read_token(path) == "secret"

    @pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"\xff\xfe", b"a\nb", b"x" * 5000, b"a\x1b[2Jb"])
    def test_what_holds_no_token_is_told(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "token"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(TokenProblem, match="no token"):
            read_token(path)

    def test_one_that_is_missing_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(TokenProblem, match="No such file"):
            read_token(tmp_path / "nothing")

    def test_an_inherited_descriptor_will_do(self) -> None:
        reading, writing = os.pipe()
        os.write(writing, b"secret\n")
        os.close(writing)
        try:
            assert read_token(Path(f"/dev/fd/{reading}")) == "secret"
        finally:
            os.close(reading)


class TestKept:
    def test_they_are_the_same_the_next_time(self, tmp_path: Path) -> None:
        folder = tmp_path / "secrets" / "box"
        first = Tokens.kept(folder)
        assert Tokens.kept(folder) == first
        assert sorted(path.name for path in folder.iterdir()) == ["control", "view"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        assert read_token(folder / "control") == first.control
        (folder / "view").unlink()
        again = Tokens.kept(folder)
        assert (again.control, again.view != first.view) == (first.control, True)

    def test_those_of_somebody_who_was_quicker_hold(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        link = os.link

        def too_late(source: Path, target: Path) -> None:
            if not target.exists():
                target.touch(mode=0o600)
                target.write_text(f"theirs-{target.name}\n")
            link(source, target)

        monkeypatch.setattr("playground.host.tokens.os.link", too_late)
        assert Tokens.kept(tmp_path) == ("theirs-control", "theirs-view")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["control", "view"]

    def test_what_cannot_be_used_is_told(self, tmp_path: Path) -> None:
        tokens = Tokens.kept(tmp_path)
        (tmp_path / "view").write_text(tokens.control)
        with pytest.raises(TokenProblem, match="the same as `control`"):
            Tokens.kept(tmp_path)
        (tmp_path / "control").chmod(0o640)
        with pytest.raises(TokenProblem, match="chmod 600"):
            Tokens.kept(tmp_path)
        (tmp_path / "file").touch()
        with pytest.raises(TokenProblem, match="cannot be written"):
            Tokens.kept(tmp_path / "file")
