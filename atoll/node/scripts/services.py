"""From a deployed package to the request of its standing service."""

from __future__ import annotations

from typing import Any

from atoll.node.scripts.packages import Packages
from atoll.node.state.scripts import Placement
from atoll.scripts.deployment import allowed, open_deployment


def service_request(packages: Packages, place: Placement) -> dict[str, Any]:
    """The request whose plan is the service of a package at its host."""
    package = packages.package(place.digest)
    manifest = package.manifest
    assert place.deployment is not None  # deployed
    assert place.consent is not None
    word = open_deployment(place.deployment)
    assert word.bounds is not None  # a consent has bounds
    left = allowed(manifest, word.bounds)
    depends = packages.examination(place.digest).inputs(manifest)
    names = [*left.outputs, *(["reasons"] if left.reasons else [])]
    calls = word.bounds.calls_per_day
    return {
        "function": "script",
        "agreement": place.agreement,
        "purpose": manifest.purpose,
        "host": place.partner,
        "package": place.digest,
        "deployment": place.consent,
        "name": manifest.name,
        "version": manifest.version,
        "inputs": {
            name: {
                "asset": item.asset,
                "key": item.key,
                "columns": [c for c in item.columns if c != item.key],
            }
            for name, item in manifest.inputs.items()
        },
        "outputs": {name: output.document() for name, output in left.outputs.items()},
        "reasons": list(left.reasons),
        "maximum_reasons": left.maximum_reasons,
        "depends": {name: depends[name] for name in names},
        "holds": word.bounds.holds,
        "arguments": sorted(manifest.arguments),
        "block_calls": 10_000 if calls is None else max(1, min(10_000, calls)),
        "expires_seconds": 365 * 86400,
    }
