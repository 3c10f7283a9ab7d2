"""Values and objects of the data flow analysis: which sources each part of a value depends on.

A set of sources is a whole number with a bit for each. Objects stand for all that one place in the code makes; what is
written into them is added and never taken away, so two names for one list, and a row changed in a loop, need no care.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Literal

# Where an object is made: a chain of calls, a place in the code, and a tag.
Site = tuple[int, int, str]
# `any`: a list or a dict, nothing is known of its keys. Sets are lists.
Kind = Literal["list", "dict", "tuple", "any"]


@dataclass(frozen=True)
class Value:
    """`sources`: what it depends on which value this is; `objects`: the lists, dicts and tuples that it may be."""

    sources: int = 0
    objects: frozenset[Site] = frozenset()

    def __or__(self, other: Value) -> Value:
        """Either of both."""
        return Value(self.sources | other.sources, self.objects | other.objects)

    def on(self, sources: int) -> Value:
        """The value, chosen by way of `sources` as well."""
        return Value(self.sources | sources, self.objects)


NOTHING = Value()


@dataclass
class Object:
    """What a list, dict or tuple holds.

    Attributes:
        fields: values under keys that the code spells out.
        rest: all other values. A read of any key joins them.
        keys: keys that the code does not spell out.
        shape: sources of the length, the order and the set of keys.
    """

    kind: Kind
    fields: dict[Hashable, Value] = field(default_factory=dict)
    rest: Value = NOTHING
    keys: Value = NOTHING
    shape: int = 0

    @property
    def values(self) -> Value:
        """Any of the values, with what decides which one stands where."""
        found = self.rest.on(self.shape)
        for value in self.fields.values():
            found |= value
        return found

    @property
    def elements(self) -> Value:
        """What a loop over the object meets."""
        if self.kind == "dict":
            return self.keys.on(self.shape)
        return self.values | self.keys if self.kind == "any" else self.values


class Heap:
    """All objects.

    `version` counts the changes, so that loops know when they are done; `visited` the objects looked at, so that there
    is an end to it.
    """

    def __init__(self) -> None:
        self.objects: dict[Site, Object] = {}
        self.version = 0
        self.visited = 0

    def make(self, site: Site, kind: Kind) -> Object:
        """The object of this place in the code; a later visit finds what the earlier ones put in."""
        found = self.objects.get(site)
        if found is None:
            found = self.objects[site] = Object(kind)
            self.version += 1
        return found

    def add(self, target: Object, rest: Value = NOTHING, keys: Value = NOTHING, shape: int = 0) -> None:
        """Put values under keys that are not spelled out."""
        after = (target.rest | rest, target.keys | keys, target.shape | shape)
        if after != (target.rest, target.keys, target.shape):
            target.rest, target.keys, target.shape = after
            self.version += 1

    def set(self, target: Object, key: Hashable, value: Value) -> None:
        """Put a value under a key that is spelled out."""
        before = target.fields.get(key)
        after = value if before is None else before | value
        if after != before:
            target.fields[key] = after
            self.version += 1

    def of(self, value: Value) -> list[Object]:
        """The objects that a value may be."""
        return [self.objects[site] for site in sorted(value.objects)]

    def deep(self, *values: Value) -> int:
        """The sources of the values and of all that they hold."""
        found, todo = 0, list(values)
        seen: set[Site] = set()
        while todo:
            value = todo.pop()
            found |= value.sources
            for site in value.objects - seen:
                seen.add(site)
                held = self.objects[site]
                self.visited += 1 + len(held.fields)
                found |= held.shape
                todo += [held.rest, held.keys, *held.fields.values()]
        return found

    def shape(self, *values: Value) -> int:
        """The sources of whether the values are empty, and of their lengths and orders."""
        found = 0
        for value in values:
            found |= value.sources
            for held in self.of(value):
                found |= held.shape
        return found

    def elements(self, value: Value) -> Value:
        """What a loop over the value meets; the parts of a text depend on the text."""
        found = Value(value.sources)
        for held in self.of(value):
            found |= held.elements
        return found

    def lookup(self, value: Value, key: Value, known: Iterable[Hashable]) -> Value:
        """`value[key]`. `known`: the key where the code spells it out, else empty."""
        found = Value(value.sources | self.deep(key))
        names = list(known)
        for held in self.of(value):
            if names and held.kind in ("dict", "tuple"):
                found |= held.rest | held.fields.get(names[0], NOTHING)
            else:
                found |= held.values
        return found

    def store(self, value: Value, key: Value, known: Iterable[Hashable], new: Value, why: int) -> None:
        """`value[key] = new`, done because of `why`."""
        why |= value.sources | self.deep(key)
        names = list(known)
        for held in self.of(value):
            if names and held.kind == "dict":
                self.set(held, names[0], new.on(why))
                self.add(held, shape=why)
            elif held.kind == "list":
                self.add(held, rest=new.on(why))
            else:
                self.add(held, rest=new.on(why), keys=Value(self.deep(key), key.objects).on(why), shape=why)

    def extend(self, target: Object, value: Value, why: int) -> None:
        """Add what a list, a set or a dict is made of to one; nothing is added to a tuple."""
        why |= self.shape(value)
        if target.kind in ("dict", "any"):
            self.merge(target, value, why)
        if target.kind in ("list", "any"):
            self.add(target, self.elements(value).on(why), self.elements(value).on(why), why)

    def merge(self, target: Object, value: Value, why: int) -> None:
        """`dict.update`: the pairs of a dict, or of a list of pairs."""
        why |= self.shape(value)
        for held in self.of(value):
            if held.kind == "dict":
                for name, content in held.fields.items():
                    self.set(target, name, content.on(why))
                self.add(target, held.rest.on(why) if held.rest != NOTHING else NOTHING, held.keys, why)
            else:
                # Pairs; or a dict of which nothing is known.
                pairs = held.elements
                inner = (self.elements(pairs) | pairs).on(why | self.deep(pairs))
                self.add(target, inner, inner, inner.sources)
        self.add(target, shape=why)
