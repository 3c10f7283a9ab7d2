"""What the tests of cells share."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

# Test modules are no package: this one is loaded by its path, under a name of its own.
_NAME = "atoll_test_cells"
if _NAME not in sys.modules:
    _spec = importlib.util.spec_from_file_location(_NAME, Path(__file__).parent / "packages.py")
    assert _spec is not None  # the file stands beside this one
    assert _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[_NAME] = _module
    _spec.loader.exec_module(_module)
