"""Amounts: whole numbers of a currency's minor unit, divided exactly, written for people."""

from __future__ import annotations

from collections.abc import Mapping

# ISO 4217, list one: currencies whose minor unit is not a hundredth.
_DIGITS = {
    **dict.fromkeys(
        (
            *(
                "BIF",
                "CLP",
                "DJF",
                "GNF",
                "ISK",
                "JPY",
                "KMF",
                "KRW",
                "PYG",
                "RWF",
                "UGX",
                "UYI",
                "VND",
                "VUV",
            ),
            *("XAF", "XOF", "XPF"),
        ),
        0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}


def money(amount: int, currency: str) -> str:
    """An amount in minor units as people write it: `money(1234, "CNY")` is `12.34 CNY`."""
    digits = _DIGITS.get(currency, 2)
    sign, whole = ("-", -amount) if amount < 0 else ("", amount)
    if not digits:
        return f"{sign}{whole} {currency}"
    return f"{sign}{whole // 10**digits}.{whole % 10**digits:0{digits}} {currency}"


def split(amount: int, parts: Mapping[str, int]) -> dict[str, int]:
    """An amount divided in proportion to parts, by the largest remainders (Hamilton): the shares sum exactly.

    Args:
        amount: at least 0, in minor units.
        parts: at least one payee, each with a positive number of parts.

    Returns:
        Each payee's amount. Where remainders are equal, keys that come first in order get the unit.
    """
    if amount < 0 or not parts or min(parts.values()) < 1:
        raise ValueError("an amount of at least 0 is divided among positive parts")
    total = sum(parts.values())
    shares = {key: amount * part // total for key, part in parts.items()}
    left = amount - sum(shares.values())
    order = sorted(parts, key=lambda key: (-(amount * parts[key] % total), key))
    for key in order[:left]:
        shares[key] += 1
    return shares
