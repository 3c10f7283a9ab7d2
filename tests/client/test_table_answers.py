"""Answers of an own table's rows, as they arrive: each line is JSON, and who is cut off knows where to go on."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from atoll import AtollError
from atoll.client import Client

HEAD = b'{"asset": "t", "version": "v", "rows": 9, "keys": 9}\n'
ROWS = [b'{"row": %d, "found": false, "rows": [], "error": null, "version": "x"}\n' % row for row in (3, 4)]
ENDS: dict[str, tuple[bytes, str]] = {
    "stopped": (b'{"stopped": {"code": "E_BUSY", "detail": "sealing"}, "row": 5}\n', "E_BUSY"),
    "no JSON": (b"<html>\n", "E_UNREACHABLE"),
    "cut off": (b"", "E_UNREACHABLE"),
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the lines that its server has, and says that more would come."""

    def do_POST(self) -> None:
        server: Any = self.server
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(server.lines) + server.missing))
        self.end_headers()
        self.wfile.write(server.lines)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Any]:
    running: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.missing = 0
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.mark.parametrize("how", ENDS)
def test_who_is_cut_off_is_told_the_next_row(server: Any, how: str) -> None:
    end, code = ENDS[how]
    server.lines, server.missing = HEAD + b"".join(ROWS) + end, 5 if how == "cut off" else 0
    seen: list[tuple[int, int]] = []
    found: list[int] = []
    with Client(f"http://127.0.0.1:{server.server_port}", "t") as client:
        answers = client.lookups.query_table("l", "t", start=3, progress=lambda *at: seen.append(at))
        with pytest.raises(AtollError) as caught:
            found.extend(answer["row"] for answer in answers)
    assert (caught.value.code, caught.value.detail["row"]) == (code, 5)
    assert found == [3, 4]
    assert seen == [(2, 9), (3, 9), (4, 9)]


def test_what_is_no_node_says_no_row(server: Any) -> None:
    server.lines = b"<html>"
    with Client(f"http://127.0.0.1:{server.server_port}", "t") as client, pytest.raises(AtollError) as caught:
        next(client.lookups.query_table("l", "t"))
    assert caught.value.code == "E_UNREACHABLE"
    assert "row" not in caught.value.detail
