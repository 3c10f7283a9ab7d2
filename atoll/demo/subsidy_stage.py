"""The stage of the subsidy: a department that asks, three offices with their tables, an agreement with each."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from atoll.client import drafts
from atoll.demo import families, subsidy_plain
from atoll.demo.families import YEAR, Application
from atoll.demo.packages import folder_of
from atoll.demo.show import Show
from atoll.demo.visiting import Json, assets
from atoll.demo.wiretap import Tap
from atoll.testing import Net, NodeProcess, nodes

PURPOSE = "housing subsidy"
_READ = "script_input"
_KEY = "lookup_key script_input"


@dataclass(frozen=True)
class Part:
    """What runs at one office: the package, and what of the office's tables it may read."""

    office: str
    package: str
    uses: dict[str, dict[str, str]]

    def arguments(self, applied: Application) -> Json:
        """The arguments of a call."""
        return {"members": applied.members, "year": YEAR} if self.package == "income" else {}


PARTS = (
    Part("registry", "ownership", {"shareholders": {"family": _KEY, "share_bp": _READ, "status": _READ}}),
    Part("tax", "income", {"incomes": {"family": _KEY, "year": _READ, "amount": _READ}}),
    Part(
        "civil", "household",
        {"households": {"family": _KEY, "size": _READ}, "benefits": {"family": _KEY, "kind": _READ, "until": _READ}},
    ),
)  # fmt: skip


@dataclass
class Stage:
    """Nodes, the tables in clear (for the comparison alone), the agreements by office."""

    net: Net
    department: NodeProcess
    offices: dict[str, NodeProcess]
    agreements: dict[str, str]
    written: families.Written
    plain: subsidy_plain.Offices
    folder: Path
    tap: Tap
    # Services by package, as last seen, and families that nobody asked about.
    jobs: dict[str, str] = field(default_factory=dict)
    fresh: list[Application] = field(default_factory=list)

    def take(self, count: int) -> list[Application]:
        """Applications that nobody asked about yet."""
        found, self.fresh = self.fresh[:count], self.fresh[count:]
        return found

    @staticmethod
    def package(part: Part) -> Path:
        """The folder of an office's package."""
        return folder_of(part.package)


@contextmanager
def stage(show: Show, folder: Path, keep: bool) -> Iterator[Stage]:
    """Sets everything up under `folder`, and stops all processes at the end."""
    written = families.write(folder / "offices")
    names = {key: show.text(key) for key in ("department", *(part.office for part in PARTS))}
    for part in PARTS:
        for table in part.uses:
            show.say("subsidy-table", office=names[part.office], table=table, rows=f"{written.rows[table]:,}")
    tap = Tap(folder / "tap")
    with ExitStack() as starting:
        starting.enter_context(show.busy("start", count=len(names)))
        with tap.recording(), nodes(*names.values(), pair="star", folder=folder, keep=keep) as net:
            starting.close()
            department = net[names["department"]]
            offices = {part.office: net[names[part.office]] for part in PARTS}
            show.say("subsidy-paired", department=department.name)
            with show.busy("adding"):
                with ThreadPoolExecutor(len(PARTS)) as pool:
                    list(pool.map(lambda part: _add(offices[part.office], part, written), PARTS))
                agreements = {
                    part.office: _agree(net, department, offices[part.office], part) for part in PARTS
                }
            show.say("subsidy-agreed", department=department.name)
            plain = subsidy_plain.load(written.folder)
            on = Stage(net, department, offices, agreements, written, plain, folder, tap)
            on.fresh = list(written.applications)
            yield on


def _add(office: NodeProcess, part: Part, written: families.Written) -> None:
    for table in part.uses:
        office.steward.data.add(
            table, written.path(table), declaration=families.declaration(part.office, table)
        )


def _agree(net: Net, department: NodeProcess, office: NodeProcess, part: Part) -> str:
    brought = assets(office, department, part.uses, PURPOSE)
    keys = {node.identity: node.name for node in (department, office)}
    return net.sign(drafts.agreement(keys, brought, title=part.package))
