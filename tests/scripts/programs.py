"""Small random programs of the rules' subset, which mostly run, and data for them."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

from atoll.scripts.manifest import Manifest, parse
from atoll.scripts.sources import Source

Choose = Callable[[int], int]

MANIFEST: Manifest = parse(
    {
        "format": "atoll.script/v1",
        "name": "random",
        "version": "1.0.0",
        "title": {"en": "Random", "zh": "随机"},
        "purpose": "test",
        "subject": {"name": "claim", "type": "string"},
        "inputs": {
            "claim": {
                "asset": "claims",
                "key": "id",
                "rows": "one",
                "columns": {"a": "int64", "b": "int64", "s": "string"},
            },
            "bills": {
                "asset": "bills",
                "key": "id",
                "rows": "many",
                "columns": {"x": "int64", "y": "int64", "k": "string"},
            },
        },
        "parameters": {
            "table": {"file": "t.csv", "key": "k", "columns": {"k": "string", "v": "int64", "w": "int64"}}
        },
        "arguments": {"p": {"type": "int64", "range": [0, 9]}, "q": {"type": "bool"}},
        "features": {"file": "f.sql", "columns": {"f": "int64", "g": "int64"}},
        "models": {
            "risk": {"file": "m.onnx", "inputs": ["f"], "output": "o", "range": ["0", "9"], "step": "1"}
        },
        "rules": {"file": "rules.py", "entry": "decide"},
        "outputs": {
            "one": {"type": "int64", "range": [-4, 4], "step": 1},
            "two": {"type": "int64", "range": [0, 1000], "step": 2},
            "three": {"type": "choice", "values": ["yes", "no", "check"]},
        },
        "reasons": {c: {"en": c, "zh": c} for c in ("high", "low", "odd")},
        "maximum_reasons": 2,
    }
)
PARAMETERS = ("claim", "bills", "table", "arguments", "features", "risk", "today")
TEXTS = ("u", "v", "w")


class Programs:
    """Writes one program. `choose(n)` gives a number below n, and decides everything."""

    def __init__(self, choose: Choose) -> None:
        self.choose = choose
        self.fresh = 0
        self.lines: list[str] = []
        self.numbers: list[str] = []
        self.lists: list[str] = []
        self.dicts: list[str] = []
        self.rows: list[str] = []
        self.texts: list[str] = []
        self.helpers: list[tuple[str, str]] = []
        self.loops = 0
        self.inside_helper = False

    def pick(self, *options: Any) -> Any:
        return options[self.choose(len(options))]

    def name(self, prefix: str) -> str:
        self.fresh += 1
        return f"{prefix}{self.fresh}"

    def write(self, level: int, text: str) -> None:
        self.lines.append("    " * level + text)

    # Expressions.

    def number(self, depth: int) -> str:
        leaf = ["0", "1", "2", *self.numbers[-6:]]
        if not self.inside_helper:
            leaf += [
                "claim['a']",
                "claim['b']",
                "arguments['p']",
                "features['f']",
                "features['g']",
                "today.day",
            ]
        leaf += [f"{row}['{c}']" for row in self.rows[-2:] for c in "xy"]
        leaf += [f"{d}.get('{k}', 3)" for d in self.dicts[-2:] for k in "abu"]
        leaf += [f"len({n})" for n in self.lists[-2:]]
        if depth <= 0:
            return str(self.pick(*leaf))
        e, b = (lambda: self.number(depth - 1)), (lambda: self.condition(depth - 1))
        forms: list[Callable[[], str]] = [
            lambda: f"({e()} + {e()})",
            lambda: f"({e()} - {e()})",
            lambda: f"({e()} * {e()})",
            lambda: f"({e()} % 3)",
            lambda: f"{self.pick('min', 'max')}({e()}, {e()})",
            lambda: f"({e()} if {b()} else {e()})",
            lambda: f"({e()} or {e()})",
            lambda: f"int({b()})",
            lambda: self.of_list(depth - 1),
            lambda: self.comprehended(depth - 1),
            lambda: f"len({self.listed(0)} {self.pick('or', 'and')} {self.listed(0)})",
            lambda: f"(1 if {b()} and ({self.of_list(0)} or 1) else 2)",
        ]
        if self.dicts:
            forms.append(lambda: f"sum({self.pick(*self.dicts)}.values())")
            forms.append(lambda: f"{self.pick(*self.dicts)}.get({self.text(0)}, {e()})")
            forms.append(lambda: f"{self.pick(*self.dicts)}.setdefault('{self.pick('a', 'b', 'u')}', {e()})")
        forms += [lambda h=h: self.helped(h, depth) for h in self.helpers]
        return str(self.pick(*forms)())

    def helped(self, helper: tuple[str, str], depth: int) -> str:
        name, kind = helper
        if kind == "list":
            return f"{name}({self.listed(0)}, {self.number(depth - 1)})"
        return f"{name}({self.number(depth - 1)}, {self.number(0)})"

    def of_list(self, depth: int) -> str:
        given = self.listed(depth)
        plain = self.pick(*self.lists) if self.lists else "[1, 2]"
        return str(
            self.pick(
                f"sum({given})",
                f"len({given})",
                f"({plain}[0] if {plain} else {self.number(0)})",
                f"({plain}[-1] if len({plain}) > 0 else 1)",
                f"(max({plain}) if {plain} else {self.number(0)})",
                f"min({plain}, default={self.number(0)}, key=lambda v: v % 2)",
                f"({plain}.pop() if {plain} else {self.number(0)})",
                f"{plain}.count({self.number(0)})",
                f"sum(sorted({plain}, key=lambda v: -v)[:1])",
                f"sum([i * v for i, v in enumerate({plain})])",
                f"sum({plain}[{self.number(0)} % 2:])",
            )
        )

    def comprehended(self, depth: int) -> str:
        if self.inside_helper:
            return "1"
        row = self.name("c")
        self.rows.append(row)
        element, test = self.number(min(depth, 1)), self.condition(min(depth, 1))
        self.rows.pop()
        return str(
            self.pick(
                f"sum({element} for {row} in bills if {test})",
                f"len([{element} for {row} in bills if {test}])",
                f"int(any({test} for {row} in bills))",
                f"len({{{element} for {row} in bills}})",
                f"sum({{{row}['k']: {element} for {row} in bills}}.values())",
                f"(sorted(bills, key=lambda {row}: {element})[0]['y'] if bills else 0)",
            )
        )

    def listed(self, depth: int) -> str:
        if self.lists and self.choose(3):
            return str(self.pick(*self.lists))
        return f"[{', '.join(self.number(0) for _ in range(self.choose(3)))}]"

    def text(self, depth: int) -> str:
        leaf = [repr(t) for t in TEXTS] + self.texts[-3:] + [f"{row}['k']" for row in self.rows[-2:]]
        if not self.inside_helper:
            leaf.append("claim['s']")
        if depth > 0 and not self.choose(4):
            return f"({self.text(0)} if {self.condition(0)} else {self.text(0)})"
        return str(self.pick(*leaf))

    def condition(self, depth: int) -> str:
        e = lambda: self.number(depth - 1)  # noqa: E731
        forms: list[Callable[[], str]] = [
            lambda: f"{e()} {self.pick('<', '==', '>', '!=', '<=')} {e()}",
            lambda: f"{self.text(depth - 1)} == {self.text(0)}",
            lambda: f"{e()} in {self.listed(0)}",
            lambda: f"{self.text(0)} in ('u', 'w')",
        ]
        if not self.inside_helper:
            forms += [
                lambda: "arguments['q']",
                lambda: "risk is None",
                lambda: "bills",
                lambda: f"table({self.text(0)}) is None",
                lambda: f"all(r['x'] > {self.number(0)} for r in bills)",
            ]
        if depth > 0:
            forms += [
                lambda: f"({self.condition(depth - 1)} {self.pick('and', 'or')} {self.condition(depth - 1)})",
                lambda: f"not ({self.condition(depth - 1)})",
            ]
        if self.dicts:
            forms.append(lambda: f"{self.text(0)} in {self.pick(*self.dicts)}")
            forms.append(lambda: f"'a' in {self.pick(*self.dicts)}")
        if self.lists:
            forms.append(lambda: str(self.pick(*self.lists)))
        return str(self.pick(*forms)())

    # Statements.

    def block(self, level: int, depth: int, most: int = 3) -> None:
        marks = [len(n) for n in (self.numbers, self.lists, self.dicts, self.rows, self.texts)]
        before = len(self.lines)
        for _ in range(1 + self.choose(most)):
            self.statement(level, depth)
        if len(self.lines) == before:
            self.write(level, "pass")
        # A name that a branch binds may have no value behind it.
        for names, mark in zip(
            (self.numbers, self.lists, self.dicts, self.rows, self.texts), marks, strict=True
        ):
            if level > 1 and self.choose(8):
                del names[mark:]

    def statement(self, level: int, depth: int) -> None:
        forms: list[Callable[[int, int], None]] = [
            self.assign,
            self.assign,
            self.change_list,
            self.change_dict,
        ]
        if depth > 0:
            forms += [self.branch, self.branch, self.loop, self.alias, self.leave]
            if not self.inside_helper:
                forms += [self.look_up, self.reason, self.draw, self.change_row, self.nest]
        self.pick(*forms)(level, depth)

    def assign(self, level: int, depth: int) -> None:
        if self.numbers and self.choose(2):
            target = self.pick(*self.numbers)
            self.write(level, f"{target} {self.pick('=', '+=', '-=')} {self.number(2)}")
        elif not self.choose(4):
            given = self.text(1)
            target = self.name("s")
            self.write(level, f"{target} = {given}")
            self.texts.append(target)
        else:
            given = self.number(2)
            target = self.name("n")
            self.write(level, f"{target} = {given}")
            self.numbers.append(target)

    def change_list(self, level: int, depth: int) -> None:
        if not self.lists or not self.choose(4):
            given = self.listed(0)
            target = self.name("l")
            self.write(level, f"{target} = {given}{self.pick('', '.copy()', '[:]')}")
            self.lists.append(target)
            return
        target = self.pick(*self.lists)
        self.write(
            level,
            self.pick(
                f"{target}.append({self.number(1)})",
                f"{target}.insert({self.number(0)} % 2, {self.number(0)})",
                f"{target}.extend({self.listed(0)})",
                f"{target} += [{self.number(1)}]",
                f"{target}.reverse()",
                f"{target}.sort(key=lambda v: v * {self.number(0)})",
                f"{target}.clear()",
                f"{target} = {target} + [{self.number(0)}]",
                f"{target} = {self.listed(0)} if {self.condition(1)} else {target}",
                f"({target} if {self.condition(1)} else {self.listed(0)}).append({self.number(0)})",
                f"{target} = [v + {self.number(0)} for v in {target} if v != {self.number(0)}]",
            ),
        )
        if not self.choose(4):
            self.write(level, f"if {target}:")
            self.write(level + 1, self.pick(f"{target}[0] = {self.number(1)}", f"{target}.pop(0)"))

    def change_dict(self, level: int, depth: int) -> None:
        if not self.dicts or not self.choose(4):
            given = f"{{'a': {self.number(1)}, {self.text(0)}: {self.number(0)}}}"
            target = self.name("d")
            self.write(level, f"{target} = {given}")
            self.dicts.append(target)
            return
        target = self.pick(*self.dicts)
        self.write(
            level,
            self.pick(
                f"{target}['{self.pick('a', 'b')}'] = {self.number(1)}",
                f"{target}[{self.text(1)}] = {self.number(1)}",
                f"{target}.update({{'b': {self.number(0)}}})",
                f"{target}.update({self.pick(*self.dicts)})",
                f"{target}.pop('{self.pick('a', 'b', 'u')}', 0)",
                f"{target}.pop({self.text(0)}, 0)",
                f"{target} = {target} | {{{self.text(0)}: {self.number(0)}}}",
                f"{target} |= {{'a': {self.number(0)}}}",
                f"{target} = dict({target})",
                f"{target}.clear()",
            ),
        )

    def branch(self, level: int, depth: int) -> None:
        self.write(level, f"if {self.condition(2)}:")
        self.block(level + 1, depth - 1)
        if self.choose(2):
            self.write(level, "else:")
            self.block(level + 1, depth - 1)

    def loop(self, level: int, depth: int) -> None:
        kind = self.choose(6)
        rows, numbers = len(self.rows), len(self.numbers)
        if kind < 2 and not self.inside_helper:
            row = self.name("r")
            order = self.pick("bills", "bills[1:]", "sorted(bills, key=lambda z: z['x'])", "reversed(bills)")
            self.write(level, f"for {row} in {order}:")
            self.rows.append(row)
        elif kind == 2 and not self.inside_helper:
            row, count = self.name("r"), self.name("n")
            self.write(level, f"for {count}, {row} in enumerate(bills):")
            self.rows.append(row)
            self.numbers.append(count)
        elif kind == 3 and self.dicts:
            key, value = self.name("s"), self.name("n")
            self.write(level, f"for {key}, {value} in list({self.pick(*self.dicts)}.items()):")
            self.numbers.append(value)
        elif kind == 4:
            count = self.name("n")
            self.write(level, f"{count} = 0")
            self.write(level, f"while {count} < {self.number(1)} % 4:")
            self.write(level + 1, f"{count} += 1")
        else:
            value = self.name("n")
            self.write(
                level, f"for {value} in {self.pick(f'{self.listed(0)}[:3]', f'range({self.number(1)} % 4)')}:"
            )
            self.numbers.append(value)
        self.loops += 1
        self.block(level + 1, depth - 1)
        self.loops -= 1
        del self.rows[rows:]
        if self.choose(8):
            del self.numbers[numbers:]

    def alias(self, level: int, depth: int) -> None:
        names = self.pick(self.lists, self.dicts, self.numbers)
        if names:
            source = self.pick(*names)
            target = self.name(source[0])
            self.write(level, f"{target} = {source}")
            names.append(target)

    def leave(self, level: int, depth: int) -> None:
        if level < 2 and not self.inside_helper:
            return
        forms = ["return None"] if not self.inside_helper else [f"return {self.number(1)}"]
        if self.loops:
            forms += ["break", "continue"] * 2
        if not self.inside_helper:
            forms += [self.answer(), self.answer(), f"assert {self.condition(1)}"]
        # What was assigned before is what stands when the jump is taken.
        target = self.pick(*self.numbers) if self.numbers and self.choose(2) else None
        if target:
            self.write(level, f"{target} = {self.number(1)}")
        self.write(level, f"if {self.condition(1)}:")
        self.write(level + 1, self.pick(*forms))
        if target:
            self.write(level, f"{target} = {self.choose(3)}")
        elif self.lists and not self.choose(2):
            self.write(level, f"{self.pick(*self.lists)}.append({self.choose(3)})")

    def look_up(self, level: int, depth: int) -> None:
        row, value = self.name("t"), self.name("n")
        self.write(level, f"{value} = {self.number(0)}")
        self.write(level, f"{row} = table({self.text(1)})")
        self.write(level, f"if {row} is not None:")
        self.write(level + 1, f"{value} = {row}['{self.pick('v', 'w')}']")
        if not self.choose(3):
            self.write(level + 1, f"{row}['v'] = {self.number(1)}")
            self.write(level + 1, f"{value} += {row}['v']")
        self.numbers.append(value)

    def reason(self, level: int, depth: int) -> None:
        code = self.pick("high", "low", "odd")
        self.write(level, f"if {self.condition(1)} and '{code}' not in reasons:")
        self.write(level + 1, f"reasons.append('{code}')")

    def draw(self, level: int, depth: int) -> None:
        value = self.name("n")
        form = self.pick(
            "random.randint(0, 3)", f"random.choice([1, 2, {self.number(0)}])", "random.randrange(5)"
        )
        self.write(level, f"{value} = {form}")
        self.numbers.append(value)
        if self.lists and not self.choose(3):
            self.write(level, f"random.shuffle({self.pick(*self.lists)})")

    def change_row(self, level: int, depth: int) -> None:
        row = self.pick(*self.rows) if self.rows else "claim"
        column = self.pick("x", "y") if self.rows else self.pick("a", "b")
        self.write(level, f"{row}['{column}'] = {self.number(1)}")

    def nest(self, level: int, depth: int) -> None:
        target, first, second = self.name("m"), self.name("l"), self.name("n")
        self.write(level, f"{target} = ({self.listed(0)}, {self.number(1)})")
        self.write(level, self.pick(f"{first}, {second} = {target}", f"{first}, {second} = [{target}][0]"))
        self.lists.append(first)
        self.numbers.append(second)
        if self.choose(2):
            holder = self.name("h")
            self.write(level, f"{holder} = {{'in': {first}, 'n': {second}}}")
            self.write(level, f"{holder}['in'].append({self.number(1)})")

    def seen(self) -> str:
        """A number below 4 that tells about one variable."""
        forms = [f"{n} % 4" for n in self.numbers[-8:]]
        for name in self.lists:
            forms += [f"sum({name}) % 4", f"len({name}) % 4", f"({name}[0] if {name} else 3) % 4"]
        for name in self.dicts:
            forms += [f"sum({name}.values()) % 4", f"len({name}) % 4", f"{name}.get('a', 3) % 4"]
            forms.append(f"(list({name}.values()) + [3])[0] % 4")
        return str(self.pick(*forms)) if forms else self.number(1)

    def answer(self) -> str:
        one = self.pick(self.seen(), self.seen(), self.number(0), f"max(-4, min(4, {self.number(1)}))")
        two = self.pick("0", f"{self.seen()} * 2", f"{self.seen()} * 2", f"({self.number(1)}) % 5 * 2")
        three = self.pick(
            "'yes'", f"'yes' if {self.seen()} > 1 else 'no'", f"'yes' if {self.condition(1)} else 'check'"
        )
        reasons = self.pick("reasons", "[]", "reasons[:1]")
        return f"return {{'one': {one}, 'two': {two}, 'three': {three}, 'reasons': {reasons}}}"

    def helper(self) -> None:
        name, kind = self.name("helper"), self.pick("number", "list")
        self.inside_helper = True
        self.numbers, self.lists, self.dicts, self.rows, self.texts = ["b"], [], [], [], []
        if kind == "list":
            self.lists = ["a"]
        else:
            self.numbers.append("a")
        self.write(0, f"def {name}(a, b):")
        self.block(1, 2)
        self.write(1, f"return {self.number(1)}")
        self.inside_helper = False
        self.helpers.append((name, kind))

    def program(self) -> str:
        self.write(0, "import random")
        for _ in range(self.choose(3)):
            self.helper()
        self.numbers, self.lists, self.dicts, self.rows, self.texts = [], [], [], [], []
        self.write(0, f"def decide({', '.join(PARAMETERS)}):")
        if self.choose(3):
            self.write(1, "if claim is None:")
            self.write(2, "return {'one': 0, 'two': 0, 'three': 'no', 'reasons': []}")
        self.write(1, "reasons = []")
        self.block(1, 3, most=8)
        self.write(1, self.answer())
        return "\n".join(self.lines) + "\n"


def data(choose: Choose) -> dict[str, Any]:
    """What rules see, small values. The table is a dict of rows by key."""
    text = lambda: TEXTS[choose(3)]  # noqa: E731
    claim = {"a": choose(4), "b": choose(4), "s": text()} if choose(8) else None
    return {
        "claim": claim,
        "bills": [{"x": choose(4), "y": choose(4), "k": text()} for _ in range(choose(4))],
        "table": {k: {"k": k, "v": choose(4), "w": choose(4)} for k in TEXTS if choose(3)},
        "arguments": {"p": choose(4), "q": bool(choose(2))},
        "features": {"f": choose(4), "g": choose(4)},
        "risk": choose(4) if choose(3) else None,
        "today": datetime.date(2026, 1, 1 + choose(4)),
    }


def changes(visible: dict[str, Any], choose: Choose) -> Iterator[tuple[Source, dict[str, Any]]]:
    """For each source, what rules see with this source changed and nothing else."""
    other = data(choose)
    for place in ("arguments", "features"):
        for column, value in other[place].items():
            yield (place, column), visible | {place: visible[place] | {column: value}}
    if visible["claim"] is not None:
        for column in ("a", "b", "s"):
            value = TEXTS[choose(3)] if column == "s" else choose(4)
            yield ("claim", column), visible | {"claim": visible["claim"] | {column: value}}
    yield ("claim", ""), visible | {"claim": other["claim"] if visible["claim"] is None else None}
    for column in ("x", "y", "k"):
        rows = [r | {column: TEXTS[choose(3)] if column == "k" else choose(4)} for r in visible["bills"]]
        yield ("bills", column), visible | {"bills": rows}
    yield ("bills", ""), visible | {"bills": other["bills"]}
    yield ("bills", ""), visible | {"bills": visible["bills"][::-1]}
    for column in ("v", "w"):
        table = {k: r | {column: choose(4)} for k, r in visible["table"].items()}
        yield ("table", column), visible | {"table": table}
    yield ("table", "k"), visible | {"table": other["table"]}
    yield ("risk", ""), visible | {"risk": other["risk"]}
    yield ("today", ""), visible | {"today": other["today"]}
