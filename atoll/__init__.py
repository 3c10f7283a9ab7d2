"""Atoll: institutions compute together on data that never leave them.

import atoll
node = atoll.connect("http://127.0.0.1:8761", token="atoll_...")
"""

from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

from atoll.errors import AtollError

if TYPE_CHECKING:
    from atoll.client import Client as Client
    from atoll.client import connect as connect

__version__ = _version("atoll")
__all__ = ["AtollError", "__version__", "connect"]


def __getattr__(name: str) -> Any:
    # The client needs httpx and pyarrow; a worker process that imports atoll does not.
    if name in ("connect", "Client"):
        from atoll import client

        return getattr(client, name)
    raise AttributeError(name)
