"""Databases at real nodes: PostgreSQL at one, MariaDB at the other, live and as snapshots."""

from __future__ import annotations

import base64
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from atoll.errors import AtollError
from atoll.testing import Net, nodes, until

QUERY = "SELECT id, debt FROM loans WHERE debt >= 0"


@pytest.fixture(scope="module")
def net(postgresql, mysql, tmp_path_factory) -> Iterator[Net]:
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "password").write_text(postgresql.password + "\n")
    postgresql.run("DROP TABLE IF EXISTS loans", "CREATE TABLE loans (id varchar(20), debt numeric(18,2))")
    postgresql.run("INSERT INTO loans SELECT lpad(i::text, 8, '0'), i * 1.25 FROM generate_series(1, 3000) i")
    postgresql.run("INSERT INTO loans VALUES ('00000003', 7), (NULL, 8)")
    mysql.run("DROP TABLE IF EXISTS taxes", "CREATE TABLE taxes (id char(20), paid decimal(12,2))")
    mysql.run("INSERT INTO taxes SELECT lpad(seq * 3, 8, '0'), seq * 0.5 FROM seq_1_to_2000")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAXES_PASSWORD", mysql.password)
        with nodes("alice", "bob", settings={"bob": {"data.live_keep_days": 0}}) as made:
            by_file = postgresql.url().replace(
                quote(postgresql.password, safe=""), f"${{FILE:{folder}/password}}"
            )
            by_variable = mysql.url().replace(quote(mysql.password, safe=""), "${ENV:TAXES_PASSWORD}")
            made.alice.steward.data.add("loans", by_file, query=QUERY, mode="live", keys=["id"])
            made.bob.steward.data.add("taxes", by_variable, table="taxes", mode="live")
            yield made


@pytest.fixture(scope="module")
def agreement(net: Net) -> str:
    return net.agreement({"alice": {"loans": "*"}, "bob": {"taxes": "*"}})


def join(net: Net, agreement: str):
    return net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test")


def plaintext(postgresql, mysql) -> list[tuple]:
    theirs = {row[0] for row in mysql.run("SELECT id FROM taxes")}
    return sorted(row for row in postgresql.run(QUERY) if row[0] in theirs)


def answer(job) -> list[tuple]:
    found = job.result().arrow()
    return sorted((row["id"], row["debt"]) for row in found.to_pylist())


def test_a_live_join_equals_the_plaintext_join(net, agreement, postgresql, mysql):
    job = join(net, agreement).wait()
    assert len(answer(job)) == 1001
    assert answer(job) == plaintext(postgresql, mysql)
    receipt = job.receipt(timeout=20)
    modes = [fed["mode"] for fed in receipt["document"]["inputs"].values()]
    assert modes == ["live", "live"]

    postgresql.run("INSERT INTO loans SELECT lpad(i::text, 8, '0'), i FROM generate_series(3001, 3600) i")
    mysql.run("DELETE FROM taxes WHERE id < '00000300'")
    again = join(net, agreement).wait()
    assert answer(again) == plaintext(postgresql, mysql)
    assert answer(again) != answer(job)


def test_versions_of_jobs_are_private_and_say_where_they_come_from(net, agreement):
    job = join(net, agreement).wait()
    shown = net.alice.steward.data.show("loans")
    assert (shown["mode"], shown["version"], shown["versions"], shown["rows"]) == ("live", None, [], None)
    listed = net.alice.steward.data.list()[0]
    assert (listed["mode"], listed["versions"]) == ("live", 0)
    manifest = json.loads((net.alice.folder / "live" / job.id / "loans" / "1" / "manifest.json").read_text())
    assert manifest["source"]["mode"] == "live"
    assert manifest["source"]["query"] == QUERY
    assert manifest["source"]["database_time"].endswith("Z")
    inputs = job.receipt(timeout=20)["document"]["inputs"].values()
    fed = next(i for i in inputs if i["version"] == manifest["digest"])
    assert fed["mode"] == "live"
    with pytest.raises(AtollError, match="E_STATE"):
        net.alice.steward.data.refresh("loans")


