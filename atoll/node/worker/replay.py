"""A job's side once more, from what was kept of it: the function's own `run`, fed the messages that came then.

Nothing is sent and no file of the job is touched. What the function sends is hashed exactly as the session did, and
compared with the chains that were kept. A message is taken only when nothing else can be done, so the order in
which this process happens to run does not matter.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from atoll.crypto.suite import PublicKey
from atoll.data.snapshot import verify_snapshot
from atoll.errors import AtollError
from atoll.functions.calls import CallBook
from atoll.functions.context import Call, LocalInput, Outcome, Shown
from atoll.functions.join.keys import prepare_keys
from atoll.functions.join.run import KEYED, own_side
from atoll.net import transcript
from atoll.net.pipe import Pipe
from atoll.node.vault import Vault
from atoll.node.worker.build import build_digest
from atoll.node.worker.keep import (
    events_file,
    read_events,
    read_received,
    read_sent,
    received_file,
    sent_file,
)
from atoll.node.worker.kept import KeptThen
from atoll.node.worker.output import write_result
from atoll.sandbox.host import Process

_PROGRESS_SECONDS = 0.25
Json = dict[str, Any]


class Chain:
    """The transcript of one channel in one direction, as the session keeps it."""

    def __init__(self, job: str, attempt: int, channel: str, sender: str) -> None:
        self.value = transcript.start(job, attempt, channel, sender)
        self.messages = self.bytes = 0

    def take(self, step: str, payload: bytes) -> bytes:
        """The chain after one more message."""
        self.value = transcript.extend(self.value, self.messages, step, payload)
        self.messages += 1
        self.bytes += len(payload)
        return self.value

    def document(self) -> Json:
        """Chain, messages and payload bytes so far."""
        return {"chain": transcript.write(self.value), "messages": self.messages, "bytes": self.bytes}


class ReplayChannel:
    """A channel that gives the kept messages and compares what is sent with the kept chains.

    Args:
        name: the channel's name.
        received: steps and payloads of the kept messages.
        kept: the chain after each message that was sent.
        sent, taken: chains before the first message.
        alive: raises once the replay was cancelled.
    """

    def __init__(
        self,
        name: str,
        received: Iterator[tuple[str, bytes]],
        kept: Iterator[bytes],
        sent: Chain,
        taken: Chain,
        alive: Callable[[], None],
    ) -> None:
        self.name = name
        self._received, self._kept, self._alive = received, kept, alive
        self._last: bytes | None = None
        self._due = False
        self.sent, self.taken = sent, taken
        self.first: Json | None = None

    def send(self, payload: bytes, step: str) -> None:
        """Hashes a message, and notes the first that differs from what was sent."""
        self._alive()
        chain = self.sent.take(step, bytes(payload))
        kept = next(self._kept, None)
        self._last = kept or self._last
        if self.first is None and kept != chain:
            self.first = {"number": self.sent.messages, "step": step, "bytes": len(payload)}

    def receive(self, timeout: float | None = None) -> tuple[str, bytes]:
        """Step and payload of the next kept message; `E_DATA` if none is left."""
        self._alive()
        self._due = False
        found = next(self._received, None)
        if found is None:
            raise AtollError("E_DATA", f"no kept message is left on channel {self.name}", step=self.name)
        self.taken.take(*found)
        return found

    def recv(self, timeout: float | None = None) -> bytes:
        """Payload of the next kept message."""
        return self.receive(timeout)[1]

    def readable(self) -> bool:
        """True once the caller can do nothing but wait for a message."""
        return self._due

    def writable(self) -> bool:
        """Always: nothing is sent."""
        return True

    def wait(self, read: bool, write: bool, timeout: float | None = None) -> None:
        """Makes the next message readable, if that is what is waited for."""
        self._due = self._due or (read and not write)

    def document(self) -> Json:
        """Chains and counts; the first message that differs; how the kept chains end, and whether later than this."""
        later = deque(self._kept, maxlen=1)
        end = later[0] if later else self._last
        return {
            "sent": self.sent.document(),
            "taken": self.taken.document(),
            "first": self.first,
            "kept_end": None if end is None else transcript.write(end),
            "kept_more": bool(later),
        }


_OTHER_VERSION = AtollError(
    "E_REPLAY", "the table changed while the service ran, and only its first version is kept"
)
_PACKAGE = AtollError("E_REPLAY", "the service of a package is not run again as a whole")


class ReplayContext:
    """See `atoll.functions.context.Context`. Events of this side come from the record, in their order."""

    def __init__(self, spec: Json, pipe: Pipe) -> None:
        self.plan: Json = spec["plan"]
        self.me: str = spec["me"]
        self.seed: bytes = spec["seed"]
        self.attempt: int = spec["attempt"]
        self.threads: int = spec["threads"]
        self.memory_bytes: int = spec["memory_bytes"]
        self.folder = Path(spec["work"])
        self.declared_keys: dict[str, int | None] = spec["declared_keys"]
        self._spec, self._pipe = spec, pipe
        self._kept = Path(spec["kept"])
        self._cancelled: AtollError | None = None
        self._reported = 0.0
        self._channels: dict[tuple[str, str], ReplayChannel] = {}
        self._events: Iterator[tuple[str, Any]] = self.events()
        self._books = 0
        self.blocks: list[Json] = []

    def listen(self) -> None:
        """Receives from the node: it only ever cancels."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                message, _ = self._pipe.receive()
                if message["kind"] == "cancel":
                    self._cancelled = AtollError.from_problem(message["error"])
        self._cancelled = self._cancelled or AtollError("E_RESTARTED", "the node of this worker stopped")

    def alive(self) -> None:
        """Raises the reason once the replay was cancelled."""
        if self._cancelled is not None:
            raise self._cancelled

    def events(self) -> Iterator[tuple[str, Any]]:
        """The kept events, from the first."""
        return read_events(events_file(self._kept, self.attempt), self.attempt, Vault(self.seed))

    def received(self, peer: str, name: str) -> Iterator[tuple[str, bytes]]:
        """The kept messages of a channel, from the first; `E_DATA` if there are none."""
        index = self._spec["peers"].get(peer)
        path = received_file(self._kept, self.attempt, -1 if index is None else index, name)
        if not path.exists():
            raise AtollError("E_DATA", f"the messages of channel {name} are not kept", step=name)
        return read_received(path)

    # What functions use.

    def inputs(self) -> dict[str, LocalInput]:
        """This party's own inputs; what is derived from them is derived anew."""
        return {
            key: LocalInput(
                key,
                i["asset"],
                Path(i["path"]) / "data.parquet",
                self.folder / f"cache-{key}",
                i["version"],
                i["keys"],
            )
            for key, i in self._spec["inputs"].items()
        }

    def taken_up(self, version: str | None) -> None:
        """A replay goes as far as the version with which the service began."""
        ahead = next(self._events, None)
        if ahead is not None and ahead[0] == "input":
            raise _OTHER_VERSION
        self._events = self._events if ahead is None else itertools.chain([ahead], self._events)

    def channel(self, peer: str, name: str) -> ReplayChannel:
        """The channel of that name, from its kept messages."""
        if peer not in self._spec["peers"]:
            raise AtollError("E_DATA", "the plan makes this party talk to none of that key", step=name)
        if (peer, name) not in self._channels:
            self._channels[peer, name] = ReplayChannel(
                name,
                self.received(peer, name),
                read_sent(sent_file(self._kept, self.attempt, self._spec["peers"][peer], name)),
                self.chain(name, self.me),
                self.chain(name, peer),
                self.alive,
            )
        return self._channels[peer, name]

    def chain(self, name: str, sender: str) -> Chain:
        """The transcript of a channel before its first message."""
        return Chain(self.plan["id"], self.attempt, name, sender)

    def before_open(self, receivers: list[str]) -> None:
        """Nothing opens: it was released then."""

    def _next(self, kind: str) -> Any:
        self.alive()
        found = next(self._events, None)
        if found is None or found[0] != kind:
            raise AtollError("E_DATA", f"the kept events do not go on with {kind}", step=kind)
        return found[1]

    def sign(self, purpose: str, message: bytes) -> bytes:
        """The signature that the node gave then; the key itself is not used again."""
        kept = self._next("sign")
        signature: bytes = kept["signature"]
        if (
            kept["purpose"] != purpose
            or kept["message"] != message
            or not PublicKey.parse(self.me).verify(message, signature)
        ):
            raise AtollError("E_DATA", "another statement was signed then", step=purpose)
        return signature

    def progress(self, done: int, total: int, step: str) -> None:
        """Reports progress, at most four times a second."""
        self.alive()
        now = time.monotonic()
        if now - self._reported >= _PROGRESS_SECONDS or done >= total:
            self._reported = now
            self._pipe.send({"kind": "progress", "done": done, "total": total, "step": step})

    def call(self, timeout: float | None = None) -> Call | None:
        """The call that came then; TimeoutError where none did."""
        self.alive()
        found = next(self._events, None)
        if found is not None and found[0] == "idle":
            raise TimeoutError
        if found is None or found[0] != "call":
            raise AtollError("E_DATA", "the kept events do not go on with a call", step="call")
        call = found[1]
        if call is None:
            return None
        return Call(call["number"], call["payload"], Shown(**call["shown"]) if call["shown"] else None)

    def reply(self, call: int, payload: bytes) -> None:
        """The user was answered then."""

    def deny(self, call: int, error: AtollError) -> None:
        """The user was answered then."""

    def admit(self, shown: Shown | None) -> None:
        """As it was decided then."""
        refused = self._next("admit")
        if refused is not None:
            raise AtollError.from_problem(refused)

    def kept(self) -> KeptThen:
        """What was kept then."""
        return KeptThen(lambda: self._next("kept"))

    def deployed(self) -> Json:
        """Packages are not run again here: each of their decisions follows from its own record alone."""
        raise _PACKAGE

    def cell(self, line: socket.socket) -> Process:
        """As `deployed`."""
        raise _PACKAGE

    def recall(self, keys: list[str]) -> dict[str, Json]:
        """As `deployed`."""
        raise _PACKAGE

    def settle(self, decisions: list[Json]) -> list[AtollError | None]:
        """As `deployed`."""
        raise _PACKAGE

    def calls(self) -> CallBook:
        """A book in the replay's own folder."""
        self._books += 1
        return CallBook(self.folder / f"calls-{self._books}.cbor")

    def close_block(self, book: CallBook, hits: int | None) -> None:
        """Notes the block as it came out now."""
        so_far: dict[str, dict[str, Json]] = {}
        for (peer, name), channel in sorted(self._channels.items()):
            ends = {"sent": channel.sent.document(), "taken": channel.taken.document()}
            so_far.setdefault(peer, {})[name] = ends
        self.blocks.append(
            {
                "book": self._books,
                "calls": book.calls,
                "root": book.root,
                "hits": hits,
                "transcripts": so_far,
            }
        )

    def checkpoint(self, state: Callable[[], bytes]) -> None:
        """A replay goes from the first message to the last."""

    def restored(self) -> bytes | None:
        """None: it begins at the beginning."""
        return None

    def transcripts(self) -> dict[str, dict[str, Json]]:
        """What was sent and taken, by peer and channel."""
        found: dict[str, dict[str, Json]] = {}
        for (peer, name), channel in sorted(self._channels.items()):
            found.setdefault(peer, {})[name] = channel.document()
        return found

    def close(self) -> None:
        """Nothing is open."""


