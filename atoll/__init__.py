"""Atoll: institutions compute together on data that never leave them.

import atoll
node = atoll.connect("http://127.0.0.1:8761", token="atoll_...")
"""

from typing import TYPE_CHECKING, Any

from atoll.errors import AtollError

if TYPE_CHECKING:
    from atoll.client import AsyncClient as AsyncClient
    from atoll.client import Client as Client
    from atoll.client import connect as connect
    from atoll.client import connect_async as connect_async

    __version__: str

__all__ = ["AtollError", "__version__", "connect", "connect_async"]


def __getattr__(name: str) -> Any:
    # The client needs httpx and pyarrow; a worker process that imports atoll does not. Looking the version up takes
    # as long as starting Python.
    if name == "__version__":
        from importlib.metadata import version

        return globals().setdefault(name, version("atoll"))
    if name in ("connect", "connect_async", "AsyncClient", "Client"):
        from atoll import client

        return getattr(client, name)
    raise AttributeError(name)