def test_what_was_read_is_erased_after_its_time(net, agreement):
    """bob keeps nothing after a job's end but digests of keys, from which it tells how much a table changed."""
    job = join(net, agreement).wait()
    job.receipt(timeout=20)
    until("bob's job ended", lambda: net.bob.operator.jobs.get(job.id).state == "completed")
    net.bob.restart()
    until("linked", lambda: all(p["connected"] for n in net for p in n.administrator.peers.list()))
    left = [p.name for p in (net.bob.folder / "live").rglob("*") if p.is_file()]
    assert set(left) == {"digests.bin"}
    assert (net.alice.folder / "live" / job.id / "loans" / "1" / "data.parquet").is_file()
    following = join(net, agreement).wait()
    with sqlite3.connect(f"file:{net.bob.folder}/state.sqlite?mode=ro", uri=True) as state:
        envelopes = state.execute("SELECT envelope FROM approvals WHERE job = ?", (following.id,)).fetchall()
    assert len(envelopes) == 2
    for (envelope,) in envelopes:
        fed = json.loads(base64.b64decode(json.loads(envelope)["payload"]))["inputs"]
        assert [i["change"] for i in fed.values()] == [0]


def test_a_source_that_fails_ends_the_job_with_the_owners_words_at_the_owner_only(net, agreement, mysql):
    mysql.run("RENAME TABLE taxes TO taxes_away")
    try:
        job = join(net, agreement)
        with pytest.raises(AtollError) as caught:
            job.wait()
        assert caught.value.code == "E_SOURCE"
        assert "taxes" not in caught.value.text.replace("taxes@", "")
        there = until("bob has its reason", lambda: net.bob.auditor.jobs.get(job.id).refresh().error)
        assert "core.taxes" in there.text
        mysql.run("CREATE TABLE taxes (id int, paid decimal(12,2))")
        job = join(net, agreement)
        with pytest.raises(AtollError, match="E_TYPE"):
            job.wait()
        there = until("bob has its reason", lambda: net.bob.auditor.jobs.get(job.id).refresh().error)
        assert "taxes.id was string and is now int64" in there.text
        mysql.run("DROP TABLE taxes")
    finally:
        mysql.run("RENAME TABLE taxes_away TO taxes")
    assert not list((net.bob.folder / "live").glob("*/*/.new-*"))


def test_a_steward_approves_what_the_table_holds_then(net, tmp_path):
    """A live file: the rows are those of the moment of approval, not of the proposal."""
    file = tmp_path / "late.csv"
    file.write_text("id\n" + "".join(f"{i:08}\n" for i in range(1, 101)))
    added = net.bob.steward.data.add(
        "late", file, declaration={"columns": {"id": {"type": "string"}}}, mode="live"
    )
    assert (added["mode"], added["version"]) == ("live", None)
    late = {"columns": {"id": "join_key"}, "grant": {"approval": "steward"}}
    agreement = net.agreement({"alice": {"loans": "*"}, "bob": {"late": late}})
    job = net.alice.analyst.join(agreement, "loans", "late", on="id", purpose="test", reveal="size")
    until("bob's steward is asked", lambda: _state(net, job.id) == "waiting")
    file.write_text("id\n" + "".join(f"{i:08}\n" for i in range(1, 201)))
    net.bob.steward.jobs.get(job.id).approve()
    job.wait()
    assert job.result().scalars["intersection_size"] == 200
    assert len(list((net.bob.folder / "live" / job.id).rglob("data.parquet"))) == 1


def _state(net: Net, job: str) -> str | None:
    try:
        return net.bob.operator.jobs.get(job).state
    except AtollError as error:
        if error.code != "E_NOT_FOUND":
            raise
        return None


