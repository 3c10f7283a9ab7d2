"""The story of the subsidy from its first act to its last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from atoll.demo import subsidy_acts
from atoll.demo.play import attempt
from atoll.demo.show import Show
from atoll.demo.subsidy_stage import stage


def play(show: Show, folder: Path, keep: bool = False) -> None:
    """All acts on one stage under `folder`."""
    show.title("subsidy-title")
    with stage(show, folder, keep) as on:
        programme: list[tuple[str, Callable[[], None]]] = [
            ("act-subsidy-deploy", lambda: subsidy_acts.deploy(on, show)),
            ("act-subsidy-ask", lambda: subsidy_acts.ask(on, show)),
            ("act-subsidy-learned", lambda: subsidy_acts.learned(on, show)),
            ("act-subsidy-change", lambda: subsidy_acts.change(on, show)),
            ("act-subsidy-quality", lambda: subsidy_acts.quality(on, show)),
        ]
        for letter, (key, act) in zip("abcde", programme, strict=True):
            attempt(show, letter, key, act)
