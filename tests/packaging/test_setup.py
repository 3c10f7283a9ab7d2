"""The scripts behind `make`: what a machine lacks is said at once, and any place will do for a clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("cargo", "cc", "make", "git")


def tools_without(folder: Path, *absent: str, cargo: str = "cargo 99.0.0 (test)") -> Path:
    """A folder that holds only what the preflight looks for, less `absent`. The shell itself is not in it."""
    folder.mkdir()
    for name in TOOLS:
        if name not in absent:
            program = folder / name
            program.write_text(f"#!/bin/sh\necho '{cargo}'\n")
            program.chmod(0o755)
    if "python3" not in absent:
        (folder / "python3").symlink_to(sys.executable)
    return folder


def preflight(path: Path, *arguments: str, python: str = "") -> subprocess.CompletedProcess[str]:
    shell = shutil.which("sh")
    assert shell
    environment = {"PATH": str(path), "PYTHON": python, "HOME": str(path)}
    command = [shell, str(ROOT / "scripts" / "preflight.sh"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_complete_machine(tmp_path: Path) -> None:
    result = preflight(tools_without(tmp_path / "bin"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "python3" in result.stdout


@pytest.mark.parametrize("tool", ["python3", *TOOLS])
def test_each_missing_tool_is_named_with_its_cure(tmp_path: Path, tool: str) -> None:
    result = preflight(tools_without(tmp_path / "bin", tool))
    assert result.returncode == 1
    assert f"Missing: {tool}" in result.stdout
    for system in ("Debian, Ubuntu:", "Fedora:", "macOS:"):
        assert system in result.stdout
    assert result.stdout.count("Missing:") == 1
    assert not result.stderr


def test_all_missing_tools_are_named_at_once(tmp_path: Path) -> None:
    result = preflight(tools_without(tmp_path / "bin", "python3", *TOOLS))
    assert result.returncode == 1
    assert result.stdout.count("Missing:") == 5


def test_old_cargo_is_refused(tmp_path: Path) -> None:
    result = preflight(tools_without(tmp_path / "bin", cargo="cargo 1.60.0 (old)"))
    assert result.returncode == 1
    assert "this is 1.60.0" in result.stdout


def test_broken_cargo_is_missing(tmp_path: Path) -> None:
    result = preflight(tools_without(tmp_path / "bin", cargo="error: no default toolchain"))
    assert result.returncode == 1
    assert "Missing: cargo" in result.stdout


def fake_python(path: Path, version: tuple[int, int], complete: bool) -> Path:
    """A program that answers the two questions of the preflight as that Python would."""
    old = 1 if version < (3, 11) else 0
    bare = 0 if complete else 1
    path.write_text(f'#!/bin/sh\ncase "$2" in *version_info*) exit {old};; *ensurepip*) exit {bare};; esac\n')
    path.chmod(0o755)
    return path


def test_old_python_is_passed_over(tmp_path: Path) -> None:
    path = tools_without(tmp_path / "bin", "python3")
    fake_python(path / "python3", (3, 9), True)
    assert "Missing: python3" in preflight(path).stdout
    fake_python(path / "python3.12", (3, 12), True)
    assert preflight(path, "--python").stdout == "python3.12\n"


def test_python_without_venv_is_named(tmp_path: Path) -> None:
    path = tools_without(tmp_path / "bin", "python3")
    fake_python(path / "python3", (3, 12), False)
    result = preflight(path)
    assert result.returncode == 1
    assert "venv and ensurepip modules of python3" in result.stdout


def test_named_python_is_the_only_one_used(tmp_path: Path) -> None:
    path = tools_without(tmp_path / "bin")
    old = fake_python(tmp_path / "my python", (3, 9), True)
    result = preflight(path, python=str(old))
    assert result.returncode == 1
    assert str(old) in result.stdout
    assert preflight(path, "--python", python=str(old)).stdout == ""
    new = fake_python(tmp_path / "new python", (3, 13), True)
    assert preflight(path, "--python", python=str(new)).stdout == f"{new}\n"


def copy_of_scripts(place: Path) -> Path:
    place.mkdir(parents=True)
    shutil.copytree(ROOT / "scripts", place / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Cargo.toml", "Makefile"):
        shutil.copy(ROOT / name, place / name)
    return place


@pytest.mark.slow
def test_environment_is_made_anew_after_a_move(tmp_path: Path) -> None:
    place = copy_of_scripts(tmp_path / "a long path" / "with 空格 and ümlaut")
    environment = {**os.environ, "PYTHON": sys.executable}

    def venv(where: Path) -> str:
        command = ["sh", "scripts/venv.sh"]
        done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    venv(place)
    stamp = place / ".venv" / ".made"
    first = stamp.stat().st_mtime_ns
    assert venv(place) == ""
    assert stamp.stat().st_mtime_ns == first
    moved = place.rename(place.with_name("moved"))
    assert "no longer works here" in venv(moved)
    assert (moved / ".venv" / ".made").read_text(encoding="utf-8").strip() == str(moved.resolve())
    pip = [str(moved / ".venv" / "bin" / "python"), "-m", "pip", "--version"]
    assert str(moved) in subprocess.run(pip, capture_output=True, text=True, check=True).stdout


def make_variable(name: str, **environment: str) -> str:
    """What a recipe of the Makefile finds in an environment variable."""
    probe = f'include Makefile\n.PHONY: probe\nprobe:\n\t@echo "$${name}"\n'
    clean = {key: value for key, value in os.environ.items() if key.lower() != "no_proxy"}
    command = ["make", "-s", "-f", "-", "probe"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**clean, **environment},
        input=probe,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_loopback_passes_no_proxy() -> None:
    assert make_variable("no_proxy") == "127.0.0.1,localhost,::1"
    assert (
        make_variable("NO_PROXY", no_proxy="intranet.example") == "127.0.0.1,localhost,::1,intranet.example"
    )
    assert (
        make_variable("no_proxy", NO_PROXY="intranet.example") == "127.0.0.1,localhost,::1,intranet.example"
    )


def test_continuous_integration_runs_what_the_readme_says() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    for line in (
        "make check",
        "make test-all",
        "make demo",
        "export ATOLL_REQUIRE_SERVERS=1",
        "set -euo pipefail",
    ):
        assert f"\n{line}\n" in text
