"""Runs a package's model: features in, a whole number of steps out, the same for a row whatever else is asked.

The runtime gets one row at a time: its matrix kernels add in another order for several rows than for one, so that a
batch would change the last digits.
"""

from __future__ import annotations

import os
from fractions import Fraction
from math import frexp, inf, isfinite, nextafter
from typing import Any

import numpy as np

from atoll.errors import AtollError
from atoll.scripts.manifest import Model, column_facts
from atoll.scripts.onnx_parts import load_library

# Whole numbers up to here are exact in a double, which then rounds once.
_EXACT = 1 << 53


def to_float32(value: int, scale: int) -> np.float32:
    """The float32 that is nearest to value / 10^scale, ties to even.

    Args:
        value: a whole number of at most 64 bits.
        scale: 0 to 18.
    """
    if scale == 0 and -_EXACT <= value <= _EXACT:
        return np.float32(value)
    power = 10**scale
    near = value / power
    numerator, denominator = near.as_integer_ratio()
    over = value * denominator - numerator * power
    # Two roundings in a row can miss the nearest; rounding to odd first cannot (Boldo and Melquiond, 2008).
    if over and int(frexp(near)[0] * _EXACT) % 2 == 0:
        near = nextafter(near, inf if over > 0 else -inf)
    return np.float32(near)


def load_runtime(name: str) -> Any:
    """The runtime, which would report its use to its maker over the network if it were not told before it is loaded.

    Args:
        name: of the model that needs it, for `E_SCRIPT` where it is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    runtime = load_library("onnxruntime", name)
    runtime.disable_telemetry_events()
    return runtime


class ModelEngine:
    """A model that `check_model` found nothing against, ready to run.

    Args:
        data: the model's file.
        model: what the manifest declares.
        features: the declared feature columns and their types: a decimal's scale stands there.

    Raises:
        AtollError: `E_SCRIPT` names the model's file where `onnxruntime` is not installed or does not take it.
    """

    def __init__(self, data: bytes, model: Model, features: dict[str, str]) -> None:
        runtime = load_runtime(model.file)
        facts = [column_facts(features[name]) for name in model.inputs]
        self._inputs = [(n, f.type == "bool", f.scale or 0) for n, f in zip(model.inputs, facts, strict=True)]
        self._output = model.output
        self._step = Fraction(model.step)
        self._low, self._high = (Fraction(bound) for bound in model.range)
        self._thresholds = [Fraction(each) for each in model.thresholds]
        self._band = Fraction(model.band)
        try:
            self._session = runtime.InferenceSession(
                data, _options(runtime), providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            text = ascii(" ".join(str(error).split())[:200])[1:-1]
            raise AtollError(
                "E_SCRIPT", f"{model.file}: the runtime does not take the model: {text}."
            ) from None
        self._session.disable_fallback()
        self._input = self._session.get_inputs()[0].name

    def run(self, rows: list[dict[str, Any] | None]) -> list[int | None]:
        """The score of each row, as a whole number of steps.

        Args:
            rows: features by name as rules see them: whole numbers, decimals as whole numbers of 10^-scale, bools.

        Returns:
            None for no row, a missing value, a failure, a score that is no number, or one within `band` of a threshold.
        """
        return [None if row is None else self._score(row) for row in rows]

    def _score(self, row: dict[str, Any]) -> int | None:
        values = self._values(row)
        if values is None:
            return None
        try:
            (found,) = self._session.run([self._output], {self._input: values})
            raw = found.item()
        except Exception:
            # Whatever a model does wrong is the same to the caller: no score.
            return None
        return self.round(raw)

    def _values(self, row: dict[str, Any]) -> Any:
        values = np.empty((1, len(self._inputs)), dtype=np.float32)
        for position, (name, is_bool, scale) in enumerate(self._inputs):
            value = row.get(name)
            if type(value) is not (bool if is_bool else int):
                return None
            values[0, position] = to_float32(int(value), scale)
        return values

    def round(self, raw: float) -> int | None:
        """The whole number of steps that a model's number stands for, or None.

        Exact: clipped to `range`, None within `band` of a threshold, then rounded half to even.
        """
        if not isfinite(raw):
            return None
        score = min(max(Fraction(raw), self._low), self._high)
        if self._band and any(abs(score - each) <= self._band for each in self._thresholds):
            return None
        return round(score / self._step)


def _options(runtime: Any) -> Any:
    """One thread, no optimisation, no file: what runs is the graph that was checked, node by node."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.use_deterministic_compute = True
    # Values are small and few: without an arena the runtime holds no more memory than they need.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.enable_profiling = False
    options.log_severity_level = 4
    # Left to guess, the runtime also takes a format of its own, which no check has seen.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options
