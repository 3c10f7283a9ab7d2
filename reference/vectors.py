"""Makes the files in `vectors/`: `python -m reference.vectors` from the root of the repository."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from reference import digits, ecdh_psi, index_pir, keys, pairwise_masks, star_psi, vole_psi
from reference import ristretto255 as group
from reference.circuit_cases import circuit
from reference.hidden_totals_cases import hidden
from reference.hintless import hintless
from reference.lookup_totals_cases import lookup_totals
from reference.row_tree_cases import row_tree
from reference.sealed_lookup_cases import sealed_lookup
from reference.triples_cases import triples

FOLDER = Path(__file__).resolve().parent.parent / "vectors"


def psi_case(name: str, mine: str, peers: str, learn: tuple[str, str], **options: Any) -> dict[str, Any]:
    context = options.get("context", b"vectors")
    multiplicity = options.get("multiplicity", False)
    parties = tuple(
        ecdh_psi.Party(
            bytes([i + 1]) * 32,
            [hashlib.sha256(letter.encode()).digest() for letter in letters],
            [ord(letter) % 7 + 1 + i for letter in letters] if multiplicity else None,
            learn[i],
        )
        for i, letters in enumerate((mine, peers))
    )
    attempt, size = options.get("attempt", 0), options.get("chunk", 2)
    results = ecdh_psi.run((parties[0], parties[1]), context, "vectors", attempt, size)
    return {
        "name": name,
        "context": context.hex(),
        "channel": "vectors",
        "attempt": attempt,
        "chunk_items": size,
        "parties": [
            {
                "seed": party.seed.hex(),
                "digests": [d.hex() for d in party.digests],
                "multiplicity": party.multiplicity,
                "learns": party.learns,
                "messages": [m.hex() for m in result["messages"]],
                "matched": result["matched"],
                "size": result["size"],
            }
            for party, result in zip(parties, results, strict=True)
        ],
    }


def psi_malformed(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Messages that party 0 of `case` refuses in place of the one numbered `at` of party 1."""
    sent = [bytes.fromhex(m) for m in case["parties"][1]["messages"]]
    point = sent[0][5:37]
    not_square = next(s for s in range(2, 99, 2) if group.decode(s.to_bytes(32, "little")) is None)
    points = {
        "identity": bytes(32),
        "negative": (group.P - int.from_bytes(point, "little")).to_bytes(32, "little"),
        "not reduced": (group.P + 1).to_bytes(32, "little"),
        "not on the curve": not_square.to_bytes(32, "little"),
        "high bit": point[:31] + bytes([point[31] | 128]),
        "repeated": sent[0][37:69],
    }
    out = [(f"point: {name}", 0, sent[0][:5] + bad + sent[0][37:]) for name, bad in points.items()]
    out += [
        ("empty", 0, b""),
        ("header cut short", 0, sent[0][:4]),
        ("unknown type", 0, b"\x04" + sent[0][1:]),
        ("no items", 0, sent[0][:1] + bytes(4)),
        ("count too small", 0, sent[0][:1] + b"\x01\0\0\0" + sent[0][5:]),
        ("count too large", 0, sent[0][:1] + b"\xff\xff\xff\xff" + sent[0][5:]),
        ("trailing byte", 0, sent[0] + b"\0"),
        ("tags before the items are in", 1, sent[2]),
        ("more items than declared", 2, sent[0]),
        ("repeated tag", 2, sent[2][:5] + 2 * sent[2][5:15]),
        ("tag cut short", 2, sent[2][:-1]),
        ("multiplicity of zero", 4, sent[4][:5] + bytes(len(sent[4]) - 5)),
    ]
    return [{"name": name, "at": at, "message": bad.hex(), "code": "E_PROTOCOL"} for name, at, bad in out]


def psi() -> dict[str, Any]:
    both = ("rows", "rows")
    cases = [
        psi_case("both learn rows and multiplicities", "abcd", "bdef", both, multiplicity=True),
        psi_case("one learns rows", "abcd", "cdx", ("rows", "nothing")),
        psi_case("one learns the size", "abcde", "edq", ("nothing", "size"), chunk=4),
        psi_case("both learn the size", "abc", "abc", ("size", "size")),
        psi_case("one item each", "a", "a", both, attempt=1),
        psi_case("an empty side", "", "abc", both),
        psi_case("nothing in common, long context", "ab", "cd", both, context=b"c" * 300),
    ]
    maps = [
        {
            "dst": dst.hex(),
            "message": text.hex(),
            "point": group.encode(ecdh_psi.hash_to_group(text, dst)).hex(),
        }
        for dst in (b"short", b"long" * 70)
        for text in (b"", b"abc", bytes(200))
    ]
    return {"cases": cases, "malformed": psi_malformed(cases[0]), "hash_to_group": maps}


