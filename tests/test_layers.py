"""The arrows of ARCHITECTURE.md: which package may import which, and what no package may do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "atoll"

_BASE = {"errors", "crypto"}
_BELOW_FUNCTIONS = {
    "scripts",
    "sandbox",
    "disclosure",
    "protocols",
    "mpc",
    "plan",
    "policy",
    "agreements",
    "ledger",
    "data",
}

# package under atoll/ -> the other packages under atoll/ that it may import. "" is atoll/__init__.py.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "crypto": {"errors"},
    "disclosure": _BASE,
    "plan": _BASE | {"disclosure", "agreements", "scripts"},
    "scripts": _BASE | {"disclosure", "agreements"},
    # Runs packages, for their author and in a worker of their host.
    "sandbox": _BASE | {"scripts"},
    # A plan is checked, and judged by policy, against agreements; none of the three knows a protocol.
    "agreements": _BASE | {"disclosure"},
    "policy": _BASE | {"disclosure", "plan", "agreements"},
    "protocols": _BASE | {"disclosure"},
    "mpc": _BASE | {"disclosure", "protocols"},
    # The join of tables in hand, for programs that bring their own channel.
    "engine": _BASE | {"protocols"},
    "ledger": _BASE,
    "data": _BASE,
    "billing": _BASE | {"disclosure", "agreements", "plan"},
    # What a third party runs: everything that is needed to judge documents, and nothing that a node is.
    "audit": _BASE | {"disclosure", "agreements", "scripts", "plan", "ledger", "billing"},
    "functions": _BASE | _BELOW_FUNCTIONS,
    "net": _BASE,
    "node": _BASE | _BELOW_FUNCTIONS | {"functions", "net", "audit", "billing"},
    "client": {"crypto", "data", "errors", "ledger", "audit", "billing", "scripts", "sandbox"},
    "": {"client", "errors"},
    "testing": {"", "client", "errors", "node"},
    # One story of the demo records what its nodes send, where it enters TLS.
    "demo": {"", "client", "errors", "node", "testing", "ledger", "crypto"},
    # init and node start a node; a ledger copy is verified where no node runs.
    "cli": {"", "client", "errors", "node", "demo", "ledger"},
}

# top-level module -> the packages, or single files, that may import it.
GUARDED: dict[str, set[str]] = {
    "socket": {
        "net",
        "node",
        "sandbox",
        # Names the type: a worker is handed the end of a line to a cell.
        "functions/context.py",
    },  # what the node may do with it: see test_the_node_opens_no_socket_to_a_peer
    "ssl": {"net"},
    "_socket": set(),
    "_ssl": set(),
    "uvicorn": {"node"},
    "fastapi": {"node"},
    "starlette": {"node"},
    "alembic": {"node"},
    "sqlalchemy": {"node", "data/sources/sql.py"},
    "pickle": set(),
    "_pickle": set(),
    "cPickle": set(),
    "dill": set(),
    "cloudpickle": set(),
    "joblib": set(),
    "shelve": set(),
    "marshal": set(),
    "telnetlib": set(),
    "ftplib": set(),
}

# A constant of the root, which imports nothing that draws in other packages.
VERSION = "atoll.__version__"

PURE = ("billing", "scripts", "plan", "policy", "agreements", "disclosure")
IMPURE_MODULES = {
    "asyncio",
    "http",
    "httpx",
    "io",
    "os",
    "pathlib",
    "random",
    "secrets",
    "shutil",
    "socket",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
}
CLOCK_CALLS = {"now", "utcnow", "today"}
FORBIDDEN_CALLS = {"eval", "exec", "__import__"}
FORBIDDEN_ATTRIBUTES = {("os", "system"), ("os", "popen"), ("os", "execl"), ("yaml", "load")}
PEER_CONNECTIONS = {"open_connection", "start_server", "create_server", "create_connection"}


@dataclass(frozen=True)
class Module:
    """One parsed source file; `name` is its path under atoll/, `package` its first part."""

    name: str
    package: str
    tree: ast.Module


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        first = name.split("/")[0]
        package = "" if first == "__init__.py" else first.removesuffix(".py")
        found.append(Module(name, package, ast.parse(path.read_text(encoding="utf-8"), name)))
    return tuple(found)


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a module imports, wherever in the file it does so."""
    parts = ["atoll", *module.name.removesuffix(".py").split("/")]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*parts[: -node.level], *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def inner(dotted: str) -> str | None:
    """The package under atoll/ that a dotted import name reaches, or None if it is another library."""
    parts = dotted.split(".")
    if parts[0] != "atoll":
        return None
    if len(parts) == 1:
        return ""
    known = (PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").is_file()
    return parts[1] if known or parts[1] == "_core" else ""


def test_every_package_stands_in_the_table() -> None:
    unknown = {m.package for m in modules()} - set(ALLOWED)
    assert not unknown, f"say in ALLOWED what these may import: {sorted(unknown)}"


def test_the_table_has_no_cycle() -> None:
    done: set[str] = set()
    while len(done) < len(ALLOWED):
        ready = {name for name, below in ALLOWED.items() if name not in done and below <= done}
        assert ready, f"a cycle among {sorted(set(ALLOWED) - done)}"
        done |= ready


def test_arrows_point_down() -> None:
    wrong = []
    for module in modules():
        allowed = ALLOWED.get(module.package, set())
        for line, dotted in imports(module):
            target = inner(dotted)
            if (
                target is None
                or target in (module.package, "_core")
                or target in allowed
                or dotted == VERSION
            ):
                continue
            wrong.append(f"atoll/{module.name}:{line} imports {dotted}")
    assert not wrong, "\n".join(wrong)


def test_only_crypto_imports_the_core() -> None:
    wrong = [
        f"atoll/{m.name}:{line}"
        for m in modules()
        for line, dotted in imports(m)
        if inner(dotted) == "_core" and m.package != "crypto"
    ]
    assert not wrong, "\n".join(wrong)


def test_guarded_modules() -> None:
    wrong = []
    for module in modules():
        for line, dotted in imports(module):
            top = dotted.split(".")[0]
            if top in GUARDED and not GUARDED[top] & {module.package, module.name}:
                wrong.append(f"atoll/{module.name}:{line} imports {dotted}")
    assert not wrong, "\n".join(wrong)


def calls(module: Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))


