"""The databases that tables come from: URLs without a password in clear, and references looked up here only."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atoll.data.sources.address import Address, check_url, resolve
from atoll.data.sources.query import MAX_QUERY
from atoll.errors import AtollError
from atoll.node.config import Config
from atoll.node.vault import Vault

_MAX_SECRET = 4096


class Databases:
    """Turns what a steward says of a database into what is stored, shown, and handed to a worker.

    Args:
        check_path: refuses files that this node must not read, such as its own.
    """

    def __init__(self, config: Config, vault: Vault, check_path: Callable[[str], Path]) -> None:
        self._config, self._vault, self._check_path = config, vault, check_path

    @staticmethod
    def describes(source: dict[str, Any]) -> bool:
        """Whether a source is a database: `{"url": ..., "query": ...}` or `{"url": ..., "table": ...}`."""
        return "url" in source

    def given(self, source: dict[str, Any]) -> dict[str, Any]:
        """The source as a caller gave it, its form checked; `E_FORMAT`."""
        what = set(source) - {"url"}
        texts = all(isinstance(v, str) and 0 < len(v) <= MAX_QUERY for v in source.values())
        if what not in ({"query"}, {"table"}) or not texts:
            raise AtollError(
                "E_FORMAT", 'a database is {"url": ..., "query": ...} or {"url": ..., "table": ...}'
            )
        return source

    def stored(self, name: str, source: dict[str, Any]) -> dict[str, Any]:
        """The form that the state store keeps: a URL that holds a password itself is sealed beside its shown form."""
        shown, secret = check_url(source["url"])
        if not secret:
            return source
        sealed = self._vault.seal(_label(name), source["url"].encode())
        return {**source, "url": shown, "sealed": base64.b64encode(sealed).decode("ascii")}

    @staticmethod
    def shown(source: dict[str, Any]) -> dict[str, Any]:
        """The form that the API shows."""
        return {key: value for key, value in source.items() if key != "sealed"}

    def opened(self, name: str, source: dict[str, Any]) -> dict[str, Any]:
        """What a worker needs to read a given or stored source. It holds the password: send it to a worker only.

        Raises:
            AtollError: `E_SOURCE` for a URL or reference that cannot be used; `E_PASSPHRASE` if the stored URL was
                sealed by another node.
        """
        url = source["url"]
        if "sealed" in source:
            url = self._vault.open(_label(name), base64.b64decode(source["sealed"])).decode()
        address: Address = resolve(url, self._look_up)
        if address.dialect == "sqlite":
            self._check_path(address.database or "")
        what = {key: value for key, value in source.items() if key in ("query", "table")}
        return {"address": address.to_json(), "seconds": float(self._config["data.seconds"]), **what}

    def _look_up(self, kind: str, name: str) -> str:
        allowed: list[str] = self._config["data.secrets"]
        if kind == "ENV":
            if name.startswith("ATOLL_") or (allowed and f"ENV:{name}" not in allowed):
                raise _closed(f"the variable {name}")
            if name not in os.environ:
                raise AtollError(
                    "E_SOURCE",
                    f"the node's environment has no variable {name}",
                    fault="operator",
                    cure="Set it where the node is started, then restart the node.",
                )
            return os.environ[name]
        path = Path(name)
        if allowed and not any(_is_in(path, entry) for entry in allowed if not entry.startswith("ENV:")):
            raise _closed(name)
        if not allowed:
            path = self._check_path(name)
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_SECRET + 1)
            if len(content) > _MAX_SECRET:
                raise AtollError(
                    "E_SOURCE", f"{name} has over {_MAX_SECRET} bytes and is no secret of a database"
                )
            return content.decode().rstrip("\r\n")
        except OSError as error:
            raise AtollError("E_SOURCE", f"cannot read {name}: {error.strerror}", fault="operator") from None
        except UnicodeDecodeError:
            raise AtollError("E_SOURCE", f"{name} is not text", fault="operator") from None


def _closed(what: str) -> AtollError:
    return AtollError(
        "E_SOURCE",
        f"the URL of a database may not name {what} here",
        fault="caller",
        cure="Ask the operator to list it in data.secrets.",
    )


def _is_in(path: Path, entry: str) -> bool:
    real, allowed = path.resolve(), Path(entry).resolve()
    return path.is_absolute() and (real == allowed or real.is_relative_to(allowed))


def _label(name: str) -> str:
    return f"source {name}"