def masks() -> dict[str, Any]:
    cases = []
    for n, attempt in ((2, 0), (3, 1), (5, 0)):
        holders = [f"holder-{i}" for i in range(n)]
        seeds = {h: bytes([i + 1]) * 32 for i, h in enumerate(holders)}
        secrets = {h: pairwise_masks.secret_key(s, attempt, "vectors") for h, s in seeds.items()}
        public = {h: pairwise_masks.x25519(s, pairwise_masks.BASE) for h, s in secrets.items()}
        values = {h: [i, -i, (-2) ** (100 + i)] for i, h in enumerate(holders)}
        cases.append(
            {
                "attempt": attempt,
                "channel": "vectors",
                "context": b"context".hex(),
                "label": "totals",
                "holders": [
                    {
                        "id": h,
                        "seed": seeds[h].hex(),
                        "public": public[h].hex(),
                        "values": [str(v) for v in values[h]],
                        "masked": pairwise_masks.masked(
                            values[h], h, secrets[h], public, b"context", "totals"
                        ).hex(),
                    }
                    for h in holders
                ],
                "sum": [str(sum(column)) for column in zip(*values.values(), strict=True)],
            }
        )
    # Encodings of u of order 1, 2, 4 and 8, and their unreduced forms (RFC 7748, section 7).
    order_8 = 325606250916557431795983626356110631294008115727848805560023387167927233504
    small = [0, 1, group.P - 1, group.P, group.P + 1, order_8]
    return {
        "cases": cases,
        "malformed": [{"public": u.to_bytes(32, "little").hex(), "code": "E_PROTOCOL"} for u in small],
    }


def key_digests() -> dict[str, Any]:
    s = "string"
    tables: list[tuple[list[str], list[list[str]], list[list[str | None]]]] = [
        ([s], [[]], [["a"], [""], [None], ["é中"], ["a "]]),
        ([s, s], [[], []], [["ab", "c"], ["a", "bc"], ["a", None]]),
        ([s], [["trim", "width", "upper"]], [["\u3000ａb１ "], ["ﬁ"], ["straße"]]),
        ([s], [["lower"]], [["ÀB"], ["ΑΣ"]]),
        ([s], [["digits"]], [["No. １２-3"], ["007"]]),
        (
            [s],
            [["phone_cn"]],
            [["13800138000"], ["+86 138-0013-8000"], ["0086(138)00138000"], ["8613800138000"]],
        ),
        ([s], [["id_cn"]], [["11010519491231002x"], ["110105491231002"], [" １１010519491231002X"]]),
        (["int64"], [[]], [["5"], ["-1"], [str(2**63 - 1)]]),
        (["decimal"], [[]], [["5.00"], ["5"], ["-0.10"], ["0.00"], ["1200"]]),
        (["date", "bool"], [[], []], [["0", "1"], ["-1", "0"]]),
        (["timestamp"], [[]], [["5"], ["-1"]]),
        (["timestamp_utc"], [[]], [["5"]]),
    ]
    cases = []
    for kinds, steps, rows in tables:
        found = [keys.digest(kinds, steps, row) for row in rows]
        cases.append(
            {"types": kinds, "steps": steps, "rows": rows, "digests": [d and d.hex() for d in found]}
        )
    bad = [
        ("digits", "none"),
        ("phone_cn", "23800138000"),
        ("phone_cn", "1380013800"),
        ("phone_cn", "+8513800138000"),
        ("id_cn", "110105194912310021"),
        ("id_cn", "11010519491231002"),
        ("id_cn", "11010549123100a"),
    ]
    for step, value in bad:
        try:
            keys.STEPS[step](value)
        except ValueError:
            continue
        raise AssertionError(f"{step} takes {value}")
    return {"cases": cases, "malformed": [{"step": a, "value": b, "code": "E_DATA"} for a, b in bad]}


