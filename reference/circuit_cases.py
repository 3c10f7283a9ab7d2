"""The cases of `vectors/circuit_psi.json`: whole runs, altered messages and what they do, malformed messages."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reference.circuit_psi import EMPTY, CircuitParty, Mapper, Output, Placer, bytes_of
from reference.circuit_steps import ROLES, Agreed
from reference.vole import RefusedError

Json = dict[str, Any]
Table = list[tuple[str, list[int]]]
Pair = list[CircuitParty]
NONE: Table = []
# The toy tables of docs/protocols/circuit-psi.md, and a word that wraps.
LOANS: Table = [("a", [10]), ("b", [20]), ("d", [30])]
TAXES: Table = [("b", [7, 2**64 - 1]), ("c", [8, 1]), ("d", [3, 2**63]), ("d", [4, 2**63 + 5])]


@dataclass
class Case:
    name: str
    placer: Table
    mapper: Table
    multiplicity: int = 1
    words: tuple[int, int] = (0, 0)
    attempt: int = 0
    channel: str = "vectors"
    context: bytes = b"job"

    def agreed(self) -> Agreed:
        sizes = len(self.placer), len(self.mapper), self.multiplicity
        return Agreed(self.attempt, self.channel, self.context, *sizes, *self.words)

    def seeds(self) -> list[bytes]:
        return [bytes([i + 1]) * 32 for i in range(2)]

    def pair(self) -> Pair:
        sides = zip((Placer, Mapper), self.seeds(), (self.placer, self.mapper), strict=True)
        return [
            side(self.agreed(), seed, digests(rows), [list(values) for _, values in rows])
            for side, seed, rows in sides
        ]


CASES = [
    Case("plain", [(key, []) for key in "abcde"], [(key, []) for key in "xbdyaz"], context=b"c" * 300),
    Case(
        "repeated keys",
        [("a", [1]), ("b", [2]), ("c", [3]), ("d", [2**64 - 1])],
        [(key, []) for key in "baxbcbb"],
        multiplicity=4,
        words=(1, 0),
        attempt=1,
        channel="通道",
    ),
    Case("sums of both sides", LOANS, TAXES, multiplicity=2, words=(1, 2)),
    Case("an empty side", NONE, TAXES, multiplicity=2, words=(1, 2)),
]
OF_BOTH = 2


def digests(rows: Table) -> list[bytes]:
    return [hashlib.sha256(key.encode()).digest() for key, _ in rows]


@dataclass
class Sent:
    """A message, and a copy of both sides before it was taken."""

    sender: int
    message: bytes
    step: str
    before: Pair


def play(pair: Pair, keep: bool = False) -> list[Sent]:
    """Runs both to their end."""
    sent = []
    while not all(party.done for party in pair):
        for i, party in enumerate(pair):
            while out := party.next_message():
                message, step = out
                sent.append(Sent(i, message, step, copy.deepcopy(pair) if keep else []))
                pair[1 - i].receive(message)
    return sent


def shares(output: Output) -> Json:
    bits = sum(bit << at for at, bit in enumerate(output.matched))
    return {
        "matched": bits.to_bytes(-(-len(output.matched) // 8), "little").hex(),
        "words": b"".join(bytes_of(row) for row in output.words).hex(),
    }


def opened(outputs: list[Output]) -> list[list[Any]]:
    """The placer's row and all words of every matched bin."""
    left, right = outputs
    found = []
    for at, (bit, other) in enumerate(zip(left.matched, right.matched, strict=True)):
        words = [(a + b) % 2**64 for a, b in zip(left.words[at], right.words[at], strict=True)]
        if bit ^ other:
            found.append([(left.rows or [])[at], [str(word) for word in words]])
        else:
            assert not any(words)
    return sorted(found)


def joined(case: Case) -> list[list[Any]]:
    """The same in plain sight."""
    return sorted(
        [row, [str(word) for word in own + theirs]]
        for row, (key, own) in enumerate(case.placer)
        for other, theirs in case.mapper
        if key == other
    )