def _input(context: ReplayContext, entry: Json) -> Json:
    """Whether an input is still the version that approval and receipt name."""
    context.alive()
    try:
        found = verify_snapshot(entry["path"])
    except AtollError as error:
        return {"code": error.code, "chunk": error.detail.get("chunk")}
    return {"code": None if found.digest == entry["version"] else "E_DATA", "chunk": None}


def _received(context: ReplayContext, peer: str, name: str) -> Json:
    """The chain over all kept messages of a channel."""
    chain = context.chain(name, peer)
    try:
        for step, payload in context.received(peer, name):
            context.alive()
            chain.take(step, payload)
    except AtollError as error:
        if error.code != "E_DATA":
            raise
        return {**chain.document(), "code": error.code}
    return {**chain.document(), "code": None}


def _events(context: ReplayContext) -> Json:
    count = 0
    try:
        for count, _ in enumerate(context.events(), 1):  # noqa: B007
            pass
    except AtollError as error:
        return {"count": count, "changed": error.detail.get("event", count + 1)}
    return {"count": count, "changed": None}


def _check(context: ReplayContext, spec: Json) -> Json:
    """What must hold before it makes sense to run."""
    entries = spec["inputs"]
    found: Json = {"build": build_digest(), "inputs": {}, "received": {}}
    for number, (key, entry) in enumerate(entries.items(), 1):
        found["inputs"][key] = _input(context, entry)
        context.progress(number, len(entries), "inputs")
    for peer, channels in spec["expected"].items():
        found["received"][peer] = {name: _received(context, peer, name) for name in channels}
    found["events"] = _events(context)
    return found


