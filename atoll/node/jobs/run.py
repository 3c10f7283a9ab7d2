"""Running an approved job: start on all sides, watch the worker, end with one signed reason."""

from __future__ import annotations

import secrets
import socket
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import cbor2
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from atoll.crypto import dsse
from atoll.errors import AtollError
from atoll.net.link import Peer as Remote
from atoll.net.listener import job_name
from atoll.node.clock import parse, stamp
from atoll.node.jobs.desk import ENDED, Desk
from atoll.node.jobs.facts import gather
from atoll.node.jobs.receipts import Receipts
from atoll.node.jobs.release import Releases
from atoll.node.logs import logger
from atoll.node.state.models import Approval as ApprovalRow
from atoll.node.state.models import Job
from atoll.node.worker.supervise import Worker
from atoll.policy import decide
from atoll.protocols.pairwise_masks import STATEMENT_PREFIX

ABORT_KIND = "abort/v1"
# A worker asks for signatures only for these purposes, and only over bytes that begin with their domain.
_SIGNED = {"pairwise-masks key": STATEMENT_PREFIX}
_CONNECTED = 5.0


class Runs:
    """All jobs that run on this node now."""

    def __init__(self, desk: Desk, releases: Releases, receipts: Receipts) -> None:
        self._desk, self._releases, self._receipts = desk, releases, receipts
        self._log = logger("runs")
        self._workers: dict[str, Worker] = {}
        self._routes: dict[str, list[str]] = {}
        self._progress: dict[str, dict[str, Any]] = {}
        self._calls: dict[tuple[str, int], Future[bytes]] = {}
        self._call_number = 0
        self._lock = threading.Lock()
        self.stopping = False
        desk.partners.handle("job.start", self._started_there)
        desk.partners.handle("job.abort", self._aborted_there)

    # Start.

    def start(self, job: str, again: bool = False) -> None:
        """At the asker: starts the next attempt once everyone has approved, and reports failure as the job's end."""
        try:
            self._start(job, again)
        except AtollError as error:
            self.fail(job, error)
        except Exception as error:
            self._log.exception("starting failed", job=job)
            self.fail(job, AtollError("E_INTERNAL", f"starting failed: {type(error).__name__}"))

    def _start(self, job: str, again: bool) -> None:
        desk = self._desk
        with desk.locked(job):
            row = desk.job(job)
            if row.state != "approved" and not (again and row.state == "failed"):
                return
            plan = desk.plan(row)
            self._final_check(row, plan)
            self._take_slot()
            peers = {key: desk.partners.peer(key) for key in desk.others(plan)}
            routes = {
                key: {"name": job_name(), "dialer": "asker" if peers[key].address else "participant"}
                for key in peers
            }
            with desk.store.write() as session:
                stored = session.get_one(Job, job)
                stored.state, stored.attempt, stored.error, stored.ended = (
                    "running",
                    row.attempt + 1,
                    None,
                    None,
                )
                stored.started, stored.parts, stored.part = stamp(desk.clock()), {}, None
                stored.start = {"nonce": secrets.token_hex(16), "routes": routes}
                desk.event(session, job, "started", attempt=stored.attempt)
            row = desk.job(job)
            self._launch(
                row,
                plan,
                {
                    k: (r["name"], peers[k].address if r["dialer"] == "asker" else None)
                    for k, r in routes.items()
                },
            )
        with desk.store.read() as session:
            approvals = {
                a.party: a.envelope for a in session.query(ApprovalRow).filter(ApprovalRow.job == job)
            }
        bodies = {
            key: {
                "job": job,
                "attempt": row.attempt,
                "nonce": row.start["nonce"],
                "approvals": approvals,
                "route": route["name"],
                "dialer": route["dialer"],
            }
            for key, route in routes.items()
        }
        with ThreadPoolExecutor(max_workers=16) as pool:
            asked = {
                key: pool.submit(desk.partners.request, key, "job.start", body)
                for key, body in bodies.items()
            }
        for key, answer in asked.items():
            try:
                answer.result()
            except AtollError as error:
                error.party = error.party or peers[key].name
                raise

    def _take_slot(self) -> None:
        if len(self._workers) >= self._desk.config["jobs.concurrent"]:
            raise AtollError(
                "E_BUSY",
                f"{len(self._workers)} workers run, and jobs.concurrent allows no more",
                party=self._desk.config["node.name"],
            )

    def _final_check(self, row: Job, plan: dict[str, Any]) -> None:
        """The decision once more, with everyone's signed sizes and today's counters."""
        desk = self._desk
        derivation = desk.derive(plan)
        with desk.store.read() as session:
            facts = gather(desk, session, derivation, desk.approvals(row), None)
        decision = decide(
            derivation, me=desk.me, agreements=desk.states(plan), facts=facts, now=desk.clock(), final=True
        )
        if decision.outcome == "refuse":
            raise decision.reasons[0].error(desk.config["node.name"])

    def _started_there(self, remote: Remote, body: Any) -> Any:
        """At a participant: the asker starts an attempt."""
        desk = self._desk
        wanted = {"job", "attempt", "nonce", "approvals", "route", "dialer"}
        if (
            not isinstance(body, dict)
            or set(body) != wanted
            or body["dialer"] not in ("asker", "participant")
        ):
            raise AtollError("E_WIRE", "not a start")
        job = str(body["job"])
        with desk.locked(job):
            row = desk.job(job)
            plan = desk.plan(row)
            if remote.identity != row.asker:
                raise AtollError("E_PLAN", "only the asker starts a job", party=remote.name)
            attempt = body["attempt"]
            start = {k: body[k] for k in ("nonce", "route", "dialer")}
            if attempt == row.attempt and row.state in ("running", "released") and row.start == start:
                return {}
            startable = row.state == "approved" or (row.state == "failed" and row.attempt > 0)
            if not isinstance(attempt, int) or attempt <= row.attempt or not startable:
                raise AtollError(
                    "E_REWIND",
                    f"attempt {attempt} cannot start: the job is {row.state} at attempt {row.attempt}",
                    party=desk.config["node.name"],
                    step="start",
                )
            if attempt > 1 and parse(plan["expires"]) <= desk.clock():
                raise AtollError("E_PLAN", "the proposal is over its date", party=desk.config["node.name"])
            self._take_approvals(row, plan, body["approvals"])
            self._final_check(row, plan)
            self._take_slot()
            with desk.store.write() as session:
                stored = session.get_one(Job, job)
                stored.state, stored.attempt, stored.start, stored.part = "running", attempt, start, None
                stored.started, stored.error, stored.ended = stamp(desk.clock()), None, None
                desk.event(session, job, "started", attempt=attempt)
            address = desk.partners.peer(remote.identity).address if body["dialer"] == "participant" else None
            self._launch(desk.job(job), plan, {remote.identity: (body["route"], address)})
        return {}

    def _take_approvals(self, row: Job, plan: dict[str, Any], envelopes: Any) -> None:
        desk = self._desk
        parties = {p["key"] for p in plan["parties"]}
        if not isinstance(envelopes, dict) or set(envelopes) != parties:
            raise AtollError("E_APPROVAL", "the start does not carry every party's approval")
        known = desk.approvals(row)
        for party, envelope in envelopes.items():
            approval = desk.open_approval(row, plan, party, envelope)
            if approval.decision != "approve":
                raise AtollError("E_APPROVAL", "a party refused the plan", party=desk.names(plan)[party])
            if party in known and known[party] != approval:
                raise AtollError(
                    "E_REWIND",
                    "an approval differs from the one that was sent before",
                    party=desk.names(plan)[party],
                )
            if party not in known:
                with desk.store.write() as session:
                    session.add(
                        ApprovalRow(
                            job=row.id, party=party, decision="approve", envelope=envelope, at=approval.at
                        )
                    )

    # The worker.

    def _seed(self, row: Job, secret: bytes) -> bytes:
        """The job's seed: the own secret, committed before any peer's nonce was known, mixed with all nonces."""
        nonces = [a.nonce for _, a in sorted(self._desk.approvals(row).items())] + [row.start["nonce"]]
        info = b"atoll job seed v1" + b"".join(bytes.fromhex(n) for n in nonces)
        return HKDF(SHA256(), 32, salt=row.id.encode(), info=info).derive(secret)

    def _launch(self, row: Job, plan: dict[str, Any], connections: dict[str, tuple[str, str | None]]) -> None:
        """Starts the worker. `connections` gives for each peer the connection's name, and the address if we dial."""
        desk = self._desk
        assert row.secret is not None  # stored with this node's approval
        kept = cbor2.loads(desk.vault.open(f"job {row.id}", row.secret))
        approvals = desk.approvals(row)
        derived = desk.states(plan)
        inputs = {}
        for name, fed in approvals[desk.me].inputs.items():
            asset = next(i["asset"] for i in plan["inputs"] if i["id"] == name)
            version = desk.tables.version(asset, fed.version)
            inputs[name] = {
                "asset": asset,
                "data": str(version.data),
                "cache": str(version.cache),
                "version": fed.version,
                "keys": fed.keys,
            }
        spec = {
            "task": "run",
            "plan": plan,
            "me": desk.me,
            "seed": self._seed(row, kept["secret"]),
            "attempt": row.attempt,
            "threads": desk.threads,
            "folder": str(desk.folder(row.id)),
            "inputs": inputs,
            "declared_keys": {name: fed.keys for a in approvals.values() for name, fed in a.inputs.items()},
            "tls": {k: kept[k] for k in ("certificate", "private_key", "not_before", "not_after")},
            "silence_seconds": plan["limits"]["silence_seconds"],
            "grace_seconds": max((s.agreement.grace_seconds for s in derived.values()), default=0),
            "peers": {
                peer: {"tls": approvals[peer].tls, "dial": address, "name": name, "index": number}
                for number, (peer, (name, address)) in enumerate(sorted(connections.items()))
            },
        }
        worker = Worker(
            spec,
            lambda message: self._message(row.id, row.attempt, message),
            lambda result, error: self._ended(row.id, row.attempt, result, error),
            memory_bytes=min(
                desk.config["jobs.memory_bytes"],
                plan["limits"]["memory_bytes"] or desk.config["jobs.memory_bytes"],
            ),
            seconds=None
            if plan["shape"] == "service"
            else min(desk.config["jobs.seconds"], plan["limits"]["seconds"]),
        )
        self._workers[row.id] = worker
        desk.metrics.running.set(len(self._workers))
        self._routes[row.id] = []
        for peer, (name, address) in connections.items():
            if address is None:
                self._route(row.id, name, peer, worker)

    def _route(self, job: str, name: str, peer: str, worker: Worker) -> None:
        listener = self._desk.partners.listener
        if listener is None:
            raise AtollError(
                "E_UNREACHABLE",
                "neither side of the job can be dialed",
                cure="Give one of the two nodes an address.",
            )

        def hand_over(sock: socket.socket) -> None:
            worker.send({"kind": "socket", "peer": peer}, sock.fileno())
            sock.close()

        listener.route(name, hand_over)
        self._routes[job].append(name)

    def _message(self, job: str, attempt: int, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "progress":
            self._progress[job] = {k: message[k] for k in ("done", "total", "step")}
        elif kind == "reply":
            waiting = self._calls.pop((job, message["call"]), None)
            if waiting is not None:
                waiting.set_result(message["payload"])
        elif kind in ("release", "sign"):
            # Answered on a thread of its own: a release waits for the peer, and progress must go on meanwhile.
            threading.Thread(target=self._answer, args=(job, attempt, message), daemon=True).start()

    def _answer(self, job: str, attempt: int, message: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"kind": "answer", "question": message["question"]}
        try:
            if message["kind"] == "release":
                self._releases.release(job, message["receivers"])
            elif message["purpose"] in _SIGNED and message["message"].startswith(_SIGNED[message["purpose"]]):
                answer["signature"] = self._desk.signing.sign(message["message"])
            else:
                raise AtollError("E_INTERNAL", "a worker asked for a signature that none needs")
        except AtollError as error:
            answer["error"] = error.to_problem()
        except Exception as error:
            self._log.exception("answering a worker failed", job=job)
            answer["error"] = AtollError("E_INTERNAL", type(error).__name__).to_problem()
        worker = self._workers.get(job)
        if worker is not None:
            worker.send(answer)

    def _forget(self, job: str) -> Worker | None:
        worker = self._workers.pop(job, None)
        listener = self._desk.partners.listener
        for name in self._routes.pop(job, []):
            if listener is not None:
                listener.unroute(name)
        self._progress.pop(job, None)
        self._desk.metrics.running.set(len(self._workers))
        with self._lock:
            for key in [k for k in self._calls if k[0] == job]:
                self._calls.pop(key).set_exception(
                    AtollError("E_STATE", "the service ended before it answered")
                )
        return worker

    # The end.

    def _ended(self, job: str, attempt: int, result: dict[str, Any] | None, error: AtollError | None) -> None:
        if result is None:
            self.fail(job, error or AtollError("E_INTERNAL", "the worker gave no reason"), attempt=attempt)
            return
        desk = self._desk
        try:
            with desk.locked(job):
                row = desk.job(job)
                if row.state not in ("running", "released") or row.attempt != attempt:
                    return
                self._forget(job)
                part, output = self._receipts.own_part(row, result)
                with desk.store.write() as session:
                    stored = session.get_one(Job, job)
                    stored.state, stored.ended, stored.part, stored.output = (
                        "completed",
                        stamp(desk.clock()),
                        part,
                        output,
                    )
                    stored.meters = {**part["meters"], "wall_ms": result["meters"]["wall_ms"]}
                    desk.event(session, job, "completed", rows=result["rows"])
                desk.metrics.jobs.labels(function=row.function, outcome="completed").inc()
                desk.metrics.seconds.labels(function=row.function).observe(result["meters"]["wall_ms"] / 1000)
                desk.metrics.bytes.labels(direction="sent").inc(part["meters"]["bytes_sent"])
                desk.metrics.bytes.labels(direction="received").inc(part["meters"]["bytes_received"])
            self._receipts.deliver_part(job)
        except AtollError as problem:
            self.fail(job, problem, attempt=attempt)
        except Exception as problem:
            self._log.exception("ending a job failed", job=job)
            self.fail(job, AtollError("E_INTERNAL", type(problem).__name__), attempt=attempt)

    def fail(
        self,
        job: str,
        error: AtollError,
        *,
        attempt: int | None = None,
        tell: bool = True,
        state: str = "failed",
    ) -> None:
        """Ends a job here with a reason, and tells the others."""
        desk = self._desk
        with desk.locked(job):
            try:
                row = desk.job(job)
            except AtollError:
                return
            if row.state in ENDED or (attempt is not None and attempt != row.attempt):
                return
            worker = self._forget(job)
            if worker is not None:
                worker.cancel(error)
            released = row.state == "released"
            with desk.store.write() as session:
                stored = session.get_one(Job, job)
                stored.state, stored.error, stored.ended = state, error.to_problem(), stamp(desk.clock())
                desk.event(session, job, state, code=error.code, text=error.text, released=released)
                desk.record(
                    session,
                    row.agreement,
                    "outcome",
                    {
                        "job": job,
                        "attempt": row.attempt,
                        "outcome": "released, unacknowledged" if released else state,
                        "error": error.to_wire(),
                    },
                    job,
                )
                if tell:
                    self._tell(session, row, error)
            desk.metrics.jobs.labels(function=row.function, outcome=state).inc()
        desk.partners.outbox.wake()

    def _tell(self, session: Any, row: Job, error: AtollError) -> None:
        desk = self._desk
        wire = {**error.to_wire(), "party": error.party or desk.config["node.name"]}
        document = {
            "format": "atoll.abort/v1",
            "job": row.id,
            "attempt": row.attempt,
            "by": desk.me,
            "error": wire,
            "at": stamp(desk.clock()),
        }
        envelope = dsse.sign(ABORT_KIND, document, desk.signing)
        to = desk.others(desk.plan(row)) if row.asker == desk.me else [row.asker]
        for key in to:
            desk.partners.outbox.put(session, key, "job.abort", {"job": row.id, "abort": envelope})

    def _aborted_there(self, remote: Remote, body: Any) -> Any:
        desk = self._desk
        if not isinstance(body, dict) or set(body) != {"job", "abort"}:
            raise AtollError("E_WIRE", "not an abort")
        document = dsse.verify(ABORT_KIND, body["abort"], [remote.identity])
        try:
            row = desk.job(str(body["job"]))
        except AtollError:
            return {}
        plan = desk.plan(row)
        if remote.identity not in desk.others(plan) or document.get("job") != row.id:
            raise AtollError("E_PLAN", "the sender has no part in that job")
        if document.get("attempt") not in (row.attempt, 0):
            return {}
        error = AtollError.from_wire(document.get("error"), peer=remote.name)
        with desk.store.write() as session:
            desk.event(
                session, row.id, "aborted there", peer=remote.name, code=error.code, envelope=body["abort"]
            )
        if row.asker == desk.me:
            self.fail(row.id, error)
        else:
            self.fail(row.id, error, tell=False)
        return {}

    def cancel(self, job: str, person: str) -> None:
        """A person ends a job."""
        self.fail(
            job,
            AtollError("E_CANCELLED", f"{person} cancelled the job", party=self._desk.config["node.name"]),
            state="cancelled",
        )

    def rerun(self, job: str) -> None:
        """At the asker: the next attempt of a failed job, on the same inputs, never debited twice."""
        row = self._desk.job(job)
        if row.asker != self._desk.me or row.state != "failed" or row.attempt == 0:
            raise AtollError(
                "E_STATE",
                f"job {job} is {row.state}; only a failed job of this node that had started runs again",
            )
        if parse(self._desk.plan(row)["expires"]) <= self._desk.clock():
            raise AtollError("E_PLAN", "the proposal is over its date", cure="Ask for a new job.")
        threading.Thread(target=self.start, args=(job, True), daemon=True, name="rerun").start()

    def stop_all(self, error: AtollError) -> None:
        """The node shuts down: every running job ends with a reason that the partners hear."""
        for job in list(self._workers):
            self.fail(job, error)

    def after_restart(self) -> None:
        """What ran when this node was stopped cannot go on: a one-shot job ends with the reason."""
        with self._desk.store.read() as session:
            jobs = [r.id for r in session.query(Job).filter(Job.state.in_(("running", "released")))]
        for job in jobs:
            self.fail(
                job,
                AtollError(
                    "E_RESTARTED",
                    "this node was stopped while the job ran",
                    party=self._desk.config["node.name"],
                ),
            )

    def progress(self, job: str) -> dict[str, Any] | None:
        """Progress of the current step, if the job runs here."""
        return self._progress.get(job)

    # Standing services.

    def call(self, job: str, payload: bytes, timeout: float = 30.0) -> bytes:
        """One call of a standing service that this node asks."""
        worker = self._workers.get(job)
        row = self._desk.job(job)
        if worker is None or row.shape != "service" or row.asker != self._desk.me:
            raise AtollError("E_STATE", f"job {job} is {row.state} and serves no calls")
        answer: Future[bytes] = Future()
        with self._lock:
            self._call_number += 1
            number = self._call_number
            self._calls[(job, number)] = answer
        worker.send({"kind": "call", "call": number, "payload": payload})
        self._desk.metrics.service_calls.labels(function=row.function).inc()
        try:
            return answer.result(timeout)
        except TimeoutError:
            raise AtollError("E_PEER_SILENT", "the service did not answer in time") from None

    def stop_service(self, job: str) -> None:
        """Ends a standing service in order, so that its receipt is made."""
        worker = self._workers.get(job)
        if worker is None or self._desk.job(job).shape != "service":
            raise AtollError("E_STATE", f"job {job} is no running service here")
        worker.send({"kind": "stop"})
