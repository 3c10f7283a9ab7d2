"""What each output of rule code depends on, from the code alone.

An abstract run of the entry function: each value carries the sources that it depends on, through data and through
control (a value that is assigned under a condition depends on the condition). Calls are followed with their arguments,
loops are run until nothing changes. Never too few sources: if a source is not listed, no change of it changes the
output, whenever there is a decision before and after; and if it is not listed under `decision made`, no change of it
makes or unmakes the decision.

Nothing can catch a failure, so a failure ends the call. What can cause one is counted under `decision made`: that is
every source that any step of the run touches.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from atoll.scripts.flow_heap import NOTHING, Site, Value
from atoll.scripts.flow_results import Environment, Results
from atoll.scripts.manifest import Manifest
from atoll.scripts.program import Program, bind, defaults, key_function, parameters
from atoll.scripts.sources import Dependencies, Source

DECISION_MADE = "decision made"
REASONS = "reasons"
# Steps of the abstract run; code that needs more depends on everything.
MAX_STEPS = 150_000


def every_source(manifest: Manifest) -> tuple[Source, ...]:
    """All that rule code of this manifest could read."""
    found: list[Source] = []
    for name, given in manifest.inputs.items():
        found += [(name, ""), *((name, column) for column in given.columns)]
    for name, table in manifest.parameters.items():
        found += [(name, column) for column in table.columns]
    found += [("arguments", name) for name in manifest.arguments]
    found += [("features", column) for column in (manifest.features.columns if manifest.features else ())]
    return (*found, *((name, "") for name in manifest.models), ("today", ""))


class _TooMuchError(Exception):
    """The code needs more steps than are given."""


@dataclass
class _Loop:
    """A loop that runs. `jumped`: what decides whether the rest of its body runs, and how often."""

    jumped: int = 0
    breaks: list[Environment] = field(default_factory=list)
    continues: list[Environment] = field(default_factory=list)


@dataclass
class _Frame:
    """A call that runs. `jumped`: what decided whether it returned before."""

    function: ast.FunctionDef | None
    chain: int
    jumped: int = 0
    returned: Value = NOTHING
    loops: list[_Loop] = field(default_factory=list)


def _either(*environments: Environment | None) -> Environment | None:
    """Each name's value after any of the ways here; None if no way leads here."""
    found: Environment | None = None
    for environment in environments:
        if environment is None:
            continue
        if found is None:
            found = dict(environment)
        else:
            for name, value in environment.items():
                found[name] = found.get(name, NOTHING) | value
    return found


