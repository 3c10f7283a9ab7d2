"""Writes the parts of the reference pages that follow from the code: commands, endpoints, roles.

    python scripts/reference_pages.py

What stands above the first heading of cli.md and rest.md, and above the table of roles.md, is written by hand and
kept. Tests compare the pages with the code; this script makes them equal.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from atoll.cli.app import _register, app
from atoll.node.access import ROLES
from atoll.node.api.app import build
from atoll.node.home import init
from atoll.node.node import open_node

PAGES = Path(__file__).resolve().parents[1] / "docs" / "reference"

# Heading of each part of the command line -> first words of its commands, in the order of the page.
COMMANDS: dict[str, tuple[str, ...]] = {
    "The node": ("demo", "init", "node", "recover", "status", "errors", "keys"),
    "Persons and tokens": ("person", "token", "access-log"),
    "Partners": ("peer", "roster"),
    "Tables": ("data",),
    "Offers and agreements": ("publish", "offer", "catalog", "agreement", "consent"),
    "Policy": ("policy",),
    "Asking": ("join", "intersect", "totals"),
    "Jobs": ("job", "approve", "refuse"),
    "Standing services": ("lookup", "query", "echo"),
    "Visiting scripts": ("script",),
    "Schedules": ("schedule",),
    "Evidence": ("ledger", "audit", "bill"),
}
# Heading of each part of the API -> tag of its routes.
TAGS = {
    "Node": "node",
    "Persons and tokens": "persons",
    "Partners": "peers",
    "Rosters": "rosters",
    "Data": "data",
    "Offers and catalogue": "offers",
    "Agreements": "agreements",
    "Consents": "consents",
    "Jobs, services, schedules, policy": "jobs",
    "Lookups": "query",
    "Visiting scripts": "scripts",
    "Ledger": "ledger",
    "Audit": "audit",
    "Billing": "billing",
}
SHARED = {"dir", "url", "token", "as_", "json", "lang"}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# Commands.


def _commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


def _word(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        names = [parameter.metavar or parameter.name.upper()]
    else:
        names = [*sorted(parameter.opts, key=lambda o: not o.startswith("--")), *parameter.secondary_opts]
    return ", ".join(f"`{_cell(name)}`" for name in names)


def _default(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return "" if parameter.required else "optional"
    if parameter.required:
        return "required"
    value = parameter.default
    if not value or callable(value) or "UNSET" in str(value).upper():
        return ""
    return f"default `{str(value).lower() if isinstance(value, bool) else value}`"


def _command(path: tuple[str, ...], command: Any) -> str:
    out = [
        f"### `atoll {' '.join(path)}`",
        "",
        (command.help or "").split("\n\n")[0].replace("\n", " ").strip(),
        "",
    ]
    if path == ("demo",):
        return "\n".join([*out, "The options are the demo's own: `atoll demo --help`.", ""])
    own = [p for p in command.params if p.name not in SHARED and "--help" not in p.opts]
    if own:
        out += ["| word | meaning | |", "|---|---|---|"]
        out += [f"| {_word(p)} | {_cell(p.help or '')} | {_default(p)} |" for p in own]
        out.append("")
    return "\n".join(out)


def commands() -> str:
    """The command line's page below its introduction."""
    _register()
    known = dict(_commands(typer.main.get_command(app)))
    missing = {path[0] for path in known} - {word for words in COMMANDS.values() for word in words}
    if missing:
        raise SystemExit(f"COMMANDS has no heading for {', '.join(sorted(missing))}")
    out = []
    for heading, words in COMMANDS.items():
        chosen = [(path, c) for word in words for path, c in known.items() if path[0] == word]
        if chosen:
            out += [f"## {heading}\n", *(_command(path, c) for path, c in chosen)]
    return "\n".join(out)


# Endpoints.


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        parts = [_type(s) for s in schema["anyOf"]]
        return " or ".join(parts)
    if "enum" in schema:
        return " or ".join(f"`{v}`" for v in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "$ref" in schema:
        return "object"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any value"))


def _parameter(name: str, where: str, schema: dict[str, Any], required: bool) -> str:
    text = f"- `{name}` ({where}, {_type(schema)}"
    if required and where != "path":
        text += ", required"
    if schema.get("default") not in (None, [], {}, "", 0) or schema.get("default") is False:
        text += f", default `{schema['default']}`"
    return text + ")"


def _endpoint(schema: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    roles = operation.get("x-roles", [])
    said = operation["description"].split("\n\n")[0].replace("\n", " ")
    out = [f"### `{method.upper()} {path}`", "", said, ""]
    out += [f"Roles: {', '.join(f'`{r}`' for r in roles)}." if roles else "Roles: none needed.", ""]
    found = [
        _parameter(p["name"], p["in"], p["schema"], p.get("required", False))
        for p in operation.get("parameters", [])
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if body and "$ref" not in body:
        found.append("- the body is the document itself, a JSON object")
    model = schema["components"]["schemas"].get(body.get("$ref", "").rpartition("/")[2], {})
    found += [
        _parameter(name, "body", field, name in model.get("required", []))
        for name, field in model.get("properties", {}).items()
    ]
    return "\n".join([*out, *found, *([""] if found else [])])


def endpoints(schema: dict[str, Any]) -> str:
    """The API's page below its introduction."""
    all_ = [(m, p, o) for p, operations in schema["paths"].items() for m, o in operations.items()]
    missing = {o["tags"][0] for _, _, o in all_} - set(TAGS.values())
    if missing:
        raise SystemExit(f"TAGS has no heading for {', '.join(sorted(missing))}")
    out = []
    for heading, tag in TAGS.items():
        chosen = [(m, p, o) for m, p, o in all_ if o["tags"][0] == tag]
        if chosen:
            out += [f"## {heading}\n", *(_endpoint(schema, m, p, o) for m, p, o in chosen)]
    return "\n".join(out)


def roles(schema: dict[str, Any]) -> str:
    """The table of the page on roles."""
    out = [f"| endpoint | {' | '.join(ROLES)} |", "|---" * (len(ROLES) + 1) + "|"]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            may = operation.get("x-roles", [])
            marks = " | ".join("x" if role in may else "" for role in ROLES)
            out.append(f"| `{method.upper()} {path}` | {marks} |")
    return "\n".join(out) + "\n"


def _schema() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "node"
        init(place, "Reference", "a passphrase for one page")
        node = open_node(place, "a passphrase for one page")
        try:
            return build(node).openapi()
        finally:
            node.store.close()


def _write(name: str, start: str, body: str, end: str = "") -> None:
    page = PAGES / name
    head = page.read_text(encoding="utf-8").partition(start)[0]
    page.write_text(head + body.rstrip("\n") + "\n" + end, encoding="utf-8")


def main() -> None:
    """Writes all three pages."""
    schema = _schema()
    _write("cli.md", "## ", commands())
    _write("rest.md", "## ", endpoints(schema))
    end = "\n`GET /health` needs no token and says nothing but whether the process answers.\n"
    _write("roles.md", "| endpoint |", roles(schema), end)


if __name__ == "__main__":
    main()
