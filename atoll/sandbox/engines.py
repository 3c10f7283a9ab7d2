"""The engines of one package: feature SQL, models and rules, and a batch of calls on its way through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from pydantic_monty import Monty

from atoll.errors import AtollError
from atoll.sandbox import rows
from atoll.sandbox.asked import Asked
from atoll.sandbox.features import FeatureEngine
from atoll.sandbox.models import ModelEngine
from atoll.sandbox.rules import Call, Ran, RuleEngine
from atoll.scripts.features import check_features
from atoll.scripts.finding import Finding
from atoll.scripts.manifest import Manifest
from atoll.scripts.onnx_models import check_model
from atoll.scripts.rules import check_rules
from atoll.scripts.tables import parse_table


def _text(manifest: Manifest, files: Mapping[str, bytes], file: str) -> str:
    try:
        return files[file].decode("utf-8")
    except UnicodeDecodeError:
        raise AtollError("E_SCRIPT", f"{file}: this is not UTF-8.", fault="caller") from None


def _refuse(findings: Sequence[Finding]) -> None:
    if findings:
        first = findings[0]
        more = f" ({len(findings) - 1} more)" if len(findings) > 1 else ""
        raise AtollError("E_SCRIPT", f"{first.place}: {first.text}{more}", fault="caller")


class Engines:
    """A package that is ready to be called.

    Args:
        manifest: the package's.
        files: its other files by name, all that the manifest names.
        pool: the interpreter, started.

    Raises:
        AtollError: `E_SCRIPT` names the first finding of the package's check.
    """

    def __init__(self, manifest: Manifest, files: Mapping[str, bytes], pool: Monty) -> None:
        if files.keys() != set(manifest.files):
            raise AtollError("E_SCRIPT", "the package's files are not those of its manifest.", fault="caller")
        self._manifest = manifest
        tables = {n: parse_table(files[t.file], n, t) for n, t in manifest.parameters.items()}
        source = _text(manifest, files, manifest.rules.file)
        rules = check_rules(source, manifest)
        _refuse(rules.findings)
        self._features: FeatureEngine | None = None
        if manifest.features is not None:
            query = check_features(_text(manifest, files, manifest.features.file), manifest)
            _refuse(query.findings)
            arrow = {name: table.arrow() for name, table in tables.items()}
            limit = manifest.limits.memory_bytes
            self._features = FeatureEngine(query, manifest, arrow, memory_bytes=limit)
        self._models: dict[str, ModelEngine] = {}
        for name, model in manifest.models.items():
            assert manifest.features is not None  # a model needs features, which a manifest's check holds to
            columns = manifest.features.columns
            _refuse(check_model(files[model.file], name, model, columns).findings)
            self._models[name] = ModelEngine(files[model.file], model, columns)
        self._seen = frozenset(rules.parameters) & manifest.inputs.keys()
        self._rules = RuleEngine(rules.code, manifest, tables, rules.parameters, pool)

    def run(self, calls: Sequence[Asked], inputs: Mapping[str, pa.Table], *, singly: bool = False) -> Ran:
        """Answers in the order of the calls.

        Args:
            calls: what is asked.
            inputs: for each of the manifest's inputs its columns, and `__call`, int32, which call a row belongs to.
            singly: the rules of one call at a time.
        """
        count = len(calls)
        values: list[dict[str, Any] | None] = [
            {"arguments": dict(call.arguments), "today": call.today} for call in calls
        ]
        for name in sorted(self._seen):
            input = self._manifest.inputs[name]
            most = 1 if input.rows == "one" else input.maximum_rows
            for place, found in enumerate(rows.by_call(inputs[name], input.columns, count)):
                seen = values[place]
                if len(found) > most:
                    values[place] = None
                elif seen is not None:
                    seen[name] = found if input.rows == "many" else (found[0] if found else None)
        if self._features is not None:
            features = self._features.run(count, [call.today for call in calls], dict(inputs))
            scores = {name: engine.run(features) for name, engine in self._models.items()}
            for place, row in enumerate(features):
                seen = values[place]
                if row is None:
                    values[place] = None
                elif seen is not None:
                    seen["features"] = row
                    seen.update({name: score[place] for name, score in scores.items()})
        places = [place for place, seen in enumerate(values) if seen is not None]
        ran = self._rules.run(
            [Call(calls[p].seed, calls[p].today, values[p] or {}) for p in places], singly=singly
        )
        answers: list[Any] = [None] * count
        for place, answer in zip(places, ran.answers, strict=True):
            answers[place] = answer
        return Ran(answers, [places[i] for i in ran.unfinished])

    def close(self) -> None:
        """Gives the interpreter back."""
        self._rules.close()
