"""Hidden membership: shares of who matched and of payload words (docs/protocols/circuit-psi.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from atoll.crypto.circuit import CircuitPsi, HiddenShares, HiddenSide
from atoll.protocols.driver import Channel, drive

PROTOCOL: Final = "circuit-psi/v1"
SECURITY: Final[Literal["semi-honest"]] = "semi-honest"
ASSUMPTION: Final = "lpn-random-permutation"
PARTIES: Final = 2


def _nothing_opens() -> None:
    """Called before a message that opens a result: there is none."""


def run(
    side: HiddenSide,
    channel: Channel,
    *,
    seed: bytes,
    attempt: int,
    name: str,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> HiddenShares:
    """Runs one party's side over `channel`. Nothing opens: quotas are judged where shares are.

    Args:
        side: rows and agreed parameters; the two sides have the two roles and agree on everything else.
        seed: 32 secret bytes of this party's job; used with `attempt` and `name` for all randomness.
        name: the channel's name.

    Raises:
        AtollError: `E_PROTOCOL` if the peer breaks the protocol or has other parameters, `E_DUPLICATE` if this
            party's key stands on more rows than declared, and whatever the channel raises.
    """
    machine = CircuitPsi(seed, attempt, name, side, threads=threads)
    drive(machine, channel, before_open=_nothing_opens, progress=progress)
    return machine.shares()
