"""The SDK: everything that a node's REST API can do, typed.

import atoll
node = atoll.connect("http://127.0.0.1:8761", token="atoll_...")
job = node.join("agr-...", "loans", "taxes@tax office", on="id", purpose="credit-risk")
frame = job.wait().result().pandas()
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from atoll.client import drafts, requests
from atoll.client import folder as _folder
from atoll.client.audit import Audit, draw_calls, verify_audit
from atoll.client.billing import Bills, bills_csv, verify_statement
from atoll.client.consents import Consents
from atoll.client.jobs import ENDED, Job, Result, Service
from atoll.client.lookups import Lookups
from atoll.client.offers import Catalog, Offers
from atoll.client.proofs import verify_row_proof
from atoll.client.quality import Quality
from atoll.client.realtime import CONNECTIONS, AsyncClient
from atoll.client.resources import (
    Agreements,
    Data,
    Jobs,
    Ledger,
    Peers,
    Persons,
    Policy,
    Schedules,
    Services,
    verify_fork,
    verify_ledger,
)
from atoll.client.rosters import Rosters
from atoll.client.scripts import Scripts
from atoll.client.transport import Transport, objects
from atoll.errors import AtollError

__all__ = [
    "ENDED",
    "AsyncClient",
    "Client",
    "Job",
    "Result",
    "Service",
    "bills_csv",
    "connect",
    "connect_async",
    "drafts",
    "draw_calls",
    "requests",
    "verify_audit",
    "verify_fork",
    "verify_ledger",
    "verify_row_proof",
    "verify_statement",
]

DEFAULT_URL = "http://127.0.0.1:8761"
TIMEOUT = 60.0


class Client:
    """One node, as one person in one role sees it. Close it, or use it as a context manager."""

    def __init__(self, url: str, token: str | None, timeout: float = TIMEOUT) -> None:
        self.transport = Transport(url, token, timeout)
        self.url = self.transport.url
        self.data = Data(self.transport)
        self.quality = Quality(self.transport)
        self.peers = Peers(self.transport)
        self.rosters = Rosters(self.transport)
        self.agreements = Agreements(self.transport)
        self.offers = Offers(self.transport)
        self.catalog = Catalog(self.transport)
        self.consents = Consents(self.transport)
        self.jobs = Jobs(self.transport)
        self.policy = Policy(self.transport)
        self.services = Services(self.transport)
        self.schedules = Schedules(self.transport)
        self.ledger = Ledger(self.transport)
        self.audit = Audit(self.transport)
        self.bills = Bills(self.transport)
        self.scripts = Scripts(self.transport)
        self.lookups = Lookups(self.transport)
        self.persons = Persons(self.transport)

    def close(self) -> None:
        """Closes the connections to the node."""
        self.transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self.url}>"

    # The node itself.

    def info(self) -> dict[str, Any]:
        """Name, identity, addresses and version of the node; and who calls, in which role."""
        return dict(self.transport.call("GET", "/v1/node"))

    def health(self) -> str:
        """`ok` or `starting`; needs no token."""
        return str(self.transport.call("GET", "/health")["status"])

    def metrics(self) -> str:
        """Prometheus metrics, as text."""
        return self.transport.text("/metrics")

    def errors(self) -> list[dict[str, Any]]:
        """Every error code: HTTP status, whose fault it usually is, what to do."""
        return objects(self.transport.call("GET", "/v1/errors"))

    def access_log(self, limit: int = 100, before: int | None = None) -> list[dict[str, Any]]:
        """Who called what, newest first; page with `before`, the `id` of the last entry."""
        return objects(self.transport.call("GET", "/v1/access-log", limit=limit, before=before))

    # The functions.

    def join(self, agreement: Any, left: requests.Table, right: requests.Table, **how: Any) -> Job:
        """Asks for a private join of two parties' tables; arguments as in `atoll.client.requests.join`.

            job = node.join(agreement, "loans", "taxes@tax office", on="id", purpose="credit-risk")
            job.wait().result().pandas()

        Raises:
            AtollError: what this node itself refuses. What a partner refuses comes out of `Job.wait`.
        """
        return self.jobs.ask(requests.join(agreement, left, right, **how))

    def join_statistics(self, agreement: Any, left: requests.Table, right: requests.Table, **how: Any) -> Job:
        """Asks for statistics over the rows that two tables have in common, which nobody learns; arguments as in
        `atoll.client.requests.join_statistics`.

            node.join_statistics(
                agreement, "loans@bank", "taxes@tax office", on="id", purpose="p",
                statistics=["variance(right.income)", "correlation(left.debt, right.income)",
                            "histogram(right.age, 30, 45, 65)"],
            )
        """
        return self.jobs.ask(requests.join_statistics(agreement, left, right, **how))

    def join_totals(self, agreement: Any, left: requests.Table, right: requests.Table, **how: Any) -> Job:
        """Asks for count, sums and means over the rows that two tables have in common, without anybody learning which;
        arguments as in `atoll.client.requests.join_totals`.

            node.join_totals(agreement, "loans@bank", "taxes@tax office", on="id", right_values="income", purpose="p")
        """
        return self.jobs.ask(requests.join_totals(agreement, left, right, **how))

    def intersect(self, agreement: Any, tables: Iterable[requests.Table], **how: Any) -> Job:
        """Asks for the keys that all of three to twenty parties have; arguments as in
        `atoll.client.requests.intersect`.

            node.intersect(agreement, ["loans@bank", "taxes@tax office", "cases@court"], on="id", purpose="test")
        """
        return self.jobs.ask(requests.intersect(agreement, tables, **how))

    def totals(self, agreement: Any, assets: str | Iterable[requests.Table], **how: Any) -> Job:
        """Asks for sums and counts per segment over three or more holders; arguments as in
        `atoll.client.requests.totals`.

            node.totals(agreement, "loans", group="segment", values=["debt"], purpose="credit-risk")
        """
        return self.jobs.ask(requests.totals(agreement, assets, **how))

    def lookup(
        self, agreement: Any, name: str, table: str, *, timeout: float = 600, **how: Any
    ) -> dict[str, Any]:
        """Starts a standing lookup in a partner's table and waits until it answers; arguments as in
        `atoll.client.requests.lookup`.

            node.lookup(agreement, "income", "taxes@tax office", on="id", values=["income"], purpose="credit-risk")
            node.query("income", ["110101199003070097"])["answers"][0]["rows"]
        """
        return self.lookups.start(requests.lookup(agreement, name, table, **how), timeout)

    def lookup_totals(
        self, agreement: Any, name: str, assets: Any, *, timeout: float = 600, **how: Any
    ) -> dict[str, Any]:
        """Starts standing totals of single keys over several holders' tables, and waits until they answer; arguments as
        in `atoll.client.requests.lookup_totals`. Ask them with `query`.

            node.lookup_totals(agreement, "elsewhere", "loans", on="id", values=["debt"], purpose="credit-risk")
        """
        return self.lookups.start(requests.lookup_totals(agreement, name, assets, **how), timeout)

    def query(
        self, name: str, keys: Sequence[Any], consents: Sequence[str | None] | None = None
    ) -> dict[str, Any]:
        """Reads records by their keys, of which the partner does not learn which; see `Lookups.query`."""
        return self.lookups.query(name, keys, consents)

    def echo(self, agreement: Any, asset: str, *, timeout: float = 60, **how: Any) -> Service:
        """Starts a standing echo service at a partner and waits until it serves; arguments as in
        `atoll.client.requests.echo`.

            service = node.echo(agreement, "echo@bank", purpose="test")
            service.call(b"hello")
        """
        return self.services.start(requests.echo(agreement, asset, **how), timeout)


def connect(
    url: str | None = None,
    token: str | None = None,
    *,
    folder: str | Path | None = None,
    person: str | None = None,
    role: str | None = None,
    timeout: float = TIMEOUT,
) -> Client:
    """A client of a running node. Nothing is called yet.

    Args:
        url: address of the node's API. Default: the folder's, else the variable `ATOLL_URL`, else
            `http://127.0.0.1:8761`.
        token: default: one that the folder keeps, else the variable `ATOLL_TOKEN`.
        folder: a node's folder on this machine; its address and tokens are used where none are given.
        person, role: which of the folder's tokens; needed where it keeps several that fit.
        timeout: seconds of silence after which a call ends with `E_UNREACHABLE`.

    Raises:
        AtollError: `E_CONFIG`, `E_UNREACHABLE` for a folder without a running node; `E_AUTH` without a token.
    """
    return Client(*_place(url, token, folder, person, role), timeout)


def connect_async(
    url: str | None = None,
    token: str | None = None,
    *,
    folder: str | Path | None = None,
    person: str | None = None,
    role: str | None = None,
    timeout: float = TIMEOUT,
    connections: int = CONNECTIONS,
) -> AsyncClient:
    """A client of a running node for asyncio, with the calls that are made in real time; else as `connect`.

    Args:
        connections: most calls at once; further ones wait for their turn.
    """
    return AsyncClient(*_place(url, token, folder, person, role), timeout, connections)


def _place(
    url: str | None, token: str | None, folder: str | Path | None, person: str | None, role: str | None
) -> tuple[str, str]:
    if folder is not None:
        place = Path(folder)
        url = url or _folder.address(place)
        token = token or _folder.choose(place, person, (role,) if role else ())
    url = url or os.environ.get("ATOLL_URL") or DEFAULT_URL
    token = token or os.environ.get("ATOLL_TOKEN")
    if not token:
        cure = "Give token=..., set ATOLL_TOKEN, or name the node's folder."
        raise AtollError("E_AUTH", f"no token for {url} is given.", cure=cure)
    return url, token
