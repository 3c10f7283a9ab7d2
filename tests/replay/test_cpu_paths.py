"""The same bytes from every path that the libraries choose by the processor: portable, and wide registers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from atoll.testing import nodes

ROOT = Path(__file__).resolve().parents[2]
# Each in place of .cargo/config.toml's flags, which leave the choice to the processor.
PATHS = {
    "portable": ('curve25519_dalek_backend="serial"', 'chacha20_backend="soft"', 'sha2_backend="soft"'),
    "avx2": ('curve25519_dalek_backend="simd"', 'chacha20_backend="avx2"', 'sha2_backend="soft"'),
}
KEYS = 6000


def _can(path: str) -> bool:
    if path == "portable":
        return True
    with open("/proc/cpuinfo") as facts:
        return " avx2 " in facts.read()


@pytest.fixture(scope="module", params=PATHS)
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package whose core was built for one path; the folder to put first on the path of Python."""
    path: str = request.param
    cargo = shutil.which("cargo")
    if cargo is None or not _can(path):
        pytest.skip("needs cargo and a processor that has this path")
    target = ROOT / "target" / "paths" / path
    flags = " ".join(f"--cfg {flag}" for flag in PATHS[path])
    if path == "avx2":
        flags += " -C target-feature=+avx2"
    subprocess.run(
        # Other tests run beside it, and their nodes wait for each other only so long.
        ["nice", cargo, "build", "--release", "--package", "atoll-python", "--locked", "--jobs", "1"],
        cwd=ROOT,
        env=os.environ | {"RUSTFLAGS": flags, "CARGO_TARGET_DIR": str(target)},
        check=True,
        timeout=1200,
        capture_output=True,
    )
    folder = tmp_path_factory.mktemp(path)
    shutil.copytree(ROOT / "atoll", folder / "atoll", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copy(target / "release" / "lib_core.so", folder / "atoll" / "_core.abi3.so")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_vectors_hold_on_every_path(package: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(package), str(ROOT)))}
    found = subprocess.run(
        [sys.executable, "-P", "-c", "import atoll; print(atoll.__file__)"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(str(package))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-n", "0", "tests/protocols/test_vectors.py"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_job_of_one_path_comes_out_again_on_another(
    package: Path, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nodes("alice", "bob", "carol") as net:
        codes = {"columns": {"segment": {"type": "string", "codes": ["A", "B"]}, "debt": {"type": "int64"}}}
        for i, node in enumerate(net):
            rows = {
                "id": [f"{j:018d}" for j in range(i * 1000, i * 1000 + KEYS)],
                "segment": ["AB"[j % 2] for j in range(KEYS)],
                "debt": [str(j) for j in range(KEYS)],
            }
            node.steward.data.add("book", rows, declaration=codes)
        keep = {"keep_days": 1}
        both = net.agreement({name: {"book": "*"} for name in ("alice", "bob")}, replay=keep)
        joined = net.alice.analyst.join(
            both, "book@alice", "book@bob", on="id", purpose="test", receivers="both"
        )
        all_three = net.agreement({name: {"book": "*"} for name in ("alice", "bob", "carol")}, replay=keep)
        summed = net.alice.analyst.totals(
            all_three,
            ["book@alice", "book@bob", "book@carol"],
            group="segment",
            values=["debt"],
            purpose="test",
        )
        jobs = [look.completed(joined, net.alice, net.bob), look.completed(summed, *net)]
        # Node and workers take the package of the folder that they are started in.
        monkeypatch.chdir(package)
        monkeypatch.setenv("PYTHONPATH", str(package))
        net.bob.restart()
        for job in jobs:
            other = net.bob.auditor.audit.replay(job)
            assert look.codes(other, "bad") == ["build-other", "not-run"]
            found = net.bob.auditor.audit.replay(job, any_build=True, timeout=120)
            assert found["ok"], found["report"]["findings"]
            assert "build-allowed" in look.codes(found, "note")
            assert "sent" in look.codes(found, "ok")