def message(sent: Sent) -> Json:
    """Pieces of turns are long; they are known by their hash."""
    who = {"from": ROLES[sent.sender], "step": sent.step}
    if "/turn/" in sent.step:
        return who | {"length": len(sent.message), "sha256": hashlib.sha256(sent.message).hexdigest()}
    return who | {"bytes": sent.message.hex()}


def case_json(case: Case, sent: list[Sent], outputs: list[Output]) -> Json:
    found = opened(outputs)
    assert found == joined(case)
    rows = [None if row == EMPTY else row for row in outputs[0].rows or []]
    return {
        "name": case.name,
        "attempt": case.attempt,
        "channel": case.channel,
        "context": case.context.hex(),
        "multiplicity": case.multiplicity,
        "bins": case.agreed().bins,
        "parties": [
            {
                "role": role,
                "seed": seed.hex(),
                "words": words,
                "digests": [d.hex() for d in digests(table)],
                "payload": [[str(value) for value in values] for _, values in table],
            }
            for role, seed, words, table in zip(
                ROLES, case.seeds(), case.words, (case.placer, case.mapper), strict=True
            )
        ],
        "messages": [message(s) for s in sent],
        "shares": [shares(output) for output in outputs],
        "rows": rows,
        "opened": found,
        "sums": [str(sum(int(words[k]) for _, words in found) % 2**64) for k in range(sum(case.words))],
    }


@dataclass
class Change:
    """Bytes from `start` to `end` of a message become others."""

    name: str
    step: str
    start: int
    end: int
    put: bytes

    def of(self, message: bytes) -> bytes:
        return message[: self.start] + self.put + message[self.end :]


def flipped(sent: list[Sent], step: str, at: int, mask: str) -> Change:
    (found,) = (s.message for s in sent if s.step == f"circuit-psi/{step}")
    at, bits = at % len(found), bytes.fromhex(mask)
    put = bytes(a ^ b for a, b in zip(found[at : at + len(bits)], bits, strict=True))
    return Change(f"bits of {step}", step, at, at + len(bits), put)


def altered(sent: list[Sent]) -> list[Change]:
    """Of the right form, so that nothing shows in a semi-honest protocol; but the result is another one."""
    bins, slots = CASES[OF_BOTH].agreed().bins, 88
    return [
        # The sum of the leaves of a tree, after the header of the piece, that of the message, its type, and 300 trees.
        flipped(sent, "turn/3/0", 2 + 6 + 1 + 300 * 176 + 160, "01"),
        flipped(sent, "entries/0/0", 2, ("08" + "00" * 15) * 82),
        flipped(sent, "store/0/0", 2 + 24 * 80, "01"),
        flipped(sent, "store/0/0", 2, ("00" * 15 + "80" + "00" * 8) * slots),
        flipped(sent, "corrections/0/0", 2, "04" * 6 * bins),
        flipped(sent, "tables/1/0", 2, "ffff" * 3 * bins),
        flipped(sent, "tables/2/0", 2, "ffff"),
        flipped(sent, "placer-flips/0/0", 2, "10"),
        flipped(sent, "mapper-flips/0/0", 4, "01"),
        flipped(sent, "mapper-words/0/0", 2, "ff" * 16 * bins),
        flipped(sent, "placer-words/0/0", 2, "01" * 24 * bins),
    ]


