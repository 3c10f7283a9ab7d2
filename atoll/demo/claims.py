"""The story of the claims from its first act to its last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from atoll.demo import claims_acts, claims_later
from atoll.demo.claims_stage import stage
from atoll.demo.play import attempt
from atoll.demo.show import Show


def play(show: Show, folder: Path, keep: bool = False) -> None:
    """All acts on one stage under `folder`."""
    show.title("claims-title")
    with stage(show, folder, keep) as on:
        programme: list[tuple[str, Callable[[], None]]] = [
            ("act-claims-author", lambda: claims_acts.author(on, show)),
            ("act-claims-review", lambda: claims_acts.review(on, show)),
            ("act-claims-decide", lambda: claims_acts.decide(on, show)),
            ("act-claims-wire", lambda: claims_acts.wire(on, show)),
            ("act-claims-held", lambda: claims_acts.held(on, show)),
            ("act-claims-change", lambda: claims_later.change(on, show)),
            ("act-claims-receipts", lambda: claims_later.receipts(on, show)),
            ("act-claims-reach", lambda: claims_later.reach(on, show)),
        ]
        for letter, (key, act) in zip("abcdefgh", programme, strict=True):
            attempt(show, letter, key, act)
