"""`atoll.testing`: real nodes, one of which only dials out; kills, restarts, and failures that explain themselves."""

from __future__ import annotations

import os

import pytest

from atoll import AtollError
from atoll.testing import fixture, nodes, until
from atoll.testing.network import is_paired

net = fixture("alice", "bob", settings={"bob": {"partners.listen": ""}})


@pytest.fixture(scope="module")
def agreement(net):
    net.alice.steward.data.add("loans", {"id": [f"{i}" for i in range(20)], "debt": list(range(20))})
    net.bob.steward.data.add("taxes", {"id": [f"{i}" for i in range(10, 40)]})
    return net.agreement({"alice": {"loans": "*"}, "bob": {"taxes": {"id": "join_key"}}})


def matched(node, agreement) -> list[str]:
    left, right = ("loans", "taxes") if node.name == "alice" else ("taxes", "loans")
    job = node.analyst.join(agreement, left, right, on="id", purpose="test")
    return sorted(job.wait(timeout=60).result().arrow()["id"].to_pylist())


def test_a_node_without_a_listener_asks_and_is_asked(net, agreement) -> None:
    assert net.bob.address is None
    want = [f"{i}" for i in range(10, 20)]
    assert matched(net.alice, agreement) == want
    assert matched(net.bob, agreement) == want


def test_a_killed_node_comes_back_as_itself(net, agreement) -> None:
    before, address = net.alice.identity, net.alice.address
    pid = net.alice.pid
    net.alice.kill()
    assert not net.alice.running
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    net.alice.start()
    assert (net.alice.identity, net.alice.address) == (before, address)
    until("the link is up again", lambda: is_paired(net.bob, net.alice) and is_paired(net.alice, net.bob))
    assert len(matched(net.alice, agreement)) == 10


def test_persons_and_their_roles(net) -> None:
    for role in ("steward", "analyst", "auditor", "operator", "application"):
        found = getattr(net.alice, role).info()
        assert (found["person"], found["role"]) == (f"alice {role}", role)
    assert net.alice.client("steward", "Li Wei").info()["person"] == "Li Wei"


def test_results_in_every_form(net, agreement, tmp_path) -> None:
    result = net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test").result()
    assert result.rows == 10
    assert result.scalars == {"matched_rows": 10, "matched_keys": 10}
    assert sorted(result.pandas()["debt"]) == list(range(10, 20))
    assert result.polars().shape == (10, 2)
    for suffix in ("csv", "arrow", "parquet"):
        assert result.save(tmp_path / f"r.{suffix}").stat().st_size > 0
    with pytest.raises(AtollError) as caught:
        result.save(tmp_path / "r.xlsx")
    assert caught.value.code == "E_FORMAT"


@pytest.mark.parametrize("kind", ["arrow", "pandas", "polars", "mapping"])
def test_tables_from_memory(net, kind: str) -> None:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    columns = {"id": ["1", "2", None], "n": [1, 2, 3]}
    source = {"arrow": pa.table, "pandas": pd.DataFrame, "polars": pl.DataFrame, "mapping": dict}[kind](
        columns
    )
    data = net.alice.steward.data
    found = data.add(kind, source, keys=["id"], declaration={"columns": {"n": {"unit": "pieces"}}})
    assert [(c["name"], c["type"], c["unit"]) for c in found["columns"]] == [
        ("id", "string", None),
        ("n", "int64", "pieces"),
    ]
    assert found["rows"] == 3
    assert data.refresh(kind, source)["versions"][-1]["number"] == 2
    assert data.verify(kind)["verified"] is True
    data.remove(kind)


def test_what_is_no_table(net) -> None:
    with pytest.raises(AtollError) as caught:
        net.alice.steward.data.add("x", 7)
    assert caught.value.code == "E_FORMAT"


def test_a_node_that_does_not_start_shows_its_log() -> None:
    with pytest.raises(AtollError) as caught, nodes("alice", settings={"api.listen": "203.0.113.1:1"}):
        pass
    assert caught.value.code == "E_STATE"
    assert "api.listen" in caught.value.text


def test_a_failing_body_carries_the_logs_and_leaves_nothing(tmp_path) -> None:
    with pytest.raises(ZeroDivisionError) as caught, nodes("alice", pair=None, folder=tmp_path) as found:
        assert found.alice.pid / 0
    assert "node started" in caught.value.__notes__[0]
    assert list(tmp_path.iterdir()) == []
