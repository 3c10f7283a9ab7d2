"""Requests to witnesses and their answers, in the one form of C2SP tlog-witness."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.crypto import tlog_witness
from atoll.errors import AtollError
from atoll.ledger import note

HASH = b"\x07" * 32
TEXT = base64.b64encode(HASH).decode()
NOTE = "o\n3\nroot\n\n— o c2ln\n".encode()

# The example of the specification; its root and signatures are cut here, since they are opaque at this place.
EXAMPLE = (
    "old 20852014\n"
    "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n"
    "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n"
    "5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n"
    "/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n"
    "\n"
    "example.com/behind-the-sofa\n20852163\nroot\n\n— example.com/behind-the-sofa c2ln\n"
).encode()


def test_the_example_of_the_specification() -> None:
    found = tlog_witness.parse_request(EXAMPLE)
    assert found.old_size == 20852014
    assert len(found.proof) == 4
    assert found.checkpoint.startswith(b"example.com/behind-the-sofa\n20852163\n")
    assert tlog_witness.encode_request(found.old_size, found.proof, found.checkpoint) == EXAMPLE


@given(
    st.integers(1, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.binary(min_size=1, max_size=50).filter(lambda data: not data.startswith(b"\n")),
)
def test_requests_round_trip(old_size: int, proof: list[bytes], checkpoint: bytes) -> None:
    body = tlog_witness.encode_request(old_size, proof, checkpoint)
    assert tlog_witness.parse_request(body) == tlog_witness.Request(old_size, tuple(proof), checkpoint)


def test_a_log_that_a_witness_never_saw() -> None:
    assert tlog_witness.encode_request(0, [], NOTE) == b"old 0\n\n" + NOTE
    assert tlog_witness.parse_request(b"old 0\n\n" + NOTE).proof == ()
    # A proof from nothing is the witness's to refuse, with a status of its own.
    assert tlog_witness.parse_request(f"old 0\n{TEXT}\n\n".encode() + NOTE).proof == (HASH,)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        NOTE,
        b"old 0\n" + NOTE,
        b"old 0\n\n",
        b"old 0\n\n\n" + NOTE,
        b"old 00\n\n" + NOTE,
        b"old 03\n\n" + NOTE,
        b"old -1\n\n" + NOTE,
        b"old +1\n\n" + NOTE,
        b"old  1\n\n" + NOTE,
        b"old\t1\n\n" + NOTE,
        b"old 1 \n\n" + NOTE,
        b"old 1\r\n\n" + NOTE,
        b"Old 1\n\n" + NOTE,
        b"\nold 1\n\n" + NOTE,
        "old ١\n\n".encode() + NOTE,
        b"old 9223372036854775808\n\n" + NOTE,
        b"old 99999999999999999999999\n\n" + NOTE,
        b"old 1\n" + TEXT.encode()[:-1] + b"\n\n" + NOTE,
        b"old 1\n" + TEXT.encode()[:-2] + b"d=\n\n" + NOTE,
        b"old 1\n " + TEXT.encode() + b"\n\n" + NOTE,
        b"old 1\n" + base64.b64encode(HASH + b"x") + b"\n\n" + NOTE,
        b"old 1\n" + base64.b64encode(HASH[1:]) + b"\n\n" + NOTE,
        b"old 1\n" + (TEXT.encode() + b"\n") * 64 + b"\n" + NOTE,
    ],
)
def test_malformed_requests_are_refused(body: bytes) -> None:
    with pytest.raises(AtollError, match="E_WIRE"):
        tlog_witness.parse_request(body)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for read in (tlog_witness.parse_request, tlog_witness.parse_size, tlog_witness.parse_lines):
        # Whatever else is raised fails the test.
        with contextlib.suppress(AtollError):
            read(body)


def test_limits() -> None:
    with pytest.raises(AtollError, match="E_TOO_LARGE"):
        tlog_witness.parse_request(b"old 0\n\n" + b"x" * tlog_witness.MAX_REQUEST)
    with pytest.raises(AtollError, match="E_TOO_LARGE"):
        tlog_witness.encode_request(0, [], b"x" * tlog_witness.MAX_REQUEST)
    for old_size, proof, checkpoint in (
        (-1, [], NOTE),
        (2**63, [], NOTE),
        (0, [HASH], NOTE),
        (1, [HASH] * 64, NOTE),
        (1, [HASH[1:]], NOTE),
        (1, [], b""),
        (1, [], b"\n" + NOTE),
    ):
        with pytest.raises(AtollError, match="E_FORMAT"):
            tlog_witness.encode_request(old_size, proof, checkpoint)


def test_sizes() -> None:
    for size in (0, 1, 20852014, 2**63 - 1):
        assert tlog_witness.parse_size(tlog_witness.encode_size(size)) == size
    for body in (
        b"",
        b"1",
        b"01\n",
        b"-1\n",
        b"1\n\n",
        b" 1\n",
        b"9223372036854775808\n",
        b"\xff\n",
        b"1.0\n",
    ):
        with pytest.raises(AtollError, match="E_WIRE"):
            tlog_witness.parse_size(body)


def test_lines() -> None:
    two = "— witness.example/w1 c2lnbmF0dXJl\n— witness.example/w1 c2lnbmF0dXJlcw==\n"
    assert tlog_witness.parse_lines(two.encode()) == two.split("\n")[:-1]
    # A witness may cosign with ML-DSA-44 beside Ed25519: a line of 3 kB that nobody here knows.
    large = f"— witness.example/w1 {base64.b64encode(bytes(4 + 8 + 2420)).decode()}"
    assert tlog_witness.parse_lines(f"{large}\n{two}".encode())[0] == large
    for text in (
        "",
        "\n",
        "— w c2lnbmF0dXJl",
        "- w c2lnbmF0dXJl\n",
        "— w c2lnbmF0dXJl\n\n",
        "\n— w c2lnbmF0dXJl\n",
        "— c2lnbmF0dXJl\n",
        "— w  c2lnbmF0dXJl\n",
        "— w c2lnbmF0dXJl x\n",
        "— w c2lnbmF0dXJl_\n",
        "— w c2lnbmF0dXJlcx==\n",
        "— w c2lnbmF0dXJlcw=\n",
        "— w c2lnbmF0dXJlcw\n",
        "— w AAAAAA==\n",
        "— w+x c2lnbmF0dXJl\n",
        "— w\u00a0x c2lnbmF0dXJl\n",
        "— w\x1b[2J c2lnbmF0dXJl\n",
        "— w\u202e c2lnbmF0dXJl\n",
        "— w\r c2lnbmF0dXJl\n",
        "— w c2lnbmF0dXJl\r\n",
        "— " + "w" * 600 + " c2lnbmF0dXJl\n",
        "<html>\n",
        "— w " + "A" * tlog_witness.MAX_ANSWER + "\n",
    ):
        with pytest.raises(AtollError, match="E_WIRE"):
            tlog_witness.parse_lines(text.encode())
    with pytest.raises(AtollError, match="E_WIRE"):
        tlog_witness.parse_lines(b"\xff\n")


DASHES = st.sampled_from(["— "] * 5 + ["—", "- ", ""])
NAMES = st.one_of(
    st.text(st.sampled_from("w1/.é"), min_size=1), st.text(st.sampled_from("w+ \u00a0\u200b\0"), max_size=3)
)
VALUES = st.one_of(
    st.binary(min_size=3, max_size=9).map(lambda data: base64.b64encode(data).decode()),
    st.text(st.sampled_from("AB+/=_ "), max_size=12),
)


@given(DASHES, NAMES, VALUES)
def test_lines_are_those_that_a_note_has(dash: str, name: str, value: str) -> None:
    """What passes here passes in the ledger, and the other way round: no line is blamed on the wrong one."""
    line = f"{dash}{name} {value}"
    try:
        note.parse_signature(line)
    except AtollError:
        with pytest.raises(AtollError, match="E_WIRE"):
            tlog_witness.parse_lines(f"{line}\n".encode())
    else:
        assert tlog_witness.parse_lines(f"{line}\n".encode()) == [line]
