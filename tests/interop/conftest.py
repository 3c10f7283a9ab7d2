"""Builds the Go programs of this folder once, and makes the logs of these tests importable as `atoll_interop_world`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
_NAME = "atoll_interop_world"
if _NAME not in sys.modules:
    _spec = importlib.util.spec_from_file_location(_NAME, HERE / "world.py")
    assert _spec is not None
    assert _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[_NAME] = _module
    _spec.loader.exec_module(_module)

from atoll_interop_world import Interop  # noqa: E402


@pytest.fixture(scope="session")
def interop(require_server, tmp_path_factory: pytest.TempPathFactory) -> Interop:
    """The checking program. The modules come from the Go cache or proxy of the environment."""
    go = require_server("go")
    environment = {
        **os.environ,
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }
    listed = subprocess.run(
        [go, "list", "-deps", ".", "filippo.io/torchwood/cmd/litewitness"],
        cwd=HERE, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    # Go 1.24 or newer, and modules that it has or can fetch: what a machine without a network may lack.
    reason = "" if listed.returncode else "go"
    require_server(f"what Go needs for tests/interop ({listed.stderr[-300:]})", found=reason)
    built = Interop(go, tmp_path_factory.mktemp("interop"), environment)
    built.build(".")
    return built
