"""What each output of rule code depends on."""

from __future__ import annotations

from atoll.scripts.manifest import Manifest
from atoll.scripts.sources import Dependencies, Source
from atoll.scripts.subset import Program

DECISION_MADE = "decision made"


def every_source(manifest: Manifest) -> tuple[Source, ...]:
    """All that rule code of this manifest could read."""
    found: list[Source] = []
    for name, given in manifest.inputs.items():
        found += [(name, ""), *((name, column) for column in given.columns)]
    for name, table in manifest.parameters.items():
        found += [(name, column) for column in table.columns]
    found += [("arguments", name) for name in manifest.arguments]
    found += [("features", column) for column in (manifest.features.columns if manifest.features else ())]
    return (*found, *((name, "") for name in manifest.models), ("today", ""))


def analyse(program: Program, manifest: Manifest) -> Dependencies:
    """The sources of each output, of the reasons, and of whether there is a decision."""
    everything = frozenset(every_source(manifest))
    return dict.fromkeys((*manifest.outputs, "reasons", DECISION_MADE), everything)
