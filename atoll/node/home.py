"""A node's folder: made by `atoll init`, opened by `atoll node`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.errors import AtollError
from atoll.net.identity import TLS_DAYS, NodeKeys, stored_tls
from atoll.node.access import Access
from atoll.node.clock import Clock, seconds, system_clock
from atoll.node.config import Config, load, render
from atoll.node.evidence.mark import mark
from atoll.node.files import write_private
from atoll.node.state import Store

CONFIG, KEYS, STATE, TOKENS, API = "atoll.toml", "keys", "state.sqlite", "tokens", "api.address"
FIRST_PERSON = "administrator"


@dataclass(frozen=True)
class Home:
    """A node's folder and its settings."""

    path: Path
    config: Config

    @classmethod
    def open(cls, path: Path) -> Home:
        """The folder of a node that was set up; `E_CONFIG` if it was not."""
        return cls(path.absolute(), load(path / CONFIG))

    def store(self) -> Store:
        """The state store, in its current form."""
        store = (
            Store(self.config["state.url"]) if self.config["state.url"] else Store.sqlite(self.path / STATE)
        )
        store.migrate()
        return store

    def keys(self, passphrase: str) -> NodeKeys:
        """Identity and TLS keys; `E_PASSPHRASE`."""
        return NodeKeys.load(self.path / KEYS, passphrase)

    def tls_keys(self) -> list[dict[str, str]]:
        """Fingerprint and end of each TLS key, the newest first."""
        found = stored_tls(self.path / KEYS)
        return [{"fingerprint": pin, "not_after": seconds(end)} for pin, end in found]

    def renew_tls(
        self, passphrase: str, days: int = TLS_DAYS, clock: Clock = system_clock
    ) -> list[dict[str, str]]:
        """Makes a new TLS key beside the present one, for a node that does not run; gives all of them.

        Raises:
            AtollError: `E_STATE` while the node runs, or where there are two keys; `E_PASSPHRASE`, `E_CONFIG`.
        """
        with self.only_one():
            NodeKeys.renew_tls(self.path / KEYS, passphrase, clock(), days)
        return self.tls_keys()

    def drop_old_tls(self, passphrase: str) -> list[dict[str, str]]:
        """Deletes the older TLS key of a node that does not run. Errors as `renew_tls`."""
        with self.only_one():
            NodeKeys.drop_older(self.path / KEYS, passphrase)
        return self.tls_keys()

    @contextlib.contextmanager
    def only_one(self) -> Iterator[None]:
        """Holds the folder's lock: two processes never run the same node; `E_STATE`."""
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AtollError(
                    "E_STATE",
                    f"another process runs the node in {self.path}",
                    fault="operator",
                    cure="Stop it first.",
                ) from None
            yield


def init(
    path: Path,
    name: str,
    passphrase: str,
    settings: dict[str, Any] | None = None,
    clock: Clock = system_clock,
) -> Home:
    """Makes identity, TLS key, settings, state store and the first administrator's token; all or nothing.

    Args:
        path: the folder, new or empty.
        name: the institution's name, as partners see it.
        passphrase: at least 12 characters; encrypts the keys.
        settings: values of `atoll.toml` other than the defaults, by `section.name`.
    """
    if path.exists() and any(path.iterdir()):
        raise AtollError("E_CONFLICT", f"{path} is not empty", cure="Give a new folder.")
    if len(passphrase) < 12:
        raise AtollError(
            "E_PASSPHRASE",
            "the passphrase has fewer than 12 characters",
            cure="Choose a longer one.",
            fault="caller",
        )
    path = path.absolute()
    work = path.with_name(f"{path.name}.new-{os.getpid()}")
    work.mkdir(mode=0o700, parents=True)
    try:
        (work / CONFIG).write_text(render({"node.name": name, **(settings or {})}), encoding="utf-8")
        home = Home.open(work)
        NodeKeys.create(work / KEYS, passphrase, clock())
        store = home.store()
        try:
            access = Access(store, clock)
            access.add_person(FIRST_PERSON)
            token = access.issue(FIRST_PERSON, "administrator", "made by atoll init")
        finally:
            store.close()
        (work / TOKENS).mkdir(mode=0o700)
        write_token(work, FIRST_PERSON, "administrator", token)
        for file in (work / CONFIG, *work.glob("state.sqlite*")):
            file.chmod(0o600)
        if path.exists():
            path.rmdir()
        work.rename(path)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return Home.open(path)


def recover(path: Path, passphrase: str, clock: Clock = system_clock) -> bool:
    """Prepares a folder that was restored, or whose state store was lost: keys and settings are needed.

    The node will record nothing before every partner has said what it holds of this node's logs, and fetches its own
    entries back. Where the state store has no administrator's token, as when it was lost, a new one is made.

    Returns:
        Whether the store was lost.

    Raises:
        AtollError: `E_CONFIG` without keys, `E_PASSPHRASE`, `E_STATE` while the node runs.
    """
    home = Home.open(path)
    home.keys(passphrase)
    with home.only_one():
        store = home.store()
        try:
            access = Access(store, clock)
            lost = not access.people()
            if lost:
                access.add_person(FIRST_PERSON)
                token = access.issue(FIRST_PERSON, "administrator", "made by atoll recover")
                # What the folder keeps was issued by the lost store, and is worth nothing now.
                shutil.rmtree(home.path / TOKENS, ignore_errors=True)
                (home.path / TOKENS).mkdir(mode=0o700)
                write_token(home.path, FIRST_PERSON, "administrator", token)
        finally:
            store.close()
        mark(home.path)
    for file in home.path.glob("state.sqlite*"):
        file.chmod(0o600)
    return lost


def token_file(path: Path, person: str, role: str) -> Path:
    """Where the CLI keeps a token that was issued on this machine."""
    safe = "".join(c if c.isalnum() else "_" for c in person)
    return path / TOKENS / f"{safe}.{role}"


def write_token(path: Path, person: str, role: str, token: str) -> None:
    """Keeps a token for the CLI on this machine, readable by its user alone."""
    write_private(token_file(path, person, role), token.encode())
