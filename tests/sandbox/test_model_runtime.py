"""The runtime of models keeps to itself: as it is built, it reports its use to its maker over the network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")

_LOADS = "import atoll.sandbox.models as m; m.load_runtime('risk.onnx')"


def left_by(program: str, folder: Path) -> list[str]:
    """What a process that ran a program left in its folder for temporary files."""
    subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"TMPDIR": str(folder), "HOME": str(folder), "XDG_CACHE_HOME": str(folder)},
        check=True, timeout=60,
    )  # fmt: skip
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_runtime_is_loaded_without_its_reports(tmp_path: Path) -> None:
    """Where reports are on, the runtime leaves a session, a device identifier and a store of what it will report."""
    assert left_by(_LOADS, tmp_path) == []


def test_the_switch_is_set_before_the_runtime_reads_it() -> None:
    program = f"{_LOADS}; import os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout.split() == ["1"]
