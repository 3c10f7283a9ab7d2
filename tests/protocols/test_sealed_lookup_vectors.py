"""Sealed lookup against its vectors, and the vectors against the slow reference that makes them."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from atoll.crypto.lookup import Asker, Holder
from atoll.errors import AtollError

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "vectors" / "sealed_lookup.json"
VECTORS = json.loads(FILE.read_text(encoding="utf-8"))
CASES = {case["name"]: case for case in VECTORS["cases"]}
unhex = bytes.fromhex
Json = dict[str, Any]

# RFC 9497, appendix A.1.2.
PROOF = (
    "ddef93772692e535d1a53903db24367355cc2cc78de93b3be5a8ffcc6985dd06"
    "6d4346421d17bf5117a2a1ff0fcb2a759f58a539dfbe857a40bce4cf49ec600d"
)
OUTPUT = (
    "b58cfbe118e0cb94d79b5fd6a6dafb98764dff49c14e1770b566e42402da1a7d"
    "a4d8527693914139caee5bd03903af43a491351d23b430948dd50cde10d32b3c"
)
BATCH = (
    "cc203910175d786927eeb44ea847328047892ddf8590e723c37205cb74600b0a"
    "5ab5337c8eb4ceae0494c2cf89529dcf94572ed267473d567aeed6ab873dee08"
)


def joined(texts: list[str]) -> bytes:
    return unhex("".join(texts))


def holder(case: Json) -> Holder:
    return Holder(
        unhex(case["secret"]),
        unhex(case["seeds"][0]),
        case["attempt"],
        case["channel"],
        version=unhex(case["version"]),
        matrix=unhex(case["matrix"]),
        digests=joined(case["digests"]),
        records=joined(case["records"]),
        record_bytes=case["record_bytes"],
    )


def asker(case: Json, of: Holder, hint: bytes) -> Asker:
    return Asker(of.epoch, hint, unhex(case["seeds"][1]), case["attempt"], case["channel"])


def evaluated(step: Json, host: Holder, who: Asker) -> list[Any]:
    """Blinded keys and their evaluation, each as in the vectors; what opens records."""
    state, blinded = who.blind(joined(step["digests"]), step["number"])
    assert blinded.hex() == "".join(step["blinded"])
    passed = joined([step["blinded"][at] for at in step["passed"]])
    evaluation = host.evaluate(passed, len(step["passed"]), step["number"])
    assert evaluation.hex() == step["evaluation"]
    return who.finish(state, evaluation, step["passed"])


def asked(step: Json, host: Holder, who: Asker) -> None:
    keys = evaluated(step, host, who)
    found = who.queries(keys)
    assert [query.hex() for _, query in found] == step["queries"]
    answers = host.answer([query for _, query in found])
    assert [answer.hex() for answer in answers] == step["answers"]
    records = [
        who.open(key, state, answer) for key, (state, _), answer in zip(keys, found, answers, strict=True)
    ]
    assert [record and record.hex() for record in records] == step["records"]


def changed(step: Json, host: Holder, who: Asker) -> None:
    delta = host.update(
        unhex(step["version"]),
        joined(step["removed"]),
        joined(step["changed"]),
        joined(step["changed_records"]),
    )
    assert delta.hex() == step["delta"]
    who.apply(delta)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("ahead", [0, 3], ids=["as they come", "made ahead"])
def test_every_message_of_both_sides_is_that_of_the_reference(name: str, ahead: int) -> None:
    case = CASES[name]
    host = holder(case)
    epoch = host.epoch
    assert [epoch.columns, epoch.cells, epoch.record_bytes] == [
        case["columns"],
        case["cells"],
        case["record_bytes"],
    ]
    assert (epoch.salt.hex(), epoch.public.hex()) == (case["salt"], case["public"])
    hint = host.hint()
    assert hint[:80].hex() == case["hint_start"]
    assert hashlib.sha256(hint).hexdigest() == case["hint_sha256"]
    table = host.columns(0, epoch.columns)
    assert len(table) == epoch.columns * epoch.column_bytes
    assert hashlib.sha256(table).hexdigest() == case["table_sha256"]
    who = asker(case, host, hint)
    for step in case["steps"]:
        # Queries are numbered as they are begun, and made ahead of need are the same.
        who.prepare(ahead, ahead)
        (changed if "delta" in step else asked)(step, host, who)


@pytest.mark.parametrize("name", CASES)
def test_cells_open_under_the_keys_that_requests_gave(name: str) -> None:
    """As another implementation would read a column: by RFC 8439 alone."""
    case = CASES[name]
    step = case["steps"][0]
    opened = 0
    wanted = [step["digests"][at] for at in step["passed"]]
    for digest, key, column, found in zip(
        wanted, step["keys"], step["columns"], step["records"], strict=True
    ):
        for place, cell in zip(case["places"], map(unhex, case["sealed"]), strict=True):
            nonce = struct.pack("<I", place % case["cells"]) + cell[:4] + bytes(4)
            where = struct.pack("<I", column)
            try:
                record = ChaCha20Poly1305(unhex(key)).decrypt(nonce, cell[20:] + cell[4:20], where)
            except InvalidTag:
                continue
            opened += 1
            assert place // case["cells"] == column
            assert digest == case["digests"][case["places"].index(place)]
            assert record.hex() == found
    assert opened == sum(digest in case["digests"] for digest in wanted)


@pytest.mark.parametrize("shape", VECTORS["shapes"], ids=lambda s: f"{s[0]} keys of {s[1]} bytes")
def test_tables_have_the_shapes_of_the_reference(shape: list[int]) -> None:
    keys, length, columns, cells = shape
    digests = b"".join(hashlib.sha256(struct.pack("<I", n)).digest() for n in range(keys))
    made = Holder(
        bytes(32), bytes(32), 0, "c", version=bytes(16), matrix=bytes(32), digests=digests,
        records=bytes(keys * length), record_bytes=length,
    )  # fmt: skip
    assert (made.epoch.columns, made.epoch.cells) == (columns, cells)


# Altered messages, after the first request of the first case.


@pytest.fixture(scope="module")
def started() -> tuple[Json, Holder, bytes]:
    case = VECTORS["cases"][0]
    host = holder(case)
    return case, host, host.hint()


def said(of: str, message: bytes, case: Json, host: Holder, hint: bytes) -> None:
    """Gives an altered message to the side that it is for; a miss is none of its errors."""
    step = case["steps"][0]
    if of == "hint":
        asker(case, host, message)
        return
    who = asker(case, host, hint)
    state, blinded = who.blind(joined(step["digests"]), step["number"])
    if of == "blinded":
        host.evaluate(message, 1, 50)
    elif of == "evaluation":
        who.finish(state, message, step["passed"])
    elif of == "query":
        host.answer([message])
    elif of == "delta":
        who.apply(message)
    else:
        keys = who.finish(state, unhex(step["evaluation"]), step["passed"])
        (secret, _), *_ = who.queries(keys)
        assert who.open(keys[0], secret, message) is None
    assert blinded.hex() == "".join(step["blinded"])


@pytest.mark.parametrize("bad", VECTORS["altered"], ids=lambda b: f"{b['of']} {b['name']}")
def test_altered_messages_have_what_the_vectors_say(bad: Json, started: tuple[Json, Holder, bytes]) -> None:
    case, host, hint = started
    # A hint is long: of an altered one the vectors have its beginning and its length.
    altered = bad.get("message") or bad.get("start", "")
    message = unhex(altered) + (hint[16 : bad["length"]] if bad["of"] == "hint" else b"")
    if bad["code"] is None:
        said(bad["of"], message, case, host, hint)
        return
    with pytest.raises(AtollError) as caught:
        said(bad["of"], message, case, host, hint)
    assert caught.value.code == bad["code"]


def test_a_holder_that_refused_goes_on_as_before(started: tuple[Json, Holder, bytes]) -> None:
    case, host, hint = started
    asked(case["steps"][0], host, asker(case, host, hint))


# The reference.


def test_the_reference_makes_exactly_this_file() -> None:
    """It refuses every altered message, too: see `reference.sealed_lookup_cases.said`."""
    from reference import vectors

    assert vectors.render("sealed_lookup.json") == FILE.read_text(encoding="utf-8")


def test_the_function_of_the_reference_has_the_vectors_of_rfc_9497() -> None:
    """Appendix A.1.2: mode VOPRF, one element, and two under one proof."""
    from reference import ristretto255 as group
    from reference import sealed_lookup as r

    key = r.derive_key(b"\xa3" * 32, b"test key")
    public = group.encode(group.multiply(r.BASE, key))
    assert public.hex() == "c803e2cc6b05fc15064549b5920659ca4a77b2cca6f04f6b357009335476ad4e"
    blind, nonce = (
        int.from_bytes(unhex(text), "little")
        for text in (
            "64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706",
            "222a5e897cf59db8145db8d16e597e8facb80ae7d4e26d9881aa6f61d645fc0e",
        )
    )
    blinded = group.encode(group.multiply(r.hashed(b"\0"), blind))
    assert blinded.hex() == "863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945"
    evaluated = group.encode(group.multiply(r.elements(blinded)[0], key))
    assert evaluated.hex() == "aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e"
    proof = r.prove(key, [blinded], [evaluated], nonce)
    assert proof.hex() == PROOF
    element = group.encode(group.multiply(r.hashed(b"\0"), key))
    assert r.finalize(b"\0", element).hex() == OUTPUT
    both = [blinded, unhex("90a0145ea9da29254c3a56be4fe185465ebb3bf2a1801f7124bbbadac751e654")]
    values = [evaluated, unhex("cc5ac221950a49ceaa73c8db41b82c20372a4c8d63e5dded2db920b7eee36a2a")]
    assert r.verify(public, both, values, unhex(BATCH))
    assert not r.verify(public, both, values[::-1], unhex(BATCH))


def test_the_hint_of_the_reference_follows_the_table() -> None:
    """Brought up to date in proportion to the change, it is the hint of the table as it stands then."""
    from reference.sealed_lookup_cases import Run

    run = Run("follows", {"a": 1, "b": 2}, 1, 3)
    run.update(["a"], {"b": 3, "c": 250})
    words = [word for row in run.asker.known for word in row]
    hint = run.holder.hint()
    assert hint[:16] == run.asker.version
    assert words == list(struct.unpack(f"<{len(words)}I", hint[16:]))