def vole() -> dict[str, Any]:
    """Names, oracles, lengths and field elements of the join from VOLE; places of keys in buckets."""
    digests = [hashlib.sha256(bytes([i])).digest() for i in range(3)]
    runs = []
    for receiver, sender, malicious, short, both in (
        (3, 5, True, False, True),
        (3, 5, True, False, False),
        (2**20, 2**20 + 1, False, True, False),
        (1, 2, False, False, True),
    ):
        name = vole_psi.run(b"job", receiver, sender, malicious, short, both)
        bits = vole_psi.value_bits(receiver, sender) if short else 128
        items = []
        for key in digests:
            place, value = vole_psi.item(name, key, bits)
            tag, proof = vole_psi.tag(name, key, value ^ 5)
            items.append(
                {
                    "digest": key.hex(),
                    "key": f"{place:032x}",
                    "value": f"{value:032x}",
                    "tag": tag.hex(),
                    "proof": proof.hex(),
                }
            )
        runs.append(
            {
                "context": b"job".hex(),
                "receiver": receiver,
                "sender": sender,
                "malicious": malicious,
                "low_communication": short,
                "both": both,
                "bits": bits,
                "offset": f"{5:032x}",
                "items": items,
                "opening": digests[0].hex(),
                "commitment": vole_psi.commitment(name, digests[0]).hex(),
            }
        )
    pairs = [(1, 1), (2, 2**127), (2**127, 2**127), (3**80, 5**55), (2**128 - 1, 2**128 - 1)]
    products = [[f"{a:032x}", f"{b:032x}", f"{vole_psi.multiply(a, b):032x}"] for a, b in pairs]
    places = [
        {"buckets": b, "places": [vole_psi.bucket(digests[1], key, b) for key in digests]}
        for b in (1, 2, 7, 65536)
    ]
    return {
        "runs": runs,
        "products": products,
        "bucket_key": digests[1].hex(),
        "digests": [d.hex() for d in digests],
        "buckets": places,
    }


def star() -> dict[str, Any]:
    """Functions of items under keys, shares of a few parties, and what stands in a programmed store."""
    digests = [hashlib.sha256(bytes([i])).digest() for i in range(5)]
    functions = [
        {
            "use": use,
            "keys": [k.hex() for k in digests[:n]],
            "digest": digests[4].hex(),
            "output": f"{star_psi.keyed(use, digests[:n], digests[4]):032x}",
        }
        for use in star_psi.LABELS
        for n in (1, 3)
    ]
    stars = []
    for n, attempt in ((3, 0), (4, 2)):
        parties = [
            star_psi.Party(f"party-{i}", bytes([i + 1]) * 32, [d for k, d in enumerate(digests) if k != i])
            for i in range(n)
        ]
        found = star_psi.Star(parties, attempt, "vectors", b"context")
        stars.append(
            {
                "attempt": attempt,
                "channel": "vectors",
                "context": b"context".hex(),
                "parties": [
                    {
                        "id": p.name,
                        "seed": p.seed.hex(),
                        "public": found.public[p.name].hex(),
                        "digests": [d.hex() for d in p.items],
                        "shares": [f"{found.share(p.name, d):032x}" for d in p.items],
                    }
                    for p in parties
                ],
                "blinds": [f"{found.blind(d):032x}" for d in parties[1].items],
                "names_between_the_first_two": [
                    f"{star_psi.keyed('common', [found.key('party-0', 'party-1', 'common')], d):032x}"
                    for d in parties[1].items
                ],
            }
        )
    programmed = []
    for receiver, sender, bits in ((3, 5, 80), (2**20, 7, 128), (1, 1, 8)):
        element, target = 3**70, 5**50
        found_slot = star_psi.slot(b"job and coin", receiver, sender, bits, digests[0], element, target)
        programmed.append(
            {
                "context": b"job and coin".hex(),
                "receiver": receiver,
                "sender": sender,
                "bits": bits,
                "digest": digests[0].hex(),
                "element": f"{element:032x}",
                "target": f"{target:032x}",
                **{name: f"{value:032x}" for name, value in found_slot.items()},
            }
        )
    return {"functions": functions, "stars": stars, "programmed": programmed}


FILES = {
    "circuit_psi.json": circuit,
    "digits.json": digits.vectors,
    "hidden_totals.json": hidden,
    "hintless.json": hintless,
    "lookup_totals.json": lookup_totals,
    "star_psi.json": star,
    "vole_psi.json": vole,
    "ecdh_psi.json": psi,
    "index_pir.json": index_pir.vectors,
    "pairwise_masks.json": masks,
    "keys.json": key_digests,
    "row_tree.json": row_tree,
    "sealed_lookup.json": sealed_lookup,
    "triples.json": triples,
}


def render(name: str) -> str:
    return json.dumps(FILES[name](), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in FILES:
        (FOLDER / name).write_text(render(name), encoding="utf-8")
