"""Puts this folder on the path, for what its tests have in common, and the benchmarks' channels and programs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
