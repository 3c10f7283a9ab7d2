"""The worker's side of a kept join: runs over changing tables, what is kept, charged and refused."""

from __future__ import annotations

import datetime as dt
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from atoll.crypto.kept_oprf import KeptOprf
from atoll.data.snapshot import create
from atoll.data.sources import open_source
from atoll.errors import AtollError
from atoll.functions.context import LocalInput
from atoll.functions.join import kept as kept_join
from atoll.functions.join.kept import lineage
from atoll.functions.join.keys import prepare_keys
from atoll.functions.join.run import run, sides
from atoll.protocols.kept_oprf import Held
from atoll.protocols.memory import pair

PARTIES = ("alice", "bob")


class Memory:
    """What a party keeps, in memory."""

    most_keys = 1000

    def __init__(self) -> None:
        self.set: Held | None = None
        self.outputs: bytes | None = None
        self.charged: list[int] = []
        self.fresh = b""
        self.forgot = 0
        self.refuses = False

    def held(self) -> Held | None:
        return self.set

    def hold(self, held: Held) -> None:
        self.set = held

    def charge(self, held: Held, keys: int) -> None:
        if self.refuses:
            raise AtollError("E_QUOTA", "no more")
        self.charged.append(keys)

    def store(self) -> bytes | None:
        return self.outputs

    def keep(self, store: bytes) -> None:
        self.outputs = store

    def forget(self) -> None:
        self.outputs = None
        self.forgot += 1


class Story:
    """Runs of one kept join; `alice` receives unless said otherwise."""

    def __init__(self, folder: Path, receiver: str = "alice") -> None:
        self.folder, self.receiver = folder, receiver
        self.kept = {party: Memory() for party in PARTIES}
        self.number = 0
        self.opened: list[list[str]] = []
        self.sent: list[list[bytes]] = []

    def plan(self, duplicates: str = "sql", columns: tuple[str, str] = ("k", "k")) -> dict[str, Any]:
        ids = [f"in-{party}" for party in PARTIES]
        joint = {
            "id": "psi", "kind": "kept_psi/v1", "inputs": ["r0", "r1"], "protocol": "kept-oprf-psi/v1",
            "security": "semi-honest",
            "parameters": {"keys": [[c] for c in columns], "receivers": [self.receiver], "duplicates": duplicates},
        }  # fmt: skip
        reads = [{"id": f"r{i}", "kind": "read/v1", "inputs": [ids[i]], "parameters": {}} for i in range(2)]
        return {
            "id": f"plan{self.number}",
            "inputs": [
                {"id": i, "party": party, "asset": f"of {party}", "agreement": "agr"}
                for i, party in zip(ids, PARTIES, strict=True)
            ],
            "operators": [*reads, joint],
            "outputs": [{"receiver": self.receiver, "columns": ["k", "v"]}],
        }

    def run(
        self,
        left: list[Any],
        right: list[Any],
        duplicates: str = "sql",
        declared: dict[str, int] | None = None,
    ) -> list[Any]:
        """Rows of the receiver, by the column v."""
        self.number += 1
        plan, ends = self.plan(duplicates), pair(capacity=64, seconds=5)
        locals_ = []
        for party, keys in zip(PARTIES, (left, right), strict=True):
            folder = self.folder / f"{party}{self.number}"
            table = pa.table({"k": pa.array(keys, pa.string()), "v": pa.array(range(len(keys)), pa.int64())})
            self.folder.mkdir(exist_ok=True)
            with open_source(table, work=self.folder) as source:
                stored = create(source, folder, party, now=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
            facts = prepare_keys(stored.data, folder / "cache", ["k"], {}, 1, [])
            locals_.append(
                LocalInput(f"in-{party}", party, stored.data, folder / "cache", "v", facts["keys"])
            )
        said = {local.id: local.keys for local in locals_} | (declared or {})

        def side(at: int) -> Any:
            party = PARTIES[at]
            self.kept[party].fresh = random.Random(f"{party}{self.number}").randbytes(32)
            context: Any = SimpleNamespace(
                plan=plan,
                me=party,
                seed=bytes([at + 1]) * 32,
                attempt=0,
                threads=1,
                declared_keys=said,
                inputs=lambda: {locals_[at].id: locals_[at]},
                channel=lambda peer, name: ends[at],
                before_open=self.opened.append,
                progress=lambda done, total, step: None,
                kept=lambda: self.kept[party],
            )
            try:
                return run(context)
            except AtollError:
                ends[at].close()
                raise

        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(side, at) for at in range(2)]
        self.sent = [[payload for _, payload in end.sent] for end in ends]
        self.errors = [f.exception() for f in asked]
        outcomes = [f.result() for f in asked]
        mine = outcomes[PARTIES.index(self.receiver)]
        assert outcomes[1 - PARTIES.index(self.receiver)].table is None
        found = mine.table if isinstance(mine.table, pa.Table) else mine.table.read_all()
        assert mine.rows == found.num_rows == mine.scalars["matched_rows"]
        return sorted(found["v"].to_pylist())


