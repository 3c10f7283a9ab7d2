"""Key normalisation, encoding and digests in plain Python."""

from __future__ import annotations

import hashlib
import struct
import unicodedata
from decimal import Decimal


def check_character(digits: str) -> str:
    """GB 11643-1999: ISO 7064 MOD 11-2; the weight of position i (from the right, from 1) is 2^i mod 11."""
    total = sum(int(d) * (2 ** (17 - i) % 11) for i, d in enumerate(digits))
    return "10X98765432"[total % 11]


def id_cn(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).strip().upper()
    if not text.isascii():
        raise ValueError("not an identity number")
    if len(text) == 15 and text.isdigit():
        text = text[:6] + "19" + text[6:]
        return text + check_character(text)
    if len(text) == 18 and text[:17].isdigit() and text[17] == check_character(text[:17]):
        return text
    raise ValueError("not an identity number")


def phone_cn(text: str) -> str:
    dashes = "-./()\u2212" + "".join(map(chr, range(0x2010, 0x2016)))
    text = unicodedata.normalize("NFKC", text)
    text = "".join(c for c in text if c not in dashes and not c.isspace())
    for prefix in ("+86", "0086"):
        if text.startswith(prefix):
            text = text[len(prefix) :]
            break
    else:
        if len(text) == 13 and text.startswith("86"):
            text = text[2:]
    if len(text) != 11 or not text.isascii() or not text.isdigit() or text[0] != "1":
        raise ValueError("not a mobile number")
    return text


def digits(text: str) -> str:
    kept = "".join(c for c in unicodedata.normalize("NFKC", text) if c in "0123456789")
    if not kept:
        raise ValueError("no digit")
    return kept


STEPS = {
    "trim": str.strip,
    "lower": str.lower,
    "upper": str.upper,
    "width": lambda text: unicodedata.normalize("NFKC", text),
    "digits": digits,
    "phone_cn": phone_cn,
    "id_cn": id_cn,
}


def encode(kind: str, value: str, steps: list[str]) -> tuple[int, bytes]:
    """Type number and bytes of one value, which is written as text."""
    if kind == "string":
        for step in steps:
            value = STEPS[step](value)
        return 1, value.encode()
    if kind == "decimal":
        sign, mantissa, exponent = Decimal(value).normalize().as_tuple()
        number = int("".join(map(str, mantissa))) * (-1) ** sign
        scale = -int(exponent) if number else 0
        return 5, struct.pack("<i", scale) + number.to_bytes(16, "little", signed=True)
    form, number_of_type = {
        "int64": ("<q", 2),
        "date": ("<i", 3),
        "bool": ("<?", 4),
        "timestamp": ("<q", 6),
        "timestamp_utc": ("<q", 7),
    }[kind]
    return number_of_type, struct.pack(form, int(value))


def digest(kinds: list[str], steps: list[list[str]], row: list[str | None]) -> bytes | None:
    """The digest of a row, `None` if it has a null."""
    body = b"atoll key v1" + struct.pack("<I", len(row))
    for kind, column_steps, value in zip(kinds, steps, row, strict=True):
        if value is None:
            return None
        number, data = encode(kind, value, column_steps)
        body += bytes([number]) + struct.pack("<Q", len(data)) + data
    return hashlib.sha256(body).digest()
