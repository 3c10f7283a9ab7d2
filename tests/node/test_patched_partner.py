"""A partner whose node is patched: an honest protocol with one lie in it, and it gets no result and pays nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll.errors import AtollError
from atoll.testing import Net, NodeProcess, nodes, until


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("mallory", "victim") as made:
        made.mallory.steward.data.add("loans", {"id": [str(i) for i in range(60)]})
        made.victim.steward.data.add("taxes", {"id": [str(i) for i in range(30, 90)]})
        yield made


@pytest.fixture(scope="module")
def agreement(net: Net) -> str:
    return net.agreement(
        {"mallory": {"loans": {"id": "join_key"}}, "victim": {"taxes": {"id": "join_key"}}}, silence_seconds=3
    )


def _ended(node: NodeProcess, job: str) -> Any:
    found = node.analyst.jobs.get(job)
    return found if found.state in ("failed", "completed") else None


_LIE = "release.build_provisional = changed(release.build_provisional, {})"
_PATCHES = {
    "a provisional receipt for another attempt": _LIE.format("attempt=7"),
    "a provisional receipt for another plan": _LIE.format("plan='sha256:' + '0' * 64"),
    "a provisional receipt for another version": _LIE.format("inputs={}"),
    "a provisional receipt that is not signed": "release.dsse = Unsigned",
}
_SITE = """
import json
from atoll.node.jobs import release
from atoll.crypto import dsse

def changed(original, **more):
    def build(**arguments):
        return original(**{{**arguments, **more}})
    return build

class Unsigned:
    @staticmethod
    def sign(kind, document, key):
        return {{**dsse.sign(kind, document, key), "signatures": []}}

{patch}
"""


@pytest.mark.parametrize(
    "what", [pytest.param(w, marks=() if i == 0 else pytest.mark.slow) for i, w in enumerate(_PATCHES)]
)
def test_a_patched_receiver_gets_no_result(
    net: Net, agreement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, records: Any
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_SITE.format(patch=_PATCHES[what]), encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
        net.mallory.restart()
    try:
        job = net.mallory.analyst.join(agreement, "loans", "taxes", on="id", purpose="test", reveal="size")
        with pytest.raises(AtollError) as caught:
            job.wait(timeout=60)
        assert caught.value.code in ("E_RECEIPT", "E_SIGNATURE", "E_FORMAT", "E_PEER_ABORT")
        theirs = until("the victim's end", lambda: _ended(net.victim, job.id))
        assert theirs.error.code in ("E_RECEIPT", "E_SIGNATURE", "E_FORMAT")
        assert records(net.victim).charges(job.id) == []
        assert records(net.victim).receipts(job.id, "provisional") == []
        assert records(net.victim).ledger("release", job.id) == []
    finally:
        net.mallory.restart()


_LATER = """
from datetime import timedelta
from atoll.node.jobs import receipts
real = receipts.seconds
receipts.seconds = lambda at: real(at + timedelta(days=40))
"""


def test_an_owner_that_claims_another_month_gets_no_receipt(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner's claimed time decides which month a use is billed in; hours may differ, days may not."""
    agreement = net.agreement(
        {"mallory": {"loans": {"id": "join_key"}}, "victim": {"taxes": {"id": "join_key"}}}
    )
    (tmp_path / "sitecustomize.py").write_text(_LATER, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
        net.mallory.restart()
    try:
        job = net.victim.analyst.join(agreement, "taxes", "loans", on="id", purpose="test", reveal="size")
        job.wait(timeout=60)
        until("the receipt is disputed", lambda: job.refresh().document["evidence"] == "disputed")
        assert "receipt/v1" not in [e["kind"] for e in net.victim.auditor.ledger.entries(agreement, 0, 100)]
        entry = next(
            e for e in net.victim.auditor.ledger.entries(agreement, 0, 100) if e["kind"] == "dispute/v1"
        )
        assert entry["document"]["error"]["code"] == "E_RECEIPT"
    finally:
        net.mallory.restart()
