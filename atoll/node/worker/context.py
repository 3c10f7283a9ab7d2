"""The worker's side of `atoll.functions.context`: sessions to peers, questions to the node, progress."""

from __future__ import annotations

import os
import queue
import resource
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cbor2

from atoll.errors import AtollError
from atoll.functions.calls import CallBook
from atoll.functions.context import Call, LocalInput, Shown
from atoll.net.channel import Channel
from atoll.net.dial import dial
from atoll.net.identity import TlsIdentity
from atoll.net.pipe import Pipe
from atoll.net.session import Session
from atoll.node.clock import parse, system_clock
from atoll.node.files import write_private
from atoll.node.vault import Vault
from atoll.node.worker.admission import Admission
from atoll.node.worker.build import build_digest
from atoll.node.worker.keep import Keeper, KeptChannel
from atoll.node.worker.kept import KeptFiles
from atoll.node.worker.nursery import Child
from atoll.sandbox.host import Process

_PROGRESS_SECONDS = 0.25
_CHECKPOINT_SECONDS = 2.0
# Standing services stay while a peer is silent.
_FOREVER = 10 * 365 * 86400.0


def book_name(attempt: int, number: int) -> str:
    """The file of the number-th block of calls that a worker saw in an attempt, from 1."""
    return f"calls-{attempt}-{number}.cbor"


