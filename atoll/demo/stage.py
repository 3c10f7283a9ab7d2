"""The stage: four lenders' nodes with their tables, paired, under one agreement."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from atoll.client import Job, drafts
from atoll.demo import lenders, plaintext
from atoll.demo.show import Show
from atoll.testing import Net, NodeProcess, nodes

RISK, FRAUD, REVIEW = "credit-risk", "fraud", "limit-review"
STEPS = ("trim", "width", "upper")
# Seconds: after so much silence of a partner a job ends; the demo allows as much again to wind up.
SILENCE = 6
# Minor units of CNY: a run, and a row that the asker presents.
RISK_PRICE = {"per_run": 1200, "per_row": 2}
_JOIN = {"minimum_rows": 1000, "maximum_ratio": 20, "keys": 200_000, "minimum_change": 100}


@dataclass
class Stage:
    """Nodes, tables in clear (for the comparison alone), and the agreement."""

    net: Net
    tables: dict[str, lenders.Table]
    plain: dict[str, plaintext.Rows]
    agreement: str
    folder: Path
    language: str

    def __getitem__(self, key: str) -> NodeProcess:
        """The node of a lender, by the lender's key."""
        lender = next(found for found in lenders.LENDERS if found.key == key)
        return self.net[lender.name(self.language)]

    def name(self, key: str) -> str:
        """Display name of a lender."""
        return self[key].name

    def join(self, asker: str, owner: str, *, purpose: str = RISK, on: str = "id", **how: str) -> Job:
        """A lender asks for the overlap with another one."""
        left, right = (f"loans@{self.name(key)}" for key in (asker, owner))
        steps = {on: STEPS}
        return self[asker].analyst.join(
            self.agreement, left, right, on=on, purpose=purpose, normalise=steps, **how
        )

    def overlap(self, left: str, right: str) -> plaintext.Overlap:
        """The same from the tables in clear."""
        return plaintext.overlap(self.plain[left], self.plain[right], ["id"])


def _grants(others: list[str], asks_a_person: bool) -> list[drafts.Json]:
    """What a lender permits the others, by purpose."""
    summed = {"segment": "group_key", "applications": "aggregate", "debt": "aggregate", "id": "aggregate"}
    key = {"id": "join_key"}

    def join(
        purpose: str, approval: str = "automatic", runs: int | None = None, price: drafts.Json | None = None
    ) -> drafts.Json:
        how: drafts.Json = {"approval": approval, "runs_per_day": runs, "join": _JOIN, "price": price}
        return drafts.grant(others, purposes=[purpose], functions=["join"], columns=key, **how)

    return [
        join(REVIEW, runs=1),
        join(RISK, price={"currency": "CNY", **RISK_PRICE}),
        join(FRAUD, "steward" if asks_a_person else "automatic"),
        drafts.grant(
            others,
            purposes=[RISK],
            functions=["totals"],
            columns=summed,
            approval="automatic",
            minimum_group=20,
        ),
        drafts.grant(
            others,
            purposes=[RISK],
            functions=["query_totals"],
            columns={"id": "lookup_key", "applications": "aggregate", "debt": "aggregate"},
            approval="automatic",
        ),
    ]


def _agree(net: Net, strict: str) -> str:
    """One agreement of all; `strict` is the lender whose steward decides where the purpose is fraud."""
    keys = {node.identity: node.name for node in net}
    assets = []
    for node in net:
        columns = node.steward.data.show("loans")["columns"]
        grants = _grants([key for key in keys if key != node.identity], node.name == strict)
        assets.append(drafts.asset("loans", node.identity, columns=columns, grants=grants))
    return net.sign(
        drafts.agreement(keys, assets, title="Lenders", silence_seconds=SILENCE, replay={"keep_days": 30})
    )


@contextmanager
def stage(show: Show, folder: Path, keep: bool) -> Iterator[Stage]:
    """Sets everything up under `folder`, and stops all processes at the end."""
    language = show.language
    tables = lenders.write(folder)
    plain = {key: plaintext.read(table.path, table.encoding) for key, table in tables.items()}
    for lender in lenders.LENDERS:
        table = tables[lender.key]
        facts = {"rows": f"{table.rows:,}", "encoding": table.encoding, "dirty": f"{table.dirty:,}"}
        show.say("table", name=lender.name(language), **facts)
    show.say("dirty", "dim")
    names = [lender.name(language) for lender in lenders.LENDERS]
    with ExitStack() as starting:
        starting.enter_context(show.busy("start", count=len(names)))
        with nodes(*names, folder=folder, keep=keep) as net:
            starting.close()
            show.say("paired", count=len(names))
            with show.busy("adding"), ThreadPoolExecutor(len(names)) as pool:
                list(pool.map(lambda lender: _add(net, lender, tables, language), lenders.LENDERS))
                agreement = _agree(net, names[2])
            show.say("agreed", count=len(names), id=agreement)
            yield Stage(net, tables, plain, agreement, folder, language)


def _add(net: Net, lender: lenders.Lender, tables: dict[str, lenders.Table], language: str) -> None:
    data = net[lender.name(language)].steward.data
    data.add("loans", tables[lender.key].path, declaration=lenders.DECLARATION, keys=["id"])
