"""Reports come back to a node that lost its store; what would be needed to run the job again does not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from atoll import AtollError
from atoll.testing import nodes, pair, until


def test_reports_come_back_and_seeds_do_not(look: Any) -> None:
    with nodes("alice", "bob") as net:
        for node, table in ((net.alice, "loans"), (net.bob, "taxes")):
            node.steward.data.add(table, {"id": [f"s{i}" for i in range(20)]})
        agreement = net.agreement({"alice": {"loans": "*"}, "bob": {"taxes": "*"}}, replay={"keep_days": 1})
        asked = net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test")
        job = look.completed(asked, net.alice, net.bob)
        made = net.bob.auditor.audit.replay(job)

        def cosigned() -> bool:
            logs = [x for x in net.bob.auditor.ledger.list() if x["own"] and x["agreement"] == agreement]
            return all(c["behind"] == 0 for c in logs[0]["cosignatures"]) and bool(logs[0]["cosignatures"])

        until("alice holds bob's log", cosigned)
        net.bob.kill()
        for file in net.bob.folder.glob("state.sqlite*"):
            file.unlink()
        subprocess.run(
            [sys.executable, "-m", "atoll.cli", "recover", "-d", str(net.bob.folder), "--json"],
            env=net.bob.environment | {"ATOLL_PASSPHRASE": net.bob.passphrase},
            check=True,
            capture_output=True,
            timeout=60,
        )
        net.bob.start()
        pair(net.alice, net.bob)
        until("the report is back", lambda: net.bob.auditor.audit.replays(job), 60)
        found = net.bob.auditor.audit.show_replay(made["id"])
        assert (found["envelope"], found["ok"]) == (made["envelope"], True)
        with pytest.raises(AtollError) as refused:
            net.bob.auditor.audit.replay(job)
        assert refused.value.code == "E_STATE"
