"""Real-time calls for programs on asyncio: lookups, deployed packages, standing services.

async with atoll.connect_async(url, token) as node:
    income, score = await asyncio.gather(node.query("income", [key]), node.call_script("score", key))

Everything else that a node can do is not done in real time: `atoll.client.Client` does it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Any

import httpx

from atoll.client.jobs import answered, service_call
from atoll.client.lookups import question, requests_of
from atoll.client.scripts import call_body
from atoll.client.transport import answer, failures, options, segment

Json = dict[str, Any]
CONNECTIONS = 100


class AsyncClient:
    """One node, as one application sees it. Belongs to one event loop. Close it, or use it as a context manager.

    Args:
        url: base URL of the node's API.
        token: `atoll_...` of an application.
        timeout: seconds for connecting, and for each silence while sending or receiving.
        connections: most calls at once; further ones wait for their turn, however long.
    """

    def __init__(
        self, url: str, token: str | None, timeout: float = 60.0, connections: int = CONNECTIONS
    ) -> None:
        given = options(url, token, timeout)
        self.url = str(given["base_url"]).rstrip("/")
        self._timeout = timeout
        # A call that waits for a connection of its own client is not a node that keeps silent.
        given["timeout"] = httpx.Timeout(timeout, pool=None)
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._http = httpx.AsyncClient(**given, limits=limits)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient of {self.url}>"

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        with failures(self.url, self._timeout):
            response = await self._http.request(method, path, json=body)
        return answer(response)

    async def query(
        self, name: str, keys: Sequence[Any], consents: Sequence[str | None] | None = None
    ) -> Json:
        """Reads records, or totals, by their keys in one request; arguments, answer and errors as
        `atoll.client.lookups.Lookups.query`."""
        return dict(await self._call("POST", *question(name, keys, consents)))

    async def query_all(
        self, name: str, keys: Iterable[Any], consents: Iterable[str | None] | None = None
    ) -> AsyncIterator[Json]:
        """The answers of any number of keys, in order, one request after the other; errors as `query`, and the answers
        before stand, and are charged."""
        lookup = await self._call("GET", f"/v1/lookups/{segment(name)}")
        for part, shown in requests_of(keys, consents, int(lookup["maximum_keys"])):
            for found in (await self.query(name, part, shown))["answers"]:
                yield found

    async def call_script(
        self,
        name: str,
        subject: str | int,
        arguments: Json | None = None,
        *,
        key: str | None = None,
        host: str | None = None,
        consent: str | None = None,
    ) -> Json:
        """One call of a deployed package; arguments, answer and errors as `atoll.client.scripts.Scripts.call`."""
        body = call_body(subject, arguments, key, host, consent)
        return dict(await self._call("POST", f"/v1/scripts/{segment(name)}/calls", body))

    async def call_service(self, job: str, payload: bytes, consent: str | None = None) -> bytes:
        """One call of the standing service of a job; answer and errors as `atoll.client.jobs.Service.call`."""
        return answered(await self._call("POST", *service_call(job, payload, consent)))
