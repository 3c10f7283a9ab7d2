"""A job, its result, and a standing service, as a user holds them."""

from __future__ import annotations

import base64
import binascii
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from atoll.client.transport import Transport, segment
from atoll.errors import AtollError

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped,unused-ignore]  # its stubs are a package of their own
    import polars as pl
    import pyarrow as pa

Json = dict[str, Any]
Language = Literal["en", "zh"]
ENDED = ("completed", "refused", "failed", "cancelled")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5
_RERUN_SECONDS = 5.0


class Result:
    """What this node received from a job. The table stays at the node until it is asked for."""

    def __init__(self, transport: Transport, job: str, facts: Json) -> None:
        self._transport = transport
        self._path = f"/v1/jobs/{segment(job)}/result"
        self._facts = facts
        self._table: pa.Table | None = None

    @property
    def rows(self) -> int:
        """Number of rows of the table."""
        return int(self._facts["rows"])

    @property
    def scalars(self) -> dict[str, Any]:
        """Single numbers beside the table, for example `matched_keys` or `intersection_size`."""
        return {k: v for k, v in self._facts.items() if k != "rows"}

    def arrow(self) -> pa.Table:
        """The table, as Arrow; decimals stay exact."""
        if self._table is None:
            import pyarrow as pa

            with pa.ipc.open_file(pa.py_buffer(self._transport.bytes(self._path))) as reader:
                self._table = reader.read_all()
        return self._table

    def pandas(self) -> pd.DataFrame:
        """The table for pandas (extra `pandas`)."""
        frame: pd.DataFrame = self.arrow().to_pandas()
        return frame

    def polars(self) -> pl.DataFrame:
        """The table for polars (extra `polars`)."""
        import polars as pl

        frame = pl.from_arrow(self.arrow())
        assert isinstance(frame, pl.DataFrame)  # a table never becomes a series
        return frame

    def save(self, path: str | Path) -> Path:
        """Writes the table to `.csv`, `.arrow` or `.parquet`, by the suffix; `E_FORMAT` for another."""
        to = Path(path)
        kind = to.suffix.lower()
        if kind not in (".csv", ".arrow", ".parquet"):
            raise AtollError("E_FORMAT", f"{to}: the suffix is .csv, .arrow or .parquet.")
        try:
            if kind == ".csv":
                to.write_bytes(self._transport.bytes(self._path, "text/csv"))
            elif kind == ".arrow":
                to.write_bytes(self._transport.bytes(self._path))
            else:
                import pyarrow.parquet as pq

                pq.write_table(self.arrow(), to)
        except OSError as error:
            raise AtollError("E_SOURCE", f"cannot write {to}: {error.strerror}.", fault="caller") from None
        return to

    def __repr__(self) -> str:
        return f"<Result: {self.rows} rows{''.join(f', {k}={v}' for k, v in self.scalars.items())}>"


