"""A plan with a package, held against the package itself and against this host's own consent to it."""

from __future__ import annotations

from typing import Any

from atoll.errors import AtollError
from atoll.node.scripts.packages import Packages
from atoll.scripts.deployment import allowed


def check_plan(packages: Packages, plan: dict[str, Any], me: str) -> None:
    """Whether a plan says what the package says, within what this host consented to; nothing at other parties.

    Raises:
        AtollError: `E_SCRIPT` names what differs; `E_EXPIRED`.
    """
    for op in plan["operators"]:
        if op["kind"] == "visit/v1" and op["at"][1] == me:
            _check(packages, plan, op["parameters"])


def _check(packages: Packages, plan: dict[str, Any], stated: dict[str, Any]) -> None:
    package, word = packages.consented(stated["package"], plan["asker"], stated["deployment"])
    manifest = package.manifest
    assert word.bounds is not None  # a consent has bounds
    left = allowed(manifest, word.bounds)
    names = [*left.outputs, *(["reasons"] if left.reasons else [])]
    depends = packages.examination(package.digest).inputs(manifest)
    inputs = {i["id"]: i for i in plan["inputs"]}
    expected: dict[str, Any] = {
        "purpose": (manifest.purpose, plan["purpose"]),
        "agreement": ({word.agreement}, {i["agreement"] for i in inputs.values()}),
        "name": (manifest.name, stated["name"]),
        "version": (manifest.version, stated["version"]),
        "inputs": (set(manifest.inputs), set(inputs)),
        "keys": ({name: item.key for name, item in manifest.inputs.items()}, stated["keys"]),
        "outputs": ({name: output.document() for name, output in left.outputs.items()}, stated["outputs"]),
        "reasons": (list(left.reasons), list(stated["reasons"])),
        "maximum_reasons": (left.maximum_reasons, stated["maximum_reasons"]),
        "depends": ({name: depends[name] for name in names}, stated["depends"]),
        "holds": (word.bounds.holds, stated["holds"]),
        "arguments": (sorted(manifest.arguments), list(stated["arguments"])),
    }
    for name, item in manifest.inputs.items():
        if name in inputs:
            columns = {c["name"] for c in inputs[name]["columns"]}
            expected[f"inputs.{name}"] = (
                (item.asset, {item.key, *item.columns}),
                (inputs[name]["asset"], columns),
            )
    for field, (ours, theirs) in expected.items():
        if ours != theirs:
            raise AtollError("E_SCRIPT", f"the plan states other {field} than package and consent have")
