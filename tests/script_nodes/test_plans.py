"""A plan held against package and consent, as its host does it: whatever it states otherwise is named."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest

from atoll.client.authoring import read_folder
from atoll.client.template import new_folder
from atoll.crypto.suite import SigningKey, digest
from atoll.errors import AtollError
from atoll.node.scripts.plans import check_plan
from atoll.scripts.deployment import Bounds, default_bounds
from atoll.scripts.examine import examine
from atoll.scripts.package import build

HOST, ASKER, AGREEMENT = "host", "asker", "agr-0123456789abcdef"
CONSENT = digest(b"consent")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    """The host's packages, one of which it consented to and holds large amounts of; and an honest plan."""
    folder = tmp_path_factory.mktemp("plans") / "claims"
    new_folder(folder)
    source = read_folder(folder)
    package = build(source.manifest, source.files, str(SigningKey(b"\1" * 32).public))
    found = examine(package)
    bounds = Bounds.parse(default_bounds(hold_above={"pay": 1_000_000}), what="bounds")
    packages = SimpleNamespace(
        consented=lambda *_: (package, SimpleNamespace(bounds=bounds, agreement=AGREEMENT)),
        examination=lambda _: found,
    )
    manifest = package.manifest
    stated = {
        "package": package.digest,
        "deployment": CONSENT,
        "name": manifest.name,
        "version": manifest.version,
        "keys": {name: item.key for name, item in manifest.inputs.items()},
        "outputs": {name: output.document() for name, output in manifest.outputs.items()},
        "reasons": list(manifest.reasons),
        "maximum_reasons": manifest.maximum_reasons,
        "depends": found.inputs(manifest),
        "holds": True,
        "arguments": sorted(manifest.arguments),
    }
    inputs = [
        {
            "id": name,
            "agreement": AGREEMENT,
            "asset": item.asset,
            "columns": [{"name": c} for c in sorted({item.key, *item.columns})],
        }
        for name, item in manifest.inputs.items()
    ]
    operators = [{"kind": "visit/v1", "at": [ASKER, HOST], "parameters": stated}]
    return packages, {"asker": ASKER, "purpose": manifest.purpose, "inputs": inputs, "operators": operators}


def test_an_honest_plan_passes(made: Any) -> None:
    check_plan(*made, HOST)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("holds", False), ("name", "other"), ("version", "9.9.9"), ("keys", {}), ("outputs", {}), ("reasons", []),
        ("maximum_reasons", 0), ("depends", {}), ("arguments", []),
    ],
)  # fmt: skip
def test_what_a_plan_states_otherwise_is_named(made: Any, field: str, value: Any) -> None:
    packages, plan = made
    wrong = copy.deepcopy(plan)
    wrong["operators"][0]["parameters"][field] = value
    with pytest.raises(AtollError, match=f"other {field} than") as caught:
        check_plan(packages, wrong, HOST)
    assert caught.value.code == "E_SCRIPT"
    # Nothing is looked at where the package does not run.
    check_plan(packages, wrong, "someone else")