# Snapshots and passwords.


def everything(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())


def test_a_snapshot_is_refreshed_and_its_password_is_sealed(net, postgresql):
    data = net.alice.steward.data
    postgresql.run("DROP TABLE IF EXISTS stock", "CREATE TABLE stock (k int, v numeric(10,2))",
                   "INSERT INTO stock VALUES (1, 1.5)")  # fmt: skip
    added = data.add("stock", postgresql.url(), table="public.stock", keys=["k"])
    assert (added["mode"], added["rows"]) == ("snapshot", 1)
    assert added["profile"]["keys"][0]["duplicated"] == 0
    postgresql.run("INSERT INTO stock VALUES (2, 2.25)")
    refreshed = data.refresh("stock")
    assert (refreshed["rows"], len(refreshed["versions"])) == (2, 2)
    data.verify("stock")
    shown = data.show("stock")
    assert shown["source"]["source"] == {
        "url": postgresql.url().replace(quote(postgresql.password, safe=""), "***"), "table": "public.stock"
    }  # fmt: skip
    net.alice.restart()
    until("linked", lambda: all(p["connected"] for n in net for p in n.administrator.peers.list()))
    data = net.alice.steward.data
    assert data.refresh("stock")["rows"] == 2
    postgresql.run("ALTER TABLE stock ALTER COLUMN v TYPE numeric(10,3)")
    with pytest.raises(
        AtollError, match=r"E_TYPE.*stock\.v was decimal with scale 2 and is now decimal with scale 3"
    ):
        data.refresh("stock")
    postgresql.run("ALTER TABLE stock DROP COLUMN v")
    with pytest.raises(AtollError, match=r"E_TYPE.*stock\.v .*missing"):
        data.refresh("stock")
    assert len(data.show("stock")["versions"]) == 3
    found = everything(net.alice.folder) + net.alice.log().encode() + json.dumps(data.list()).encode()
    for form in (postgresql.password, quote(postgresql.password, safe=""), quote(postgresql.password)):
        assert form.encode() not in found


def test_a_wrong_password_is_in_no_output(net, postgresql, mysql):
    for database in (postgresql, mysql):
        with pytest.raises(AtollError, match="E_SOURCE") as caught:
            net.alice.steward.data.add(
                "wrong", database.url(password="hunter2-hunter2"), query="SELECT 1 AS a"
            )
        assert "hunter2" not in json.dumps(caught.value.to_problem())
    assert b"hunter2" not in everything(net.alice.folder) + net.alice.log().encode()


def test_what_a_url_may_name(net, mysql, tmp_path):
    own = net.alice.folder
    inspect = net.alice.steward.data.inspect
    with sqlite3.connect(tmp_path / "t.db") as made:
        made.execute("CREATE TABLE t (a INTEGER)")
        made.execute("INSERT INTO t VALUES (1), (2)")
    assert inspect(f"sqlite:///{tmp_path}/t.db", table="t")["rows"] == 2
    for url in (f"sqlite:///{own}/state.sqlite", f"mysql://u:${{FILE:{own}/atoll.toml}}@127.0.0.1:{mysql.port}/core",
                f"mysql://u:${{ENV:ATOLL_PASSPHRASE}}@127.0.0.1:{mysql.port}/core",
                f"mysql://u:${{ENV:NOT_SET_ANYWHERE}}@127.0.0.1:{mysql.port}/core"):  # fmt: skip
        with pytest.raises(AtollError, match="E_SOURCE"):
            inspect(url, query="SELECT name FROM persons")
    for body in ({"url": "mysql://h/d"}, {"url": "mysql://h/d", "query": "SELECT 1", "table": "t"},
                 {"url": "mysql://h/d", "query": 1}):  # fmt: skip
        with pytest.raises(AtollError, match="E_FORMAT"):
            net.alice.steward.transport.call(
                "POST", "/v1/data/inspect", {"source": body, "declaration": None}
            )


