"""`_core.pyi` says what the Rust extension has: the same names, methods and parameters."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

from atoll import _core

STUB = ast.parse((Path(_core.__file__).parent / "_core.pyi").read_text(encoding="utf-8"))


def parameters(function: ast.FunctionDef) -> list[str]:
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return [name for name in names if name != "self"]


def built(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def public(names: Any) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def test_the_stub_lists_every_name_of_the_module_and_no_other() -> None:
    listed = set()
    for node in STUB.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            listed.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            listed.add(node.target.id)
    assert public(listed) == public(vars(_core))


def test_functions_have_the_parameters_of_the_stub() -> None:
    for node in STUB.body:
        if isinstance(node, ast.FunctionDef):
            assert built(getattr(_core, node.name)) == parameters(node), node.name


def test_classes_have_the_methods_of_the_stub() -> None:
    for node in STUB.body:
        if not isinstance(node, ast.ClassDef) or node.name == "CoreError":
            continue
        kind = getattr(_core, node.name)
        methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
        assert public(methods) == public(vars(kind)), node.name
        for name, method in methods.items():
            decorators = {item.id for item in method.decorator_list if isinstance(item, ast.Name)}
            if "property" not in decorators:
                found = kind if name == "__init__" else getattr(kind, name)
                assert built(found) == parameters(method), f"{node.name}.{name}"
