"""Rule code as a tree, and how its functions call each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from atoll.scripts.vocabulary import TAKES_A_KEY


@dataclass
class Program:
    """Rule code that passed, as a tree.

    Attributes:
        constants: assignments of the module, in order.
        imports: a name of the code, to what it means: `math`, `math.floor`.
        tables: for each function, which of its parameters are parameter tables.
    """

    tree: ast.Module
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    constants: dict[str, ast.expr] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    tables: dict[str, frozenset[str]] = field(default_factory=dict)


def parameters(function: ast.FunctionDef) -> tuple[str, ...]:
    """The names of a function's parameters, in order."""
    return tuple(a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs))


def bound_names(target: ast.expr) -> Iterator[ast.Name]:
    """The plain names that an assignment to `target` binds."""
    if isinstance(target, ast.Name):
        yield target
    elif isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            yield from bound_names(element)


def assigned(function: ast.FunctionDef) -> set[str]:
    """The names that statements of the function bind; comprehensions bind their own."""
    found: set[str] = set()
    for node in ast.walk(function):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign, ast.For)):
            targets = [node.target]
        found |= {n.id for t in targets for n in bound_names(t)}
    return found


def key_function(call: ast.Call) -> ast.expr | None:
    """What stands as `key=` of a sort, min or max, if anything."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    if name not in TAKES_A_KEY:
        return None
    return next((k.value for k in call.keywords if k.arg == "key"), None)


def called_functions(function: ast.FunctionDef, program: Program) -> Iterator[tuple[str, ast.Call]]:
    """Calls of the program's own functions, with their names; a `key=` counts as a call."""
    for node in ast.walk(function):
        if not isinstance(node, ast.Call):
            continue
        for name in (node.func, key_function(node)):
            if isinstance(name, ast.Name) and name.id in program.functions:
                yield name.id, node


def bind(call: ast.Call, function: ast.FunctionDef) -> dict[str, ast.expr] | str:
    """The argument of each parameter that the call gives, or what is wrong with the call."""
    names = parameters(function)
    positional = len(function.args.posonlyargs) + len(function.args.args)
    if len(call.args) > positional:
        return f"{function.name} takes {positional} arguments in order"
    given = dict(zip(names, call.args, strict=False))
    only = {a.arg for a in function.args.posonlyargs}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg not in names or keyword.arg in only:
            return f"{function.name} has no parameter {keyword.arg or '**'}"
        if keyword.arg in given:
            return f"{function.name} gets {keyword.arg} twice"
        given[keyword.arg] = keyword.value
    missing = [n for n in names if n not in given and n not in defaults(function)]
    if missing:
        return f"{function.name} needs {missing[0]}"
    return given


def defaults(function: ast.FunctionDef) -> dict[str, ast.expr]:
    """The default of each parameter that has one."""
    arguments = function.args
    ordered = [*arguments.posonlyargs, *arguments.args]
    first = len(ordered) - len(arguments.defaults)
    found = {a.arg: d for a, d in zip(ordered[first:], arguments.defaults, strict=True)}
    found |= {a.arg: d for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d}
    return found
