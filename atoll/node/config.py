"""The node's settings: `atoll.toml`, every key with its comment, read strictly."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoll.errors import AtollError


@dataclass(frozen=True)
class Setting:
    """One key: its section, name, default and the comment that stands above it in the file."""

    section: str
    name: str
    default: Any
    comment: str
    low: int | None = None
    high: int | None = None


SETTINGS: tuple[Setting, ...] = (
    Setting("node", "name", "", "Name of the institution, as partners see it. 1 to 64 characters."),
    Setting("node", "language", "en", "Language of disclosure statements in logs and CLI output: en or zh."),
    Setting(
        "partners",
        "listen",
        "0.0.0.0:8760",
        "The one address that serves partners, host:port. Port 0 takes a free one.\n"
        "Leave it empty on a node that may only dial out: its partners must then have an address.",
    ),
    Setting(
        "partners",
        "address",
        "",
        "The host:port that partners dial to reach this node, put into invites.\n"
        "Empty: taken from `listen` when that names a host, else this node is dial-only.",
    ),
    Setting(
        "partners",
        "silence_seconds",
        10,
        "A one-shot job ends after this many seconds of a partner's silence. Seconds.",
        1,
        3600,
    ),
    Setting(
        "api",
        "listen",
        "127.0.0.1:8761",
        "Address of REST API and console, host:port. Port 0 takes a free one. Keep it on a loopback or\n"
        "internal address; put a TLS reverse proxy in front of it when people use it from other machines.",
    ),
    Setting(
        "api",
        "hosts",
        [],
        "Further host names under which the API may be called (the Host header is checked).",
    ),
    Setting(
        "api",
        "origins",
        [],
        "Web origins that may call the API from a browser, for example https://atoll.bank.example.",
    ),
    Setting(
        "state",
        "url",
        "",
        "SQLAlchemy URL of the state store. Empty: an SQLite file in the node's folder.\n"
        "PostgreSQL for production: postgresql+psycopg://user@host/database",
    ),
    Setting("jobs", "concurrent", 4, "Jobs that may run at the same time, standing services apart.", 1, 256),
    Setting("jobs", "services", 32, "Standing services that may run at the same time.", 1, 4096),
    Setting("jobs", "threads", 0, "Threads a worker may use. 0: one for each processor.", 0, 256),
    Setting("jobs", "memory_bytes", 2_147_483_648, "Memory budget of one worker. Bytes.", 67_108_864, None),
    Setting("jobs", "seconds", 3600, "Time budget of one job. Seconds.", 1, 604_800),
    Setting(
        "jobs",
        "kept_runs",
        1000,
        "A key of a kept join is replaced after so many runs. The next run then sends all anew.",
        1,
        1_000_000,
    ),
    Setting("jobs", "kept_days", 90, "A key of a kept join is replaced after so many days. Days.", 1, 3660),
    Setting(
        "jobs",
        "kept_keys",
        10_000_000,
        "Keys that are answered under one key of a kept join, at most. What is more is refused until it is replaced.",
        1,
        1_099_511_627_776,
    ),
    Setting(
        "data",
        "folders",
        [],
        "Folders from which tables may be added by path through the API. Empty: any folder that the node's\n"
        "user can read, for calls of an administrator or steward.",
    ),
    Setting(
        "data",
        "secrets",
        [],
        "What the URL of a database may name as ${FILE:/full/path} or ${ENV:NAME}: files, folders, and ENV:NAME.\n"
        "Empty: any file that may be added as a table, and any variable whose name does not begin with ATOLL_.",
    ),
    Setting(
        "data",
        "memory_bytes",
        1_073_741_824,
        "Memory that a process may use that reads a table from a database. Bytes.",
        67_108_864,
        None,
    ),
    Setting(
        "data", "seconds", 900, "Time that reading one table from a database may take. Seconds.", 1, 86_400
    ),
    Setting(
        "data",
        "live_keep_days",
        30,
        "Rows that were read for one job from a live table are erased so many days after the job ended. Days.",
        0,
        36_500,
    ),
    Setting(
        "ledger",
        "standing_seconds",
        5,
        "At a start the node asks its partners how much of its own logs they hold, and records nothing before\n"
        "they answered. Partners that do not answer are waited for so long. Seconds.",
        0,
        3600,
    ),
    Setting(
        "ledger",
        "witness_for",
        [],
        "Names of partners whose logs this node cosigns as an independent witness, where their agreements name\n"
        "it. It sees sizes, roots and times of their logs, and nothing of what they hold.",
    ),
    Setting(
        "audit",
        "replay_for",
        [],
        "Names of partners for whom this node runs replays of their jobs, where their agreements name it as a\n"
        "host. It then holds their inputs while it runs, and erases them.",
    ),
    Setting(
        "audit",
        "replay_bytes",
        4_294_967_296,
        "Most bytes that a partner may send for one replay at this node. Bytes.",
        1_048_576,
        None,
    ),
    Setting("logs", "level", "info", "debug, info, warning or error. No level logs data values."),
    Setting("logs", "format", "json", "json or text."),
)
SECTIONS = {
    "node": "Who this node is.",
    "partners": "The port that is open to partners.",
    "api": "REST API and console.",
    "state": "Where the node keeps its state.",
    "jobs": "Budgets of the worker processes.",
    "data": "Reading of tables.",
    "ledger": "Evidence.",
    "audit": "Replays that this node runs for partners.",
    "logs": "Structured logs, on standard error.",
}


def _write(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_write(v) for v in value) + "]"
    if isinstance(value, int):
        return f"{value:_}" if value >= 100_000 else str(value)
    escaped = "".join(
        c
        if c.isprintable() and c not in '"\\'
        else f"\\u{ord(c):04x}"
        if ord(c) < 0x10000
        else f"\\U{ord(c):08x}"
        for c in str(value)
    )
    return f'"{escaped}"'


def render(values: dict[str, Any]) -> str:
    """The text of `atoll.toml` with every key commented; `values` maps `section.name` to a value."""
    lines = ["# Settings of this Atoll node. Restart the node after a change.", ""]
    for section, title in SECTIONS.items():
        lines += [f"# {title}", f"[{section}]"]
        for setting in SETTINGS:
            if setting.section == section:
                lines += [f"# {line}" for line in setting.comment.split("\n")]
                value = values.get(f"{section}.{setting.name}", setting.default)
                lines.append(f"{setting.name} = {_write(value)}")
        lines.append("")
    return "\n".join(lines)


def parse_address(text: str, what: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port` as a pair; `E_CONFIG` names the setting `what`."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise AtollError("E_CONFIG", f"{what} = {text!r} is not host:port")
    return host, int(port)


@dataclass(frozen=True)
class Config:
    """Checked settings. `config["jobs.seconds"]` reads one."""

    values: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    @property
    def partner_listen(self) -> tuple[str, int] | None:
        """Address of the partner port, or None on a node that only dials out."""
        text = self["partners.listen"]
        return parse_address(text, "partners.listen") if text else None

    @property
    def api_listen(self) -> tuple[str, int]:
        """Address of the REST API."""
        return parse_address(self["api.listen"], "api.listen")


def _check(setting: Setting, value: Any) -> Any:
    name = f"{setting.section}.{setting.name}"
    kind = type(setting.default)
    if type(value) is not kind:
        raise AtollError("E_CONFIG", f"{name} must be a {kind.__name__}, got {value!r}")
    if kind is list and not all(isinstance(v, str) for v in value):
        raise AtollError("E_CONFIG", f"{name} must be a list of strings")
    if kind is int and (
        (setting.low is not None and value < setting.low)
        or (setting.high is not None and value > setting.high)
    ):
        raise AtollError("E_CONFIG", f"{name} = {value} is outside {setting.low} to {setting.high or 'any'}")
    choices = {
        "node.language": ("en", "zh"),
        "logs.level": ("debug", "info", "warning", "error"),
        "logs.format": ("json", "text"),
    }.get(name)
    if choices and value not in choices:
        raise AtollError("E_CONFIG", f"{name} = {value!r} is not one of {', '.join(choices)}")
    return value


def load(path: Path) -> Config:
    """Reads and checks `atoll.toml`.

    Raises:
        AtollError: `E_CONFIG` naming file and setting for unknown keys, wrong types and values out of range.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AtollError(
            "E_CONFIG", f"{path} does not exist", cure='Run `atoll init DIR --name "…"` first.'
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AtollError("E_CONFIG", f"{path}: {error}") from None
    known = {(s.section, s.name): s for s in SETTINGS}
    values = {f"{s.section}.{s.name}": s.default for s in SETTINGS}
    for section, body in raw.items():
        if section not in SECTIONS or not isinstance(body, dict):
            raise AtollError("E_CONFIG", f"{path}: unknown section [{section}]")
        for name, value in body.items():
            if (section, name) not in known:
                raise AtollError("E_CONFIG", f"{path}: unknown setting {section}.{name}")
            values[f"{section}.{name}"] = _check(known[section, name], value)
    config = Config(values)
    if not 1 <= len(config["node.name"]) <= 64 or not config["node.name"].isprintable():
        raise AtollError("E_CONFIG", f"{path}: node.name must have 1 to 64 printable characters")
    _ = config.partner_listen, config.api_listen
    if config["partners.address"]:
        parse_address(config["partners.address"], "partners.address")
    return config
