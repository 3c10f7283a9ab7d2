"""Words that two people read to each other: numbers in the BIP-39 word lists, in English and Chinese."""

from __future__ import annotations

import hmac
import unicodedata
from functools import cache, lru_cache
from typing import Literal

from argon2.low_level import Type, hash_secret_raw
from mnemonic import Mnemonic

Language = Literal["en", "zh"]
WORD_BITS = 11
SLOW_WORDS = 12
_LISTS = {"en": "english", "zh": "chinese_simplified"}
_MEMORY_KIB, _PASSES = 64 * 1024, 3


@cache
def _list(language: Language) -> list[str]:
    return list(Mnemonic(_LISTS[language]).wordlist)


def write_words(number: int, count: int, language: Language = "en") -> str:
    """`count` words, separated by spaces, for a number below `2 ** (11 * count)`."""
    indices = [number >> WORD_BITS * i & (1 << WORD_BITS) - 1 for i in reversed(range(count))]
    return " ".join(_list(language)[i] for i in indices)


def same_words(given: str, number: int, count: int) -> bool:
    """Whether `given`, in either language, are the words of the number. Constant time in the words."""
    given = " ".join(unicodedata.normalize("NFKC", given).lower().split())
    compact = given.replace(" ", "")
    # Typed words may hold a lone surrogate; they are wrong words then, no failure of this node.
    same = hmac.compare_digest(given.encode(errors="replace"), write_words(number, count, "en").encode())
    # Chinese words are one character each and are often written without spaces.
    chinese = write_words(number, count, "zh").replace(" ", "")
    return same | hmac.compare_digest(compact.encode(errors="replace"), chinese.encode())


@lru_cache(maxsize=64)
def slow_number(data: bytes, domain: str) -> int:
    """132 bits of Argon2id (RFC 9106, version 1.3; 64 MiB, 3 passes, 1 lane) over `data`: 12 words.

    For words over a value that was fixed before anybody compares: whoever chooses such values freely looks
    for two with the same words, and here each try costs about a tenth of a second and 64 MiB.

    Args:
        data: what both sides hold.
        domain: what the words are for, at least 8 characters.
    """
    out = hash_secret_raw(
        data,
        domain.encode(),
        time_cost=_PASSES,
        memory_cost=_MEMORY_KIB,
        parallelism=1,
        hash_len=32,
        type=Type.ID,
    )
    return int.from_bytes(out, "big") >> (256 - SLOW_WORDS * WORD_BITS)
