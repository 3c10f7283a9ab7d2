"""Proofs about rows at real nodes: of versions that jobs used, of live ones, and of what is no longer there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from atoll.client import verify_row_proof
from atoll.errors import AtollError
from atoll.testing import Net, nodes, until


@pytest.fixture(scope="module")
def net(tmp_path_factory) -> Iterator[Net]:
    with nodes("alice", "bob", settings={"bob": {"data.live_keep_days": 0}}) as made:
        folder = tmp_path_factory.mktemp("files")
        loans = folder / "loans.csv"
        loans.write_text("id,debt\n" + "".join(f"SECRET{i % 40},{i}.50\n" for i in range(50)) + ",7.00\n")
        words = {"columns": {"debt": {"type": "decimal", "precision": 9, "scale": 2}}}
        for node in made:
            node.steward.data.add("loans", loans, declaration=words, keys=["id"])
            node.steward.data.add("late", loans, declaration=words, keys=["id"], mode="live")
        made.bob.steward.data.add("plain", loans, declaration=words)
        yield made


@pytest.fixture(scope="module")
def agreement(net: Net) -> str:
    return net.agreement({"alice": {"loans": "*", "late": "*"}, "bob": {"loans": "*", "late": "*"}})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "proof.json"


def code_of(call: Callable[[], Any]) -> AtollError:
    with pytest.raises(AtollError) as caught:
        call()
    return caught.value


def test_an_auditor_checks_a_row_against_a_receipt(net, agreement, file):
    job = net.alice.analyst.join(
        agreement, "loans@alice", "loans@bob", on="id", purpose="test", duplicates="sql", receivers="both"
    ).wait()
    versions = [fed["version"] for fed in job.receipt(20)["document"]["inputs"].values()]
    own = net.bob.steward.data.show("loans")["version"]
    assert own in versions
    net.bob.steward.data.prove("loans", "SECRET3", file)
    proof = verify_row_proof(file, own)
    assert proof.rows == ({"id": "SECRET3", "debt": "3.50"}, {"id": "SECRET3", "debt": "43.50"})
    assert (proof.total, proof.without_id) == (51, 1)
    (other,) = (v for v in versions if v != own)
    assert code_of(lambda: verify_row_proof(file, other)).code == "E_PROOF"
    net.bob.steward.data.prove("loans", ["SECRET40"], file, own)
    assert verify_row_proof(file, own).outcome == "absent"


def test_versions_are_named_by_number_or_digest(net, file):
    steward = net.alice.steward
    first = steward.data.show("loans")["version"]
    second = steward.data.refresh("loans")["version"]
    for version, digest in ((None, second), (1, first), (2, second), (first, first), (second, second)):
        steward.data.prove("loans", "SECRET3", file, version)
        assert verify_row_proof(file, digest).outcome == "present"
    for version in (3, 0, -1, 2**40, "sha256:" + "0" * 64, "1\0", ""):
        assert (
            code_of(lambda v=version: steward.data.prove("loans", "SECRET3", file, v)).code == "E_NOT_FOUND"
        )
    for version in (True, 1.0, [1]):
        assert code_of(lambda v=version: steward.data.prove("loans", "SECRET3", file, v)).code == "E_FORMAT"


@pytest.mark.parametrize(("name", "id", "code", "column"), [
    ("nothing", "a", "E_NOT_FOUND", None), ("plain", "a", "E_STATE", None), ("loans", ["a", "b"], "E_FORMAT", None),
    ("loans", [], "E_FORMAT", None), ("loans", [None], "E_FORMAT", "id"), ("loans", [7], "E_FORMAT", "id"),
    ("late", "a", "E_STATE", None),
])  # fmt: skip
def test_what_cannot_be_proved(net, file, name, id, code, column):
    error = code_of(lambda: net.bob.steward.data.prove(name, id, file))
    assert (error.code, error.column) == (code, column)
    assert not file.exists()


@pytest.mark.parametrize("role", ["analyst", "auditor", "operator", "administrator", "application"])
def test_only_a_steward_shows_rows(net, file, role):
    assert code_of(lambda: net.bob.client(role).data.prove("loans", "SECRET3", file)).code == "E_ROLE"


def test_the_version_that_a_live_table_was_read_for_a_job(net, agreement, file):
    job = net.alice.analyst.join(
        agreement, "late@alice", "late@bob", on="id", purpose="test", reveal="size"
    ).wait()
    versions = {fed["version"] for fed in job.receipt(20)["document"]["inputs"].values()}
    rows = {p.parent.name for p in (net.alice.folder / "live" / job.id).rglob("secret.bin")}
    assert rows == {"1"}
    manifest = next((net.alice.folder / "live" / job.id).rglob("manifest.json"))
    digest = json.loads(manifest.read_text())["digest"]
    assert digest in versions
    net.alice.steward.data.prove("late", "SECRET3", file, digest)
    assert len(verify_row_proof(file, digest).rows) == 2
    # A number says nothing of a live table: each job has its own first version.
    assert code_of(lambda: net.alice.steward.data.prove("late", "SECRET3", file, 1)).code == "E_NOT_FOUND"

    # Bob keeps rows for no day; under the agreement in force he keeps digests of the keys, and knows the version.
    (theirs,) = versions - {digest}
    until("bob's side has ended", lambda: net.bob.analyst.jobs.get(job.id).state == "completed")
    net.bob.restart()
    error = code_of(lambda: net.bob.steward.data.prove("late", "SECRET3", file, theirs))
    assert error.code == "E_STATE"
    assert "erased" in error.text
    assert not list((net.bob.folder / "live").rglob("secret.bin"))
    net.bob.steward.agreements.revoke(agreement)
    net.bob.restart()
    error = code_of(lambda: net.bob.steward.data.prove("late", "SECRET3", file, theirs))
    assert error.code == "E_NOT_FOUND"
    assert "erased" in error.text


def test_nothing_of_an_id_is_logged(net, file, records):
    net.alice.steward.data.prove("loans", "NOBODY-77", file)
    assert "NOBODY-77" in file.read_text()
    assert "NOBODY-77" not in net.alice.log()
    calls = [entry for entry in net.alice.administrator.access_log() if entry["action"].endswith("/prove")]
    assert calls[0]["person"] == "alice steward"
    assert b"NOBODY-77" not in records(net.alice).everything()


def test_a_damaged_version_is_said_to_be_one(net, file, tmp_path):
    steward = net.alice.steward
    source = tmp_path / "damaged.csv"
    source.write_text("id\na\nb\n")
    steward.data.add("damaged", source, keys=["id"])
    secret = net.alice.folder / "data" / "damaged" / "1" / "secret.bin"
    secret.write_bytes(bytes(32))
    assert code_of(lambda: steward.data.prove("damaged", "a", file)).code == "E_DATA"
    assert code_of(lambda: steward.data.verify("damaged")).code == "E_DATA"
    assert not file.exists()


def test_bare_http(net):
    answer = httpx.post(
        f"{net.bob.url}/v1/data/loans/prove", json={"id": ["SECRET3"]},
        headers={"Authorization": f"Bearer {net.bob.token('steward')}"},
    )  # fmt: skip
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-version-digest"] == net.bob.steward.data.show("loans")["version"]
    assert answer.json()["format"] == "atoll.row-proof/v1"


@pytest.mark.parametrize(
    ("keys", "code"), [(["nobody"], "E_COLUMN"), (["rate"], "E_TYPE"), ([[]], "E_COLUMN")]
)
@pytest.mark.parametrize("mode", ["snapshot", "live"])
def test_a_table_with_a_key_that_is_none(net, tmp_path, keys, code, mode):
    source = tmp_path / "rates.csv"
    source.write_text("id,rate\na,0.5\n")
    words = {"columns": {"rate": {"type": "float64"}}}
    steward = net.alice.steward
    assert (
        code_of(lambda: steward.data.add("rates", source, declaration=words, keys=keys, mode=mode)).code
        == code
    )
    assert code_of(lambda: steward.data.show("rates")).code == "E_NOT_FOUND"