def test_nothing_evaluates_text() -> None:
    wrong = []
    for module in modules():
        for call in calls(module):
            where = f"atoll/{module.name}:{call.lineno}"
            if isinstance(call.func, ast.Name) and call.func.id in FORBIDDEN_CALLS:
                wrong.append(f"{where} calls {call.func.id}")
            if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
                name = (call.func.value.id, call.func.attr)
                if name in FORBIDDEN_ATTRIBUTES:
                    wrong.append(f"{where} calls {'.'.join(name)}")
            for keyword in call.keywords:
                if keyword.arg in ("shell", "allow_pickle") and not (
                    isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                ):
                    wrong.append(f"{where} passes {keyword.arg}")
    assert not wrong, "\n".join(wrong)


def test_only_net_connects_to_peers() -> None:
    wrong = [
        f"atoll/{module.name}:{call.lineno} calls {call.func.attr}"
        for module in modules()
        if module.package != "net"
        for call in calls(module)
        if isinstance(call.func, ast.Attribute) and call.func.attr in PEER_CONNECTIONS
    ]
    assert not wrong, "\n".join(wrong)


def test_the_node_opens_no_socket_to_a_peer() -> None:
    """Outside net a socket is adopted from a descriptor, or one of a pair; only serve.py opens one, for the API."""
    wrong = []
    for module in modules():
        if module.package == "net":
            continue
        for line, dotted in imports(module):
            if dotted.startswith("socket."):
                wrong.append(f"atoll/{module.name}:{line} imports {dotted}")
        for call in calls(module):
            function = call.func
            if isinstance(function, ast.Attribute) and getattr(function.value, "id", "") == "socket":
                adopts = (
                    function.attr == "socket"
                    and [k.arg for k in call.keywords] == ["fileno"]
                    and not call.args
                )
                listens = function.attr == "socket" and module.name == "node/serve.py"
                # A pair of sockets reaches the process that it is handed to, and nobody else.
                pairs = function.attr == "socketpair" and module.package == "sandbox"
                if not (adopts or listens or pairs):
                    wrong.append(f"atoll/{module.name}:{call.lineno} calls socket.{function.attr}")
        if module.name == "node/serve.py":
            connects = [c for c in calls(module) if getattr(c.func, "attr", "") in ("connect", "connect_ex")]
            wrong += [f"atoll/{module.name}:{c.lineno} connects" for c in connects]
    assert not wrong, "\n".join(wrong)


def test_pure_packages_read_no_file_clock_or_chance() -> None:
    wrong = []
    for module in modules():
        if module.package not in PURE:
            continue
        for line, dotted in imports(module):
            if dotted.split(".")[0] in IMPURE_MODULES:
                wrong.append(f"atoll/{module.name}:{line} imports {dotted}")
        for call in calls(module):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name in CLOCK_CALLS or (isinstance(call.func, ast.Name) and name == "open"):
                wrong.append(f"atoll/{module.name}:{call.lineno} calls {name}")
    assert not wrong, "\n".join(wrong)


def test_protocol_names_stay_out_of_policy_and_agreements() -> None:
    pattern = re.compile(r"atoll\.(protocols|mpc|functions|net|node)\b")
    wrong = [
        f"atoll/{m.name}:{line} {dotted}"
        for m in modules()
        if m.package in ("policy", "agreements")
        for line, dotted in imports(m)
        if pattern.match(dotted)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        ("from atoll.node import store", "node"),
        ("import atoll.node.store", "node"),
        ("from atoll import node", "node"),
        ("from ..node import store", "node"),
        ("def f():\n    from atoll.node import store", "node"),
        ("from atoll import _core", "_core"),
        ("import json", None),
    ],
)
def test_the_reader_of_imports_sees_each_form(text: str, reached: str | None) -> None:
    module = Module("policy/decide.py", "policy", ast.parse(text))
    # Resolved by name alone: the packages of this table exist in every checkout that has a node.
    found = {dotted.split(".")[1] if dotted.startswith("atoll.") else None for _, dotted in imports(module)}
    assert found == {reached}
