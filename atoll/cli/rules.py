"""Quality rules as a file."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from atoll.errors import AtollError


def read_rules(file: str) -> dict[str, Any]:
    """Rules from a TOML or JSON file, or from standard input (`-`); numbers with a point are taken as written."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
        is_json = text.lstrip().startswith("{") if file == "-" else file.lower().endswith(".json")
        body = json.loads(text, parse_float=str) if is_json else tomllib.loads(text, parse_float=str)
    except OSError as error:
        raise AtollError("E_SOURCE", f"cannot read {file}: {error.strerror}.", fault="caller") from None
    except (ValueError, RecursionError) as error:
        raise AtollError("E_FORMAT", f"{file}: {error}.") from None
    if not isinstance(body, dict):
        raise AtollError("E_FORMAT", f"{file}: quality rules are an object with a list `rules`.")
    return body