class WorkerContext:
    """One job's side in this process. `listen` runs in its own thread and feeds everything that the node sends."""

    def __init__(self, spec: dict[str, Any], pipe: Pipe) -> None:
        self.plan: dict[str, Any] = spec["plan"]
        self.me: str = spec["me"]
        self.seed: bytes = spec["seed"]
        self.attempt: int = spec["attempt"]
        self.threads: int = spec["threads"]
        self.memory_bytes: int = spec["memory_bytes"]
        self.folder = Path(spec["folder"])
        self.declared_keys: dict[str, int | None] = spec["declared_keys"]
        self._spec = spec
        self._pipe = pipe
        self._sessions: dict[str, Session] = {}
        self._accepted: dict[str, queue.Queue[socket.socket]] = {key: queue.Queue() for key in spec["peers"]}
        self._answers: dict[int, queue.Queue[dict[str, Any]]] = {}
        self._calls: queue.Queue[Call | None] = queue.Queue()
        self._lock = threading.Lock()
        self._asked = 0
        self._cancelled: AtollError | None = None
        self._reported = 0.0
        self._long = self.plan["shape"] == "long"
        self._kept = time.monotonic()
        # The state of a protocol is as secret as its seed: it is sealed under a key that follows from it.
        self._vault = Vault(self.seed)
        self._label = f"checkpoint {self.plan['id']} {self.attempt}"
        self._tls = TlsIdentity(
            spec["tls"]["certificate"],
            spec["tls"]["private_key"],
            parse(spec["tls"]["not_before"]),
            parse(spec["tls"]["not_after"]),
        )

        self._keeper: Keeper | None = None
        if spec["keep"]:
            saved = self._saved()
            self._keeper = Keeper(self.folder, self.attempt, self._vault, saved["events"] if saved else 0)
        self._kept_channels: dict[tuple[str, str], KeptChannel] = {}
        self._kept_files: KeptFiles | None = None
        self._books = 0
        self._admission = Admission(spec["admission"], system_clock) if spec["admission"] else None

    # What the node sends.

    def listen(self) -> None:
        """Receives from the node until the line ends; then nothing can be recorded, so everything is aborted."""
        try:
            while True:
                message, descriptor = self._pipe.receive()
                self._take(message, descriptor)
        except (EOFError, OSError):
            if self._long:
                # The node will start this attempt again from its checkpoint; the peer waits meanwhile.
                os._exit(1)
            self._cancel(AtollError("E_RESTARTED", "the node of this worker stopped"))

    def _take(self, message: dict[str, Any], descriptor: int | None) -> None:
        kind = message["kind"]
        if kind == "socket" and descriptor is not None:
            self._accepted[message["peer"]].put(socket.socket(fileno=descriptor))
        elif kind == "answer":
            waiting = self._answers.get(message["question"])
            if waiting is not None:
                waiting.put(message if descriptor is None else {**message, "descriptor": descriptor})
        elif kind == "call":
            shown = Shown(**message["shown"]) if message["shown"] else None
            self._calls.put(Call(message["call"], message["payload"], shown))
        elif kind == "withdrawn" and self._admission is not None:
            self._admission.withdraw(message["consent"])
        elif kind == "inputs":
            self._spec["inputs"] = message["inputs"]
        elif kind == "stop":
            self._calls.put(None)
        elif kind == "cancel":
            self._cancel(AtollError.from_problem(message["error"]))

    def _cancel(self, error: AtollError) -> None:
        self._cancelled = error
        self._calls.put(None)
        for session in list(self._sessions.values()):
            session.abort(error)
        for waiting in list(self._answers.values()):
            waiting.put({"error": error.to_problem()})

    def _ask(self, kind: str, descriptor: int | None = None, **body: Any) -> dict[str, Any]:
        with self._lock:
            self._asked += 1
            number = self._asked
            self._answers[number] = queue.Queue()
        self._pipe.send({"kind": kind, "question": number, **body}, descriptor)
        if self._cancelled:
            raise self._cancelled
        answer = self._answers[number].get()
        del self._answers[number]
        if answer.get("error"):
            raise AtollError.from_problem(answer["error"])
        return answer

    # What functions use.

    def inputs(self) -> dict[str, LocalInput]:
        """This party's own inputs, by input id."""
        return {
            key: LocalInput(key, i["asset"], Path(i["data"]), Path(i["cache"]), i["version"], i["keys"])
            for key, i in self._spec["inputs"].items()
        }

    def channel(self, peer: str, name: str) -> Channel | KeptChannel:
        """The channel of that name; connects to the peer on first use. Where replay is agreed on, it keeps notes."""
        channel = self._channel(peer, name)
        if self._keeper is None:
            return channel
        if (peer, name) not in self._kept_channels:
            index = self._spec["peers"][peer]["index"]
            position = (self._position(peer) or {}).get(name, {"received": 0, "sent": 0})
            start = (position["received"], position["sent"])
            self._kept_channels[peer, name] = KeptChannel(channel, self._keeper.channel(index, name, start))
        return self._kept_channels[peer, name]

    def _channel(self, peer: str, name: str) -> Channel:
        with self._lock:
            if self._cancelled:
                raise self._cancelled
            session = self._sessions.get(peer)
            if session is None:
                session = self._open(peer)
                self._sessions[peer] = session
        return session.channel(name)

    def _open(self, peer: str) -> Session:
        how = self._spec["peers"][peer]
        session = Session(
            self.me,
            peer,
            self.plan["id"],
            self.attempt,
            self._connector(peer, how),
            self._tls,
            how["tls"],
            clock=system_clock,
            silence_seconds=float(self._spec["silence_seconds"]),
            grace_seconds=self._grace,
            journal=self.folder / f"journal-{how['index']}" if self._long else None,
            position=self._position(peer),
        )
        session.start()
        return session

    @property
    def _grace(self) -> float | None:
        """How long a silent peer is waited for beyond the silence limit; None for one-shot jobs."""
        if self._long:
            return float(self._spec["grace_seconds"])
        return _FOREVER if self.plan["shape"] == "service" else None

    def _connector(self, peer: str, how: dict[str, Any]) -> Callable[[], tuple[socket.socket, str | None]]:
        def connect() -> tuple[socket.socket, str | None]:
            if how["dial"]:
                return dial(how["dial"], timeout=5.0), how["name"]
            try:
                return self._accepted[peer].get(timeout=0.5), None
            except queue.Empty:
                raise AtollError("E_UNREACHABLE", "the peer has not connected yet", party=peer) from None

        return connect

    def before_open(self, receivers: list[str]) -> None:
        """Waits until the node has stored receipts and debits for `receivers`."""
        self._ask("release", receivers=receivers)

    def sign(self, purpose: str, message: bytes) -> bytes:
        """The node's identity signature over `message`, bound to this job and `purpose`."""
        signature: bytes = self._ask("sign", purpose=purpose, message=message)["signature"]
        self._note("sign", {"purpose": purpose, "message": message, "signature": signature})
        return signature

    def progress(self, done: int, total: int, step: str) -> None:
        """Reports progress, at most four times a second."""
        if self._cancelled:
            raise self._cancelled
        now = time.monotonic()
        if now - self._reported >= _PROGRESS_SECONDS or done >= total:
            self._reported = now
            self._pipe.send({"kind": "progress", "done": done, "total": total, "step": step})

    # Standing services.

    def taken_up(self, version: str | None) -> None:
        """Which new version of an input serves from here on."""
        if version is not None:
            self._note("input", version)

    def call(self, timeout: float | None = None) -> Call | None:
        """The next call of a standing service; None when it stops; TimeoutError if none came in time."""
        try:
            if timeout is not None and timeout <= 0:
                raise queue.Empty
            found = self._calls.get(timeout=timeout)
        except queue.Empty:
            if self._cancelled:
                raise self._cancelled from None
            self._note("idle", None)
            raise TimeoutError from None
        if self._cancelled:
            raise self._cancelled
        self._note("call", found and {"number": found.number, "payload": found.payload, "shown": found.shown and
                                      vars(found.shown)})  # fmt: skip
        return found

    def reply(self, call: int, payload: bytes) -> None:
        """The answer to a call of a standing service."""
        self._pipe.send({"kind": "reply", "call": call, "payload": payload, "error": None})

    def deny(self, call: int, error: AtollError) -> None:
        """The refusal of a call of a standing service."""
        self._pipe.send({"kind": "reply", "call": call, "payload": b"", "error": error.to_problem()})

    def admit(self, shown: Shown | None) -> None:
        """Lets one call of a standing service pass, or raises why not."""
        error: AtollError | None = None
        try:
            if self._admission is not None:
                self._admission.check(shown)
                if self._admission.rated:
                    self._ask("admit")
        except AtollError as refused:
            error = refused
        self._note("admit", error and error.to_problem())
        if error is not None:
            raise error

    # Kept joins.

    def kept(self) -> KeptFiles:
        """What is kept for this plan; `E_BUSY` if another job uses it."""
        if self._kept_files is None:
            self._kept_files = KeptFiles(self._spec["kept"], system_clock, self._note)
        return self._kept_files

    # Packages, at their host.

    def deployed(self) -> dict[str, Any]:
        """The package's envelope and the bounds of the consent."""
        found: dict[str, Any] = self._spec["script"]
        return found

    def cell(self, line: socket.socket) -> Process:
        """Asks the node for a confined process that serves the other end of `line`."""
        answer = self._ask("cell", line.fileno())
        return Child(answer["pid"], answer["descriptor"])

    def recall(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        """What was decided before under these keys."""
        found: dict[str, dict[str, Any]] = self._ask("recall", keys=keys)["found"]
        return found

    def settle(self, decisions: list[dict[str, Any]]) -> list[AtollError | None]:
        """Stores decisions before they leave; for each None, or why it may not."""
        answers = self._ask("settle", decisions=decisions)["refusals"]
        return [AtollError.from_problem(answer) if answer else None for answer in answers]

    def calls(self) -> CallBook:
        """An empty book for the calls of the next block."""
        self._books += 1
        return CallBook(self.folder / book_name(self.attempt, self._books))

    def close_block(self, book: CallBook, hits: int | None) -> None:
        """Reports a block whose end both sides know."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        self._pipe.send(
            {
                "kind": "block",
                "book": self._books,
                "calls": book.calls,
                "root": book.root,
                "hits": hits,
                "cpu_ms": int((used.ru_utime + used.ru_stime) * 1000),
                "execution": self.execution(),
                "transcripts": self.transcripts(),
            }
        )

    def _note(self, kind: str, value: Any) -> None:
        """Keeps what came from this side alone and a replay must be given again."""
        if self._keeper is not None:
            self._keeper.note(kind, value)

    # Long jobs.

    @property
    def _checkpoint(self) -> Path:
        return self.folder / f"checkpoint-{self.attempt}"

    def checkpoint(self, state: Callable[[], bytes]) -> None:
        """Writes state and channel positions, then lets the sessions acknowledge what they cover."""
        now = time.monotonic()
        if not self._long or now - self._kept < _CHECKPOINT_SECONDS:
            return
        if self._keeper is not None:
            self._keeper.flush()
        positions = {peer: session.position() for peer, session in self._sessions.items()}
        saved = {
            "state": state(),
            "positions": positions,
            "events": self._keeper.count if self._keeper is not None else 0,
        }
        write_private(self._checkpoint, self._vault.seal(self._label, cbor2.dumps(saved)))
        for peer, position in positions.items():
            self._sessions[peer].checkpointed(position)
        self._kept = time.monotonic()

    def _saved(self) -> dict[str, Any] | None:
        try:
            sealed = self._checkpoint.read_bytes()
        except FileNotFoundError:
            return None
        saved: dict[str, Any] = cbor2.loads(self._vault.open(self._label, sealed))
        return saved

    def restored(self) -> bytes | None:
        """The state of this attempt's last checkpoint, if there is one."""
        saved = self._saved()
        return saved["state"] if saved else None

    def _position(self, peer: str) -> Any:
        saved = self._saved()
        return saved["positions"].get(peer) if saved else None

    # The end.

    def execution(self) -> dict[str, Any]:
        """How this worker runs: program, threads, own inputs in the order in which they are fed in."""
        return {"build": build_digest(), "threads": self.threads, "inputs": list(self._spec["inputs"])}

    def transcripts(self) -> dict[str, Any]:
        """Transcripts of all channels, by peer."""
        return {peer: session.transcripts() for peer, session in self._sessions.items()}

    def measured(self) -> dict[str, Any]:
        """What was measured of the connections to peers: round trip, rate and bytes sent, by peer."""
        found = {peer: session.measure() for peer, session in self._sessions.items()}
        return {peer: asdict(measured) for peer, measured in found.items() if measured is not None}

    def close(self) -> None:
        """Ends all sessions in order: what was sent is delivered first."""
        for session in self._sessions.values():
            session.close()
        if self._keeper is not None:
            self._keeper.close()
        if self._kept_files is not None:
            self._kept_files.close()

    def abort(self, error: AtollError) -> None:
        """Tells every peer the reason, in its wire rendering."""
        for session in self._sessions.values():
            session.abort(error)
