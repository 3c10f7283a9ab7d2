"""Everything that static analysis says about a package: why it is refused, and what each output depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from atoll.errors import AtollError
from atoll.scripts.features import FeatureQuery, check_features
from atoll.scripts.finding import Finding
from atoll.scripts.manifest import Manifest
from atoll.scripts.onnx_models import check_model
from atoll.scripts.package import Package
from atoll.scripts.rules import Rules, check_rules
from atoll.scripts.sources import Dependencies, Source
from atoll.scripts.tables import parse_table

MADE = "decision made"


@dataclass(frozen=True)
class Examination:
    """What was found.

    Args:
        findings: why the package is refused; empty for one that may run.
        depends: for each output, `reasons`, and `decision made` (whether there is a decision at all), the columns,
            arguments and parameters that it depends on.
        models: operators and number of weights of each model.
    """

    findings: tuple[Finding, ...]
    depends: Dependencies
    models: dict[str, dict[str, Any]]

    def inputs(self, manifest: Manifest) -> dict[str, list[str]]:
        """For each output the inputs of the manifest that it depends on, or whether there is a decision at all."""
        made = self.depends.get(MADE, frozenset())
        return {
            name: sorted({place for place, _ in sources | made} & manifest.inputs.keys())
            for name, sources in self.depends.items()
            if name != MADE
        }

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "findings": [{"code": f.code, "place": f.place, "text": f.text} for f in self.findings],
            "depends": {
                name: [list(s) for s in sorted(sources)] for name, sources in sorted(self.depends.items())
            },
            "models": self.models,
        }


def from_document(document: dict[str, Any]) -> Examination:
    """What `Examination.document` gave, of this node's own store."""
    return Examination(
        tuple(Finding(f["code"], f["place"], f["text"]) for f in document["findings"]),
        {name: frozenset((s[0], s[1]) for s in sources) for name, sources in document["depends"].items()},
        document["models"],
    )


def _text(name: str, data: bytes, findings: list[Finding]) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        findings.append(Finding("encoding", name, f"not UTF-8 at byte {error.start}: save the file as UTF-8"))
        return ""


def _through(
    sources: frozenset[Source], manifest: Manifest, features: FeatureQuery | None
) -> frozenset[Source]:
    """Features and models replaced by what they depend on."""
    found: set[Source] = set()
    for place, column in sources:
        if place == "features" and features is not None:
            found |= features.dependencies.get(column, frozenset())
        elif place in manifest.models and features is not None:
            for name in manifest.models[place].inputs:
                found |= features.dependencies.get(name, frozenset())
        else:
            found.add((place, column))
    return frozenset(found)


def examine(package: Package) -> Examination:
    """Checks every file of a package, and derives what its outputs depend on."""
    manifest, files = package.manifest, package.contents
    findings: list[Finding] = []
    for name, table in manifest.parameters.items():
        try:
            parse_table(files[table.file], name, table)
        except AtollError as error:
            findings.append(Finding("table", table.file, error.text))
    query: FeatureQuery | None = None
    if manifest.features is not None:
        name = manifest.features.file
        query = check_features(_text(name, files[name], findings), manifest)
        findings += query.findings
    models: dict[str, dict[str, Any]] = {}
    for name, model in manifest.models.items():
        features = dict(manifest.features.columns) if manifest.features else {}
        facts = check_model(files[model.file], name, model, features)
        findings += facts.findings
        models[name] = {"operators": list(facts.operators), "weights": facts.weights}
    rules: Rules = check_rules(_text(manifest.rules.file, files[manifest.rules.file], findings), manifest)
    findings += rules.findings
    made = rules.dependencies.get(MADE, frozenset())
    depends: Dependencies = {}
    if not findings:
        for name in (*manifest.outputs, *(("reasons",) if manifest.reasons else ())):
            depends[name] = _through(rules.dependencies.get(name, frozenset()), manifest, query)
        depends[MADE] = _through(made, manifest, query)
    return Examination(tuple(findings), depends, models)
