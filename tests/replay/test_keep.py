"""The record that a worker keeps: what is written is read, what is cut short or changed is named."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import AtollError
from atoll.node.vault import Vault
from atoll.node.worker.keep import (
    CHAIN_BYTES,
    Keeper,
    events_file,
    kept_files,
    read_events,
    read_received,
    read_sent,
    received_file,
    sent_file,
)

VAULT = Vault(b"s" * 32)
MESSAGES = [("one/0", b"first"), ("二/1", b""), ("three", b"x" * 5000)]
CHAINS = [bytes([i]) * CHAIN_BYTES for i in range(3)]


def _keep(folder: Path, messages: Any = MESSAGES, chains: Any = CHAINS, events: int = 3) -> Keeper:
    keeper = Keeper(folder, 1, VAULT)
    channel = keeper.channel(0, "psi")
    for step, payload in messages:
        channel.received(step, payload)
    for chain in chains:
        channel.sent(chain)
    for number in range(events):
        keeper.note("call", {"number": number})
    return keeper


def _events(folder: Path, vault: Vault = VAULT) -> list[Any]:
    return list(read_events(events_file(folder, 1), 1, vault))


@given(st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=200)), max_size=20))
def test_messages_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, messages: list[tuple[str, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    _keep(folder, messages).close()
    assert list(read_received(received_file(folder, 1, 0, "psi"))) == messages


def test_everything_is_private_and_listed(tmp_path: Path) -> None:
    _keep(tmp_path).close()
    files = kept_files(tmp_path)
    assert [f.name for f in files] == ["events-1", "received-1-0-psi", "sent-1-0-psi"]
    assert {f.stat().st_mode & 0o777 for f in files} == {0o600}
    assert list(read_sent(sent_file(tmp_path, 1, 0, "psi"))) == CHAINS
    assert _events(tmp_path) == [("call", {"number": n}) for n in range(3)]
    assert b"number" not in events_file(tmp_path, 1).read_bytes()


def test_a_file_that_was_cut_gives_its_beginning_and_then_says_so(tmp_path: Path) -> None:
    _keep(tmp_path).close()
    path = received_file(tmp_path, 1, 0, "psi")
    whole = path.read_bytes()
    ends = {0}
    for step, payload in MESSAGES:
        ends.add(max(ends) + 6 + len(step.encode()) + len(payload))
    for size in [*range(40), len(whole) - 1, len(whole)]:
        path.write_bytes(whole[:size])
        read: list[Any] = []
        with contextlib.nullcontext() if size in ends else pytest.raises(AtollError, match="E_DATA"):
            read.extend(read_received(path))
        assert read == MESSAGES[: len(read)]
    sent = sent_file(tmp_path, 1, 0, "psi")
    sent.write_bytes(sent.read_bytes()[:-1])
    assert list(read_sent(sent)) == CHAINS[:2]
    assert list(read_sent(tmp_path / "none")) == []


@pytest.mark.parametrize(
    "head", [b"\x00\x02\xff\xff\xff\xff", b"\xff\xff\x00\x00\x00\x00", b"\x00\x01\x00\x00\x00\x00\xff"]
)
def test_rubbish_is_no_message(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "received-1-0-psi"
    path.write_bytes(head)
    with pytest.raises(AtollError) as refused:
        list(read_received(path))
    assert refused.value.code == "E_DATA"


@pytest.mark.parametrize(
    "what", ["changed", "cut", "swapped", "dropped", "length", "other vault", "other attempt"]
)
def test_changed_events_are_named(tmp_path: Path, what: str) -> None:
    _keep(tmp_path).close()
    path = events_file(tmp_path, 1)
    data = path.read_bytes()
    size = len(data) // 3
    first, second, third = (data[i * size : (i + 1) * size] for i in range(3))
    vault, attempt, number = VAULT, 1, 1
    if what == "changed":
        path.write_bytes(first + second[:-1] + bytes([second[-1] ^ 1]) + third)
        number = 2
    elif what == "cut":
        path.write_bytes(data[:-2])
        number = 3
    elif what == "swapped":
        path.write_bytes(second + first + third)
    elif what == "dropped":
        path.write_bytes(first + third)
        number = 2
    elif what == "length":
        path.write_bytes(b"\xff" + data[1:])
    elif what == "other vault":
        vault = Vault(b"t" * 32)
    else:
        attempt = 2
    with pytest.raises(AtollError) as refused:
        list(read_events(path, attempt, vault))
    assert refused.value.code == "E_DATA"
    assert refused.value.detail == {"event": number}


def test_a_restart_goes_on_behind_its_checkpoint(tmp_path: Path) -> None:
    keeper = _keep(tmp_path)
    keeper.flush()
    # What came after the checkpoint comes again, perhaps in another form.
    again = Keeper(tmp_path, 1, VAULT, start=2)
    channel = again.channel(0, "psi", (2, 1))
    channel.received("three", b"other")
    channel.sent(b"\xff" * CHAIN_BYTES)
    again.note("call", "other")
    again.close()
    assert list(read_received(received_file(tmp_path, 1, 0, "psi"))) == [*MESSAGES[:2], ("three", b"other")]
    assert list(read_sent(sent_file(tmp_path, 1, 0, "psi"))) == [CHAINS[0], b"\xff" * CHAIN_BYTES]
    assert _events(tmp_path) == [("call", {"number": 0}), ("call", {"number": 1}), ("call", "other")]


def test_a_file_that_lost_its_end_is_not_filled_up(tmp_path: Path) -> None:
    _keep(tmp_path).close()
    path = sent_file(tmp_path, 1, 0, "psi")
    os.truncate(path, CHAIN_BYTES)
    again = Keeper(tmp_path, 1, VAULT, start=3)
    again.channel(0, "psi", (3, 3))
    again.close()
    assert list(read_sent(path)) == CHAINS[:1]
