"""The vectors of sealed lookup: whole runs, and altered messages with what must be said of them."""

from __future__ import annotations

import copy
import hashlib
import struct
from typing import Any

from reference import ristretto255 as group
from reference.sealed_lookup import Asker, Holder, Labels, RefusedError, choose

Json = dict[str, Any]
CHANNEL = "n2/1"
MATRIX = hashlib.sha256(b"matrix").digest()


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def record(value: int, length: int) -> bytes:
    return value.to_bytes(length, "big")


class Run:
    """Both sides of one case, step by step; what they said is in `document`."""

    def __init__(self, name: str, keys: dict[str, int], record_bytes: int, attempt: int) -> None:
        self.record_bytes = record_bytes
        table = {digest(key): record(value, record_bytes) for key, value in keys.items()}
        seeds = [hashlib.sha256(f"{name} {side}".encode()).digest() for side in ("holder", "asker")]
        secret = hashlib.sha256(f"{name} key".encode()).digest()
        version = bytes([attempt]) * 16
        self.holder = Holder(secret, Labels(seeds[0], attempt, CHANNEL), version, MATRIX, table)
        holder = self.holder
        self.hint = holder.hint()
        self.asker = Asker(
            Labels(seeds[1], attempt, CHANNEL),
            (holder.columns, holder.cells, holder.record_bytes),
            holder.salt,
            holder.public,
            version,
            MATRIX,
            self.hint,
        )
        self.groups = 0
        self.document: Json = {
            "name": name,
            "seeds": [seed.hex() for seed in seeds],
            "attempt": attempt,
            "channel": CHANNEL,
            "secret": secret.hex(),
            "matrix": MATRIX.hex(),
            "version": version.hex(),
            "record_bytes": holder.record_bytes,
            "digests": [d.hex() for d in table],
            "records": [r.hex() for r in table.values()],
            "columns": holder.columns,
            "cells": holder.cells,
            "salt": holder.salt.hex(),
            "public": holder.public.hex(),
            "places": [holder.places[d] for d in table],
            "sealed": [holder.contents[holder.places[d]].hex() for d in table],
            "hint_start": self.hint[:80].hex(),
            "hint_sha256": hashlib.sha256(self.hint).hexdigest(),
            "table_sha256": hashlib.sha256(self.holder.table()).hexdigest(),
            "steps": [],
        }

    def ask(self, keys: list[str], passed: list[int] | None = None) -> Json:
        """One request, of which the calls at these places passed."""
        self.groups += 1
        places = list(range(len(keys))) if passed is None else passed
        blinded = self.asker.blind([digest(key) for key in keys], self.groups)
        evaluation = self.holder.evaluate(
            b"".join(blinded.sent[at] for at in places), len(places), self.groups
        )
        found = self.asker.finish(blinded, evaluation, places)
        asked = [self.asker.query(key) for key in found]
        answers = [self.holder.answer(query) for _, query in asked]
        records = [
            self.asker.open(key, secret, answer)
            for key, (secret, _), answer in zip(found, asked, answers, strict=True)
        ]
        step: Json = {
            "digests": [digest(key).hex() for key in keys],
            "number": self.groups,
            "passed": places,
            "blinded": [one.hex() for one in blinded.sent],
            "evaluation": evaluation.hex(),
            "keys": [key.record.hex() for key in found],
            "columns": [key.column for key in found],
            "queries": [query.hex() for _, query in asked],
            "answers": [answer.hex() for answer in answers],
            "records": [one and one.hex() for one in records],
        }
        self.document["steps"].append(step)
        return step

    def update(self, removed: list[str], changed: dict[str, int]) -> None:
        """A new version of the table."""
        version = bytes([100 + len(self.document["steps"])]) * 16
        new = {digest(key): record(value, self.record_bytes) for key, value in changed.items()}
        gone = [digest(key) for key in removed]
        delta = self.holder.update(version, gone, new)
        self.asker.apply(delta)
        self.document["steps"].append(
            {
                "version": version.hex(),
                "removed": [d.hex() for d in gone],
                "changed": [d.hex() for d in new],
                "changed_records": [r.hex() for r in new.values()],
                "delta": delta.hex(),
            }
        )


def first() -> tuple[Run, Run]:
    """The whole run, and how it stood after its first request."""
    run = Run("keys that are there and keys that are not", {f"key {n}": 10 + n for n in range(5)}, 2, 0)
    run.ask(["key 3", "nobody", "key 0", "key 3"])
    early = copy.deepcopy(run)
    run.update(["key 1", "key 4"], {"key 0": 77, "new": 5})
    run.ask(["key 0", "key 1", "new", "key 2"])
    run.update([], {"key 0": 78})
    run.ask(["key 0"])
    return run, early


def second() -> Run:
    run = Run("calls that do not pass", {f"k{n}": n for n in range(30)}, 1, 7)
    run.ask(["k29", "k1", "none"], [0, 2])
    return run


def third() -> Run:
    run = Run("a table without keys", {}, 1, 1)
    run.ask(["a"])
    return run


def flip(data: bytes, at: int, bit: int = 1) -> bytes:
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


