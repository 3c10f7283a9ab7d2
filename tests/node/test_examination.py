"""Partners' packages that arrive at the same time: they are examined one after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from atoll.client.authoring import read_folder
from atoll.client.template import new_folder
from atoll.crypto import dsse
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.node.home import init
from atoll.node.node import Node, open_node
from atoll.node.scripts import packages
from atoll.scripts.examine import Examination
from atoll.scripts.package import KIND, build

AGREEMENT = "agr-" + "0" * 16


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    place, words = tmp_path / "alice", "a passphrase for a test"
    init(place, "alice", words, {"partners.listen": "127.0.0.1:0", "api.listen": "127.0.0.1:0"})
    made = open_node(place, words)
    made.start()
    yield made
    made.stop()


class Slow:
    """In place of the process that examines; counts how many would run at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self.most = self.runs = self.failing = 0

    def __call__(self, nursery: Any, spec: dict[str, Any], **how: Any) -> dict[str, Any]:
        with self._lock:
            self._running += 1
            self.runs += 1
            self.most = max(self.most, self._running)
        time.sleep(0.1)
        with self._lock:
            self._running -= 1
            self.failing -= 1
            if self.failing >= 0:
                raise AtollError("E_MEMORY", "the worker is over its memory")
        return {"examined": Examination((), {}, {}).document()}


@pytest.fixture
def slow(node: Node, monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow()
    monkeypatch.setattr(packages, "run_to_end", made)
    # These partners have no agreement: what is looked at here comes after it.
    monkeypatch.setattr(node.packages, "_check_agreement", lambda *_: None)
    monkeypatch.setattr(node.packages, "_record", lambda *_: None)
    return made


def publication(folder: Path, author: SigningKey) -> dict[str, Any]:
    new_folder(folder)
    source = read_folder(folder)
    document = build(source.manifest, source.files, str(author.public)).document()
    return {"envelope": dsse.sign(KIND, document, author), "agreement": AGREEMENT}


def send(node: Node, author: SigningKey, body: dict[str, Any]) -> str | None:
    try:
        node.packages._published_there(SimpleNamespace(identity=str(author.public), name="bob"), body)  # type: ignore[arg-type]
    except AtollError as error:
        return error.code
    return None


def test_packages_are_examined_one_at_a_time(node: Node, slow: Slow, tmp_path: Path) -> None:
    authors = [SigningKey.generate(), SigningKey.generate()]
    sent = [
        (author, publication(tmp_path / f"rules{n}{i}", author))
        for n in range(3)
        for i, author in enumerate(authors)
    ]
    # The same package twice at once is one.
    sent.append(sent[0])
    with ThreadPoolExecutor(len(sent)) as pool:
        found = list(pool.map(lambda one: send(node, *one), sent))
    assert found == [None] * 7
    assert (slow.most, slow.runs) == (1, 6)
    assert len(node.packages.listed()) == 6


def test_an_examination_that_fails_lets_the_next_one_in(node: Node, slow: Slow, tmp_path: Path) -> None:
    author = SigningKey.generate()
    slow.failing = 1
    assert send(node, author, publication(tmp_path / "one", author)) == "E_MEMORY"
    assert send(node, author, publication(tmp_path / "two", author)) is None
    assert [row["name"] for row in node.packages.listed()] == ["two"]
