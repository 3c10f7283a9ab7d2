"""A host of replays: takes a partner's bundle, runs its side of a job, signs the report, and erases everything.

Only for partners that this node's operator named, and only where every agreement of the job names this node as a host.
One bundle at a time, within a bound of bytes; one that is left unfinished is erased.
"""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

from atoll.agreements.replay import REPLAY_KIND
from atoll.crypto import dsse
from atoll.errors import AtollError
from atoll.net.link import Peer as Remote
from atoll.node.evidence.replay_bundle import PIECE, Bundle, check_files, unpack_papers
from atoll.node.evidence.replay_case import Case, Signed, judge, open_plan
from atoll.node.evidence.replay_run import Options, signed_report, start_worker
from atoll.node.jobs.desk import Desk
from atoll.node.logs import logger
from atoll.node.worker.supervise import Worker
from atoll.plan import plan_digest

Json = dict[str, Any]
IDLE_SECONDS = 120.0
_REPORT_SECONDS = 3600.0
_SWEEP_SECONDS = 5.0


@dataclass
class _Guest:
    """A partner's replay here."""

    identifier: str
    party: str
    plan: str
    bundle: Bundle
    folder: Path
    written: list[int]
    started: datetime
    state: Literal["arriving", "running", "done", "failed"] = "arriving"
    options: Options | None = None
    progress: Json | None = None
    envelope: dsse.Envelope | None = None
    error: AtollError | None = None
    worker: Worker | None = None
    touched: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)


