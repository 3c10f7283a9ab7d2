"""The demo on the user's own two files: two nodes, one key, every kind of overlap beside the plain answer."""

from __future__ import annotations

import csv
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from atoll.client import Job, drafts
from atoll.demo import plaintext
from atoll.demo.show import Show
from atoll.errors import AtollError
from atoll.testing import Net, nodes

PURPOSE = "demo"
STEPS = ("trim", "width", "upper")
_BOUNDS = {"minimum_rows": 1, "maximum_ratio": 1_000_000, "keys": 10**9, "minimum_change": 1}
_ENCODINGS = ("utf-8-sig", "gb18030")


def read(path: Path, keys: list[str]) -> plaintext.Rows:
    """A CSV file of the user, in UTF-8 or GB18030, with commas, semicolons, tabs or bars.

    Raises:
        AtollError: `E_SOURCE`, `E_ENCODING` for a file that cannot be read; `E_COLUMN` for one without a key
            column.
    """
    if path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        raise AtollError("E_SOURCE", f"{path}: the demo reads CSV files.", fault="caller")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AtollError("E_SOURCE", f"{path}: {error.strerror}.", fault="caller") from None
    for encoding in _ENCODINGS:
        try:
            lines = content.decode(encoding).splitlines(keepends=True)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise AtollError("E_ENCODING", f"{path} is neither UTF-8 nor GB18030.", fault="caller")
    delimiter = max(",;\t|", key=lines[0].count) if lines else ","
    rows = list(csv.DictReader(lines, delimiter=delimiter))
    for name in keys:
        if not rows or name not in rows[0]:
            has = ", ".join(rows[0]) if rows else "no rows"
            raise AtollError("E_COLUMN", f"{path} has no column {name!r}; it has {has}.", column=name)
    return rows


def _agree(net: Net, keys: list[str]) -> str:
    names = {node.identity: node.name for node in net}
    assets = []
    for number, node in enumerate(net):
        columns = node.steward.data.show(f"table{number}")["columns"]
        grant = drafts.grant(
            [key for key in names if key != node.identity],
            purposes=[PURPOSE],
            functions=["join"],
            columns=dict.fromkeys(keys, "join_key"),
            approval="automatic",
            join=_BOUNDS,
        )
        assets.append(drafts.asset(f"table{number}", node.identity, columns=columns, grants=[grant]))
    return net.sign(drafts.agreement(names, assets, title="Demo"))


def _keys(job: Job, keys: list[str]) -> list[tuple[str, ...]]:
    table = job.result().arrow()
    return [tuple(plaintext.normal(part) for part in row.values()) for row in table.select(keys).to_pylist()]


def play(show: Show, folder: Path, files: list[Path], keys: list[str], keep: bool = False) -> None:
    """Runs the overlap of two files under `folder`; raises what `read` and the nodes raise."""
    show.title("title-own")
    truth = plaintext.overlap(read(files[0], keys), read(files[1], keys), keys)
    # A key is text: 007 stays 007.
    declaration = {"columns": {name: {"type": "string"} for name in keys}}
    left, right = ("A", "B") if show.language == "en" else ("甲", "乙")
    with ExitStack() as starting:
        starting.enter_context(show.busy("start", count=2))
        with nodes(left, right, folder=folder, keep=keep) as net:
            starting.close()
            with show.busy("adding"):
                for number, (node, path) in enumerate(zip(net, files, strict=True)):
                    node.steward.data.add(f"table{number}", path, declaration=declaration, keys=[keys])
                agreement = _agree(net, keys)
            show.say("agreed", count=2, id=agreement)
            show.act("a", "act-own")
            names = {"left": left, "right": right, "keys": ", ".join(keys)}
            show.say("own-intro", left_file=files[0].name, right_file=files[1].name, **names)
            overlap(net, show, agreement, keys, truth)


def overlap(net: Net, show: Show, agreement: str, keys: list[str], truth: plaintext.Overlap) -> None:
    """One side learns, both learn, only the size is learned."""
    one, other = net
    steps = dict.fromkeys(keys, STEPS)

    def ask(**how: str) -> Job:
        return one.analyst.join(
            agreement, f"table0@{one.name}", f"table1@{other.name}", on=keys, purpose=PURPOSE,
            normalise=steps, **how,
        )  # fmt: skip

    with show.busy("asking"):
        mine, both, size = ask(), ask(receivers="both"), ask(reveal="size")
        for job in (mine, both, size):
            job.wait()
        theirs = other.analyst.jobs.get(both.id).wait()
    found, ours, yours = _keys(mine, keys), _keys(both, keys), _keys(theirs, keys)
    show.check(show.text("one-side"), mine.result().scalars["matched_keys"], truth.keys)
    show.check(show.text("one-side-rows"), len(found), sum(truth.left.values()))
    show.check(show.text("one-side-same"), Counter(found) == truth.left, True)
    show.check(show.text("both"), len(ours), sum(truth.pairs.values()))
    show.check(show.text("both-same"), ours == yours and Counter(ours) == truth.pairs, True)
    show.check(show.text("size"), size.result().scalars["intersection_size"], truth.keys)
    show.table("plaintext")
    show.evidence(mine)