@pytest.mark.parametrize("receiver", PARTIES)
def test_over_changing_tables_the_receiver_gets_its_rows_that_match(tmp_path: Path, receiver: str) -> None:
    story, draw = Story(tmp_path, receiver), random.Random(7)
    for _ in range(6):
        tables = [[draw.choice([None, *map(str, range(40))]) for _ in range(30)] for _ in PARTIES]
        mine, theirs = tables if receiver == "alice" else tables[::-1]
        wanted = [i for i, key in enumerate(mine) if key is not None and key in theirs]
        assert story.run(*tables) == wanted
        assert story.opened.pop() == [receiver]
        holder = story.kept["bob" if receiver == "alice" else "alice"]
        assert holder.charged.pop() == len({key for key in mine if key is not None})
        assert holder.set is not None
        assert holder.set.before is None, "the receiver confirmed"
    assert not story.opened


def test_a_side_that_lost_what_it_kept_gets_or_sends_all_anew(tmp_path: Path) -> None:
    story = Story(tmp_path)
    assert story.run(["a", "b"], ["b", "c"]) == [1]
    story.kept["alice"].outputs = None
    assert story.run(["a", "b"], ["a", "b", "c"]) == [0, 1]
    first = story.kept["bob"].set
    assert first is not None
    story.kept["bob"].set = None
    assert story.run(["a", "b"], ["a"]) == [0]
    assert story.kept["bob"].set is not None
    assert story.kept["bob"].set.seed != first.seed


def test_another_lineage_or_longer_outputs_need_another_key(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.run(["a"], ["a"])
    before = story.kept["bob"].set
    assert before is not None
    Memory.most_keys, usual = 1 << 40, Memory.most_keys
    try:
        assert story.run(["a"], ["a"]) == [0]
    finally:
        Memory.most_keys = usual
    wider = story.kept["bob"].set
    assert wider is not None
    assert wider.seed != before.seed
    assert wider.width > before.width
    infos = set()
    for change in (
        lambda p: None,
        lambda p: p["inputs"][1].update(asset="another"),
        lambda p: p["inputs"][1].update(agreement="another"),
        lambda p: p["inputs"][1].update(party="carol"),
        lambda p: p["operators"][-1]["parameters"]["keys"][1].append("more"),
    ):
        plan = story.plan()
        change(plan)
        infos.add(lineage(plan, sides(plan, "alice")))
    assert len(infos) == 5
    plan = story.plan()
    # Both sides give the same; the receiver's own table may be any.
    assert lineage(plan, sides(plan, "alice")) == lineage(plan, sides(plan, "bob"))
    plan["inputs"][0]["asset"] = "another"
    assert lineage(plan, sides(plan, "alice")) in infos
    assert json.loads(lineage(plan, sides(plan, "bob")))["receiver"] == "alice"


def test_repeated_keys_are_refused_where_the_plan_says_so(tmp_path: Path) -> None:
    story = Story(tmp_path)
    with pytest.raises(AtollError):
        story.run(["a", "a"], ["a"], duplicates="refuse")
    assert any(isinstance(e, AtollError) and e.code == "E_DUPLICATE" for e in story.errors)


def test_a_quota_ends_the_run_before_the_holder_sends_anything(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.kept["bob"].refuses = True
    with pytest.raises(AtollError):
        story.run(["a"], ["a"])
    error = story.errors[1]
    assert isinstance(error, AtollError)
    assert error.code == "E_QUOTA"
    assert story.sent[1] == []
    assert story.opened == []
    # An update of nothing opens nothing, so what is asked is charged before the first answer.
    story.kept["bob"].refuses = False
    story.run(["a"], ["a"])
    story.kept["bob"].refuses = True
    with pytest.raises(AtollError):
        story.run(["a"], ["a"])
    assert all(message[0] != 7 for message in story.sent[1])


def test_a_receiver_that_asks_for_other_than_the_approved_number_gets_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(tmp_path)
    honest = KeptOprf.asker
    fewer = staticmethod(lambda seed, attempt, name, store, digests, **how: honest(
        seed, attempt, name, store, digests[:32], **how))  # fmt: skip
    monkeypatch.setattr(KeptOprf, "asker", fewer)
    with pytest.raises(AtollError):
        story.run(["a", "b"], ["a"])
    error = story.errors[1]
    assert isinstance(error, AtollError)
    assert error.code == "E_PROTOCOL"
    assert "were approved" in error.text
    assert all(message[0] != 7 for message in story.sent[1])


def test_a_holder_whose_folder_went_back_to_an_older_copy_gives_right_matches(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.run(["a"], ["a", "b", "c"])
    older = story.kept["bob"].set
    story.run(["a"], ["a", "b"])
    # Its table changes, to as many keys as the receiver keeps: the number of changes is counted twice.
    story.kept["bob"].set = older
    assert story.run(["d", "a"], ["d", "e"]) == [0]
    story.kept["bob"].set = older
    assert story.run(["a", "c", "d"], ["a", "b", "c"]) == [0, 1]
    assert story.kept["alice"].forgot == 0


def test_a_receiver_that_keeps_another_number_than_was_declared_forgets_and_goes_on_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(tmp_path)
    current = kept_join._current
    monkeypatch.setattr(kept_join, "_current", lambda kept, info, keys: current(kept, info, keys[32:]))
    with pytest.raises(AtollError):
        story.run(["d"], ["d", "e", "f", "g"])
    monkeypatch.undo()
    error = story.errors[0]
    assert isinstance(error, AtollError)
    assert error.code == "E_PROTOCOL"
    assert story.kept["alice"].forgot == 1
    assert story.run(["d"], ["d", "e", "f", "g"]) == [0]
