"""The stage of the claims: an insurer's node and a hospital's, the hospital's tables, the agreement, the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from atoll.client import drafts
from atoll.demo import claims_plain
from atoll.demo.claims_plain import Answer
from atoll.demo.hospital import DECLARATIONS, Written
from atoll.demo.hospital import write as write_tables
from atoll.demo.packages import Changes, changed, folder_of
from atoll.demo.show import Show
from atoll.demo.visiting import Json, assets, publish
from atoll.demo.wiretap import Tap
from atoll.testing import Net, NodeProcess, nodes

NAME, PURPOSE = "claims", "claim settlement"
CALLS_A_DAY, SUBJECT_BITS, HOLD = 1000, 60, 700_000
BOUNDS: Json = {
    "calls_per_day": CALLS_A_DAY, "subject_millibits": SUBJECT_BITS * 1000, "hold_above": {"pay": HOLD},
}  # fmt: skip
_USES: dict[str, dict[str, str]] = {
    "claims": {
        "claim_id": "lookup_key script_input", "diagnosis": "script_input", "admitted": "script_input",
        "discharged": "script_input", "age": "script_input",
    },
    "bills": {
        "claim_id": "lookup_key script_input", "item": "script_input", "quantity": "script_input",
        "price": "script_input",
    },
    "prescriptions": {
        "claim_id": "lookup_key script_input", "drug": "script_input", "quantity": "script_input",
        "price": "script_input",
    },
}  # fmt: skip
# The package without its model, for a machine that cannot run one.
_MODEL = """
[models.risk]
file = "risk.onnx"
inputs = ["billed", "items", "days"]
output = "risk"
range = ["0", "1"]
step = "0.01"
thresholds = ["0.8"]
band = "0.006"
"""
_CASE = """[[case]]
name = "an unusual stay is looked at"
subject = "S-05"
expect = { decision = "check", pay = 0, reasons = ["unusual"] }
"""
WITHOUT_MODEL: Changes = {
    "cases.toml": [(_CASE, "")],
    "package.toml": [(_MODEL, "")],
    "rules.py": [("arguments, risk):", "arguments):"), ("risk is None or risk >= RISK_LIMIT", "False")],
}


@dataclass
class Stage:
    """Nodes, the tables in clear (for the comparison alone), the agreement, the package's folder."""

    net: Net
    insurer: NodeProcess
    hospital: NodeProcess
    written: Written
    plain: claims_plain.Hospital
    agreement: str
    folder: Path
    package: Path
    model: bool
    tap: Tap
    # What the author saw on its samples: case, answer.
    local: list[tuple[Any, Answer | None]] = field(default_factory=list)
    # Calls made so far, and claims that no call was about.
    made: int = 0
    fresh: list[str] = field(default_factory=list)

    def take(self, count: int) -> list[str]:
        """Claims that nobody asked about yet."""
        found, self.fresh = self.fresh[:count], self.fresh[count:]
        return found

    def version(self, number: str, changes: Changes) -> Path:
        """The package's folder as another version, with changes."""
        edits = {file: list(edit) for file, edit in changes.items()}
        if not self.model:
            for file, more in WITHOUT_MODEL.items():
                edits[file] = [*more, *edits.get(file, [])]
        edits["package.toml"] = [
            ('version = "1.0.0"', f'version = "{number}"'),
            *edits.get("package.toml", []),
        ]
        return changed(NAME, self.folder / "packages" / number, edits)

    def truth(
        self, claim: str, *, folder: Path | None = None, waived: bool = False, **fen: int
    ) -> Answer | None:
        """What the plain rules say; `fen` are arguments of a call."""
        yuan = {name: Decimal(value) / 100 for name, value in fen.items()}
        return claims_plain.decide(
            self.plain, folder or self.package, claim, waived=waived, model=self.model, **yuan
        )  # type: ignore[arg-type,unused-ignore]

    def publish(self, folder: Path, version: str) -> Json:
        """Signs and publishes a folder as a version; the hospital's page."""
        return publish(self.insurer, self.hospital, self.agreement, folder, NAME, version)


def waits(answer: Answer | None) -> bool:
    """Whether an answer waits for a person."""
    return answer is not None and answer["pay"] > HOLD


@contextmanager
def stage(show: Show, folder: Path, keep: bool) -> Iterator[Stage]:
    """Sets everything up under `folder`, and stops all processes at the end."""
    written = write_tables(folder / "hospital")
    names = [show.text("insurer"), show.text("hospital")]
    show.say("claims-tables", hospital=names[1], **{name: f"{n:,}" for name, n in written.rows.items()})
    model = find_spec("onnxruntime") is not None and find_spec("onnx") is not None
    if not model:
        show.say("no-models", "yellow")
    tap = Tap(folder / "tap")
    with ExitStack() as starting:
        starting.enter_context(show.busy("start", count=2))
        with tap.recording(), nodes(*names, folder=folder, keep=keep) as net:
            starting.close()
            insurer, owner = (net[name] for name in names)
            show.say("paired", count=2)
            with show.busy("adding"):
                for name, declaration in DECLARATIONS.items():
                    owner.steward.data.add(name, written.folder / f"{name}.csv", declaration=declaration)
                brought = assets(owner, insurer, _USES, PURPOSE)
                keys = {node.identity: node.name for node in net}
                agreement = net.sign(drafts.agreement(keys, brought, title="Claims"))
            show.say("claims-agreed", id=agreement)
            plain = claims_plain.load(written.folder)
            on = Stage(net, insurer, owner, written, plain, agreement, folder, folder_of(NAME), model, tap)
            if not model:
                on.package = changed(NAME, folder / "packages" / "1.0.0", WITHOUT_MODEL)
            on.fresh = list(written.ids)
            yield on
