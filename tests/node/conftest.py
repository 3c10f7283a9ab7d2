"""A look into a node's records from outside, and nodes that die at a chosen point."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from atoll.agreements import build_approval, roster
from atoll.crypto import dsse
from atoll.crypto.suite import SigningKey, commit
from atoll.errors import AtollError
from atoll.functions.join.compile import compile as compile_join
from atoll.net.dial import dial
from atoll.net.identity import NodeKeys, key_statement
from atoll.net.link import Link, Local, open_link
from atoll.net.listener import job_name
from atoll.plan import plan_digest
from atoll.testing import Net, NodeProcess, until

# What each point of a crash patches, in the node's process, before it starts.
_CRASH = """
import os, signal

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def after(cls, name, flush=False):
    original = getattr(cls, name)
    def method(self, *args, **kwargs):
        answer = original(self, *args, **kwargs)
        if flush:
            args[0].flush()
        die()
        return answer
    setattr(cls, name, method)

def first(cls, name, what):
    original = getattr(cls, name)
    def method(self, *args, **kwargs):
        what(self)
        return original(self, *args, **kwargs)
    setattr(cls, name, method)

if point:
    from atoll.node.jobs.receipts import Receipts
    from atoll.node.jobs.release import Releases
    from atoll.node.jobs.run import Runs
    from atoll.node.worker.context import WorkerContext
    {
        "started": lambda: after(Runs, "_launch"),
        "asked to release": lambda: setattr(Releases, "release", die),
        "word arrived": lambda: setattr(Releases, "_settle", die),
        "within the debit": lambda: after(Releases, "_settle", flush=True),
        "debited": lambda: after(Releases, "release"),
        "word given": lambda: after(Releases, "_give_word"),
        "within the settling": lambda: after(Releases, "settle_block", flush=True),
        "block closed": lambda: after(Receipts, "close_block"),
        "block stored": lambda: setattr(Receipts, "deliver_part", die),
        "worker done": lambda: setattr(Runs, "_ended", die),
        "worker: about to release": lambda: setattr(WorkerContext, "before_open", die),
        "part stored": lambda: first(Runs, "_ended", lambda runs: setattr(runs._receipts, "deliver_part", die)),
    }[point]()
"""


class Records:
    """Rows of a node's SQLite store, read beside the running node."""

    def __init__(self, node: NodeProcess) -> None:
        self._path = node.folder / "state.sqlite"

    def rows(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=30)
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(query, arguments)]
        finally:
            connection.close()

    def count(self, table: str) -> int:
        return int(self.rows(f"select count(*) as n from {table}")[0]["n"])

    def charges(self, job: str) -> list[dict[str, Any]]:
        return self.rows("select * from charges where job = ? order by id", job)

    def receipts(self, job: str, kind: str) -> list[dict[str, Any]]:
        return self.rows("select * from receipts where job = ? and kind = ? order by block", job, kind)

    def ledger(self, kind: str, job: str) -> list[dict[str, Any]]:
        """Documents of one kind in the node's own logs that name a job."""
        found = []
        for row in self.rows("select body from log_entries where job = ? order by number", job):
            body = json.loads(row["body"]) if row["body"] else {}
            if body.get("kind") == f"{kind}/v1":
                found.append(body["document"])
        return found

    def everything(self) -> bytes:
        """All bytes of the store, its write-ahead log among them."""
        return b"".join(p.read_bytes() for p in sorted(self._path.parent.glob("state.sqlite*")))


@pytest.fixture
def records() -> Callable[[NodeProcess], Records]:
    return Records


@pytest.fixture
def crash_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[NodeProcess, str | None], None]:
    """Restarts a node so that it dies at a named point, or, with None, so that it does not."""

    def restart(node: NodeProcess, point: str | None) -> None:
        with monkeypatch.context() as patch:
            if point is not None:
                before = os.environ.get("PYTHONPATH")
                patch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *([before] if before else [])]))
                text = f"point = {point!r}\n{_CRASH}"
                (tmp_path / "sitecustomize.py").write_text(text, encoding="utf-8")
            node.restart()

    return restart