class ReplayHost:
    """Replays that this node runs for partners."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._log = logger("replay host")
        self._lock = threading.Lock()
        self._guest: _Guest | None = None
        self._stopping = threading.Event()
        for verb, handler in {
            "replay.offer": self._offered,
            "replay.piece": self._piece,
            "replay.run": self._run_there,
            "replay.report": self._report_asked,
            "replay.cancel": self._cancelled_there,
        }.items():
            desk.partners.handle(verb, handler)

    def start(self) -> None:
        """Begins to look for bundles that were left unfinished."""
        threading.Thread(target=self._sweep, name="replay host", daemon=True).start()

    def stop(self) -> None:
        """Ends what runs, and erases it."""
        self._stopping.set()
        if self._guest is not None:
            self._drop(self._guest)

    def _sweep(self) -> None:
        while not self._stopping.wait(_SWEEP_SECONDS):
            guest = self._guest
            if guest is None or guest.state == "running":
                continue
            limit = IDLE_SECONDS if guest.state == "arriving" else _REPORT_SECONDS
            if time.monotonic() - guest.touched > limit:
                self._drop(guest)

    def _drop(self, guest: _Guest) -> None:
        with self._lock:
            if self._guest is guest:
                self._guest = None
        if guest.worker is not None:
            guest.worker.cancel(AtollError("E_CANCELLED", "the replay was cancelled"))
            guest.worker.wait(5.0)
        with guest.lock:
            guest.state = "failed"
            shutil.rmtree(guest.folder, ignore_errors=True)

    # Who may.

    def _may(self, party: str, signed: Signed) -> None:
        """Raises `E_AGREEMENT` unless the party took part in the job and all its agreements name this node."""
        if party not in signed.parties:
            raise AtollError("E_AGREEMENT", "the sender is no party of that job")
        for name, agreement in signed.agreements.items():
            if agreement.replay is None or self._desk.me not in agreement.replay.hosts:
                raise AtollError(
                    "E_AGREEMENT", f"agreement {name} does not name this node as a host of replays"
                )

    def _offered(self, remote: Remote, body: Any) -> Any:
        desk = self._desk
        if (
            not isinstance(body, dict)
            or set(body) != {"plan", "agreements", "files"}
            or not isinstance(body["agreements"], dict)
        ):
            raise AtollError("E_WIRE", "not an offer of a replay")
        if desk.partners.peer(remote.identity).name not in desk.config["audit.replay_for"]:
            raise AtollError(
                "E_REFUSED", "this node runs no replays for that partner", party=desk.config["node.name"]
            )
        signed = open_plan(body["plan"], body["agreements"])
        self._may(remote.identity, signed)
        bundle = Bundle.parse({"files": body["files"]}, code="E_WIRE", what="offer")
        if bundle.size > desk.config["audit.replay_bytes"]:
            raise AtollError(
                "E_TOO_LARGE",
                f"the bundle has {bundle.size} bytes; audit.replay_bytes is {desk.config['audit.replay_bytes']}",
                party=desk.config["node.name"],
            )
        identifier = secrets.token_hex(16)
        guest = _Guest(
            identifier=identifier,
            party=remote.identity,
            plan=plan_digest(signed.plan),
            bundle=bundle,
            folder=desk.home / "work" / f"guest-{identifier}",
            written=[0] * len(bundle.files),
            started=desk.clock(),
        )
        self._take(guest)
        return {"id": identifier, "piece": PIECE}

    def _take(self, guest: _Guest) -> None:
        """Gives the one place to a guest, if it is free, or its own earlier one that does not run."""
        with self._lock:
            before = self._guest
            if before is not None and (
                before.state == "running" or (before.state == "arriving" and before.party != guest.party)
            ):
                raise AtollError(
                    "E_BUSY", "another replay is at this node", party=self._desk.config["node.name"]
                )
            self._guest = guest
        if before is not None:
            self._drop(before)
        with guest.lock:
            for file in guest.bundle.files:
                path = guest.folder / file.name
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.touch(mode=0o600)

    def _find(self, remote: Remote, body: Any, fields: set[str]) -> _Guest:
        if not isinstance(body, dict) or set(body) != fields:
            raise AtollError("E_WIRE", "not a message about a replay")
        guest = self._guest
        if guest is None or guest.party != remote.identity or body["id"] != guest.identifier:
            raise AtollError(
                "E_NOT_FOUND", "there is no such replay here", party=self._desk.config["node.name"]
            )
        guest.touched = time.monotonic()
        return guest

    # What arrives.

    def _piece(self, remote: Remote, body: Any) -> Any:
        guest = self._find(remote, body, {"id", "file", "offset", "data"})
        number, offset, data = body["file"], body["offset"], body["data"]
        if (
            type(number) is not int
            or type(offset) is not int
            or not isinstance(data, bytes)
            or not 0 <= number < len(guest.written)
            or not 0 < len(data) <= PIECE
            or not 0 <= offset <= guest.bundle.files[number].size - len(data)
        ):
            raise AtollError("E_WIRE", "not a piece of the bundle")
        with guest.lock:
            if guest.state != "arriving":
                raise AtollError("E_STATE", "the bundle is complete", party=self._desk.config["node.name"])
            with (guest.folder / guest.bundle.files[number].name).open("r+b") as file:
                self._write(guest, number, file, offset, data)
        return {}

    @staticmethod
    def _write(guest: _Guest, number: int, file: BinaryIO, offset: int, data: bytes) -> None:
        file.seek(offset)
        if offset + len(data) <= guest.written[number]:
            if file.read(len(data)) != data:
                raise AtollError("E_REWIND", "a piece of the bundle came twice with other bytes")
        elif offset != guest.written[number]:
            raise AtollError("E_WIRE", "a piece of the bundle was left out")
        else:
            file.write(data)
            guest.written[number] += len(data)

    def _run_there(self, remote: Remote, body: Any) -> Any:
        guest = self._find(remote, body, {"id", "threads", "any_build", "anyway"})
        threads = body["threads"]
        if (
            (threads is not None and (type(threads) is not int or not 1 <= threads <= 1024))
            or type(body["any_build"]) is not bool
            or type(body["anyway"]) is not bool
        ):
            raise AtollError("E_WIRE", "not a request to run a replay")
        options = Options(threads, body["any_build"], body["anyway"])
        with guest.lock:
            if guest.options is not None:
                if guest.options != options:
                    raise AtollError("E_REWIND", "the replay was begun with other options")
                return {}
            if guest.state != "arriving":
                raise AtollError("E_STATE", "the replay has ended", party=self._desk.config["node.name"])
            if guest.written != [f.size for f in guest.bundle.files]:
                raise AtollError(
                    "E_STATE", "the bundle is not complete", party=self._desk.config["node.name"]
                )
            guest.options, guest.state = options, "running"
        threading.Thread(target=self._begin, args=(guest, options), daemon=True, name="replay").start()
        return {}

    # Running.

    def _begin(self, guest: _Guest, options: Options) -> None:
        try:
            check_files(guest.bundle, guest.folder)
            papers = unpack_papers(guest.folder)
            present = {f.name for f in guest.bundle.files}

            def locate(name: str, _asset: str, _version: str) -> Path | None:
                return guest.folder / "input" / name if f"input/{name}/data.parquet" in present else None

            case = judge(papers, locate)
            self._may(guest.party, case.signed)
            if papers.party != guest.party or plan_digest(case.plan) != guest.plan:
                raise AtollError("E_AGREEMENT", "the bundle is of another party or job than was offered")
            if not case.can_run:
                self._end(guest, signed_report(self._desk, case, options, None, guest.started)[1], None)
                return
            work = guest.folder / "work"
            work.mkdir(mode=0o700)

            (guest.folder / "kept").mkdir(mode=0o700, exist_ok=True)
            guest.worker = start_worker(
                self._desk,
                case,
                options,
                kept=guest.folder / "kept",
                work=work,
                on_progress=lambda progress: setattr(guest, "progress", progress),
                on_end=lambda result, error: self._ended(guest, case, options, result, error),
            )
            if self._guest is not guest:
                self._drop(guest)
        except AtollError as error:
            self._end(guest, None, error)
        except Exception as defect:
            self._log.exception("a partner's replay failed")
            self._end(guest, None, AtollError("E_INTERNAL", type(defect).__name__))

    def _ended(
        self, guest: _Guest, case: Case, options: Options, result: Json | None, error: AtollError | None
    ) -> None:
        """The worker's end. Whatever goes wrong here, the place is free again."""
        envelope = None
        if result is not None:
            try:
                envelope = signed_report(self._desk, case, options, result, guest.started)[1]
            except AtollError as refused:
                error = refused
            except Exception as defect:
                self._log.exception("a report was not made")
                error = AtollError("E_INTERNAL", type(defect).__name__)
        if envelope is None:
            error = error or AtollError("E_INTERNAL", "the worker gave no reason")
        self._end(guest, envelope, error)

    def _end(self, guest: _Guest, envelope: dsse.Envelope | None, error: AtollError | None) -> None:
        """Erases the bundle; the report waits for the partner to fetch it."""
        with guest.lock:
            shutil.rmtree(guest.folder, ignore_errors=True)
            guest.envelope, guest.error, guest.touched = envelope, error, time.monotonic()
            guest.state = "failed" if envelope is None else "done"
        ok = dsse.verify(REPLAY_KIND, envelope, ())["ok"] if envelope is not None else None
        self._log.info("a partner's replay ended", party=guest.party, state=guest.state, ok=ok)

    def _report_asked(self, remote: Remote, body: Any) -> Any:
        guest = self._find(remote, body, {"id"})
        return {
            "state": guest.state,
            "progress": guest.progress,
            "envelope": guest.envelope,
            "error": guest.error.to_wire() if guest.error is not None else None,
        }

    def _cancelled_there(self, remote: Remote, body: Any) -> Any:
        self._drop(self._find(remote, body, {"id"}))
        return {}
