"""The client for asyncio: the same answers and errors as the other one, many calls at once."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

import atoll
from atoll import AsyncClient, AtollError
from atoll.client import requests
from atoll.testing import Net, nodes

Use = Callable[[AsyncClient], Awaitable[Any]]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers all calls as its server says, and counts those that are under way at once."""

    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with server.lock:
            server.seen.append((self.path, json.loads(body)))
            server.under_way += 1
            server.most = max(server.most, server.under_way)
        time.sleep(server.pause)
        with server.lock:
            server.under_way -= 1
        self.send_response(server.status)
        self.send_header("Content-Length", str(len(server.answer)))
        self.end_headers()
        self.wfile.write(server.answer)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Any]:
    running: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.lock = threading.Lock()
    running.seen, running.under_way, running.most, running.pause = [], 0, 0, 0.0
    running.status, running.answer = 200, b"{}"
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    running.url = f"http://127.0.0.1:{running.server_port}"
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def with_client(url: str, use: Use, **how: Any) -> Any:
    """What `use` gives, with a client of its own loop."""

    async def run() -> Any:
        async with AsyncClient(url, "atoll_a_b", **how) as client:
            return await use(client)

    return asyncio.run(run())


CALLS: dict[str, tuple[Use, str, dict[str, Any]]] = {
    "query": (
        lambda c: c.query("in come", [("a", 1), "b"], ["x", None]),
        "/v1/query/in%20come",
        {"keys": [["a", 1], "b"], "consents": ["x", None]},
    ),
    "script": (
        lambda c: c.call_script("score", "s1", {"n": 1}, key="k", host="h", consent="c"),
        "/v1/scripts/score/calls",
        {"subject": "s1", "arguments": {"n": 1}, "key": "k", "host": "h", "consent": "c"},
    ),
    "service": (
        lambda c: c.call_service("job-1", b"hello", "c"),
        "/v1/services/job-1/call",
        {"payload": "aGVsbG8=", "consent": "c"},
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_is_sent(server: Any, name: str) -> None:
    use, path, body = CALLS[name]
    server.answer = json.dumps({"payload": "aGVsbG8=", "other": 1}).encode()
    found = with_client(server.url, use)
    assert found == (b"hello" if name == "service" else {"payload": "aGVsbG8=", "other": 1})
    assert server.seen == [(path, body)]


@pytest.mark.parametrize("name", CALLS)
def test_errors_are_those_of_the_other_client(server: Any, name: str) -> None:
    use = CALLS[name][0]
    told = AtollError("E_CONSENT", "no", column="id", fault="caller")
    server.status, server.answer = 403, json.dumps(told.to_problem()).encode()
    with pytest.raises(AtollError) as caught:
        with_client(server.url, use)
    assert caught.value.to_problem() == told.to_problem()
    for status, answer in ((502, b"<html>"), (200, b"<html>")):
        server.status, server.answer = status, answer
        with pytest.raises(AtollError) as caught:
            with_client(server.url, use)
        assert caught.value.code == "E_UNREACHABLE"
    with pytest.raises(AtollError) as caught:
        with_client("http://127.0.0.1:9", use)
    assert caught.value.code == "E_UNREACHABLE"
    assert "127.0.0.1:9" in caught.value.text
    server.pause = 0.6
    with pytest.raises(AtollError) as caught:
        with_client(server.url, use, timeout=0.2)
    assert "within 0.2 s" in caught.value.text


def test_an_answer_of_a_service_that_is_no_base64(server: Any) -> None:
    server.answer = b'{"payload": "!"}'
    with pytest.raises(AtollError) as caught:
        with_client(server.url, CALLS["service"][0])
    assert caught.value.code == "E_INTERNAL"


def test_calls_wait_for_a_connection_and_not_for_the_node(server: Any) -> None:
    """Three at once, each longer than half the timeout: the last ones wait in the client alone."""
    server.pause, server.answer = 0.25, b'{"answers": []}'

    async def many(client: AsyncClient) -> Any:
        return await asyncio.gather(*(client.query("income", [n]) for n in range(9)))

    assert len(with_client(server.url, many, timeout=0.5, connections=3)) == 9
    assert server.most == 3
    assert sorted(body["keys"][0] for _, body in server.seen) == list(range(9))


def test_more_keys_than_a_request_has_take_several(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(consents: list[str] | None) -> list[Any]:
        async with AsyncClient(server.url, "t") as client:

            async def call(method: str, path: str, body: Any = None) -> Any:
                if method == "GET":
                    return {"maximum_keys": 2}
                return {"answers": [[path, key] for key in body["keys"]]}

            monkeypatch.setattr(client, "_call", call)
            return [found async for found in client.query_all("income", "abcde", consents)]

    assert asyncio.run(run(None)) == [["/v1/query/income", key] for key in "abcde"]
    with pytest.raises(AtollError, match="one for each key"):
        asyncio.run(run(["x"] * 4))


@pytest.mark.parametrize("url", ["", "127.0.0.1:8761", "ftp://host"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(AtollError) as caught:
        AsyncClient(url, "t")
    assert caught.value.code == "E_FORMAT"


def test_a_token_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATOLL_TOKEN", raising=False)
    with pytest.raises(AtollError) as caught:
        atoll.connect_async("http://127.0.0.1:9")
    assert caught.value.code == "E_AUTH"
    with pytest.raises(AtollError) as caught:
        atoll.connect_async("http://127.0.0.1:9", "atöll")
    assert caught.value.code == "E_AUTH"


# Real nodes.


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", "bob") as made:
        table = pa.table({"id": [f"k{i}" for i in range(200)], "income": list(range(200))})
        made.bob.steward.data.add("incomes", table)
        agreement = made.agreement(
            {"bob": {"incomes": {"id": "lookup_key", "income": "lookup_value"}, "echo": "service"}},
            parties=["alice"], functions=["query", "echo"],
        )  # fmt: skip
        made.alice.analyst.lookups.start(
            requests.lookup(agreement, "income", "incomes", purpose="test", on=["id"], maximum_keys=10)
        )
        made.agreed = agreement  # type: ignore[attr-defined]
        yield made


def test_many_queries_at_once_are_each_right(net: Net) -> None:
    client = net.alice.client("application")

    async def run() -> None:
        async with atoll.connect_async(client.url, net.alice.token("application")) as node:
            answers = await asyncio.gather(*(node.query("income", [f"k{i}", f"x{i}"]) for i in range(60)))
            for number, one in enumerate(answers):
                assert [a["rows"] for a in one["answers"]] == [[{"income": number}], []]
            found = [a["found"] async for a in node.query_all("income", [f"k{i}" for i in range(195, 205)])]
            assert found == [True] * 5 + [False] * 5
            with pytest.raises(AtollError) as caught:
                await node.query("outcome", ["k1"])
            assert caught.value.code == "E_NOT_FOUND"
            with pytest.raises(AtollError) as caught:
                await node.query("income", ["k1"] * 11)
            assert caught.value.code == "E_TOO_LARGE"

    asyncio.run(run())


def test_a_call_of_a_service(net: Net) -> None:
    service = net.alice.analyst.echo(net.agreed, "echo@bob", purpose="test")

    async def run() -> None:
        async with atoll.connect_async(net.alice.application.url, net.alice.token("application")) as node:
            sent = [str(n).encode() for n in range(20)]
            assert await asyncio.gather(*(node.call_service(service.id, one) for one in sent)) == sent

    asyncio.run(run())
    service.stop().wait()
