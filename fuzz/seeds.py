"""Writes the seeds of the targets that read plain bytes: python fuzz/seeds.py

The other targets read structures that the fuzzer makes up; they find their way without seeds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from atoll.crypto import canonical
from atoll.crypto.tls import Connection
from atoll.crypto.wire import Frame, Kind, encode_body, encode_frame
from atoll.net.identity import ephemeral_tls

SEEDS = Path(__file__).parent / "seeds"
NOW = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)
BODIES = {
    "empty": {},
    "proposal": {"job": "job-00", "parties": ["alice", "bob"], "attempt": 1, "asker": True, "error": None},
    "bytes": {"payload": bytes(40), "deep": [[[{"n": -(2**64)}]]], "number": 2**64 - 1},
}


DOCUMENTS = {
    "receipt": {
        "attempt": 1,
        "error": None,
        "inputs": {"in0": {"mode": "snapshot", "version": "sha256:" + "00" * 32}},
        "meters": {"rows": 2**53 - 1, "keys": 0, "change": -5},
        "to": ["ed25519:" + "00" * 32, True, False, [], {}],
    },
    "keys": {"\r": "1", "ö": '\x00\x1f"\\/\x7f', "€": "中", "😀": [], "\ufb33": {}},
    "deep": [[[[{"a": {"a": [{"a": []}]}}]]]],
}


def frames() -> dict[str, bytes]:
    def frame(kind: Kind, name: str, step: str, payload: bytes, piece: int = 0, last: bool = True) -> bytes:
        return encode_frame(Frame(kind, name, 70_000, piece, last, step, payload), 4096)

    one = frame(Kind.DATA, "psi", "blinded/0", bytes(64))
    two = (
        one + frame(Kind.PING, "", "", b"") + frame(Kind.REQUEST, "propose", "", encode_body(BODIES["bytes"]))
    )
    # The first byte is the size of the pieces in which the rest arrives.
    return {"one": b"\xff" + one, "several": b"\x06" + two, "truncated": b"\x00" + two[:-3]}


def hellos() -> dict[str, bytes]:
    own, other = ephemeral_tls(NOW), ephemeral_tls(NOW)
    found = {}
    for name in ("node.atoll", "0123456789abcdef.job.atoll"):
        tls = Connection.client(own.certificate, own.private_key, [other.fingerprint], name, NOW, 1 << 20)
        hello = tls.outgoing()
        # The first two bytes say where the fuzzer cuts.
        found[name] = len(hello).to_bytes(2, "little") + hello
        found[name + "-cut"] = (90).to_bytes(2, "little") + hello
    return found


def main() -> None:
    bodies = {name: encode_body(body) for name, body in BODIES.items()}
    documents = {name: canonical.dumps(document) for name, document in DOCUMENTS.items()}
    every = {
        "wire_frames": frames(),
        "wire_body": bodies,
        "client_hello": hellos(),
        "canonical": documents,
    }
    for target, seeds in every.items():
        (SEEDS / target).mkdir(parents=True, exist_ok=True)
        for name, data in seeds.items():
            (SEEDS / target / name).write_bytes(data)


if __name__ == "__main__":
    main()