class _Flow(Results):
    def __init__(self, program: Program, manifest: Manifest) -> None:
        super().__init__()
        self.program = program
        self.manifest = manifest
        self.sources = every_source(manifest)
        self.bits = {source: 1 << n for n, source in enumerate(self.sources)}
        self.conditions = 0
        self.steps = 0
        self.chains: dict[tuple[int, int], int] = {}
        self.frame = _Frame(None, 0)
        self.constants: Environment = {}
        self.many: dict[int, bool] = {}

    # What rules see.

    def row(self, place: str, columns: list[str], site: Site) -> Value:
        held = self.heap.make(site, "dict")
        for column in columns:
            self.heap.set(held, column, Value(self.bits[place, column]))
        return Value(0, frozenset({site}))

    def parameter(self, name: str) -> Value:
        manifest = self.manifest
        site: Site = (-1, 0, name)
        if name in manifest.inputs:
            given, exists = manifest.inputs[name], self.bits[name, ""]
            row = self.row(name, list(given.columns), site).on(exists)
            if given.rows == "one":
                return row
            rows: Site = (-1, 1, name)
            self.heap.add(self.heap.make(rows, "list"), rest=row, shape=exists)
            return Value(0, frozenset({rows}))
        if name == "arguments":
            return self.row(name, list(manifest.arguments), site)
        if name == "features" and manifest.features:
            return self.row(name, list(manifest.features.columns), site)
        if name in manifest.parameters:
            return Value(0, frozenset({(-2, 0, name)}))  # only called and passed on: see Program.tables
        return Value(self.bits[name, ""])  # a score, the date

    def analyse(self) -> Dependencies:
        manifest = self.manifest
        entry = self.program.functions[manifest.rules.entry]
        # Too many rows of an input, and features that cannot be computed, give no decision.
        for source, bit in self.bits.items():
            if source[0] == "features" or (source[0] in manifest.inputs and not source[1]):
                self.made |= bit
        answers = (*manifest.outputs, REASONS)
        try:
            for name, value in self.program.constants.items():
                self.constants[name] = self.value(value, {})
            answer = self.enter(entry, 0, {n: self.parameter(n) for n in parameters(entry)})
            self.made |= self.heap.deep(answer)
            found = {n: self.heap.deep(self.heap.lookup(answer, NOTHING, [n])) for n in answers}
        except (_TooMuchError, RecursionError):
            return dict.fromkeys((*answers, DECISION_MADE), frozenset(self.sources))
        return {name: self.named(sources) for name, sources in {**found, DECISION_MADE: self.made}.items()}

    def named(self, sources: int) -> frozenset[Source]:
        return frozenset(source for source, bit in self.bits.items() if sources & bit)

    # Control.

    @property
    def why(self) -> int:
        found = self.conditions | self.frame.jumped
        for loop in self.frame.loops:
            found |= loop.jumped
        return found

    @property
    def chain(self) -> int:
        return self.frame.chain

    def step(self) -> None:
        self.steps += 1
        if self.steps + self.heap.visited > MAX_STEPS:
            raise _TooMuchError

    def enter(self, function: ast.FunctionDef, site: int, given: Environment) -> Value:
        """A call of an own function."""
        outer, conditions = self.frame, self.conditions
        self.conditions = self.why
        chain = self.chains.setdefault((outer.chain, site), len(self.chains) + 1)
        self.frame = _Frame(function, chain)
        environment = {name: self.value(value, {}) for name, value in defaults(function).items()} | given
        if self.block(function.body, environment) is not None:
            self.frame.returned |= Value(self.why)
        returned = self.frame.returned
        self.frame, self.conditions = outer, conditions
        return returned

    def block(self, statements: list[ast.stmt], environment: Environment | None) -> Environment | None:
        for statement in statements:
            if environment is None:
                return None
            environment = self.statement(statement, environment)
        return environment

    def statement(self, node: ast.stmt, environment: Environment) -> Environment | None:
        self.step()
        self.made |= self.why
        match node:
            case ast.Assign():
                value = self.value(node.value, environment)
                for target in node.targets:
                    self.assign(target, value, environment)
            case ast.AnnAssign(value=ast.expr() as given):
                self.assign(node.target, self.value(given, environment), environment)
            case ast.AugAssign():
                self.augment(node, environment)
            case ast.If():
                return self.branch(node, environment)
            case ast.For():
                return self.loop(node, environment)
            case ast.While():
                return self.loop(node, environment)
            case ast.Assert():
                self.truth(node.test, environment)
            case ast.Expr():
                self.value(node.value, environment)
            case ast.Return():
                value = self.value(node.value, environment) if node.value else NOTHING
                self.frame.returned |= value.on(self.why)
                self.frame.jumped |= self.why
                return None
            case ast.Break() | ast.Continue():
                loop = self.frame.loops[-1]
                (loop.breaks if isinstance(node, ast.Break) else loop.continues).append(dict(environment))
                loop.jumped |= self.why
                return None
        return environment

    def branch(self, node: ast.If, environment: Environment) -> Environment | None:
        conditions = self.conditions
        self.steps += len(environment) // 4  # copies of it cost time too
        self.conditions |= self.truth(node.test, environment)
        first = self.block(node.body, dict(environment))
        second = self.block(node.orelse, dict(environment))
        self.conditions = conditions
        return _either(first, second)

    def loop(self, node: ast.For | ast.While, environment: Environment) -> Environment | None:
        """Run the body until a further round changes nothing."""
        head, loop = dict(environment), _Loop()
        self.frame.loops.append(loop)
        while True:
            before = (dict(head), self.heap.version, self.random, loop.jumped, self.frame.jumped)
            loop.breaks, loop.continues = [], []
            inside = dict(head)
            self.steps += len(head) // 4
            if isinstance(node, ast.For):
                # Evaluated in each round: a loop sees what its body adds to the list.
                given = self.value(node.iter, inside)
                loop.jumped |= self.heap.shape(given)
                leave = dict(inside)
                self.assign(node.target, self.heap.elements(given), inside)
            else:
                loop.jumped |= self.truth(node.test, inside)
                leave = dict(inside)
            after = self.block(node.body, inside)
            joined = _either(head, after, *loop.continues)
            assert joined is not None  # head is one of them
            head = joined
            if before == (head, self.heap.version, self.random, loop.jumped, self.frame.jumped):
                break
        self.frame.loops.pop()
        return _either(leave, *loop.breaks)

    def truth(self, node: ast.expr, environment: Environment) -> int:
        """The sources of whether a value counts as true."""
        found = self.heap.shape(self.value(node, environment))
        self.made |= found
        return found

    # Assignment.

    def assign(self, target: ast.expr, value: Value, environment: Environment) -> None:
        why = self.why
        if isinstance(target, ast.Name):
            environment[target.id] = value.on(why)
        elif isinstance(target, (ast.Tuple, ast.List)):
            self.made |= self.heap.shape(value)
            for position, element in enumerate(target.elts):
                found = Value(value.sources)
                for held in self.heap.of(value):
                    exact = held.kind == "tuple" and len(held.fields) == len(target.elts)
                    found |= held.fields[position].on(held.shape) | held.rest if exact else held.elements
                self.assign(element, found, environment)
        elif isinstance(target, ast.Subscript):
            base = self.value(target.value, environment)
            key = self.value(target.slice, environment)
            self.heap.store(base, key, self.spelled(target.slice), value, why)

    def augment(self, node: ast.AugAssign, environment: Environment) -> None:
        if isinstance(node.target, ast.Name):
            before = self.value(node.target, environment)
        else:
            assert isinstance(node.target, ast.Subscript)  # nothing else passes the check
            base = self.value(node.target.value, environment)
            key = self.value(node.target.slice, environment)
            before = self.heap.lookup(base, key, self.spelled(node.target.slice))
        given = self.value(node.value, environment)
        self.made |= self.heap.shape(before)
        after = before | self.binary(node, node.op, before, given)
        # A list, set or dict is changed in place, under all its names.
        why = self.why | before.sources | self.heap.shape(given)
        if not isinstance(node.op, ast.Add):
            why |= self.heap.deep(before, given)
        for held in self.heap.of(before):
            self.heap.extend(held, given, why)
        if isinstance(node.target, ast.Name):
            environment[node.target.id] = after.on(self.why)
        else:
            self.heap.store(base, key, self.spelled(node.target.slice), after, self.why)

    def spelled(self, node: ast.expr) -> list[Hashable]:
        if isinstance(node, ast.Constant):
            return [node.value]
        if isinstance(node, ast.Name) and isinstance(self.program.constants.get(node.id), ast.Constant):
            return self.spelled(self.program.constants[node.id])
        return []

    # Expressions.

    def value(self, node: ast.expr, environment: Environment) -> Value:
        self.step()
        found = self.evaluate(node, environment)
        self.made |= self.heap.shape(found)
        return found

    def evaluate(self, node: ast.expr, environment: Environment) -> Value:
        match node:
            case ast.Constant():
                return NOTHING
            case ast.Name():
                # A name without a value yet fails; what decides that is with the value that it may have.
                return (
                    environment[node.id] if node.id in environment else self.constants.get(node.id, NOTHING)
                )
            case ast.Tuple():
                return self.pair(node, *[self.value(e, environment) for e in node.elts])
            case ast.List() | ast.Set():
                rest, shape = NOTHING, 0
                for element in node.elts:
                    rest |= self.value(element, environment)
                if isinstance(node, ast.Set):
                    shape = self.heap.deep(rest)
                return self.sequence(node, rest.on(shape), shape)
            case ast.Dict():
                return self.dictionary(node, environment)
            case ast.BoolOp():
                return self.either(node.values, environment, in_turn=True)
            case ast.IfExp():
                conditions = self.conditions
                test = self.truth(node.test, environment)
                self.conditions |= test
                found = self.either([node.body, node.orelse], environment, in_turn=False).on(test)
                self.conditions = conditions
                return found
            case ast.UnaryOp():
                given = self.value(node.operand, environment)
                return Value(
                    self.heap.shape(given) if isinstance(node.op, ast.Not) else self.heap.deep(given)
                )
            case ast.BinOp():
                left, right = self.value(node.left, environment), self.value(node.right, environment)
                return self.binary(node, node.op, left, right)
            case ast.Compare():
                return self.compare(node, environment)
            case ast.Call():
                return self.settled(node, lambda: self.call(node, environment))
            case ast.Attribute():
                return Value(self.heap.deep(self.value(node.value, environment)))
            case ast.Subscript():
                return self.subscript(node, environment)
            case ast.JoinedStr():
                parts = [p.value for p in node.values if isinstance(p, ast.FormattedValue)]
                return Value(self.heap.deep(*[self.value(p, environment) for p in parts]))
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                return self.comprehension(node, dict(environment))
        return Value((1 << len(self.sources)) - 1)  # nothing else passes the check

    def settled(self, node: ast.Call, run: Callable[[], Value]) -> Value:
        """The value once a further run changes nothing, for a call whose arguments hold code that runs many times."""
        found = run()
        many = self.many.get(id(node))
        if many is None:
            many = any(
                isinstance(n, ast.GeneratorExp) or (isinstance(n, ast.Call) and key_function(n))
                for n in ast.walk(node)
            )
            self.many[id(node)] = many
        while many:
            before = (self.heap.version, self.random)
            found |= run()
            many = before != (self.heap.version, self.random)
        return found

    def either(self, nodes: list[ast.expr], environment: Environment, in_turn: bool) -> Value:
        """One of the values. `in_turn`: each is evaluated only if those before it were not enough."""
        conditions, found = self.conditions, NOTHING
        for node in nodes:
            value = self.value(node, environment)
            found |= value
            if in_turn:
                self.conditions |= self.heap.shape(value)
                found = found.on(self.heap.shape(value))
        self.conditions = conditions
        return found

    def dictionary(self, node: ast.Dict, environment: Environment) -> Value:
        value = self.fresh(node, "dict")[1]
        for key_node, value_node in zip(node.keys, node.values, strict=True):
            assert key_node is not None  # ** does not pass the check
            key, content = self.value(key_node, environment), self.value(value_node, environment)
            self.heap.store(value, key, self.spelled(key_node), content, 0)
        return value

    def binary(self, node: ast.AST, operator: ast.operator, left: Value, right: Value) -> Value:
        sources = left.sources | right.sources
        if not left.objects and not right.objects:
            return Value(sources)
        if isinstance(operator, ast.Mod):
            return Value(self.heap.deep(left, right))
        held, value = self.fresh(node, "any")
        shape = self.heap.shape(left, right)
        if not isinstance(operator, (ast.Add, ast.Mult)):
            shape |= self.heap.deep(left, right)
        for part in (*self.heap.of(left), *self.heap.of(right)):
            self.heap.add(held, part.values.on(shape), part.keys.on(part.shape), shape)
        return value.on(sources)

    def compare(self, node: ast.Compare, environment: Environment) -> Value:
        sides = [node.left, *node.comparators]
        values = [self.value(side, environment) for side in sides]
        found = 0
        for position, operator in enumerate(node.ops):
            left, right = values[position], values[position + 1]
            nothing = any(
                isinstance(s, ast.Constant) and s.value is None for s in sides[position : position + 2]
            )
            if isinstance(operator, (ast.Is, ast.IsNot)) or (
                nothing and isinstance(operator, (ast.Eq, ast.NotEq))
            ):
                found |= left.sources | right.sources
            elif isinstance(operator, (ast.In, ast.NotIn)) and all(
                h.kind == "dict" for h in self.heap.of(right)
            ):
                found |= self.heap.deep(left) | self.heap.deep(self.heap.elements(right)) | right.sources
            else:
                found |= self.heap.deep(left, right)
        return Value(found)

    def subscript(self, node: ast.Subscript, environment: Environment) -> Value:
        base = self.value(node.value, environment)
        if not isinstance(node.slice, ast.Slice):
            key = self.value(node.slice, environment)
            return self.heap.lookup(base, key, self.spelled(node.slice))
        ends = [e for e in (node.slice.lower, node.slice.upper, node.slice.step) if e is not None]
        why = self.heap.deep(*[self.value(e, environment) for e in ends]) | self.heap.shape(base)
        if not base.objects:
            return Value(why)
        return self.sequence(node, self.heap.elements(base).on(why), why).on(why)

    def comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, inside: Environment
    ) -> Value:
        held, value = self.fresh(node, "dict" if isinstance(node, ast.DictComp) else "list")
        loop = _Loop()
        self.frame.loops.append(loop)
        while True:
            before = (self.heap.version, self.random, loop.jumped)
            for clause in node.generators:
                given = self.value(clause.iter, inside)
                loop.jumped |= self.heap.shape(given)
                self.assign(clause.target, self.heap.elements(given), inside)
                for condition in clause.ifs:
                    loop.jumped |= self.truth(condition, inside)
            why = self.why
            self.made |= why
            if isinstance(node, ast.DictComp):
                key, content = self.value(node.key, inside), self.value(node.value, inside)
                self.heap.store(value, key, self.spelled(node.key), content, why)
            else:
                element = self.value(node.elt, inside)
                shape = why | self.heap.deep(element) if isinstance(node, ast.SetComp) else why
                self.heap.add(held, rest=element.on(shape), shape=shape)
            if before == (self.heap.version, self.random, loop.jumped):
                break
        self.frame.loops.pop()
        return value

    # Calls.

    def call(self, node: ast.Call, environment: Environment) -> Value:
        callee, program = node.func, self.program
        if isinstance(callee, ast.Name):
            name = callee.id
            if name in program.functions and name not in environment:
                return self.own(node, program.functions[name], environment)
            if self.frame.function and name in program.tables[self.frame.function.name]:
                return self.table(node, environment[name], environment)
        # In the order of the run: what a call changes is seen by what comes behind it.
        path = self.path(callee)
        base = NOTHING
        if isinstance(callee, ast.Attribute) and path is None:
            base = self.value(callee.value, environment)
        given = [self.value(a, environment) for a in node.args]
        named = {
            k.arg or "": self.value(k.value, environment)
            for k in node.keywords
            if k.value is not key_function(node)
        }
        if path is not None:
            return self.module(node, path, given, named)
        if isinstance(callee, ast.Name):
            return self.builtin(node, callee.id, given, named, environment)
        assert isinstance(callee, ast.Attribute)  # nothing else passes the check
        return self.method(node, callee.attr, base, given, named, environment)

    def path(self, node: ast.expr) -> str | None:
        """`random.shuffle`, `datetime.date.fromisoformat` for what a module offers; None for anything else."""
        if isinstance(node, ast.Name):
            return self.program.imports.get(node.id)
        if isinstance(node, ast.Attribute):
            base = self.path(node.value)
            return f"{base}.{node.attr}" if base else None
        return None

    def own(self, node: ast.Call, function: ast.FunctionDef, environment: Environment) -> Value:
        bound = bind(node, function)
        assert isinstance(bound, dict)  # by the check
        tables = self.program.tables[function.name]
        given: Environment = {}
        for name, argument in bound.items():
            # A table is no value: it is passed on under its name.
            if name in tables and isinstance(argument, ast.Name):
                given[name] = environment[argument.id]
            else:
                given[name] = self.value(argument, environment)
        return self.enter(function, id(node), given)

    def table(self, node: ast.Call, table: Value, environment: Environment) -> Value:
        """A look-up: whether there is a row depends on the key, and on which keys the table has."""
        key = self.heap.deep(self.value(node.args[0], environment))
        found = NOTHING
        for _, _, name in sorted(table.objects):
            facts = self.manifest.parameters[name]
            row = self.row(name, list(facts.columns), self.site(node, name))
            found |= row.on(key | self.bits[name, facts.key])
        return found

    def key(self, node: ast.Call, elements: Value, environment: Environment) -> int:
        key, conditions = key_function(node), self.conditions
        self.conditions |= elements.sources
        found = elements
        if isinstance(key, ast.Lambda):
            found = self.value(key.body, environment | {key.args.args[0].arg: elements})
        elif isinstance(key, ast.Name) and key.id in self.program.functions:
            function = self.program.functions[key.id]
            found = self.enter(function, id(key), {parameters(function)[0]: elements})
        self.conditions = conditions
        return self.heap.deep(found)


def analyse(program: Program, manifest: Manifest) -> Dependencies:
    """The sources of each output, of `reasons`, and of `decision made`.

    Args:
        program: rule code that `check_source` found nothing wrong with.
    """
    return _Flow(program, manifest).analyse()
