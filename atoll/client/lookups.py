"""Lookups at partners: records by their keys, of which the partner does not learn which."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from atoll.client.jobs import ENDED, Job
from atoll.client.resources import Jobs, Resource
from atoll.client.transport import objects, segment
from atoll.errors import AtollError

Json = dict[str, Any]
_PAUSE = 0.2


def question(name: str, keys: Sequence[Any], consents: Sequence[str | None] | None) -> tuple[str, Json]:
    """Path and body of the call that reads the records of some keys."""
    plain = [list(key) if isinstance(key, tuple) else key for key in keys]
    body = {"keys": plain, "consents": None if consents is None else list(consents)}
    return f"/v1/query/{segment(name)}", body


def requests_of(
    keys: Iterable[Any], consents: Iterable[str | None] | None, most: int
) -> Iterator[tuple[list[Any], list[str | None] | None]]:
    """Keys and their consents in requests of at most so many; `E_FORMAT` if there are fewer consents than keys."""
    left, words = iter(keys), None if consents is None else iter(consents)
    while part := list(islice(left, most)):
        shown = None if words is None else list(islice(words, len(part)))
        if shown is not None and len(shown) != len(part):
            raise AtollError("E_FORMAT", "consents: one for each key.", fault="caller")
        yield part, shown


class Lookups(Resource):
    """Standing lookups that this node asks of partners, by their names."""

    def start(self, request: Mapping[str, Any], timeout: float = 600) -> Json:
        """Asks for a lookup and waits until it answers; a refusal is raised.

        The partner seals its table first, which takes a minute for a million keys.

        Args:
            request: as made by `atoll.client.requests.lookup`.
            timeout: seconds to wait.
        """
        job = Jobs(self._transport).ask(request).wait(timeout=timeout, until="running")
        return self.await_ready(job, timeout)

    def await_ready(
        self, job: Job, timeout: float = 600, progress: Callable[[Job], None] = lambda job: None
    ) -> Json:
        """Waits until the lookup of a job answers; raises why it ended, or `E_TIME` after `timeout` seconds."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            progress(job.refresh())
            if job.state in ENDED:
                job.wait()
                raise AtollError("E_STATE", f"{job.id} has ended.")
            for found in self.list():
                if found["job"] == job.id and found["ready"]:
                    return found
            time.sleep(_PAUSE)
        raise AtollError("E_TIME", f"{job.id} is not ready after {timeout:g} s.", cure="Wait on, or stop it.")

    def list(self) -> list[Json]:
        """Lookups that have not ended, newest first."""
        return objects(self._call("GET", "/v1/lookups"))

    def get(self, name: str) -> Json:
        """One lookup: its columns and types, and the job that serves it; `E_NOT_FOUND`."""
        return dict(self._call("GET", f"/v1/lookups/{segment(name)}"))

    def stop(self, name: str) -> Job:
        """Ends a lookup in order, so that its receipt is made; `.wait()` for it on what this gives."""
        job = self.get(name)["job"]
        return Job(self._transport, self._call("POST", f"/v1/services/{segment(job)}/stop"))

    def query(self, name: str, keys: Sequence[Any], consents: Sequence[str | None] | None = None) -> Json:
        """Reads the records of some keys in one request, each one call; see `query_all` for more of them.

        Args:
            keys: a value for each; a list of values where the lookup has several key columns. Dates, times and decimals
                are text, integers too if they may be above 2^53.
            consents: for each key the digest of its data subject's authorisation, where the agreement asks for one.

        Returns:
            `answers` in the order of the keys, each with `found`, `rows` (a mapping of values each) and `error`; and
            the `version` of the table, by a name that changes with it: all answers of a request are of one version.

        Raises:
            AtollError: `E_NOT_FOUND`, `E_FORMAT`, `E_TOO_LARGE` for too many keys, `E_BUSY` while the table is being
                sealed, `E_STATE` if the service does not run. What a single key is refused for stands in its answer.
        """
        return dict(self._call("POST", *question(name, keys, consents)))

    def query_all(
        self, name: str, keys: Iterable[Any], consents: Iterable[str | None] | None = None
    ) -> Iterator[Json]:
        """The answers of any number of keys, in order, one request after the other.

        Raises:
            AtollError: as `query`; the answers before stand, and are charged.
        """
        most = int(self.get(name)["maximum_keys"])
        for part, shown in requests_of(keys, consents, most):
            yield from self.query(name, part, shown)["answers"]

    def query_table(
        self,
        name: str,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        consent: str | None = None,
        where: str | None = None,
        start: int = 1,
        progress: Callable[[int, int], None] = lambda row, rows: None,
    ) -> Iterator[Json]:
        """The records of the keys of one of this node's own tables, whose keys the caller does not get to see.

        A key that stands on several rows is one call.

        Args:
            table: a table of the node's; its newest version.
            columns: its key columns, in the order of the lookup's; by default those of the lookup's names.
            consent: its column with digests of the data subjects' authorisations.
            where: a condition on its columns, as `amount > 1000 AND region IN ('north', 'south')`: other rows are left
                out. Needs the role analyst: who sets conditions learns for which rows they hold.
            start: the row to begin with, from 1.
            progress: called with the row that was answered last, and their number.

        Returns:
            For each row its number `row`, from 1, `found`, `rows`, `error`, and the `version` of the partner's table.

        Raises:
            AtollError: as `query`; `E_COLUMN`, `E_TYPE` for columns that are no keys of the lookup's. The answers
                before stand, and are charged: `detail` has the `row` to go on from.
        """
        body: Json = {
            "table": table,
            "columns": columns and list(columns),
            "consent": consent,
            "start": start,
        }
        path = f"/v1/query/{segment(name)}/table"
        if where is not None:
            body["where"], path = where, f"/v1/query/{segment(name)}/rows"
        rows, row = None, start
        try:
            for line in self._transport.lines("POST", path, body):
                if rows is None:
                    rows = int(line["rows"])
                elif "stopped" in line:
                    raise AtollError.from_problem(line["stopped"])
                else:
                    yield line
                    row = line["row"] + 1
                progress(row - 1, rows)
        except AtollError as error:
            if rows is not None:
                error.detail = {**error.detail, "row": row}
            raise