def _holds(spec: Json, found: Json) -> bool:
    """Whether inputs, messages, events and program are those of the receipt."""
    return (
        all(entry["code"] is None for entry in found["inputs"].values())
        and all(
            kept["code"] is None
            and kept["chain"] == spec["expected"][peer][name]["received"]
            and (kept["messages"], kept["bytes"])
            == (spec["expected"][peer][name]["messages"][1], spec["expected"][peer][name]["bytes"][1])
            for peer, channels in found["received"].items()
            for name, kept in channels.items()
        )
        and found["events"]["changed"] is None
        and (spec["any_build"] or found["build"] == spec["build"])
    )


def _prepare(context: ReplayContext) -> None:
    """Keys of a join from the rows themselves: what lies prepared beside a version is not trusted."""
    if context.plan["function"] not in KEYED:
        return
    mine, _ = own_side(context.plan, context.me)
    local = context.inputs()[mine["input"]]
    prepare_keys(local.data, local.cache, list(mine["columns"]), mine["steps"], context.threads, [])


def _go(context: ReplayContext) -> Outcome:
    from atoll.functions import runners

    _prepare(context)
    return runners()[context.plan["function"]](context)


def run(spec: Json, pipe: Pipe) -> Json:
    """The worker's task "replay".

    `spec` has `plan`, `me`, `seed`, `attempt`, `threads`, `memory_bytes`, `declared_keys` as a job's; `kept`, the
    job's folder, and `work`, an empty one; `inputs` with `asset`, `path` of the version's folder, `version`, `keys`;
    `peers`, index of each peer's files; `expected`, the receipt's transcripts; `build`, the receipt's; `any_build` and
    `anyway`; `run`, whether nothing that the node checks itself speaks against it.

    Returns:
        `checked`: what stands before a run; `ran`; `failed`, the wire rendering of what ended the run;
        `transcripts`, `blocks`, `output` (digest), `calls`.
    """
    context = ReplayContext(spec, pipe)
    threading.Thread(target=context.listen, daemon=True, name="node").start()
    found: Json = {
        "checked": _check(context, spec),
        "ran": False,
        "failed": None,
        "output": None,
        "calls": None,
    }
    found |= {"transcripts": {}, "blocks": []}
    if not (spec["anyway"] or (spec["run"] and _holds(spec, found["checked"]))):
        return found
    found["ran"] = True
    try:
        outcome = _go(context)
        if outcome.table is not None:
            found["output"] = write_result(context.folder, outcome.table)["digest"]
    except AtollError as error:
        context.alive()
        found["failed"] = error.to_wire()
    except (ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:
        # Rows that were changed may be such as no table has; the type alone, since a message could hold a value.
        found["failed"] = {"code": "E_DATA", "step": type(error).__name__}
    else:
        found["calls"] = int(outcome.meters.get("calls", 0))
    return found | {"transcripts": context.transcripts(), "blocks": context.blocks}
