"""The cases of `vectors/hidden_totals.json`: whole runs, malformed messages, and parts of a comparison."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from typing import Any

from reference.circuit_steps import ROLES
from reference.hidden_totals import Row, halves, totals
from reference.hidden_totals_run import Side, Terms, commitment, run
from reference.vole import RefusedError

Json = dict[str, Any]
Table = list[tuple[str, list[int]]]
LONG = 100
# The toy tables of docs/protocols/hidden-totals.md, with a negative value.
LOANS: Table = [("a", [10]), ("b", [20]), ("d", [30])]
TAXES: Table = [("b", [7]), ("c", [8]), ("d", [3]), ("d", [-4])]


@dataclass
class Case:
    name: str
    terms: Terms
    tables: tuple[Table, Table]
    attempt: int = 0
    channel: str = "vectors"

    def sides(self) -> list[Side]:
        return [
            Side(
                role,
                self.terms,
                [(digest(key), row) for key, row in table],
                seed(i),
                self.attempt,
                self.channel,
            )
            for i, (role, table) in enumerate(zip(ROLES, self.tables, strict=True))
        ]


def keyed(keys: str, values: bool) -> Table:
    return [(key, [ord(key)] if values else []) for key in keys]


CASES = [
    # The mapper has a row less than was declared.
    Case("enough, repeated keys", Terms(3, 5, 2, 1, 1, 2, "both", b"job"), (LOANS, TAXES)),
    Case(
        "too few",
        Terms(3, 3, 1, 0, 0, 3, "mapper", b"job"),
        (keyed("abc", False), keyed("bcd", False)),
        attempt=1,
    ),
    Case(
        "two buckets, one side learns",
        Terms(6, 6, 1, 1, 0, 3, "placer", b"c" * 300, bucket_items=3),
        (keyed("abcdef", True), keyed("bcdfgh", False)),
        channel="通道",
    ),
]
BROKEN = 0


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def seed(number: int) -> bytes:
    return bytes([number + 1]) * 32


def shown(message: bytes, step: str) -> Json:
    """Long messages are known by their hash; in full they stand in `vectors/circuit_psi.json`."""
    if len(message) <= LONG:
        return {"step": step, "bytes": message.hex()}
    return {"step": step, "length": len(message), "sha256": hashlib.sha256(message).hexdigest()}


def plain(case: Case) -> Json:
    """What the join in plain sight gives."""
    rows = [[Row(key, tuple(values)) for key, values in table] for table in case.tables]
    found = totals(rows[0], rows[1], case.terms.minimum)
    return {"enough": found is not None, **(found or {})}


def case_json(case: Case, sides: list[Side]) -> Json:
    found, terms = run(sides), case.terms
    wanted = plain(case)
    assert found == [
        wanted if side.learns and wanted["enough"] else {"enough": wanted["enough"]} for side in sides
    ]
    return {
        "name": case.name,
        "attempt": case.attempt,
        "channel": case.channel,
        "context": terms.context.hex(),
        "multiplicity": terms.multiplicity,
        "minimum": terms.minimum,
        "receivers": terms.receivers,
        "bucket_items": terms.bucket_items,
        "parties": [
            {
                "role": side.role,
                "seed": side.seed.hex(),
                "declared": (terms.placer_items, terms.mapper_items)[i],
                "words": (terms.placer_words, terms.mapper_words)[i],
                "digests": [digest(key).hex() for key, _ in case.tables[i]],
                "payload": [[str(value) for value in values] for _, values in case.tables[i]],
                "messages": [shown(message, step) for message, step in side.sent],
                "result": found[i],
            }
            for i, side in enumerate(sides)
        ],
    }


def malformed(sides: list[Side]) -> list[tuple[str, int, str, bytes]]:
    """Name, sender, step and what comes in place of its message."""
    first, other = ({step.split("/", 1)[1]: message for message, step in side.sent} for side in sides)
    hello, coin, shares = other["hello"], other["coin"], other["totals"]
    return [
        ("other terms", 1, "hello", hello[:10] + bytes([hello[10] ^ 1]) + hello[11:]),
        ("another role", 1, "hello", b"\1placer" + hello[7:]),
        ("the own commitment sent back", 1, "hello", hello[:-32] + first["hello"][-32:]),
        ("another commitment", 0, "hello", first["hello"][:-1] + bytes([first["hello"][-1] ^ 128])),
        ("hello cut short", 0, "hello", first["hello"][:-1]),
        ("another share than committed to", 1, "coin", coin[:5] + bytes([coin[5] ^ 4]) + coin[6:]),
        ("another opening than committed to", 0, "coin", first["coin"][:-1] + bytes([first["coin"][-1] ^ 1])),
        ("coin of another kind", 1, "coin", b"\1" + coin[1:]),
        ("coin too long", 1, "coin", coin + b"\0"),
        ("enough is no bit", 1, "enough", b"\1\2"),
        ("enough is empty", 0, "enough", b"\1"),
        ("enough of another kind", 0, "enough", b"\2\1"),
        ("totals cut short", 1, "totals", shares[:-8]),
        ("totals too long", 0, "totals", first["totals"] + b"\0"),
        ("totals of another kind", 1, "totals", b"\1" + shares[1:]),
    ]


def refused(sides: list[Side], sender: int, step: str, message: bytes) -> bool:
    peer, side = sides[sender], copy.deepcopy(sides[1 - sender])
    said = [message if label == f"hidden-totals/{step}" else honest for honest, label in peer.sent]
    try:
        if step in ("hello", "coin"):
            side.heard(said[0], said[1])
        elif step == "enough":
            side.enough(message)
        else:
            side.result(message)
    except RefusedError:
        return True
    return False


def malformed_json(sides: list[Side]) -> list[Json]:
    assert commitment(sides[0].share) == sides[0].sent[0][0][-32:]
    out = []
    for name, sender, step, message in malformed(sides):
        number = [label for _, label in sides[sender].sent].index(f"hidden-totals/{step}")
        assert message != sides[sender].sent[number][0]
        assert refused(sides, sender, step, message), name
        place = {"name": name, "from": ROLES[sender], "message": number, "bytes": message.hex()}
        out.append(place | {"code": "E_PROTOCOL"})
    return out


def comparisons() -> list[Json]:
    """Bits and prefixes of both sides, for numbers around a minimum."""
    out = []
    for number, minimum, share in [
        (0, 1, 0),
        (7, 7, 2**64 - 1),
        (6, 7, 5),
        (2**25, 100, 3**40),
        (99, 100, 2**63),
        (2**32 - 1, 2**32 - 1, 2**64 - 2**33),
    ]:
        bits = max(number, minimum).bit_length() + 1
        shares = share, (number - share) % 2**64
        both = halves(shares, minimum, bits)
        out.append(
            {
                "minimum": minimum,
                "bits": bits,
                "shares": [str(value) for value in shares],
                "halves": [
                    {"bit": bit, "prefixes": sorted(prefixes, key=len, reverse=True)}
                    for bit, prefixes in both
                ],
                "enough": number >= minimum,
            }
        )
    return out


def case(number: int) -> Json:
    """One case alone."""
    return case_json(CASES[number], CASES[number].sides())


def hidden() -> Json:
    """All of the file."""
    sides = CASES[BROKEN].sides()
    broken = case_json(CASES[BROKEN], sides)
    return {
        "cases": [broken if number == BROKEN else case(number) for number in range(len(CASES))],
        "changed_case": BROKEN,
        "malformed": malformed_json(sides),
        "comparisons": comparisons(),
    }
