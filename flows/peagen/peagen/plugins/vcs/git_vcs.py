"""Versions kept with git."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from peagen.config.variables import is_unset
from peagen.errors import GitError
from peagen.plugins.vcs.git_command import GitCommand, with_token
from peagen.plugins.vcs.refs import REFSPEC

MIRROR = "mirror"
"""The remote that gets a copy of what is pushed to `origin`."""
_USER = ("Peagen", "peagen@example.com")
"""Who commits where git knows nobody."""


class GitVCS:
    """The repository of a work-tree. Nothing is done before it is asked for."""

    def __init__(
        self,
        root: str | Path = ".",
        *,
        mirror_git_url: str | None = None,
        mirror_git_token: str | None = None,
        owner: str | None = None,
        remotes: Mapping[str, str] | None = None,
    ) -> None:
        """`remotes` and the mirror are used where they are named; the repository's own remotes stay.

        Args:
            mirror_git_url: A repository; with `owner` also a server, and then it is `<server>/<owner>/<folder>.git`.
            mirror_git_token: Shown to the mirror alone. It never is in an argument or in git's configuration.

        A value that still is `${VAR}`, because nothing is set, counts as none.
        """
        self._root = Path(root).absolute()
        self._git = GitCommand(self._root)
        self._token = _set(mirror_git_token)
        named = {name: url for name, url in (remotes or {}).items() if _set(url)}
        if (mirror := _set(mirror_git_url)) is not None:
            named[MIRROR] = _repository(mirror, _set(owner), self._root.name)
        self._named = named

    @property
    def root(self) -> Path:
        """The work-tree."""
        return self._root

    @classmethod
    def init(cls, root: str | Path, *, branch: str = "main", remotes: Mapping[str, str] | None = None) -> GitVCS:
        """A new repository; one that is there is left as it is, but for its remotes."""
        folder = Path(root)
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder, remotes=remotes)
        if made._git.says("rev-parse", "--git-dir") is None:
            made._git.run("init", "--quiet", f"--initial-branch={made._branch(branch)}")
        made.add_remotes()
        return made

    @classmethod
    def clone(cls, url: str, root: str | Path, *, ref: str | None = None) -> GitVCS:
        """A copy of a repository, at its own branch or at `ref`."""
        folder = Path(root).absolute()
        folder.parent.mkdir(parents=True, exist_ok=True)
        GitCommand(folder.parent).run("clone", "--quiet", "--", url, str(folder))
        made = cls(folder)
        if ref is not None:
            made.fetch(ref)
            made._git.run("checkout", "--quiet", "--detach", "FETCH_HEAD")
        return made

    # Branches

    @property
    def branch(self) -> str | None:
        """The branch that is checked out; None where there is none."""
        return self._git.says("symbolic-ref", "--quiet", "--short", "HEAD")

    def resolve(self, ref: str = "HEAD") -> str:
        """The hash of a commit."""
        return self._git.text("rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}")

    def create_branch(self, name: str, start: str = "HEAD", *, checkout: bool = False) -> None:
        """A new branch. One that is there already is an error."""
        self._git.run("branch", "--no-track", "--", self._branch(name), self.resolve(start))
        if checkout:
            self.switch(name)

    def switch(self, name: str) -> None:
        """Check a branch out."""
        self._git.run("switch", "--quiet", "--no-guess", self._branch(name))

    def fan_out(self, base: str, names: Iterable[str]) -> list[str]:
        """Branches that all begin at `base`, all of them or none; what is checked out stays. Returns their names."""
        start, made = self.resolve(base), [self._branch(name) for name in names]
        orders = "".join(f"create refs/heads/{name} {start}\n" for name in made)
        self._git.run("update-ref", "--stdin", input=orders.encode())
        return made

    def fan_in(self, names: Sequence[str], message: str) -> str:
        """Merge branches into the one that is checked out; the commit. Where they conflict nothing is changed."""
        if self._git.attempt(
            *self._identity(), "merge", "--quiet", "--no-ff", "-m", message, *map(self._ref, names)
        ).returncode:
            self._git.attempt("merge", "--abort")
            raise GitError(f"{', '.join(names)} cannot be merged without a person", where=str(self._root))
        return self.resolve()

    def merge_ours(self, names: Sequence[str], message: str) -> str:
        """Note that branches are merged, and keep the files as they are; the commit."""
        self._git.run(*self._identity(), "merge", "--quiet", "--strategy=ours", "-m", message, *map(self._ref, names))
        return self.resolve()

    def promote(self, source: str, target: str) -> str:
        """Have the branch `target` be where `source` is; the commit."""
        self._git.run("branch", "--no-track", "--force", "--", self._branch(target), self.resolve(source))
        return self.resolve(target)

    def tag(self, name: str, ref: str = "HEAD", *, message: str | None = None) -> None:
        """Name a commit; with a message by a tag of its own."""
        if self._git.says("check-ref-format", f"refs/tags/{name}") is None or name.startswith("-"):
            raise GitError(f"{name!r} is no name of a tag")
        about = ["--annotate", "-m", message] if message is not None else []
        self._git.run(*self._identity(), "tag", *about, "--", name, self.resolve(ref))

    def clean_reset(self) -> None:
        """Have the work-tree be as the last commit: what is not committed is lost; what git ignores stays."""
        self._git.run("reset", "--quiet", "--hard")
        self._git.run("clean", "--quiet", "--force", "-d")

    # Commits

    def commit(self, paths: Sequence[str], message: str) -> str | None:
        """Commit these files and no others, whatever else is staged; None where nothing changed.

        Paths are relative to the work-tree. What git ignores is left out; a file that is gone is removed.
        """
        ignored = self._ignored(paths) if paths else set()
        wanted = [path for path in paths if path not in ignored]
        listed = "\0".join(wanted).encode()
        from_stdin = ("--pathspec-from-file=-", "--pathspec-file-nul")
        if not wanted:
            return None
        self._git.run("add", "--all", *from_stdin, input=listed)
        staged = self._git.run("diff", "--cached", "--relative", "--name-only", "--no-renames", "-z")
        changed = {name for name in staged.decode("utf-8", "surrogateescape").split("\0") if name} & set(wanted)
        if not changed:
            return None
        only = "\0".join(sorted(changed)).encode("utf-8", "surrogateescape")
        self._git.run(*self._identity(), "commit", "--quiet", "--only", "-m", message, *from_stdin, input=only)
        return self.resolve()

    def fetch(self, ref: str | None = None, *, remote: str = "origin") -> str | None:
        """Get what is new, or one branch, tag or commit; its hash."""
        where, environ = self._remote(remote)
        if ref is None:
            self._git.run("fetch", "--quiet", "--end-of-options", where, environ=environ)
            return None
        if ref.startswith("-"):
            raise GitError(f"{ref!r} is no name of a branch, tag or commit")
        self._git.run("fetch", "--quiet", "--end-of-options", where, ref, environ=environ)
        return self._git.text("rev-parse", "FETCH_HEAD^{commit}")

    def push(self, ref: str | None = None) -> list[str]:
        """Send a branch (the one that is checked out by default) to `origin` and the mirror; those that there are."""
        name = ref or self.branch
        if name is None:
            raise GitError("no branch is checked out, so there is none to push", where=str(self._root))
        refspec = f"refs/heads/{self._branch(name)}:refs/heads/{name}"
        sent = [remote for remote in ("origin", MIRROR) if remote in self.remotes()]
        for remote in sent:
            self._send(remote, refspec)
        return sent

    def push_all(self, remote: str = "origin") -> None:
        """Send all branches below `pea/`."""
        self._send(remote, REFSPEC)

    # Remotes

    def remotes(self) -> dict[str, str]:
        """Addresses by name: the repository's own, and those that the configuration names."""
        lines = (self._git.says("config", "--get-regexp", r"^remote\..*\.url$") or "").splitlines()
        own = {
            key.removeprefix("remote.").removesuffix(".url"): url for key, _, url in (x.partition(" ") for x in lines)
        }
        return {**own, **self._named}

    def add_remotes(self) -> None:
        """Write the remotes of the configuration into the repository; of those that are there the address."""
        for name, url in self._named.items():
            if self._git.says("check-ref-format", f"refs/remotes/{name}/x") is None or name.startswith("-"):
                raise GitError(f"{name!r} is no name of a remote")
            known = self._git.says("config", "--get", f"remote.{name}.url") is not None
            self._git.run("remote", "set-url" if known else "add", "--", name, url)

    # Objects

    def blob_oid(self, path: str, ref: str = "HEAD") -> str:
        """The hash of a file's content in a commit."""
        return self._git.text("rev-parse", "--verify", "--end-of-options", f"{self.resolve(ref)}:./{path}")

    def object_type(self, oid: str) -> str:
        """What an object is: `blob`, `commit`, `tag` or `tree`."""
        return self._git.text("cat-file", "-t", self._object(oid))

    def object_size(self, oid: str) -> int:
        """Bytes of an object."""
        return int(self._git.text("cat-file", "-s", self._object(oid)))

    def object_bytes(self, oid: str) -> bytes:
        """An object as it is kept."""
        return self._git.run("cat-file", self.object_type(oid), self._object(oid))

    def object_pretty(self, oid: str) -> str:
        """An object for people."""
        return self._git.run("cat-file", "-p", self._object(oid)).decode("utf-8", "replace")

    def _object(self, oid: str) -> str:
        return self._git.text("rev-parse", "--verify", "--end-of-options", f"{oid}^{{object}}")

    def _branch(self, name: str) -> str:
        if name.startswith("-") or self._checker().says("check-ref-format", "--branch", name) != name:
            raise GitError(f"{name!r} is no name of a branch")
        return name

    def _checker(self) -> GitCommand:
        # A name can be checked before there is a repository.
        return self._git if self._root.is_dir() else GitCommand(Path.cwd())

    def _ref(self, name: str) -> str:
        self.resolve(name)
        return self._branch(name)

    def _ignored(self, paths: Sequence[str]) -> set[str]:
        # The command takes no literal paths; with the dot none of them can mean anything else.
        asked, literal = "\0".join(f"./{path}" for path in paths), {"GIT_LITERAL_PATHSPECS": "0"}
        done = self._git.attempt("check-ignore", "-z", "--stdin", input=asked.encode(), environ=literal)
        if done.returncode > 1:
            said = done.stderr.decode("utf-8", "replace").strip()[:300]
            raise GitError(f"this is no git repository, or one of these is no path in it: {said}")
        return {path.removeprefix("./") for path in done.stdout.decode().split("\0")}

    def _identity(self) -> tuple[str, ...]:
        known = self._git.says("var", "GIT_COMMITTER_IDENT") is not None and self._git.says("config", "user.email")
        name, email = _USER
        return () if known else ("-c", f"user.name={name}", "-c", f"user.email={email}")

    def _remote(self, name: str) -> tuple[str, dict[str, str]]:
        found = self.remotes()
        if name not in found:
            known = ", ".join(sorted(found)) or "none"
            raise GitError(f"there is no remote {name!r}", where=str(self._root), hint=f"There are: {known}.")
        if name in self._named:
            return found[name], with_token(found[name], self._token if name == MIRROR else None)
        return name, {}

    def _send(self, remote: str, refspec: str) -> None:
        where, environ = self._remote(remote)
        self._git.run("push", "--quiet", "--end-of-options", where, refspec, environ=environ)


def _set(value: str | None) -> str | None:
    return None if not value or is_unset(value) else value


def _repository(url: str, owner: str | None, folder: str) -> str:
    parts = urlsplit(url)
    is_server = parts.scheme in ("http", "https") and not parts.path.strip("/")
    return f"{url.rstrip('/')}/{owner}/{folder}.git" if is_server and owner else url
