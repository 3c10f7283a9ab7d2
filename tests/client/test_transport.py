"""The client against servers that are absent, slow, or not an Atoll node."""

from __future__ import annotations

import http.server
import json
import threading
from contextlib import contextmanager

import pytest

import atoll
from atoll import AtollError
from atoll.client import Client
from atoll.client.transport import is_loopback, segment


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each path with what the test wants."""

    def do_GET(self) -> None:
        if self.path == "/slow":
            threading.Event().wait(1.5)
        status, kind, body = self.server.answers.get(self.path, (200, "text/html", b"<html>a router</html>"))
        self.server.seen.append((self.path, dict(self.headers)))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        """Quiet."""


@contextmanager
def server(answers):
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.answers, running.seen = answers, []
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}", running.seen
    finally:
        running.shutdown()
        running.server_close()


def test_no_node_answers() -> None:
    with Client("http://127.0.0.1:9", "atoll_a_b") as client, pytest.raises(AtollError) as caught:
        client.info()
    assert caught.value.code == "E_UNREACHABLE"
    assert "127.0.0.1:9" in caught.value.text
    assert "atoll node" in caught.value.cure


def test_a_node_that_does_not_answer_in_time() -> None:
    with server({}) as (url, _), Client(url, "t", timeout=0.2) as client, pytest.raises(AtollError) as caught:
        client.transport.call("GET", "/slow")
    assert caught.value.code == "E_UNREACHABLE"
    assert "0.2 s" in caught.value.text


@pytest.mark.parametrize("status", [200, 404, 502])
def test_something_else_than_a_node(status: int) -> None:
    answers = {"/v1/node": (status, "text/html", b"<html>")}
    with server(answers) as (url, _), Client(url, "t") as client, pytest.raises(AtollError) as caught:
        client.info()
    assert caught.value.code == "E_UNREACHABLE"


def test_a_problem_document_becomes_the_error_itself() -> None:
    told = AtollError("E_POLICY", "no grant", column="debt", detail={"reasons": [1]})
    body = json.dumps(told.to_problem()).encode()
    with (
        server({"/v1/node": (403, "application/problem+json", body)}) as (url, _),
        Client(url, "t") as client,
        pytest.raises(AtollError) as caught,
    ):
        client.info()
    assert caught.value.to_problem() == told.to_problem()


def test_a_code_that_this_version_does_not_know() -> None:
    body = json.dumps({"code": "E_FUTURE", "detail": "x"}).encode()
    with (
        server({"/v1/node": (400, "application/problem+json", body)}) as (url, _),
        Client(url, "t") as client,
        pytest.raises(AtollError) as caught,
    ):
        client.info()
    assert caught.value.code == "E_INTERNAL"


def test_the_token_is_sent_and_a_proxy_is_not_asked(monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    answers = {"/v1/node": (200, "application/json", b'{"name": "x"}')}
    with server(answers) as (url, seen), Client(url, "atoll_a_b") as client:
        assert client.info() == {"name": "x"}
    assert seen[0][1]["Authorization"] == "Bearer atoll_a_b"


@pytest.mark.parametrize("url", ["", "127.0.0.1:8761", "ftp://host", "http://", "file:///etc/passwd"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(AtollError) as caught:
        Client(url, "t")
    assert caught.value.code == "E_FORMAT"


@pytest.mark.parametrize(("url", "want"), [("http://127.0.0.1:1", True), ("http://[::1]:1", True),
                                           ("http://localhost", True), ("https://atoll.bank.example", False),
                                           ("http://10.0.0.1", False)])  # fmt: skip
def test_loopback(url: str, want: bool) -> None:
    import httpx

    assert is_loopback(httpx.URL(url)) is want


def test_names_are_one_segment() -> None:
    assert segment("a/b?c#d") == "a%2Fb%3Fc%23d"
    for name in ("", ".", ".."):
        with pytest.raises(AtollError):
            segment(name)


def test_connect_needs_a_token(monkeypatch) -> None:
    monkeypatch.delenv("ATOLL_TOKEN", raising=False)
    with pytest.raises(AtollError) as caught:
        atoll.connect("http://127.0.0.1:9")
    assert caught.value.code == "E_AUTH"


def test_connect_reads_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("ATOLL_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ATOLL_TOKEN", "atoll_a_b")
    assert atoll.connect().url == "http://127.0.0.1:9"
