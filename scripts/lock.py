"""Regenerates `requirements/`: the `.in` files from pyproject.toml, the `.txt` files with hashes from those.

`make lock` runs it. Needs pip-tools in the interpreter that runs it, and access to the package registry.
The result names no registry and no local path, whatever the machine's own pip settings are.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "requirements"
HEADER = "# Written by `make lock` from pyproject.toml. Change the bounds there.\n"
# Settings that would otherwise be copied into the locked files, or change what is resolved.
DROPPED = (
    "PIP_FIND_LINKS",
    "PIP_CONSTRAINT",
    "PIP_REQUIREMENT",
    "PIP_PRE",
    "PIP_NO_BINARY",
    "PIP_ONLY_BINARY",
)
LOCKED = ("base", "build", "dev")


def sources(project: dict[str, object]) -> dict[str, str]:
    """The text of each `.in` file, by name, from a parsed pyproject.toml."""
    table = project["project"]
    system = project["build-system"]
    assert isinstance(table, dict)
    assert isinstance(system, dict)

    def text(above: list[str], wanted: list[str]) -> str:
        return HEADER + "".join(f"{line}\n" for line in [*above, *wanted])

    build = [*system["requires"]]
    # `make demo` shows a package with a model.
    models = [*table["optional-dependencies"]["models"]]
    dev = [line for line in table["optional-dependencies"]["dev"] if line not in build]
    return {
        "base": text([], [*table["dependencies"], *models]),
        "build": text(["-c base.txt"], build),
        "dev": text(["-c base.txt", "-c build.txt"], dev),
    }


def main() -> None:
    """Writes and locks all files, in the order in which they constrain each other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    OUT.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in DROPPED}
    environment["CUSTOM_COMPILE_COMMAND"] = "make lock"
    written = sources(project)
    for name in LOCKED:
        (OUT / f"{name}.in").write_text(written[name], encoding="utf-8")
        options = ["--generate-hashes", "--strip-extras", "--allow-unsafe", "--quiet"]
        options += [
            "--no-emit-index-url",
            "--no-emit-trusted-host",
            "--no-emit-find-links",
            "--no-emit-options",
        ]
        command = [sys.executable, "-m", "piptools", "compile", *options]
        command += [f"--output-file={name}.txt", f"{name}.in"]
        subprocess.run(command, cwd=OUT, env=environment, check=True)


if __name__ == "__main__":
    main()
