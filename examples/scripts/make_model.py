"""Writes a small logistic model of a claim's risk, for a package beside the example `claims`.

    python examples/scripts/make_model.py [FOLDER]

Writes `risk.onnx`, by default into `claims-model` beside this file. Needs `pip install "atoll[models]"`. The
coefficients are made up, and the bytes are the same each time.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

# Fen billed, items on the bill, days of the stay: the features of the example `claims`.
FEATURES = ("billed", "items", "days")
MEANS = (1_500_000, 12, 6)
SCALES = (2_000_000, 9, 5)
COEFFICIENTS = (1.25, 0.5, 0.75)
INTERCEPT = -2.0


def model() -> bytes:
    """The model's file: (x - mean) / scale, times the coefficients, and the logistic function of the sum."""
    weights = {
        "means": np.array([MEANS], dtype=np.float32),
        "scales": np.array([SCALES], dtype=np.float32),
        "coefficients": np.array([COEFFICIENTS], dtype=np.float32),
        "intercept": np.array([INTERCEPT], dtype=np.float32),
    }
    nodes = [
        helper.make_node("Sub", ["features", "means"], ["centred"]),
        helper.make_node("Div", ["centred", "scales"], ["scaled"]),
        helper.make_node("Gemm", ["scaled", "coefficients", "intercept"], ["sum"], transB=1),
        helper.make_node("Sigmoid", ["sum"], ["risk"]),
    ]
    graph = helper.make_graph(
        nodes,
        "risk",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", len(FEATURES)])],
        [helper.make_tensor_value_info("risk", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made.SerializeToString(deterministic=True)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "claims-model"
    path = folder / "risk.onnx"
    path.write_bytes(model())
    print(f"{path}: {path.stat().st_size} bytes, reads {', '.join(FEATURES)}, gives risk")


if __name__ == "__main__":
    main()
