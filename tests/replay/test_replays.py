"""What a job sent comes out again at every party, whatever the function, its form and the number of threads."""

from __future__ import annotations

from typing import Any

import pytest
from atoll.testing import Net


@pytest.mark.parametrize("receivers", ["me", "peer", "both"])
@pytest.mark.parametrize("reveal", ["rows", "size"])
def test_a_join_comes_out_again_at_both(
    net: Net, agreement: str, look: Any, receivers: str, reveal: str
) -> None:
    asked = net.alice.analyst.join(
        agreement, "loans", "taxes", on="id", purpose="test", receivers=receivers, reveal=reveal
    )
    job = look.completed(asked, "alice", "bob")
    for node in (net.alice, net.bob):
        for threads in (None, 2):
            found = node.auditor.audit.replay(job, threads=threads, timeout=60)
            assert found["ok"], found["report"]["findings"]
            assert look.codes(found)[-1] == "proved"
            assert look.codes(found).count("sent") == look.codes(found).count("received") == 1