def malformed(sent: list[Sent]) -> list[Change]:
    """Each message in one wrong form; then what only a piece of a turn can have."""
    forms: list[tuple[str, Callable[[str, bytes], Change]]] = [
        ("cut short", lambda step, m: Change("", step, len(m) - 1, len(m), b"")),
        ("too long", lambda step, m: Change("", step, len(m), len(m), b"\0")),
        ("of another kind", lambda step, m: Change("", step, 0, 1, bytes([m[0] + 1]))),
        ("of another level", lambda step, m: Change("", step, 1, 2, bytes([m[1] + 4]))),
        ("empty", lambda step, m: Change("", step, 0, len(m), b"")),
    ]
    found = []
    for number, s in enumerate(sent):
        step = s.step.removeprefix("circuit-psi/")
        name, form = forms[number % len(forms)]
        change = form(step, s.message)
        change.name = f"{step} {name}"
        found.append(change)
    turn = next(s.message for s in sent if s.step == "circuit-psi/turn/0/0")
    # Header of a piece, then number and length of the first message, its type, and two points for each transfer.
    second = 2 + 6 + int.from_bytes(turn[4:8], "little")
    return [
        *found,
        Change("another share than committed to", "opening/0/0", 2, 3, bytes([sent[2].message[2] ^ 1])),
        Change("a last piece that says it is none", "turn/0/0", 1, 2, b"\0"),
        Change("a piece that is half the last", "turn/0/0", 1, 2, b"\2"),
        Change("a turn that ends too early", "turn/2/0", 1, 2, b"\1"),
        Change("a turn without a message", "turn/0/0", 2, len(turn), b""),
        Change("a turn without its last message", "turn/0/0", second, len(turn), b""),
        Change("a message of a turn longer than the turn", "turn/0/0", second + 5, second + 6, b"\1"),
        Change("a message of a turn shorter than is due", "turn/1/0", 4, 5, bytes([0])),
        Change("a number of no correlation", "turn/0/0", second, second + 2, b"\4\0"),
        Change("numbers of correlations that fall", "turn/0/0", second, second + 2, b"\0\0"),
        Change("a message of a turn of another type", "turn/0/0", 8, 9, b"\2"),
        Change("a message for a correlation that waits for none", "turn/0/0", 2, 4, b"\0\0"),
        Change("no point in a base transfer", "turn/0/0", 9 + 32, 9 + 64, bytes([255]) * 32),
        Change("the identity in a base transfer", "turn/0/0", 9, 9 + 32, bytes(32)),
    ]


def change_json(sent: list[Sent], change: Change) -> Json:
    number = next(i for i, s in enumerate(sent) if s.step == f"circuit-psi/{change.step}")
    place = {"start": change.start, "end": change.end, "put": change.put.hex()}
    return {"name": change.name, "message": number, **place}


def taken(sent: list[Sent], change: Change) -> Pair:
    """Both sides after the changed message has come in place of the honest one."""
    found = next(s for s in sent if s.step == f"circuit-psi/{change.step}")
    bad = change.of(found.message)
    assert bad != found.message
    pair = copy.deepcopy(found.before)
    pair[1 - found.sender].receive(bad)
    return pair


def altered_json(sent: list[Sent], change: Change, honest: list[Json]) -> Json:
    pair = taken(sent, change)
    play(pair)
    found = [shares(party.output()) for party in pair]
    assert found != honest
    known = [
        {"matched": side["matched"], "words_sha256": hashlib.sha256(bytes.fromhex(side["words"])).hexdigest()}
        for side in found
    ]
    return change_json(sent, change) | {"shares": known}


def malformed_json(sent: list[Sent], change: Change) -> Json:
    try:
        taken(sent, change)
    except RefusedError:
        return change_json(sent, change) | {"code": "E_PROTOCOL"}
    raise AssertionError(f"{change.name} is taken")


def case(number: int) -> Json:
    """One case alone."""
    pair = CASES[number].pair()
    sent = play(pair)
    return case_json(CASES[number], sent, [party.output() for party in pair])


def circuit() -> Json:
    """All of the file."""
    pair = CASES[OF_BOTH].pair()
    sent = play(pair, keep=True)
    outputs = [party.output() for party in pair]
    of_both = case_json(CASES[OF_BOTH], sent, outputs)
    cases = [of_both if number == OF_BOTH else case(number) for number in range(len(CASES))]
    return {
        "cases": cases,
        "changed_case": OF_BOTH,
        "altered": [altered_json(sent, change, of_both["shares"]) for change in altered(sent)],
        "malformed": [malformed_json(sent, change) for change in malformed(sent)],
    }
