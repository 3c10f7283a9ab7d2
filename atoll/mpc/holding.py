"""What additive shares of two parties need not send, since one party knows the values: which products stay local.

All of it follows from `Shares.mine` and `Shares.known`, that is from the program, and is the same at both parties.
"""

from __future__ import annotations

from collections.abc import Callable

from atoll.mpc.shares import Shares
from atoll.mpc.wide import Words


def stays(x: Shares, me: int) -> bool | None:
    """As `Shares.mine`; what everybody knows stands in party 0's words."""
    return x.mine if x.known is None else me == 0


def has(x: Shares, me: int, party: int) -> bool:
    """Whether a party's words may be other than zeros."""
    mine = stays(x, me)
    return mine is None or mine == (me == party)


def crossing(x: Shares, y: Shares, me: int) -> tuple[int, ...]:
    """The parties whose words of x meet words of y at the other party in a product."""
    return tuple(party for party in (0, 1) if has(x, me, party) and has(y, me, 1 - party))


def both_mine(x: Shares, y: Shares) -> bool | None:
    """Whether a product of both stays with one party, as `Shares.mine`."""
    return x.mine if x.mine == y.mine else None


def local(x: Shares, y: Shares, change: Callable[[Words, Words], Words]) -> Shares | None:
    """A bilinear step where nothing must cross: of what one party knows, or everybody of either; else `None`."""
    if (words := x.known) is not None:
        return y.changed(lambda w: change(words, w))
    if (other := y.known) is not None:
        return x.changed(lambda w: change(w, other))
    if (mine := both_mine(x, y)) is None:
        return None
    return Shares(change(x.words[0], y.words[0]), mine=mine)