def test_secrets_can_be_closed(postgresql, tmp_path):
    (tmp_path / "yes").mkdir()
    for name in ("yes/pw", "no"):
        (tmp_path / name).write_text(postgresql.password)
    with nodes("alice", settings={"data.secrets": [str(tmp_path / "yes")]}) as net:
        base = postgresql.url().replace(quote(postgresql.password, safe=""), "{}")
        inspect = net.alice.steward.data.inspect
        assert inspect(base.format(f"${{FILE:{tmp_path}/yes/pw}}"), query="SELECT 1 AS a")["rows"] == 1
        for reference in (f"${{FILE:{tmp_path}/no}}", f"${{FILE:{tmp_path}/yes/../no}}", "${ENV:PATH}"):
            with pytest.raises(AtollError, match=r"data\.secrets"):
                inspect(base.format(reference), query="SELECT 1 AS a")


def test_inspect_shows_bad_rows_and_keeps_nothing(net, postgresql, tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("id,n\na,1\nb,x\nc,3\nd,4\ne,5,6\n" + "f,7\n" * 30)
    found = net.alice.steward.data.inspect(file)
    assert (found["rows"], found["bad_rows"]) == (33, 2)
    assert {(bad["place"], bad["value"]) for bad in found["examples"]} == {("line 3", "x"), ("line 6", None)}
    query = "SELECT x AS id FROM (VALUES ('A'), ('B'), ('C')) t(x)"
    words = {"columns": {"id": {"type": "string", "codes": ["A", "B"]}}}
    found = net.alice.steward.data.inspect(postgresql.url(), words, query=query)
    assert (found["rows"], found["bad_rows"]) == (2, 1)
    assert found["examples"][0]["place"] == "row 3"
    with pytest.raises(AtollError, match=r"E_RANGE.*1 bad row"):
        net.alice.steward.data.add("codes", postgresql.url(), query=query, declaration=words, mode="live")
    assert "codes" not in {t["name"] for t in net.alice.steward.data.list()}


def test_the_command_line(net, mysql):
    def atoll(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "atoll.cli", *arguments, "-d", str(net.bob.folder), "--json"],
            capture_output=True, text=True, env=net.bob.environment, check=False,
        )  # fmt: skip

    url = mysql.url().replace(quote(mysql.password, safe=""), "${ENV:TAXES_PASSWORD}")
    inspected = atoll("data", "inspect", url, "--query", "SELECT id FROM taxes")
    assert json.loads(inspected.stdout)["columns"][0]["name"] == "id", inspected.stderr
    added = atoll("data", "add", "shelf", url, "--table", "taxes", "--mode", "live")
    assert json.loads(added.stdout)["mode"] == "live", added.stderr
    kept = atoll("data", "add", "stored", url, "--query", "SELECT id FROM taxes")
    assert json.loads(kept.stdout)["mode"] == "snapshot", kept.stderr
    assert atoll("data", "refresh", "stored").returncode == 0
    refused = atoll("data", "add", "bad", url, "--query", "DELETE FROM taxes")
    assert refused.returncode != 0
    assert "E_SOURCE" in refused.stderr + refused.stdout
    for name in ("shelf", "stored"):
        assert atoll("data", "remove", name).returncode == 0


def test_a_start_removes_what_a_killed_node_left(net):
    folder = net.alice.folder
    (folder / "work" / "engine-x").mkdir()
    (folder / "work" / "left.csv").write_text("a")
    (folder / "data" / "stock").mkdir(exist_ok=True)
    (folder / "data" / "stock" / ".new-x").mkdir()
    (folder / "live" / "job-nobody" / "t" / "1").mkdir(parents=True)
    net.alice.restart(kill=True)
    assert not list((folder / "work").iterdir())
    assert not (folder / "data" / "stock" / ".new-x").exists()
    assert not (folder / "live" / "job-nobody").exists()
