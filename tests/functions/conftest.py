"""Makes what these tests share importable: the consortium, a lookup, lookup totals, statistics of views, parties."""

import importlib.util
import sys
from pathlib import Path

_HERE = Path(__file__).parent
_FILES = {
    "atoll_test_world": _HERE.parent / "plan" / "world.py",
    "atoll_lookup_world": _HERE / "lookup_world.py",
    "atoll_totals_world": _HERE / "totals_world.py",
    "atoll_view_statistics": _HERE / "view_statistics.py",
    "atoll_mpc_parties": _HERE.parent / "mpc" / "mpc_parties.py",
}
for _name, _file in _FILES.items():
    if _name not in sys.modules:
        _spec = importlib.util.spec_from_file_location(_name, _file)
        assert _spec is not None
        assert _spec.loader is not None
        _module = importlib.util.module_from_spec(_spec)
        sys.modules[_name] = _module
        _spec.loader.exec_module(_module)
