"""What holds for every file of the repository: size, no machine's names, locked and permissive packages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 600
CODE = {".py", ".pyi", ".rs", ".sh", ".ts", ".tsx", ".js", ".sql", ""}
THIS = Path(__file__).resolve()

sys.path.insert(0, str(ROOT / "scripts"))
import lock  # noqa: E402

MACHINE_PATH = re.compile(r"(?<![\w.$~{}-])/(?:work|root|Users|home/\w+|opt/wheels)(?:/|\b)")
REGISTRY = re.compile(
    r"(?:pypi|test\.pypi)\.org|pythonhosted\.org|(?:static|index)\.crates\.io|registry\.npmjs|npmmirror"
    r"|mirrors?\.(?:aliyun|tuna|ustc|cloud)|artifactory|nexus/repository",
    re.IGNORECASE,
)


@cache
def files() -> tuple[Path, ...]:
    """Every file that is, or is about to be, part of the repository."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = [
        "git",
        "-c",
        f"safe.directory={ROOT}",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    paths = [ROOT / name.decode() for name in listed.split(b"\0") if name]
    return tuple(path for path in paths if path.is_file())


def text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def test_no_source_file_is_too_long() -> None:
    long = {}
    for path in files():
        # Migrations are written by alembic from the models.
        if path.suffix in CODE and path.name != "LICENSE" and "migrations" not in path.parts:
            lines = (text_of(path) or "").count("\n")
            if lines > MAX_LINES:
                long[path.relative_to(ROOT).as_posix()] = lines
    assert not long


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = []
    for path in files():
        if path == THIS or path.suffix in (".svg", ".png"):
            continue
        for number, line in enumerate((text_of(path) or "").splitlines(), 1):
            hit = MACHINE_PATH.search(line) or REGISTRY.search(line)
            if hit:
                found.append(f"{path.relative_to(ROOT)}:{number} {hit.group()}")
    assert not found, "\n".join(found)


def test_locked_files_carry_hashes_and_no_options() -> None:
    for name in lock.LOCKED:
        text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        pinned = re.findall(r"^[\w.-]+==.*$", text, re.MULTILINE)
        assert pinned
        for line in text.splitlines():
            if line and not line.startswith((" ", "#")):
                assert re.fullmatch(r"[\w.-]+==[\w.]+ (?:; .+ )?\\", line), f"{name}.txt: {line}"
        assert text.count("--hash=sha256:") >= len(pinned)


def test_locked_sources_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for name, text in lock.sources(project).items():
        assert (ROOT / "requirements" / f"{name}.in").read_text(encoding="utf-8") == text, "run `make lock`"
        locked = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").lower()
        for line in text.splitlines():
            if not line.startswith(("#", "-c")):
                package = re.split(r"[\[<>=]", line)[0].lower().replace("_", "-")
                assert re.search(rf"^{re.escape(package)}==", locked, re.MULTILINE), (
                    f"{package}: run `make lock`"
                )


def test_cargo_lock_names_only_the_public_index() -> None:
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))
    for package in locked["package"]:
        source = package.get("source")
        if source is None:
            assert package["name"].startswith("atoll-")
        else:
            assert source == "registry+https://github.com/rust-lang/crates.io-index"
            assert re.fullmatch(r"[0-9a-f]{64}", package["checksum"])


def permitted(expression: str, allowed: set[str]) -> bool:
    """True if a choice of the SPDX expression's alternatives lies within the allowed licences."""
    expression = expression.replace("/", " OR ").strip()
    while True:
        group = re.search(r"\(([^()]*)\)", expression)
        if group is None:
            break
        inner = "Permitted" if permitted(group.group(1), allowed) else "Refused"
        expression = expression[: group.start()] + inner + expression[group.end() :]
    return any(
        all(part.strip() in allowed | {"Permitted"} for part in choice.split(" AND "))
        for choice in expression.split(" OR ")
    )


@pytest.mark.parametrize(
    ("expression", "want"),
    [
        ("MIT", True),
        ("GPL-3.0", False),
        ("GPL-3.0 OR MIT", True),
        ("MIT/Apache-2.0", True),
        ("MIT AND GPL-3.0", False),
        ("(MIT OR GPL-3.0) AND Apache-2.0", True),
        ("(GPL-2.0 OR GPL-3.0) AND MIT", False),
    ],
)
def test_the_reader_of_licences(expression: str, want: bool) -> None:
    assert permitted(expression, {"MIT", "Apache-2.0"}) is want


def test_crates_are_permissive() -> None:
    if shutil.which("cargo") is None:
        pytest.skip("cargo is not installed")
    allowed = set(tomllib.loads((ROOT / "deny.toml").read_text(encoding="utf-8"))["licenses"]["allow"])
    command = ["cargo", "metadata", "--format-version=1", "--locked"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    wrong = {
        package["name"]: package["license"]
        for package in json.loads(answer)["packages"]
        if not permitted(package["license"] or "", allowed)
    }
    assert not wrong


def test_no_toolchain_file_and_no_cpu_flags() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in files()}
    assert not names & {"rust-toolchain", "rust-toolchain.toml", ".cargo/config"}
    assert not {name for name in names if name.endswith("build.rs")}
    for name in ("Makefile", "Cargo.toml", "pyproject.toml", ".cargo/config.toml"):
        text = "".join(
            line
            for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
            if not line.startswith("#")
        )
        assert "target-cpu" not in text
        assert "target-feature" not in text
    # The one flag that there is selects a backend that its crate chooses at run time.
    config = tomllib.loads((ROOT / ".cargo/config.toml").read_text(encoding="utf-8"))
    assert config == {
        "target": {
            'cfg(target_arch = "x86_64")': {"rustflags": ["--cfg", 'curve25519_dalek_backend="avx512"']}
        }
    }


def test_every_fuzz_target_is_built_once_and_described() -> None:
    manifest = tomllib.loads((ROOT / "fuzz" / "Cargo.toml").read_text(encoding="utf-8"))
    built = [target["name"] for target in manifest["bin"]]
    assert sorted(built) == sorted({path.stem for path in (ROOT / "fuzz" / "fuzz_targets").glob("*.rs")})
    assert all(target["path"] == f"fuzz_targets/{target['name']}.rs" for target in manifest["bin"])
    readme = (ROOT / "fuzz" / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"(?m)^\| `(\w+)` \|", readme)) == sorted(built)
