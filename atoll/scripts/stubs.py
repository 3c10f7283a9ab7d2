"""Type stubs of what rules see, for the type checker and for authors' annotations.

`bills` with `rows = "many"` gives `Bills`, the type of one row. A table `tariff` gives `TariffRow`, the type of a row,
and `Tariff`, the type of the table itself. There are `Arguments`, `Features`, `Answer`, `Date` and `Timestamp`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from atoll.scripts.manifest import Choice, Manifest, Number, column_facts

_TYPES = {
    "string": "str",
    "int64": "int",
    "decimal": "int",
    "float64": "float",
    "bool": "bool",
    "date": "Date",
    "timestamp": "Timestamp",
}
_TAKEN = (
    "Answer",
    "Arguments",
    "Callable",
    "Date",
    "Features",
    "Literal",
    "NotRequired",
    "Timestamp",
    "TypedDict",
)


@dataclass(frozen=True)
class Types:
    """`declarations`: Python text; `parameters`: the type of each name that the entry function may have; `answer`."""

    declarations: str
    parameters: Mapping[str, str]
    answer: str


def _camel(name: str, used: set[str]) -> str:
    """`drug_list` as `DrugList`, with _ behind it where that is taken."""
    found = "".join(part.capitalize() for part in name.split("_"))
    while found in used:
        found += "_"
    used.add(found)
    return found


def _column(text: str) -> str:
    facts = column_facts(text)
    return _TYPES[facts.type] + (" | None" if facts.nullable else "")


def _row(name: str, columns: Mapping[str, str]) -> str:
    # Column names are any text, so they are keys of a dict and not names of a class.
    return f"{name} = TypedDict({name!r}, {{{', '.join(f'{c!r}: {t}' for c, t in columns.items())}}})"


def _literal(values: Iterable[str]) -> str:
    return f"Literal[{', '.join(repr(v) for v in values)}]"


def types(manifest: Manifest) -> Types:
    """The types of all that rules of this manifest see and answer."""
    lines = [
        "import datetime",
        "from collections.abc import Callable",
        "from typing import Literal, NotRequired, TypedDict",
        "Date = datetime.date",
        "Timestamp = datetime.datetime",
    ]
    used, parameters = set(_TAKEN), {"today": "Date"}
    for name, given in manifest.inputs.items():
        row = _camel(name, used)
        lines.append(_row(row, {c: _column(t) for c, t in given.columns.items()}))
        parameters[name] = f"{row} | None" if given.rows == "one" else f"list[{row}]"
    for name, table in manifest.parameters.items():
        look_up, row = _camel(name, used), _camel(f"{name}_row", used)
        lines.append(_row(row, {c: _column(t) for c, t in table.columns.items()}))
        lines.append(
            f"{look_up} = Callable[[{_TYPES[column_facts(table.columns[table.key]).type]}], {row} | None]"
        )
        parameters[name] = look_up
    arguments = {
        name: _literal(a.values) if a.values else _TYPES[a.type] for name, a in manifest.arguments.items()
    }
    lines.append(_row("Arguments", arguments))
    parameters["arguments"] = "Arguments"
    if manifest.features:
        lines.append(_row("Features", {c: _column(t) for c, t in manifest.features.columns.items()}))
        parameters["features"] = "Features"
    parameters |= dict.fromkeys(manifest.models, "int | None")
    answer = {
        name: _literal(o.values) if isinstance(o, Choice) else "int" if isinstance(o, Number) else "bool"
        for name, o in manifest.outputs.items()
    }
    answer["reasons"] = f"NotRequired[list[{_literal(manifest.reasons) if manifest.reasons else 'str'}]]"
    lines.append(_row("Answer", answer))
    return Types("\n".join(lines) + "\n", parameters, "Answer | None")


def stubs(manifest: Manifest) -> str:
    """Declarations of the inputs, parameter tables, arguments, features and answer of the manifest."""
    return types(manifest).declarations