def altered(case: Json, hint: bytes) -> list[Json]:
    """Messages in place of those of the first steps of a case; `code` None is a miss."""
    ask, delta = case["steps"][0], bytes.fromhex(case["steps"][1]["delta"])
    evaluation, blinded = bytes.fromhex(ask["evaluation"]), bytes.fromhex(ask["blinded"][0])
    query, answer = bytes.fromhex(ask["queries"][0]), bytes.fromhex(ask["answers"][0])
    bad, zero = b"\xff" * 32, bytes(32)
    order = group.ORDER.to_bytes(32, "little")
    spoiled = b"".join(struct.pack("<I", word ^ 1 << 31) for (word,) in struct.iter_unpack("<I", answer[16:]))
    found: list[tuple[str, str, bytes, str | None]] = [
        ("hint", "cut", hint[:-4], "E_FORMAT"),
        ("hint", "of another version", flip(hint, 0), "E_STATE"),
        ("blinded", "cut", blinded[:-1], "E_PROTOCOL"),
        ("blinded", "none", b"", "E_PROTOCOL"),
        ("blinded", "no element", bad, "E_PROTOCOL"),
        ("blinded", "identity", zero, "E_PROTOCOL"),
        ("blinded", "more than calls", blinded * 2, "E_QUOTA"),
        ("evaluation", "cut", evaluation[:-1], "E_PROTOCOL"),
        ("evaluation", "an element less", evaluation[:-32], "E_PROTOCOL"),
        ("evaluation", "an element more", evaluation + evaluation[-32:], "E_PROTOCOL"),
        ("evaluation", "another challenge", flip(evaluation, 0), "E_PROTOCOL"),
        ("evaluation", "another response", flip(evaluation, 32), "E_PROTOCOL"),
        ("evaluation", "a challenge that is not reduced", order + evaluation[32:], "E_PROTOCOL"),
        ("evaluation", "no element", evaluation[:64] + bad + evaluation[96:], "E_PROTOCOL"),
        ("evaluation", "identity", evaluation[:64] + zero + evaluation[96:], "E_PROTOCOL"),
        ("evaluation", "another order", evaluation[:64] + evaluation[96:] + evaluation[64:96], "E_PROTOCOL"),
        ("query", "cut", query[:-4], "E_FORMAT"),
        ("query", "longer", query + bytes(4), "E_FORMAT"),
        ("query", "of another version", flip(query, 15), "E_STATE"),
        ("answer", "cut", answer[:-4], "E_FORMAT"),
        ("answer", "longer", answer + bytes(4), "E_FORMAT"),
        ("answer", "of another version", flip(answer, 0), "E_STATE"),
        ("answer", "spoiled", answer[:16] + spoiled, None),
        ("delta", "cut", delta[:-1], "E_FORMAT"),
        ("delta", "without versions", delta[:20], "E_FORMAT"),
        ("delta", "a cell outside", delta[:32] + b"\xff" * 4 + delta[36:], "E_RANGE"),
        ("delta", "from another version", flip(delta, 0), "E_STATE"),
    ]  # fmt: skip
    # The hint is long: what it is altered to follows from its length and its first bytes.
    return [
        {"of": of, "name": name, "code": code}
        | ({"length": len(bytes_), "start": bytes_[:16].hex()} if of == "hint" else {"message": bytes_.hex()})
        for of, name, bytes_, code in found
    ]


def said(run: Run, of: str, message: bytes) -> str | None:
    """What the reference says of an altered message where the run stands; None is a miss."""
    ask = run.document["steps"][0]
    holder, asker = run.holder, run.asker
    keys = ["key 3", "nobody", "key 0", "key 3"]
    try:
        if of == "hint":
            asker.words(message, asker.cells * asker.size * len(asker.matrix[0]))
        elif of == "blinded":
            holder.evaluate(message, 1, 50)
        elif of == "evaluation":
            asker.finish(asker.blind([digest(key) for key in keys], 1), message, ask["passed"])
        elif of == "query":
            holder.answer(message)
        elif of == "delta":
            asker.apply(message)
        else:
            blinded = asker.blind([digest(keys[0])], 1)
            (key,) = asker.finish(blinded, holder.evaluate(blinded.sent[0], 1, 51), [0])
            secret, _ = asker.query(key)
            assert asker.open(key, secret, message) is None
            return None
    except RefusedError as refused:
        return refused.code
    raise AssertionError(f"{of}: taken")


def sealed_lookup() -> Json:
    """All cases, altered messages, and shapes of tables."""
    run, early = first()
    bad = altered(run.document, run.hint)
    for case in bad:
        if case["of"] == "hint":
            message = bytes.fromhex(case["start"]) + run.hint[16 : case["length"]]
        else:
            message = bytes.fromhex(case["message"])
        assert said(early, case["of"], message) == case["code"], case["name"]
    sizes = [(0, 1), (1, 1), (1, 4096), (200, 100), (3000, 16), (10_000, 32)]
    shapes = [[keys, length, *choose(keys, length)] for keys, length in sizes]
    return {"cases": [one.document for one in (run, second(), third())], "altered": bad, "shapes": shapes}
