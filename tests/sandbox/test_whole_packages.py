"""The example of claims in a cell, with SQL, tables, rules and a model: as in this process, bit for bit."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydantic_monty
import pytest

from atoll.node.worker.nursery import Nursery
from atoll.sandbox.asked import Asked
from atoll.sandbox.engines import Engines
from atoll.sandbox.host import Cell, CellPackage, spawn_local
from atoll.scripts.manifest import parse
from atoll.scripts.outputs import gate

EXAMPLES = Path(__file__).parents[2] / "examples" / "scripts"
CALLS = 120
TODAY = datetime.date(2026, 5, 4)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery("cell")
    made.start()
    yield made
    made.stop()


def package(*, model: bool) -> CellPackage:
    folder = EXAMPLES / "claims"
    document: dict[str, Any] = {
        "format": "atoll.script/v1",
        **tomllib.loads((folder / "package.toml").read_text()),
    }
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".toml"}
    if model:
        score = {"file": "risk.onnx", "inputs": ["billed", "items", "days"], "output": "risk"}
        document["models"] = {"risk": {**score, "range": ["0", "1"], "step": "0.001"}}
        files["risk.onnx"] = (EXAMPLES / "claims-model" / "risk.onnx").read_bytes()
        source = files["rules.py"].decode()
        source = source.replace("arguments, features)", "arguments, features, risk)")
        source = source.replace(
            'features["days"] > 180:', 'features["days"] > 180 or risk is None or risk > 700:'
        )
        files["rules.py"] = source.encode()
    manifest = parse(document)
    return CellPackage(manifest.document(), files)


def inputs(calls: int) -> dict[str, pa.Table]:
    bills = [(call, line) for call in range(calls) for line in range(call % 13)]
    items = ["ward", "surgery", "imaging", "unknown"]
    start = datetime.date(2026, 1, 1)
    return {
        "claim": pa.table(
            {
                "__call": pa.array([c for c in range(calls) if c % 17], pa.int32()),
                "admitted": pa.array([start for c in range(calls) if c % 17]),
                "discharged": pa.array([start + datetime.timedelta(c * 2) for c in range(calls) if c % 17]),
                "diagnosis": pa.array(["dental" if c % 11 == 3 else "J18" for c in range(calls) if c % 17]),
                "age": pa.array([c for c in range(calls) if c % 17], pa.int64()),
            }
        ),
        "bills": pa.table(
            {
                "__call": pa.array([c for c, _ in bills], pa.int32()),
                "item": pa.array([items[(c + n) % 4] for c, n in bills]),
                "quantity": pa.array([1 + (c * n) % 30 for c, n in bills], pa.int64()),
                "price": pa.array([Decimal(c * 100 + n * 7) / 8 for c, n in bills]).cast(
                    pa.decimal128(12, 2), safe=False
                ),
            }
        ),
    }


def asked(calls: int) -> list[Asked]:
    return [
        Asked(f"{n}".encode(), TODAY, {"deductible": n * 100, "insured": 3_000_000}) for n in range(calls)
    ]


@pytest.mark.parametrize("model", [False, True], ids=["rules", "rules and a model"])
def test_a_cell_says_what_the_engines_say_here(nursery: Nursery, model: bool) -> None:
    if model:
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    chosen = package(model=model)
    manifest = parse(dict(chosen.manifest))
    with pydantic_monty.Monty(min_processes=1, max_processes=1) as pool:
        here = Engines(manifest, chosen.files, pool)
        wanted = here.run(asked(CALLS), inputs(CALLS)).answers
        here.close()
    passed = [gate(manifest, manifest, answer) for answer in wanted]
    assert {answer["decision"] for answer in passed if answer} == {"approve", "refuse", "check"}
    assert wanted[17] == {"decision": "refuse", "pay": 0, "reasons": ["no_claim"]}
    for spawn in (nursery.spawn, spawn_local):
        cell = Cell(spawn, chosen)
        assert cell.run(asked(CALLS), inputs(CALLS), seconds=60) == wanted
        # The way of few rows, and the way of one call.
        for count in (1, 3):
            assert cell.run(asked(count), inputs(count), seconds=60) == wanted[:count]
        assert cell.starts == 1
        cell.close()
