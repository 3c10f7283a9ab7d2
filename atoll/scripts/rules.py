"""The static check of rule code: is it within the subset, and what does each output depend on."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from atoll.scripts.dataflow import analyse
from atoll.scripts.finding import Finding
from atoll.scripts.manifest import Manifest
from atoll.scripts.program import parameters
from atoll.scripts.sources import Dependencies
from atoll.scripts.stubs import stubs
from atoll.scripts.subset import check_source


@dataclass(frozen=True)
class Rules:
    """What a check of rule code found.

    Attributes:
        findings: reasons to refuse the package; with any of them the other fields are empty.
        parameters: the names that the entry function takes, in order.
        dependencies: for each output, for `reasons`, and for `decision made` (whether there is an answer at all).
        stubs: declarations for the type checker.
        code: the checked tree written out anew, without comments: run this, and what runs is what was checked.
    """

    findings: tuple[Finding, ...]
    parameters: tuple[str, ...]
    dependencies: Dependencies
    stubs: str
    code: str


def check_rules(source: str, manifest: Manifest) -> Rules:
    """Check rule code against the manifest. Never raises for anything that `source` holds."""
    program, findings = check_source(source, manifest)
    if findings:
        return Rules(findings, (), {}, "", "")
    try:
        code = ast.unparse(program.tree) + "\n"
        same = ast.dump(ast.parse(code)) == ast.dump(program.tree)
    except (ValueError, SyntaxError):
        same, code = False, ""
    if not same:
        text = "this text cannot be written out anew; write simpler f-strings"
        return Rules((Finding("rules-text", manifest.rules.file, text),), (), {}, "", "")
    names = parameters(program.functions[manifest.rules.entry])
    return Rules((), names, analyse(program, manifest), stubs(manifest), code)
