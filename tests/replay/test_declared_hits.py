"""An asker that declares fewer hits than it had: the replay that its auditor asks for says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atoll.client import requests
from atoll.testing import nodes

_FEWER = """
from pathlib import Path
from atoll.functions.query.asker import Asker

begin = Asker._close

def close(self):
    if Path({flag!r}).exists():
        self.hits = self._hits_before
    begin(self)

Asker._close = close
"""


@pytest.fixture
def flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The asker lies while there is such a file."""
    site, flag = tmp_path / "site", tmp_path / "lies"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_FEWER.format(flag=str(flag)), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=":")
    return flag


@pytest.mark.parametrize("lies", [False, True])
def test_fewer_hits_than_there_were_are_found_by_a_replay(flag: Path, look: Any, lies: bool) -> None:
    with nodes("alice", "bob") as net:
        table = {"id": [f"k{i}" for i in range(50)], "worth": [str(i) for i in range(50)]}
        net.bob.steward.data.add("worths", table)
        uses = {"id": "lookup_key", "worth": "lookup_value"}
        agreement = net.agreement(
            {"bob": {"worths": {"columns": uses, "grant": {"price": {"per_hit": 300, "currency": "CNY"}}}}},
            parties=["alice"], functions=["query"], replay={"keep_days": 1},
        )  # fmt: skip
        request = requests.lookup(agreement, "worths", "worths", purpose="test", on=["id"])
        service = net.alice.analyst.lookups.start(request)["job"]
        net.alice.application.lookups.query("worths", ["k1", "k2", "k70", "k3"])
        if lies:
            flag.touch()
        net.alice.analyst.lookups.stop("worths")
        job = look.completed(net.alice.analyst.jobs.get(service), net.alice, net.bob)
        flag.unlink(missing_ok=True)
        parties = net.bob.analyst.jobs.get(service).receipt()["document"]["parties"]
        assert sorted(str(part["meters"]["hits"]) for part in parties.values()) == [
            "0" if lies else "3",
            "None",
        ]
        # The partner's replay cannot tell; the asker's own, and that of a host which the agreement names, can.
        assert net.bob.auditor.audit.replay(job, timeout=60)["ok"]
        report = net.alice.auditor.audit.replay(job, timeout=60)
    assert report["ok"] is not lies
    if lies:
        (found,) = [f for f in report["report"]["findings"] if f["code"] == "block-differs"]
        assert "hits" in str(found["facts"])
