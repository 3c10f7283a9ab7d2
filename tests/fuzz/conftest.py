"""Makes the shared consortium of these tests importable as `atoll_test_world`."""

import importlib.util
import sys
from pathlib import Path

_NAME = "atoll_test_world"
if _NAME not in sys.modules:
    _spec = importlib.util.spec_from_file_location(_NAME, Path(__file__).parent.parent / "plan" / "world.py")
    assert _spec is not None
    assert _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[_NAME] = _module
    _spec.loader.exec_module(_module)
