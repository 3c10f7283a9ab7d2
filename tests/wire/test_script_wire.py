"""What crosses while packages decide: subjects, arguments and declared outcomes, and no value of the owner's tables.

The control is a package that declares an amount as an outcome: the same search must find those amounts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from atoll.testing import Net, nodes, until

COUNT = 40
_DRAW = random.Random(20261126)
CLAIMS = [f"CLAIM-{n:04d}" for n in range(COUNT)]
PATIENTS = [f"欧阳浩然{_DRAW.randrange(10**6, 10**7)}" for _ in CLAIMS]
CARDS = [f"{_DRAW.randrange(1, 10**18):018d}" for _ in CLAIMS]
AMOUNTS = [_DRAW.randrange(10**11, 10**12) for _ in CLAIMS]
ITEMS = [f"ITEM{_DRAW.randrange(10**7, 10**8)}" for _ in CLAIMS]

MANIFEST = """
name = "{name}"
version = "1.0.0"
purpose = "claim settlement"
title = {{ en = "Test", zh = "测试" }}
[subject]
name = "claim"
type = "string"
[inputs.claim]
asset = "claims"
key = "claim_id"
rows = "one"
columns = {{ amount = "int64", item = "string" }}
[features]
file = "features.sql"
columns = {{ large = "int64" }}
[rules]
file = "rules.py"
entry = "decide"
[outputs.decision]
type = "choice"
values = ["approve", "refuse"]
{more}
"""
FEATURES = "SELECT (SELECT count(*) FROM claim AS c WHERE c.amount > 500000000000 AND c.item <> '') AS large"
RULES = """
def decide(claim, features) -> dict:
    if claim is None or features["large"] == 1:
        return {"decision": "refuse"PAY}
    return {"decision": "approve"PAY}
"""
LEAK = '[outputs.pay]\ntype = "int64"\nrange = [0, 1000000000000]\nstep = 1\n'


@pytest.fixture(scope="module")
def net(capture: Any) -> Iterator[Net]:
    with nodes("insurer", "hospital") as made:
        table = pa.table(
            {"claim_id": CLAIMS, "amount": AMOUNTS, "item": ITEMS, "patient": PATIENTS, "card": CARDS}
        )
        made.hospital.steward.data.add("claims", table)
        yield made


@pytest.fixture(scope="module")
def agreement(net: Net) -> str:
    uses = {
        "claim_id": ["lookup_key", "script_input"],
        "amount": "script_input",
        "item": "script_input",
    }
    return net.agreement(
        {"hospital": {"claims": uses}},
        parties=["insurer"],
        purposes=["claim settlement"],
        functions=["script"],
        disclose=["outcome"],
    )


def decide(net: Net, agreement: str, folder: Path, name: str, more: str = "") -> list[dict[str, Any]]:
    """Publishes, reviews, tries, deploys and calls a package, and ends its service with signed receipts."""
    folder.mkdir()
    (folder / "package.toml").write_text(MANIFEST.format(name=name, more=more), "utf-8")
    (folder / "features.sql").write_text(FEATURES, "utf-8")
    pay = ', "pay": 0 if claim is None else claim["amount"]' if more else ""
    (folder / "rules.py").write_text(RULES.replace("PAY", pay), "utf-8")
    author, host = net.insurer.steward.scripts, net.hospital.steward.scripts
    author.pack(folder)
    author.publish(name, "hospital", agreement)
    until("it is there", lambda: any(p["name"] == name and p.get("partner") for p in host.packages()))
    assert host.review(name)["refused_because"] is None
    assert len(host.trial(name, 10)["results"]) == 10
    host.deploy(name, bounds={"subject_millibits": 10**6})
    until(
        "its author knows",
        lambda: any(p["name"] == name and p.get("state") == "deployed" for p in author.packages()),
    )
    found = net.insurer.application.scripts.batch(name, [{"subject": claim} for claim in CLAIMS])
    one = net.insurer.application.scripts.call(name, CLAIMS[0], key="again")
    assert one["answer"] == found[0]["answer"]
    job = one["job"]
    net.insurer.analyst.services.get(job).stop().wait(timeout=60)
    until("all signed", lambda: not net.insurer.analyst.jobs.get(job).receipt()["missing"])
    for node in net:
        until(f"{node.name} is quiet", lambda n=node: n.administrator.info()["waiting_messages"] == 0)
    return list(found)


def test_only_declared_outcomes_cross(
    net: Net, agreement: str, capture: Any, leaks: Any, tmp_path: Path
) -> None:
    capture.take()
    found = decide(net, agreement, tmp_path / "honest", "honest")
    expected = ["refuse" if amount > 500000000000 else "approve" for amount in AMOUNTS]
    assert [a["answer"]["decision"] for a in found] == expected
    sent = capture.take()
    labels = b"".join(data for name, data in sent.items() if name.endswith("labels")).decode()
    for verb in ("script.publish", "script.deployment", "plan.propose", "job.start", "job.receipt"):
        assert f" {verb} " in labels, f"no {verb} in the capture"
    assert leaks(sent.values(), [*PATIENTS, *CARDS, *AMOUNTS, *ITEMS]) == []
    # The search sees what does cross: the subjects that were asked about.
    assert {f.value for f in leaks(sent.values(), CLAIMS)} == set(CLAIMS)


def test_a_package_that_declares_an_amount_is_seen_to_send_it(
    net: Net, agreement: str, capture: Any, leaks: Any, tmp_path: Path
) -> None:
    capture.take()
    decide(net, agreement, tmp_path / "leaking", "leaking", LEAK)
    sent = capture.take()
    assert {f.value for f in leaks(sent.values(), AMOUNTS)} == set(AMOUNTS)
    assert leaks(sent.values(), [*PATIENTS, *CARDS, *ITEMS]) == []
