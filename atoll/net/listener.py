"""The one port that is open to partners. The server name in the first TLS message selects the way.

A random name under `job.atoll` leads to the worker that registered it, `pair.atoll` to pairing, `node.atoll` to the
node's control links, and `older.node.atoll` to the same with the TLS key before the newest. The name is sent in the
clear: it routes and identifies nobody.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

from atoll.crypto.tls import server_name
from atoll.errors import AtollError
from atoll.net.dial import tune
from atoll.net.link import CONTROL_NAME, OLDER_NAME, PAIR_NAME, Log

PEEK_SECONDS = 5.0
MAX_HANDSHAKES = 64
_PEEK = 33 << 10
_JOB_SUFFIX = ".job.atoll"

Take = Callable[[socket.socket], None]


def job_name() -> str:
    """A fresh name of 128 random bits for a worker's route."""
    return secrets.token_hex(16) + _JOB_SUFFIX


class Listener:
    """Accepts and routes. `on_control`, `on_pair` and `on_older` run on a thread per connection and own the
    socket; without `on_older` its connections go to `on_control`."""

    def __init__(
        self,
        host: str,
        port: int,
        on_control: Take,
        on_pair: Take,
        log: Log,
        on_older: Take | None = None,
    ) -> None:
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._sock = socket.create_server((host, port), family=family, backlog=128)
        except OSError as error:
            raise AtollError("E_CONFIG", f"cannot listen on {host}:{port}: {error.strerror}") from None
        self._host = host
        self._on_control, self._on_pair, self._log = on_control, on_pair, log
        self._on_older = on_older or on_control
        self._routes: dict[str, Take] = {}
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._slots = threading.BoundedSemaphore(MAX_HANDSHAKES)
        self._stopping = threading.Event()
        self._peeking: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, name="listener", daemon=True)

    @property
    def address(self) -> str:
        """`host:port` that is bound."""
        port = self._sock.getsockname()[1]
        return f"[{self._host}]:{port}" if ":" in self._host else f"{self._host}:{port}"

    def start(self) -> None:
        """Begins to accept."""
        self._thread.start()

    def stop(self) -> None:
        """Ends accepting and the connections that have not been routed yet."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._routes.clear()
            for sock in self._peeking:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        if self._thread.ident is not None:
            self._thread.join(5)
        self._sock.close()

    def route(self, name: str, take: Take) -> None:
        """Gives connections for `name` (from `job_name`) to `take`; `E_CONFLICT` if the name is in use."""
        with self._lock:
            if not name.endswith(_JOB_SUFFIX) or name in self._routes:
                raise AtollError("E_CONFLICT", f"{name} is not a free route")
            self._routes[name] = take

    def unroute(self, name: str) -> None:
        """Ends a route; an unknown name is no error."""
        with self._lock:
            self._routes.pop(name, None)

    def counters(self) -> dict[str, int]:
        """Connections by what became of them: accepted, control, pair, job, unknown_job, garbage, slow,
        busy."""
        with self._lock:
            return dict(self._counts)

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._sock.accept()
            except OSError:
                if self._stopping.wait(0.05):
                    return
                continue
            self._count("accepted")
            if not self._slots.acquire(blocking=False):
                self._count("busy")
                sock.close()
                continue
            threading.Thread(target=self._serve, args=(sock,), name="listener-peek", daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with self._lock:
                self._peeking.add(sock)
            try:
                take = self._select(sock)
            finally:
                with self._lock:
                    self._peeking.discard(sock)
            if take is None or self._stopping.is_set():
                sock.close()
                return
            sock.settimeout(None)
            tune(sock)
            take(sock)
        except AtollError as error:
            # The taker has told the peer; the code is enough here.
            self._count("refused")
            self._log("listener.refused", {"code": error.code})
        except OSError:
            sock.close()
        except Exception as error:
            self._log("listener.failed", {"error": repr(error)})
            sock.close()
        finally:
            self._slots.release()

    def _select(self, sock: socket.socket) -> Take | None:
        """Looks at the first bytes without taking them."""
        deadline = time.monotonic() + PEEK_SECONDS
        seen = 0
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                data = sock.recv(_PEEK, socket.MSG_PEEK)
            except TimeoutError:
                break
            if not data or (self._stopping.is_set()):
                self._count("garbage")
                return None
            state, name = server_name(data)
            if state == "incomplete":
                # A peek returns at once while old bytes wait: look again a little later.
                time.sleep(0.002 if len(data) > seen else 0.02)
                seen = len(data)
                continue
            if state != "name" or name is None:
                self._count("garbage")
                return None
            return self._taker(name)
        self._count("slow")
        return None

    def _taker(self, name: str) -> Take | None:
        if name.endswith(_JOB_SUFFIX):
            with self._lock:
                take = self._routes.get(name)
            self._count("job" if take else "unknown_job")
            return take
        if name == PAIR_NAME:
            self._count("pair")
            return self._on_pair
        if name in (CONTROL_NAME, OLDER_NAME):
            self._count("control")
            return self._on_control if name == CONTROL_NAME else self._on_older
        self._count("garbage")
        return None
