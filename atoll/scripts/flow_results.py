"""What calls of builtins, methods and modules make of the sources of their arguments."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Hashable

from atoll.scripts.flow_heap import NOTHING, Heap, Kind, Object, Site, Value

Environment = dict[str, Value]


class Results(ABC):
    """Knows each builtin, method and module function that passes the check.

    Attributes:
        made: sources of whether there is a decision.
        random: sources of which random number comes next.
    """

    def __init__(self) -> None:
        self.heap = Heap()
        self.made = 0
        self.random = 0

    @property
    @abstractmethod
    def why(self) -> int:
        """What decides whether this step happens."""

    @property
    @abstractmethod
    def chain(self) -> int:
        """The chain of calls that led here."""

    @abstractmethod
    def key(self, node: ast.Call, elements: Value, environment: Environment) -> int:
        """The sources of what a sort, min or max compares."""

    @abstractmethod
    def spelled(self, node: ast.expr) -> list[Hashable]:
        """The key, if the code spells it out; else nothing."""

    def site(self, node: ast.AST, tag: str = "") -> Site:
        return (self.chain, id(node), tag)

    def fresh(self, node: ast.AST, kind: Kind, tag: str = "") -> tuple[Object, Value]:
        site = self.site(node, tag)
        return self.heap.make(site, kind), Value(0, frozenset({site}))

    def sequence(self, node: ast.AST, rest: Value, shape: int, tag: str = "") -> Value:
        """A new list."""
        held, value = self.fresh(node, "list", tag)
        self.heap.add(held, rest=rest, shape=shape)
        return value

    def pair(self, node: ast.AST, *parts: Value) -> Value:
        """A new tuple."""
        held, value = self.fresh(node, "tuple", f"pair{len(parts)}")
        for position, part in enumerate(parts):
            self.heap.set(held, position, part)
        return value

    def draw(self, sources: int) -> int:
        """A random number: how many were drawn before decides which one this is."""
        self.random |= self.why | sources
        return self.random

    def module(self, node: ast.Call, path: str, given: list[Value], named: Environment) -> Value:
        everything = self.heap.deep(*given, *named.values())
        if not path.startswith("random."):
            return Value(everything)
        if path in ("random.choice", "random.sample", "random.shuffle"):
            shape = self.heap.shape(*given, *named.values())
            drawn = self.draw(shape)
            elements = self.heap.elements(given[0]).on(drawn) if given else NOTHING
            if path == "random.choice":
                return elements
            if path == "random.sample":
                return self.sequence(node, elements, shape)
            for held in self.heap.of(given[0]) if given else ():
                self.heap.add(held, rest=Value(drawn))
            return NOTHING
        return Value(self.draw(everything))

    def builtin(
        self, node: ast.Call, name: str, given: list[Value], named: Environment, environment: Environment
    ) -> Value:
        heap = self.heap
        everything = heap.deep(*given, *named.values())
        if name in ("len", "bool"):
            return Value(heap.shape(*given))
        if name in ("max", "min"):
            elements = heap.elements(given[0]) if len(given) == 1 else NOTHING
            for value in given if len(given) > 1 else named.values():
                elements |= value
            return elements.on(self.key(node, elements, environment) | heap.shape(*given[:1]))
        if name == "dict":
            held, value = self.fresh(node, "dict")
            for argument in given:
                heap.merge(held, argument, 0)
            for keyword, content in named.items():
                heap.set(held, keyword, content)
            return value
        if name == "range":
            return self.sequence(node, Value(everything), everything)
        if name == "divmod":
            return self.pair(node, Value(everything), Value(everything))
        shape = heap.shape(*given, *named.values())
        if name == "zip":
            return self.sequence(node, self.pair(node, *[heap.elements(v).on(shape) for v in given]), shape)
        elements = heap.elements(given[0]) if given else NOTHING
        if name == "enumerate":
            return self.sequence(node, self.pair(node, Value(shape), elements), shape)
        if name in ("list", "tuple", "reversed"):
            return self.sequence(node, elements.on(shape), shape)
        if name in ("set", "frozenset"):
            shape |= everything
            return self.sequence(node, elements.on(shape), shape)
        if name == "sorted":
            order = self.key(node, elements, environment) | shape
            self.made |= order
            return self.sequence(node, elements.on(order), shape)
        if name == "sum" and (elements.objects or any(v.objects for v in given[1:]) or named):
            total = self.sequence(node, heap.elements(elements).on(everything), everything).on(everything)
            for start in (*given[1:], *named.values()):
                total |= start | self.sequence(node, heap.elements(start).on(everything), everything)
            return total
        return Value(everything)

    def method(
        self,
        node: ast.Call,
        name: str,
        base: Value,
        given: list[Value],
        named: Environment,
        environment: Environment,
    ) -> Value:
        heap, objects = self.heap, self.heap.of(base)
        everything = heap.deep(base, *given, *named.values())
        why = self.why | base.sources
        known = self.spelled(node.args[0]) if node.args else []
        first = given[0] if given else NOTHING
        self.made |= heap.shape(base)
        if name in ("append", "add", "insert"):
            # A set drops what it has: its size tells about the values.
            shape = why | (everything if name == "add" else heap.deep(*given[:-1]))
            for held in objects:
                heap.add(held, rest=(given[-1] if given else NOTHING).on(shape), shape=shape)
            return NOTHING
        if name in ("extend", "update"):
            for held in objects:
                # A set drops what it has.
                shape = why | (everything if name == "update" and held.kind != "dict" else 0)
                for argument in given:
                    heap.extend(held, argument, shape)
            return NOTHING
        if name in ("clear", "pop", "remove", "discard"):
            return self.take(name, base, given, known)
        if name in ("sort", "reverse"):
            order = why | heap.deep(*given, *named.values())
            for held in objects:
                compared = self.key(node, held.elements, environment) if name == "sort" else 0
                self.made |= compared
                heap.add(held, rest=Value(order | compared))
            return NOTHING
        if name in ("get", "setdefault"):
            default = given[1] if len(given) > 1 else NOTHING
            found = heap.lookup(base, first, known)
            if name == "setdefault":
                heap.store(base, first, known, default.on(found.sources), self.why)
            # Whether the key is there is with the value under it, or with the shape for a key that is not spelled out.
            return found | default
        if name == "copy":
            return self.copy(node, base)
        if name in ("keys", "values", "items"):
            shape, keys, values = base.sources, Value(base.sources), Value(base.sources)
            for held in objects:
                shape, keys, values = shape | held.shape, keys | held.keys, values | held.values
            keys, values = keys.on(shape), values.on(shape)
            rest = {"keys": keys, "values": values}.get(name) or self.pair(node, keys, values)
            return self.sequence(node, rest, shape)
        if name in ("split", "rsplit", "partition"):
            return self.sequence(node, Value(everything), everything)
        if name in ("intersection", "union", "difference"):
            rest = heap.elements(base)
            for argument in given:
                rest |= heap.elements(argument)
            return self.sequence(node, rest.on(everything), everything).on(base.sources)
        return Value(everything)

    def take(self, name: str, base: Value, given: list[Value], known: list[Hashable]) -> Value:
        """What takes values away: what is left tells which."""
        heap = self.heap
        found = NOTHING
        why = self.why | base.sources | heap.deep(*given[:1])
        if name == "pop":
            found = heap.lookup(base, given[0], known) if given else heap.elements(base)
            found = found.on(heap.shape(base))
            for default in given[1:]:
                found |= default
        elif name in ("remove", "discard"):
            why |= heap.deep(base)
            self.made |= why
        for held in heap.of(base):
            heap.add(held, rest=Value(why), shape=why)
        return found

    def copy(self, node: ast.AST, base: Value) -> Value:
        """A new object for each kind that the value may be, with the same content."""
        found = Value(base.sources)
        for held in self.heap.of(base):
            target, value = self.fresh(node, held.kind, held.kind)
            for name, content in held.fields.items():
                self.heap.set(target, name, content)
            self.heap.add(target, held.rest, held.keys, held.shape)
            found |= value
        return found
