"""Running a node as a process: partner port, REST API, signals, clean shutdown."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from atoll.errors import AtollError
from atoll.node import logs
from atoll.node.api.app import build
from atoll.node.home import API, Home
from atoll.node.node import Node


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # asyncio sets this only on sockets that name their protocol; without it each answer waits for an acknowledgement.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise AtollError(
            "E_CONFIG",
            f"api.listen = {host}:{port} cannot be opened: {error.strerror}",
            cure="Choose another address, or stop what uses it.",
        ) from None
    sock.listen(128)
    return sock


def serve(
    path: Path, passphrase: str, started: Callable[[Node, str], None] = lambda node, address: None
) -> None:
    """Runs the node in a folder until it is told to stop (SIGINT, SIGTERM).

    Args:
        started: called with the node and the API's address once both ports answer.
    """
    home = Home.open(path)
    logs.configure(home.config["logs.level"], home.config["logs.format"])
    with home.only_one():
        node = Node(home, passphrase)
        host, port = home.config.api_listen
        sock = _listen(host, port)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{sock.getsockname()[1]}"
        app = build(node)

        @contextlib.asynccontextmanager
        async def lifespan(_app: Any) -> Any:
            node.start()
            (home.path / API).write_text(address)
            started(node, address)
            try:
                yield
            finally:
                node.stop()
                (home.path / API).unlink(missing_ok=True)

        app.router.lifespan_context = lifespan
        config = uvicorn.Config(
            app, log_config=None, access_log=False, timeout_graceful_shutdown=3, lifespan="on", ws="none"
        )
        uvicorn.Server(config).run(sockets=[sock])