class Job:
    """One job at this node, whoever asked for it."""

    def __init__(self, transport: Transport, document: Json) -> None:
        self._transport = transport
        self.document = document
        self.id: str = document["id"]
        self._path = f"/v1/jobs/{segment(self.id)}"

    @property
    def state(self) -> str:
        """As last seen: deciding, waiting, approved, running, released, or one of `ENDED`."""
        return str(self.document["state"])

    @property
    def error(self) -> AtollError | None:
        """Why the job ended without a result, as last seen."""
        problem = self.document.get("error")
        return AtollError.from_problem(problem) if problem else None

    def refresh(self) -> Job:
        """Looks again."""
        self.document = self._transport.call("GET", self._path)
        return self

    def wait(
        self,
        progress: Callable[[Job], None] | None = None,
        timeout: float | None = None,
        until: str | None = None,
    ) -> Job:
        """Waits for the end of the job.

        Args:
            progress: called with the job at each look; `document["progress"]` has done and total.
            timeout: seconds, None for as long as it takes.
            until: a state to wait for instead, such as `waiting` or `running`; an end counts too.

        Raises:
            AtollError: the reason, if the job was refused, failed or was cancelled; `E_TIME` after `timeout`.
                The job goes on then.
        """
        end = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_PAUSE
        with self._not_cancelled():
            while True:
                self.refresh()
                if progress is not None:
                    progress(self)
                if self.state in ENDED or self.state == until:
                    break
                if end is not None and time.monotonic() > end:
                    cure = "Wait on, or cancel the job."
                    raise AtollError(
                        "E_TIME", f"{self.id} is still {self.state} after {timeout:g} s.", cure=cure
                    )
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
        if self.state in ENDED and self.state != "completed":
            raise self.error or AtollError("E_STATE", f"job {self.id} is {self.state}.")
        return self

    @contextmanager
    def _not_cancelled(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            print(f"\nThe job goes on. To end it: atoll job cancel {self.id}", file=sys.stderr)
            raise

    def result(self) -> Result:
        """What this node received; waits for the end of the job first.

        Raises:
            AtollError: the reason, if the job has no result; `E_NOT_FOUND` if this node receives nothing.
        """
        if self.state != "completed":
            self.wait()
        facts = self.document.get("result")
        if facts is None:
            raise AtollError("E_NOT_FOUND", f"this node receives nothing from {self.id}.")
        return Result(self._transport, self.id, facts)

    def statement(self, language: Language = "en") -> list[str]:
        """The disclosure statement: who learns what, on which assumption, one sentence each."""
        if "statement" not in self.document:
            self.refresh()
        return list(self.document["statement"][language])

    def plan(self) -> Json:
        """The plan that every party signed."""
        if "plan" not in self.document:
            self.refresh()
        return dict(self.document["plan"])

    def receipt(self, timeout: float = 0) -> Json:
        """Provisional and final receipts, and who has not signed; waits up to `timeout` s for all to sign."""
        end = time.monotonic() + timeout
        while True:
            found: Json = self._transport.call("GET", f"{self._path}/receipt")
            if not found["missing"] or time.monotonic() >= end:
                return found
            time.sleep(_FIRST_PAUSE)

    def explain(self) -> Json:
        """What the job would use each own column for, and the grant that would let it pass."""
        return dict(self._transport.call("GET", f"{self._path}/explain"))

    def events(self, after: int = 0) -> list[Json]:
        """What happened to the job, in order; `after` is the `id` of the last event that is known."""
        return list(self._transport.call("GET", f"{self._path}/events", after=after))

    def approve(self) -> Job:
        """As a steward: lets a waiting job run. `E_SELF_APPROVAL` for one's own."""
        return self._act("approve")

    def refuse(self, reason: str = "") -> Job:
        """As a steward: refuses a waiting job. The reason stays at this node."""
        return self._act("refuse", {"reason": reason})

    def cancel(self) -> Job:
        """Ends the job on all sides."""
        return self._act("cancel")

    def rerun(self) -> Job:
        """The next attempt of a failed job of this node: same plan, same inputs, no second debit."""
        before = int(self.document["attempt"])
        self._act("rerun")
        # The end of the last attempt stands until the next one has begun, or failed to.
        end = time.monotonic() + _RERUN_SECONDS
        while self.document["attempt"] == before and self.state in ENDED and time.monotonic() < end:
            time.sleep(_FIRST_PAUSE)
            self.refresh()
        return self

    def _act(self, verb: str, body: Json | None = None) -> Job:
        self.document = self._transport.call("POST", f"{self._path}/{verb}", body)
        return self

    def __repr__(self) -> str:
        return f"<Job {self.id}: {self.document.get('function')}, {self.state}>"


def service_call(job: str, payload: bytes, consent: str | None) -> tuple[str, Json]:
    """Path and body of a call to a standing service."""
    sent = base64.b64encode(payload).decode()
    return f"/v1/services/{segment(job)}/call", {"payload": sent, "consent": consent}


def answered(answer: Any) -> bytes:
    """The payload of a standing service's answer."""
    try:
        return base64.b64decode(answer["payload"], validate=True)
    except (binascii.Error, KeyError, TypeError):
        raise AtollError("E_INTERNAL", "the node's answer to a call is not base64.") from None


class Service:
    """A standing service that this node asks of a partner."""

    def __init__(self, transport: Transport, job: str) -> None:
        self._transport = transport
        self.id = job
        self._path = f"/v1/services/{segment(job)}"

    def call(self, payload: bytes, consent: str | None = None) -> bytes:
        """One call and its answer.

        Args:
            payload: at most the plan's bound.
            consent: digest of the data subject's authorisation, where the agreement asks for one; see `consents`.

        Raises:
            AtollError: `E_TOO_LARGE` over the plan's bound, `E_CONSENT`, `E_QUOTA`, `E_STATE` if the service has
                ended, `E_PEER_SILENT`.
        """
        return answered(self._transport.call("POST", *service_call(self.id, payload, consent)))

    def stop(self) -> Job:
        """Ends the service in order, so that its receipt is made; `.wait()` for it on what this gives."""
        return Job(self._transport, self._transport.call("POST", f"{self._path}/stop"))

    def __repr__(self) -> str:
        return f"<Service {self.id}>"
