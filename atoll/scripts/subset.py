"""Rule code read as text and held to the subset of Python that a review can follow.

What leaves here without a finding has these properties, on which the data flow analysis stands: functions are named,
fixed and do not call themselves in a circle; no function, table, module or class is a value; module values cannot
change; whatever a call makes is reachable from its own variables only.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from atoll.scripts import vocabulary as words
from atoll.scripts.finding import Finding
from atoll.scripts.manifest import Manifest

MAX_SOURCE_BYTES = 64 << 10
MAX_DEPTH = 40
# Of the functions along a chain of calls, together.
MAX_CHAIN_DEPTH = 120
MAX_FUNCTIONS = 60
MAX_FINDINGS = 50
MAX_SHIFT = 64
MAX_EXPONENT = 64
MAX_NUMBER = 2**63 - 1
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_FORMAT = re.compile(r"[<>^]?\+?0?[0-9]{0,3},?(\.[0-9]{1,2})?[dfsx%]?")
_CONTROL = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


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
    """What stands as `key=` of the call, if anything."""
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


class _Checker:
    def __init__(self, source: str, manifest: Manifest) -> None:
        self.manifest = manifest
        self.lines = source.splitlines()
        self.findings: list[Finding] = []
        self.program = Program(ast.Module([], []))
        self.locals: list[set[str]] = []
        self.here = ""
        self.loops = 0

    def add(self, code: str, node: ast.AST | None, text: str) -> None:
        place = self.manifest.rules.file
        line = getattr(node, "lineno", None)
        if line is not None:
            before = (
                self.lines[line - 1].encode()[: getattr(node, "col_offset", 0)]
                if line <= len(self.lines)
                else b""
            )
            place += f":{line}:{len(before.decode(errors='replace')) + 1}"
        found = Finding(code, place, text)
        if found not in self.findings and len(self.findings) < MAX_FINDINGS:
            self.findings.append(found)

    # The module.

    def module(self, tree: ast.Module) -> None:
        self.program.tree = tree
        for statement in tree.body:
            if isinstance(statement, ast.FunctionDef):
                self.declare(statement, statement.name)
                self.program.functions.setdefault(statement.name, statement)
        if len(self.program.functions) > MAX_FUNCTIONS:
            self.add("rules-size", tree.body[0], f"more than {MAX_FUNCTIONS} functions")
        for position, statement in enumerate(tree.body):
            self.top(statement, position)
        if self.entry() and self.acyclic() and self.shallow():
            self.find_tables()
            for function in self.program.functions.values():
                self.function(function)

    def top(self, statement: ast.stmt, position: int) -> None:
        if isinstance(statement, ast.FunctionDef):
            return
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            self.imports(statement)
        elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            self.constant(statement.targets[0], statement.value)
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            self.annotation(statement.annotation)
            self.constant(statement.target, statement.value)
        elif not (position == 0 and _is_text(statement)):
            text = "the file holds imports, constants and functions only"
            self.add("rules-module", statement, words.REFUSED_STATEMENTS.get(type(statement), text))

    def declare(self, node: ast.AST, name: str) -> None:
        """A name of the module: well formed, and with one meaning."""
        self.name(node, name)
        program = self.program
        if name in program.functions or name in program.constants or name in program.imports:
            self.add("rules-state", node, f"{name} is defined twice")
        elif name in words.BUILTINS:
            self.add("rules-name", node, f"{name} has a meaning of its own; take another name")

    def name(self, node: ast.AST, name: str) -> None:
        if not _NAME.fullmatch(name):
            text = (
                "a name is of ASCII letters, digits and _, begins with a letter and has at most 64 characters"
            )
            self.add("rules-name", node, f"{name[:40]}: {text}")

    def imports(self, statement: ast.Import | ast.ImportFrom) -> None:
        allowed = ", ".join(sorted(words.MODULES))
        for alias in statement.names:
            whole = isinstance(statement, ast.Import)
            module = alias.name if isinstance(statement, ast.Import) else statement.module or ""
            relative = isinstance(statement, ast.ImportFrom) and statement.level > 0
            if module not in words.MODULES or relative:
                self.add(
                    "rules-import", statement, f"{module[:40] or '.'} cannot be imported; there are {allowed}"
                )
            elif not whole and alias.name not in words.MODULES[module]:
                names = ", ".join(sorted(words.MODULES[module]))
                self.add(
                    "rules-import", statement, f"{module}.{alias.name[:40]} is not offered; there are {names}"
                )
            elif alias.asname is not None:
                self.add("rules-import", statement, "import without as: a name has one meaning")
            else:
                self.declare(statement, alias.name)
                self.program.imports[alias.name] = module if whole else f"{module}.{alias.name}"

    def constant(self, target: ast.expr, value: ast.expr) -> None:
        if not isinstance(target, ast.Name):
            self.add("rules-module", target, "one name = one constant")
            return
        self.declare(target, target.id)
        self.fixed(value)
        self.program.constants.setdefault(target.id, value)

    def fixed(self, value: ast.expr) -> None:
        """A value that nobody can change later."""
        if isinstance(value, ast.Constant):
            self.literal(value)
        elif isinstance(value, ast.Name) and value.id in self.program.constants:
            pass
        elif isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub) and _is_number(value.operand):
            self.fixed(value.operand)
        elif isinstance(value, ast.Tuple):
            for element in value.elts:
                self.fixed(element)
        elif _is_frozenset(value):
            assert isinstance(value, ast.Call)  # by the test above
            for argument in value.args:
                assert isinstance(argument, (ast.Tuple, ast.List, ast.Set))  # by the test above
                for element in argument.elts:
                    self.fixed(element)
        elif isinstance(value, ast.BinOp) and isinstance(value.op, (ast.Add, ast.Sub, ast.Mult)):
            if not (_is_number(value.left) and _is_number(value.right)):
                self.add("rules-constant", value, "arithmetic of constants is between plain numbers")
            self.fixed(value.left)
            self.fixed(value.right)
        else:
            text = "a module value is a number, text, True, False, None, a tuple or frozenset((...)) of such"
            self.add("rules-constant", value, text)

    # Functions and how they call each other.

    def entry(self) -> bool:
        name = self.manifest.rules.entry
        function = self.program.functions.get(name)
        if function is None:
            self.add("rules-entry", None, f"there is no function {name}, which the manifest names as entry")
            return False
        known = visible_names(self.manifest)
        for parameter in parameters(function):
            if parameter not in known:
                text = f"{parameter[:40]} is nothing that rules see; there are {', '.join(sorted(known))}"
                self.add("rules-entry", function, text)
        if function.args.defaults or any(function.args.kw_defaults):
            self.add("rules-entry", function, "the entry function has no defaults: a call gives all it names")
        if function.args.posonlyargs or function.args.kwonlyargs:
            self.add("rules-entry", function, "the entry function has plain parameters, without / and *")
        return True

    def acyclic(self) -> bool:
        """Whether no function reaches itself."""
        state: dict[str, int] = {}
        calls = {
            name: sorted({called for called, _ in called_functions(function, self.program)})
            for name, function in self.program.functions.items()
        }
        for root in calls:
            stack = [(root, iter(calls[root]))] if root not in state else []
            state.setdefault(root, 1)
            while stack:
                name, rest = stack[-1]
                following = next(rest, None)
                if following is None:
                    state[name] = 2
                    stack.pop()
                elif state.get(following) == 1:
                    text = f"{name} calls {following} in a circle; write a loop"
                    self.add("rules-recursion", self.program.functions[name], text)
                    return False
                elif following not in state:
                    state[following] = 1
                    stack.append((following, iter(calls[following])))
        return True

    def shallow(self) -> bool:
        """Whether following all calls from anywhere stays within bounds."""
        depths: dict[str, int] = {}

        def total(name: str) -> int:
            if name not in depths:
                function = self.program.functions[name]
                calls = {called for called, _ in called_functions(function, self.program)}
                depths[name] = _depth(function)[0] + max((total(called) for called in calls), default=0)
            return depths[name]

        for name, function in self.program.functions.items():
            if total(name) > MAX_CHAIN_DEPTH:
                self.add("rules-depth", function, f"the calls from {name} are nested too deeply")
                return False
        return True

    def find_tables(self) -> None:
        """Which parameters are parameter tables: those of the entry, and those that a table is passed to."""
        program = self.program
        program.tables = dict.fromkeys(program.functions, frozenset())
        entry = self.manifest.rules.entry
        named = set(parameters(program.functions[entry])) & set(self.manifest.parameters)
        program.tables[entry] = frozenset(named)
        changed = True
        while changed:
            changed = False
            for name, function in program.functions.items():
                for called, call in called_functions(function, program):
                    given = bind(call, program.functions[called])
                    if isinstance(given, str):
                        continue
                    found = {
                        p
                        for p, a in given.items()
                        if isinstance(a, ast.Name) and a.id in program.tables[name]
                    }
                    if not found <= program.tables[called]:
                        program.tables[called] |= found
                        changed = True

    def function(self, function: ast.FunctionDef) -> None:
        arguments = function.args
        if function.decorator_list:
            self.add("rules-statement", function, "no decorators")
        if arguments.vararg or arguments.kwarg:
            self.add("rules-statement", function, "no * and ** parameters: name each")
        for value in defaults(function).values():
            if not isinstance(value, ast.Constant) and not (
                isinstance(value, ast.UnaryOp) and _is_number(value)
            ):
                self.add("rules-default", value, "a default is a number, text, True, False or None")
            self.fixed(value)
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            self.local(argument, argument.arg)
            if argument.annotation:
                self.annotation(argument.annotation)
        if function.returns:
            self.annotation(function.returns)
        self.here = function.name
        self.locals = [set(parameters(function)) | assigned(function)]
        for statement in function.body:
            self.statement(statement)
        self.locals = []

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

    def annotation(self, node: ast.expr) -> None:
        """Annotations are for people and the type checker; nothing evaluates them."""
        allowed = (
            ast.Name,
            ast.Constant,
            ast.Subscript,
            ast.BinOp,
            ast.BitOr,
            ast.Tuple,
            ast.Attribute,
            ast.Load,
        )
        for part in ast.walk(node):
            fits = isinstance(part, allowed) and (
                not isinstance(part, ast.Constant) or part.value is None or type(part.value) is str
            )
            if not fits:
                self.add(
                    "rules-annotation",
                    node,
                    "an annotation is a type, such as int, Bills or list[int] | None",
                )
                return

    # Statements.

    def block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        if not isinstance(node, words.STATEMENTS):
            kind = type(node).__name__
            text = words.REFUSED_STATEMENTS.get(type(node), f"no {kind.lower()}")
            code = "rules-state" if isinstance(node, (ast.Global, ast.Nonlocal)) else "rules-statement"
            self.add(code, node, text)
            return
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self.target(target)
            self.expression(node.value)
        elif isinstance(node, ast.AugAssign):
            self.target(node.target)
            self.operator(node, node.op, node.target, node.value)
            self.expression(node.value)
        elif isinstance(node, ast.AnnAssign):
            self.target(node.target)
            self.annotation(node.annotation)
            if node.value is None:
                self.add("rules-statement", node, "a name with a type gets a value at once")
            else:
                self.expression(node.value)
        elif isinstance(node, (ast.For, ast.While)):
            self.loop(node)
        elif isinstance(node, ast.If):
            self.expression(node.test)
            self.block(node.body)
            self.block(node.orelse)
        elif isinstance(node, ast.Assert):
            self.expression(node.test)
            if node.msg is not None:
                self.add("rules-statement", node, "an assert has no message: nobody would read it")
        elif isinstance(node, ast.Return):
            if node.value is not None:
                self.expression(node.value)
        elif isinstance(node, ast.Expr):
            if isinstance(node.value, ast.Call):
                self.expression(node.value)
            elif not _is_text(node):
                self.add("rules-statement", node, "this value is not used")

    def loop(self, node: ast.For | ast.While) -> None:
        if isinstance(node, ast.For):
            self.target(node.target, names_only=True)
            self.expression(node.iter, consumed=True)
        else:
            self.expression(node.test)
        self.block(node.body)
        if node.orelse:
            self.add("rules-statement", node.orelse[0], "no else behind a loop")

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
            plain = any(isinstance(s, ast.Constant) and s.value in (None, True, False) for s in pair)
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
            if keyword.arg not in words.KEYWORDS and name != "dict":
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


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and type(node.value.value) is str
    )


def _is_number(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _is_number(node.operand)
    if isinstance(node, ast.BinOp):
        return _is_number(node.left) and _is_number(node.right)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _is_whole(node: ast.expr, most: int = MAX_NUMBER) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int and 0 <= node.value <= most


def _is_frozenset(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "frozenset"
        and len(node.args) == 1
        and not node.keywords
        and isinstance(node.args[0], (ast.Tuple, ast.List, ast.Set))
    )


def visible_names(manifest: Manifest) -> frozenset[str]:
    """What the entry function may have as parameters."""
    names = {*manifest.inputs, *manifest.parameters, *manifest.models, "arguments", "today"}
    return frozenset(names | {"features"} if manifest.features else names)


def _depth(tree: ast.AST) -> tuple[int, ast.AST]:
    """The depth of the tree without recursion, and a node at it."""
    deepest, where, level = 0, tree, [tree]
    while level:
        deepest, where = deepest + 1, level[0]
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return deepest, where


def check_source(source: str, manifest: Manifest) -> tuple[Program, tuple[Finding, ...]]:
    """The program, and what is wrong with it; with a finding the program must not be used."""
    checker = _Checker(source, manifest)
    file = manifest.rules.file
    if len(source.encode(errors="replace")) > MAX_SOURCE_BYTES:
        return checker.program, (
            Finding("rules-size", file, f"rules have at most {MAX_SOURCE_BYTES >> 10} KiB"),
        )
    for number, line in enumerate(source.replace("\r\n", "\n").split("\n"), 1):
        strange = next((c for c in line if unicodedata.category(c) in _CONTROL), None)
        if strange is not None:
            text = (
                f"U+{ord(strange):04X} is a control character or a tab; write spaces, and \\u escapes in text"
            )
            return checker.program, (
                Finding("rules-text", f"{file}:{number}:{line.index(strange) + 1}", text),
            )
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        place = f"{file}:{error.lineno or 1}:{error.offset or 1}"
        return checker.program, (Finding("rules-syntax", place, f"{error.msg}"),)
    except (ValueError, RecursionError, MemoryError):
        return checker.program, (Finding("rules-depth", file, "the code is nested too deeply"),)
    depth, where = _depth(tree)
    if depth > MAX_DEPTH:
        checker.add("rules-depth", where, "the code is nested too deeply")
    else:
        checker.module(tree)
    return checker.program, tuple(checker.findings)
