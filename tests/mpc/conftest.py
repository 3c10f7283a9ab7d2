"""Puts this folder on the path, for what its tests have in common."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