def _children(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(folder.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


def _children(parent: int, module: bytes) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and int(fields[1]) == parent and module in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


def _workers(node: NodeProcess) -> list[int]:
    """Processes of a node's workers: children of its nursery."""
    nurseries = _children(node.pid, b"atoll.node.worker.nursery")
    return [worker for nursery in nurseries for worker in _children(nursery, b"atoll.node.worker.nursery")]


@pytest.fixture
def kill_workers() -> Callable[[NodeProcess], int]:
    """Kills (-9) all workers of a node; how many there were."""

    def kill(node: NodeProcess) -> int:
        found = _workers(node)
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return len(found)

    return kill


@pytest.fixture(scope="module")
def quality_limits(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[None]:
    """Nodes that are started after this answer and take only as often in a day as the module's `LIMITS` say."""
    folder = tmp_path_factory.mktemp("limits")
    (folder / "sitecustomize.py").write_text(
        "from atoll.node.quality import sharing\n"
        f"sharing.ANSWERS_A_DAY, sharing.FINDINGS_A_DAY = {request.module.LIMITS!r}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        before = os.environ.get("PYTHONPATH")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *([before] if before else [])]))
        yield


# What a node keeps about others' requests: nothing of it may change by a message that was refused.
TABLES = (
    "agreements",
    "offers",
    "jobs",
    "approvals",
    "job_events",
    "charges",
    "receipts",
    "input_uses",
    "log_entries",
    "outbox",
    "quality_shown",
    "findings",
)


@dataclass
class Mallory:
    """The hostile partner: real keys in this process, a real link, answers of its own choice."""

    keys: NodeKeys
    victim: NodeProcess
    tls: str
    agreement: dict[str, Any]
    receipt: dict[str, Any]
    job: str
    decisions: dict[str, Any] = field(default_factory=dict)
    figures: Callable[[Any], Any] = lambda body: {}
    _link: Link | None = None

    @property
    def me(self) -> str:
        return self.keys.identity

    def _decided(self, _peer: Any, body: Any) -> Any:
        self.decisions[body["job"]] = body["approval"]
        return {}

    def connect(self) -> Link:
        if self._link is None or not self._link.alive:
            handlers = {
                "plan.decision": self._decided,
                "job.abort": lambda *_: {},
                "ledger.extend": lambda *_: {},
                "script.deployment": lambda *_: {},
                "script.publish": lambda *_: {},
                "quality.figures": lambda _, body: self.figures(body),
            }
            local = Local(
                keys=self.keys, name="mallory", address=None, handlers=handlers, admit=lambda *_: None,
                log=lambda *_: None, clock=lambda: datetime.now(UTC),
            )  # fmt: skip
            assert self.victim.address is not None
            self._link = open_link(dial(self.victim.address), local, self.tls)
        return self._link

    def say(self, verb: str, body: Any) -> Any:
        return self.connect().request(verb, body)

    def answered(self, verb: str, body: Any) -> str | None:
        """The code of a refusal; None if the victim took the message."""
        try:
            self.say(verb, body)
        except AtollError as error:
            return error.code
        return None

    def refused(self, verb: str, body: Any) -> str:
        """The code with which the victim refuses."""
        with pytest.raises(AtollError) as caught:
            self.say(verb, body)
        return caught.value.code

    def sign(self, kind: str, document: Any, *keys: SigningKey) -> Any:
        return dsse.sign(kind, document, *(keys or (self.keys.signing,)))

    def roster(self) -> dict[str, Any]:
        """A first version of a roster of the two."""
        now = datetime.now(UTC)
        cards = [
            key_statement(self.keys, "mallory", None, now),
            self.victim.administrator.rosters.card()["card"],
        ]
        members = [roster.read_card(card, now) for card in cards]
        return roster.found("ros-" + "1" * 16, "The two", members, now)

    def plan(self, **how: Any) -> dict[str, Any]:
        request = {
            "agreement": self.agreement["id"], "purpose": "test", "reveal": "size",
            "left": {"asset": "loans", "party": "mallory", "keys": ["id"]},
            "right": {"asset": "taxes", "party": "victim", "keys": ["id"]},
        }  # fmt: skip
        return compile_join(
            request | how, self.agreement, me=self.me, person="Mallory", now=datetime.now(UTC),
            job=f"job-{secrets.token_hex(16)}", salt=secrets.token_hex(16),
        )  # fmt: skip

    def approval(self, plan: dict[str, Any], keys: int = 60, **changed: Any) -> dict[str, Any]:
        version = self.receipt["inputs"][plan["inputs"][0]["id"]]["version"]
        document = build_approval(
            job=plan["id"], plan=plan_digest(plan), party=self.me, by="agreement", at=datetime.now(UTC),
            inputs={plan["inputs"][0]["id"]: {"version": version, "mode": "snapshot", "keys": keys, "change": 0}},
            seed_commitment=commit(b"s" * 32, b"o" * 16), tls=self.tls, nonce="0" * 32,
        )  # fmt: skip
        return {**document, **changed}

    def propose(self, plan: dict[str, Any], approval: dict[str, Any] | None = None) -> Any:
        signed = self.sign("approval/v1", approval or self.approval(plan))
        return self.say("plan.propose", {"plan": self.sign("plan/v1", plan), "approval": signed})

    def approved(self) -> dict[str, Any]:
        """A plan that the victim has approved."""
        plan = self.plan()
        self.propose(plan)
        until("the victim decides", lambda: plan["id"] in self.decisions)
        assert json.loads(base64.b64decode(self.decisions[plan["id"]]["payload"]))["decision"] == "approve"
        return plan

    def start(self, plan: dict[str, Any], **changed: Any) -> dict[str, Any]:
        body = {
            "job": plan["id"], "attempt": 1, "nonce": "ab" * 16, "routes": {self.me: job_name()},
            "approvals": {
                self.me: self.sign("approval/v1", self.approval(plan)),
                self.victim.identity: self.decisions[plan["id"]],
            },
        }  # fmt: skip
        return {**body, **changed}


@pytest.fixture(scope="module")
def mallory(net: Net) -> Iterator[Mallory]:
    """After one honest job, so that there are receipts and ledgers, mallory's node stops and the script begins."""
    node, victim = net.mallory, net.victim
    node.steward.data.add("loans", {"id": [str(i) for i in range(60)]})
    victim.steward.data.add("taxes", {"id": [str(i) for i in range(30, 90)]})
    agreement = net.agreement(
        {
            "mallory": {"loans": {"id": "join_key"}},
            "victim": {
                "taxes": {
                    "columns": {"id": "join_key"},
                    "quality": ["rows"],
                    "findings": ["stale", "missing"],
                }
            },
        },
        silence_seconds=3,
    )
    job = node.analyst.join(agreement, "loans", "taxes", on="id", purpose="test", reveal="size").wait(
        timeout=60
    )
    receipt = job.receipt(20)
    assert not receipt["missing"]
    until(
        "the victim has the receipt",
        lambda: victim.analyst.jobs.get(job.id).refresh().document["evidence"] == "final",
    )
    mine = f"/{node.identity.partition(':')[2][:8]}"
    until("mallory's log is cosigned", lambda: all(
        c["behind"] == 0 for log in node.auditor.ledger.list() if log["own"] for c in log["cosignatures"]
    ) and mine)  # fmt: skip
    document = node.steward.agreements.show(agreement)["document"]
    tls = victim.administrator.info()["tls"]
    keys = NodeKeys.load(node.folder / "keys", node.passphrase)
    node.stop()
    made = Mallory(keys, victim, tls, document, receipt["document"], job.id)
    yield made
    if made._link is not None:
        made._link.close(None)


@pytest.fixture
def unchanged(net: Net, mallory: Mallory, records: Any) -> Iterator[None]:
    """Nothing is stored by what the test does, no handler fails, and the victim still answers."""
    seen = records(net.victim)
    until("the victim is quiet", lambda: net.victim.administrator.info()["waiting_messages"] == 0, 60)

    def stored() -> dict[str, int]:
        # The node notes the heads of its logs at times of its own.
        heads = (
            """select count(*) as n from log_entries where instr(cast(body as text), '"kind":"heads/v1"')"""
        )
        found = {name: seen.count(name) for name in TABLES}
        return found | {"log_entries": found["log_entries"] - int(seen.rows(heads)[0]["n"])}

    def settled() -> dict[str, int] | None:
        """What is stored, once nothing was added for a moment: the end of an earlier test's job may come late."""
        found = stored()
        for _ in range(3):
            time.sleep(0.4)
            if found != stored():
                return None
        return found

    before = until("the victim has settled", settled, 60)
    log = len(net.victim.log())
    yield
    found = stored()
    late = seen.rows("select * from log_entries")[before["log_entries"] :]
    assert found == before, late
    said = net.victim.log()[log:]
    assert "handler_failed" not in said
    assert "Traceback" not in said
    assert net.victim.administrator.health() == "ok"
