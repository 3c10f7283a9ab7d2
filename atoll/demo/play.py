"""The demo from its first act to its last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from atoll.demo import acts, lenders, plaintext, proofs
from atoll.demo.show import Show
from atoll.demo.stage import stage
from atoll.errors import AtollError


def attempt(show: Show, letter: str, key: str, act: Callable[[], None]) -> None:
    """One act. If it does not finish, that is a wrong check, and the demo goes on."""
    show.act(letter, key)
    try:
        act()
    except AtollError as error:
        show.failed(str(error))


def play(show: Show, folder: Path, keep: bool = False) -> None:
    """All acts on one stage under `folder`."""
    show.title("title")
    with stage(show, folder, keep) as on:
        truth = {
            pair: on.overlap(*pair) for pair in (("harbour", "lotus"), ("harbour", "pine"), ("pine", "lotus"))
        }
        cells = plaintext.totals(on.plain.values(), lenders.SEGMENTS)
        programme: list[tuple[str, Callable[[], None]]] = [
            ("act-overlap", lambda: acts.overlap(on, show, truth["harbour", "lotus"])),
            ("act-totals", lambda: acts.totals(on, show, cells)),
            ("act-applicant", lambda: acts.applicant(on, show)),
            ("act-patched", lambda: acts.patched(on, show)),
            ("act-steward", lambda: acts.steward(on, show, truth["harbour", "pine"])),
            ("act-killed", lambda: acts.killed(on, show, truth["pine", "lotus"])),
            ("act-revoked", lambda: acts.revoked(on, show)),
            ("act-ledger", lambda: acts.ledger(on, show)),
            ("act-bills", lambda: proofs.bills(on, show, 3)),
            ("act-audit", lambda: proofs.audit(on, show)),
            ("act-replay", lambda: proofs.replay(on, show)),
            ("act-next", lambda: acts.next_steps(show)),
        ]
        for letter, (key, act) in zip("abcdefghijkl", programme, strict=True):
            attempt(show, letter, key, act)
