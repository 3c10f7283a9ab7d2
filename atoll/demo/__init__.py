"""`atoll demo`: institutions on this machine compute together, in three stories, each answer beside the plain one."""

from __future__ import annotations

import argparse
import shutil
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from atoll.demo.show import Show
from atoll.demo.words import LANGUAGES
from atoll.errors import AtollError

__all__ = ["main"]

STORIES = ("lenders", "claims", "subsidy")


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="atoll demo",
        description="Institutions on this machine compute together, each answer beside the plain one.",
    )
    parser.add_argument(
        "story", nargs="?", choices=STORIES, default=STORIES[0],
        help="lenders: joins and totals; claims: an insurer's rules at a hospital; "
        "subsidy: one rule over three offices",
    )  # fmt: skip
    parser.add_argument("--lang", choices=LANGUAGES, default="en", help="language of the demo")
    parser.add_argument("--data", nargs=2, type=Path, metavar="CSV", help="your own two CSV files instead")
    parser.add_argument("--key", metavar="COLUMNS", help="key columns of your files, between commas")
    parser.add_argument("--keep", action="store_true", help="leave the nodes' folders for a look afterwards")
    parser.add_argument("--json", action="store_true", help="write one JSON document instead of text")
    found = parser.parse_args(given)
    if (found.data is None) != (found.key is None):
        parser.error("--data and --key go together: atoll demo --data a.csv b.csv --key id")
    if found.data is not None and found.story != STORIES[0]:
        parser.error(f"the story {found.story} has its own tables: leave out --data and --key")
    return found


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(given: Sequence[str]) -> int:
    """Runs the demo.

    Returns:
        0 if every answer and check was right, 1 if one was wrong or an act did not finish, 130 after an
        interrupt. All processes and, without `--keep`, all folders of the demo are gone by then.
    """
    wanted = _arguments(given)
    show = Show(wanted.lang, wanted.json)
    before = signal.signal(signal.SIGTERM, _stop)
    folder = Path(tempfile.mkdtemp(prefix="atoll-demo-"))
    try:
        _play(wanted, show, folder)
    except AtollError as error:
        show.failed(str(error))
    except KeyboardInterrupt:
        show.say("interrupted", "bold")
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
        if wanted.keep:
            show.say("kept", folder=folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if show.verdict() else 1


def _play(wanted: argparse.Namespace, show: Show, folder: Path) -> None:
    if wanted.data is not None:
        from atoll.demo.own_data import play as own

        own(
            show,
            folder,
            list(wanted.data),
            [k.strip() for k in wanted.key.split(",") if k.strip()],
            wanted.keep,
        )
        return
    if wanted.story == "claims":
        from atoll.demo.claims import play
    elif wanted.story == "subsidy":
        from atoll.demo.subsidy import play
    else:
        from atoll.demo.play import play

    play(show, folder, wanted.keep)
