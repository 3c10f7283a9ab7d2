"""The expressions of rule code, held to the closed lists of words."""

from __future__ import annotations

import ast
import re
from itertools import pairwise

from atoll.scripts import vocabulary as words
from atoll.scripts.finding import Finding
from atoll.scripts.manifest import Manifest
from atoll.scripts.program import Program, bind, bound_names, defaults, parameters

MAX_FINDINGS = 50
MAX_SHIFT = 64
MAX_EXPONENT = 64
MAX_NUMBER = 2**63 - 1
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_FORMAT = re.compile(r"[<>^]?\+?0?[0-9]{0,3},?(\.[0-9]{1,2})?[dfsx%]?")


class Expressions:
    """Checks expressions of the function `here`, whose names are `locals`, and collects findings."""

    def __init__(self, source: str, manifest: Manifest) -> None:
        self.manifest = manifest
        self.lines = re.split("\r\n|\r|\n", source)
        self.findings: list[Finding] = []
        self.program = Program(ast.Module([], []))
        self.locals: list[set[str]] = []
        self.here = ""
        self.loops = 0

    def add(self, code: str, node: ast.AST | None, text: str) -> None:
        place = self.manifest.rules.file
        line = getattr(node, "lineno", None)
        if line is not None:
            # The tree counts bytes, people count characters.
            before = self.lines[line - 1].encode()[: getattr(node, "col_offset", 0)]
            place += f":{line}:{len(before.decode(errors='replace')) + 1}"
        found = Finding(code, place, text)
        if found not in self.findings and len(self.findings) < MAX_FINDINGS:
            self.findings.append(found)

    def distinct(self, node: ast.AST, names: list[str]) -> None:
        if len(set(names)) != len(names):
            self.add("rules-syntax", node, "a name stands twice")

    def name(self, node: ast.AST, name: str) -> None:
        if not _NAME.fullmatch(name):
            text = (
                "a name is of ASCII letters, digits and _, begins with a letter and has at most 64 characters"
            )
            self.add("rules-name", node, f"{name[:40]}: {text}")

    def local(self, node: ast.AST, name: str) -> None:
        """A name that a function binds, which must not hide one of the module."""
        self.name(node, name)
        program = self.program
        if (
            name in program.functions
            or name in program.constants
            or name in program.imports
            or name in words.BUILTINS
        ):
            self.add("rules-name", node, f"{name} has a meaning already; take another name")

    def target(self, node: ast.expr, names_only: bool = False) -> None:
        if isinstance(node, ast.Name):
            self.local(node, node.id)
            if node.id in self.program.tables[self.here]:
                self.add("rules-table", node, f"{node.id} is a table and stays one")
        elif isinstance(node, (ast.Tuple, ast.List)):
            for element in node.elts:
                self.target(element, names_only=True)
        elif isinstance(node, ast.Subscript) and not names_only:
            if isinstance(node.slice, ast.Slice):
                self.add("rules-statement", node, "no assignment to a slice")
            self.expression(node.value)
            self.expression(node.slice)
        elif isinstance(node, ast.Attribute):
            self.add("rules-state", node, "attributes cannot be set")
        else:
            self.add("rules-statement", node, "assign to a name here")

    # Expressions.

    def expression(self, node: ast.expr, consumed: bool = False) -> None:
        """`consumed`: what takes the value makes one pass over it."""
        if not isinstance(node, words.EXPRESSIONS):
            kind = type(node).__name__
            self.add(
                "rules-expression", node, words.REFUSED_EXPRESSIONS.get(type(node), f"no {kind.lower()}")
            )
        elif isinstance(node, ast.Constant):
            self.literal(node)
        elif isinstance(node, ast.Name):
            self.read(node)
        elif isinstance(node, ast.Call):
            self.call(node, consumed)
        elif isinstance(node, ast.Attribute):
            if node.attr not in words.ATTRIBUTES:
                names = ", ".join(sorted(words.ATTRIBUTES))
                self.add(
                    "rules-attribute", node, f".{node.attr[:40]} is not offered as a value; there are {names}"
                )
            self.expression(node.value)
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            if isinstance(node, ast.GeneratorExp) and not consumed:
                self.add("rules-iterator", node, "write [...] here")
            self.comprehension(node)
        elif isinstance(node, ast.JoinedStr):
            self.text(node)
        elif isinstance(node, ast.BinOp):
            self.operator(node, node.op, node.left, node.right)
            self.expression(node.left)
            self.expression(node.right)
        else:
            if isinstance(node, ast.Dict) and None in node.keys:
                self.add("rules-expression", node, "no ** in a dict: write update")
            after_in: list[ast.expr] = []
            if isinstance(node, ast.Compare):
                self.identity(node)
                pairs = zip(node.ops, node.comparators, strict=True)
                after_in = [side for operator, side in pairs if isinstance(operator, (ast.In, ast.NotIn))]
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self.expression(child, consumed=child in after_in and isinstance(child, ast.Call))

    def literal(self, node: ast.Constant) -> None:
        value = node.value
        if value is not None and type(value) not in (bool, int, float, str):
            self.add("rules-expression", node, f"no {type(value).__name__} values")
        elif isinstance(value, (int, float)) and not -MAX_NUMBER <= value <= MAX_NUMBER:
            self.add("rules-number", node, "a number has at most 63 bits")

    def operator(self, node: ast.AST, operator: ast.operator, left: ast.expr, right: ast.expr) -> None:
        if isinstance(operator, ast.Pow):
            if not (_is_whole(left) and _is_whole(right, MAX_EXPONENT)) or isinstance(node, ast.AugAssign):
                text = (
                    f"** stands between two whole constants, the right one up to {MAX_EXPONENT}; write x * x"
                )
                self.add("rules-power", node, text)
        elif isinstance(operator, ast.LShift):
            if not _is_whole(right, MAX_SHIFT):
                self.add("rules-power", node, f"<< takes a constant from 0 to {MAX_SHIFT}")
        elif isinstance(operator, ast.MatMult):
            self.add("rules-expression", node, "no @")

    def identity(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        for operator, pair in zip(node.ops, pairwise(sides), strict=True):
            plain = any(isinstance(s, ast.Constant) and type(s.value) in (bool, type(None)) for s in pair)
            if isinstance(operator, (ast.Is, ast.IsNot)) and not plain:
                self.add("rules-expression", node, "is stands beside None, True or False; write ==")

    def text(self, node: ast.JoinedStr) -> None:
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.expression(part.value)
                spec = part.format_spec
                given = spec.values if isinstance(spec, ast.JoinedStr) else []
                plain = all(isinstance(s, ast.Constant) and _FORMAT.fullmatch(str(s.value)) for s in given)
                if part.conversion != -1 or len(given) > 1 or not plain:
                    text = "a format is a width up to 999, ',', '.2' and d, f, s, x or %, without !r"
                    self.add("rules-format", part.value, text)

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        names: set[str] = set()
        self.locals.append(names)
        for clause in node.generators:
            # The first iterable is evaluated outside, and sees no name of the comprehension: a name that it
            # shares with one was refused or is a local as well.
            self.expression(clause.iter, consumed=True)
            for bound in bound_names(clause.target):
                if any(bound.id in scope for scope in self.locals):
                    self.add("rules-name", bound, f"{bound.id} has a meaning already; take another name")
            self.target(clause.target, names_only=True)
            names |= {n.id for n in bound_names(clause.target)}
            for condition in clause.ifs:
                self.expression(condition)
            if clause.is_async:
                self.add("rules-expression", node, "no async")
        if isinstance(node, ast.DictComp):
            self.expression(node.key)
            self.expression(node.value)
        else:
            self.expression(node.elt)
        self.locals.pop()

    def read(self, node: ast.Name) -> None:
        """A name that stands for a value."""
        name, program = node.id, self.program
        self.name(node, name)
        if any(name in scope for scope in self.locals):
            if name in program.tables[self.here]:
                self.add(
                    "rules-table", node, f"{name} is a table: look up {name}(key), or pass it to a function"
                )
        elif name in program.functions or name in program.imports or name in words.BUILTINS:
            self.add("rules-call", node, f"{name} is called, and never a value")
        elif name not in program.constants:
            self.add("rules-name", node, f"there is no {name[:40]}")

    # Calls.

    def call(self, node: ast.Call, consumed: bool) -> None:
        callee, program = node.func, self.program
        for argument in (*node.args, *(k.value for k in node.keywords if k.arg is None)):
            if isinstance(argument, ast.Starred) or any(k.arg is None for k in node.keywords):
                self.add("rules-call", node, "no * and ** in a call: name each argument")
                return
        self.distinct(node, [k.arg or "" for k in node.keywords])
        if isinstance(callee, ast.Name) and not any(callee.id in scope for scope in self.locals):
            name = callee.id
            if name in program.functions:
                self.own(node, program.functions[name])
            elif name in words.BUILTINS:
                if name in words.ONE_PASS and not consumed:
                    text = f"{name} stands in a for, or inside list(...), sum(...) and the like"
                    self.add("rules-iterator", node, text)
                self.arguments(node, name)
            elif program.imports.get(name, "").count("."):
                self.arguments(node, name)
            elif name in program.imports:
                self.add("rules-call", node, f"{name} is a module; call {name}.name(...)")
            else:
                names = ", ".join(sorted(words.BUILTINS))
                text = f"there is no function {name[:40]}; of Python's own there are {names}"
                self.add("rules-call", node, text)
        elif isinstance(callee, ast.Name):
            if callee.id not in program.tables[self.here]:
                self.add(
                    "rules-call",
                    node,
                    f"{callee.id} is a value; functions and tables are called by their name",
                )
            elif len(node.args) != 1 or node.keywords:
                self.add("rules-call", node, f"{callee.id} takes one key")
            self.arguments(node, "")
        elif isinstance(callee, ast.Attribute):
            self.method(node, callee, consumed)
        else:
            self.add("rules-call", node, "functions are called by their name")

    def own(self, node: ast.Call, function: ast.FunctionDef) -> None:
        given = bind(node, function)
        if isinstance(given, str):
            self.add("rules-call", node, given)
            return
        here, there = self.program.tables[self.here], self.program.tables[function.name]
        for parameter, value in given.items():
            is_table = isinstance(value, ast.Name) and value.id in here
            if is_table != (parameter in there):
                text = f"{parameter} of {function.name} is a table in every call, or in none"
                self.add("rules-table", value, text)
            elif not is_table:
                self.expression(value)
        if (set(there) & set(defaults(function))) - given.keys():
            self.add("rules-table", node, f"a table of {function.name} is given in every call, or in none")

    def arguments(self, node: ast.Call, name: str) -> None:
        """Arguments of what is not an own function. `name`: of the builtin, method or module function."""
        for argument in node.args:
            takes = name in words.TAKES_A_PASS and (len(node.args) == 1 or name not in ("max", "min"))
            self.expression(argument, consumed=takes)
        for keyword in node.keywords:
            if keyword.arg == "key" and name in words.TAKES_A_KEY:
                self.key(keyword.value)
                continue
            if name != "dict" and keyword.arg not in words.KEYWORDS.get(name, ()):
                self.add("rules-call", node, f"{name} has no argument {keyword.arg}")
            self.name(node, keyword.arg or "")
            self.expression(keyword.value)

    def key(self, node: ast.expr) -> None:
        """What `key=` names: a lambda of one parameter, an own function or a builtin of one argument."""
        if isinstance(node, ast.Lambda):
            arguments = node.args
            plain = [*arguments.args]
            if (
                len(plain) != 1
                or arguments.vararg
                or arguments.kwarg
                or arguments.kwonlyargs
                or arguments.posonlyargs
            ):
                self.add("rules-call", node, "a key takes one value: lambda line: ...")
                return
            if arguments.defaults:
                self.add("rules-default", node, "a lambda has no defaults")
            name = plain[0].arg
            self.local(node, name)
            if any(name in scope for scope in self.locals):
                self.add("rules-name", node, f"{name} has a meaning already; take another name")
            self.locals.append({name})
            self.expression(node.body)
            self.locals.pop()
        elif isinstance(node, ast.Name) and node.id in self.program.functions:
            function = self.program.functions[node.id]
            needed = [p for p in parameters(function) if p not in defaults(function)]
            if (
                needed != list(parameters(function))[:1]
                or function.args.kwonlyargs
                or self.program.tables[node.id]
            ):
                self.add("rules-call", node, f"{node.id} as a key takes one value")
        elif not (isinstance(node, ast.Name) and node.id in ("abs", "float", "int", "len", "str")):
            self.add(
                "rules-call", node, "a key is a lambda, a function of this file, abs, float, int, len or str"
            )

    def method(self, node: ast.Call, callee: ast.Attribute, consumed: bool) -> None:
        base, name = callee.value, callee.attr
        path = self.module_path(base)
        if path is not None:
            module, _, inner = path.partition(".")
            if inner:
                if module != "datetime" or inner == "timedelta" or name not in words.CLASS_METHODS:
                    self.add("rules-attribute", node, f"{path}.{name[:40]} is not offered")
            elif name not in words.MODULES[module]:
                names = ", ".join(sorted(words.MODULES[module]))
                self.add("rules-attribute", node, f"{module}.{name[:40]} is not offered; there are {names}")
        else:
            if name in words.VIEWS and not consumed:
                self.add(
                    "rules-iterator",
                    node,
                    f".{name}() stands in a for, behind in, or inside list(...) and the like",
                )
            if name not in words.METHODS:
                names = ", ".join(sorted(words.METHODS))
                self.add("rules-attribute", node, f".{name[:40]}() is not offered; there are {names}")
            self.expression(base)
        self.arguments(node, name)

    def module_path(self, node: ast.expr) -> str | None:
        """`math`, `datetime.date` for a module or a class of one; None for a value."""
        if isinstance(node, ast.Name) and not any(node.id in scope for scope in self.locals):
            return self.program.imports.get(node.id)
        if isinstance(node, ast.Attribute):
            path = self.module_path(node.value)
            if path in words.MODULES and node.attr in words.DATETIME and path == "datetime":
                return f"{path}.{node.attr}"
        return None


def _is_whole(node: ast.expr, most: int = MAX_NUMBER) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int and 0 <= node.value <= most
