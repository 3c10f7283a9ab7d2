"""Rule code read as text and held to the subset of Python that a review can follow.

What leaves here without a finding has these properties, on which the data flow analysis stands: functions are named,
fixed and do not call themselves in a circle; no function, table, module or class is a value; module values cannot
change; whatever a call makes is reachable from its own variables only.
"""

from __future__ import annotations

import ast
import re
import unicodedata

from atoll.scripts import vocabulary as words
from atoll.scripts.expressions import Expressions
from atoll.scripts.finding import Finding
from atoll.scripts.manifest import Manifest
from atoll.scripts.program import Program, assigned, bind, called_functions, defaults, parameters

MAX_SOURCE_BYTES = 64 << 10
MAX_DEPTH = 40
# Of the functions along a chain of calls, together.
MAX_CHAIN_DEPTH = 120
MAX_FUNCTIONS = 60
_ASCII_WORD = re.compile(r"[A-Za-z0-9_]")
_CONTROL = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


class _Checker(Expressions):
    """Checks the module, its functions and their statements."""

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
        self.distinct(function, list(parameters(function)))
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
        elif isinstance(node, (ast.Break, ast.Continue)):
            if not self.loops:
                self.add("rules-syntax", node, "there is no loop to leave")
        elif isinstance(node, ast.Expr):
            if isinstance(node.value, (ast.Call, *words.REFUSED_EXPRESSIONS)):
                self.expression(node.value)
            elif not _is_text(node):
                self.add("rules-statement", node, "this value is not used")

    def loop(self, node: ast.For | ast.While) -> None:
        if isinstance(node, ast.For):
            self.target(node.target, names_only=True)
            self.expression(node.iter, consumed=True)
        else:
            self.expression(node.test)
        self.loops += 1
        self.block(node.body)
        self.loops -= 1
        if node.orelse:
            self.add("rules-statement", node.orelse[0], "no else behind a loop")


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


def _is_strange(character: str) -> bool:
    """Whether a reader, or another parser, may take the character for something else: a tab, a mark that turns text
    around, a letter that Python reads as an ASCII one."""
    if character.isascii():
        return not character.isprintable()
    plain = unicodedata.normalize("NFKC", character)
    return unicodedata.category(character) in _CONTROL or _ASCII_WORD.search(plain) is not None


def check_source(source: str, manifest: Manifest) -> tuple[Program, tuple[Finding, ...]]:
    """The program, and what is wrong with it; with a finding the program must not be used."""
    checker = _Checker(source, manifest)
    file = manifest.rules.file
    if len(source.encode(errors="replace")) > MAX_SOURCE_BYTES:
        return checker.program, (
            Finding("rules-size", file, f"rules have at most {MAX_SOURCE_BYTES >> 10} KiB"),
        )
    for number, line in enumerate(source.replace("\r\n", "\n").split("\n"), 1):
        strange = next((c for c in line if _is_strange(c)), None)
        if strange is not None:
            place = f"{file}:{number}:{line.index(strange) + 1}"
            text = (
                f"U+{ord(strange):04X} can be taken for something else; write spaces, and \\u escapes in text"
            )
            return checker.program, (Finding("rules-text", place, text),)
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
