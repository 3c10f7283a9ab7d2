"""For auditors: files that a node writes and anyone verifies, and jobs that it runs again."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atoll.client.resources import Resource
from atoll.client.transport import objects, segment
from atoll.crypto.suite import PublicKey
from atoll.errors import AtollError

if TYPE_CHECKING:
    from atoll.audit import AuditReport

Json = dict[str, Any]
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class Audit(Resource):
    """What a node writes for an auditor, and replays of its side of jobs."""

    def export(
        self,
        agreement: str,
        path: str | Path,
        *,
        jobs: Iterable[str] = (),
        months: Iterable[str] = (),
        calls: Iterable[str] = (),
    ) -> Path:
        """Writes entries of an agreement's logs, with everything that proves them, into one file.

        Args:
            agreement: its identifier.
            path: the file to write.
            jobs: identifiers of jobs; with `months` empty as well, all entries.
            months: such as `2026-11`: every entry of the month by its owner's clock.
            calls: `JOB:BLOCK:CALL`, counted from 1: calls of services to be opened with the consent behind them.
        """
        to = Path(path)
        self._transport.download(
            "/v1/audit/export",
            to,
            agreement=agreement,
            job=list(jobs),
            month=list(months),
            call=list(calls),
        )
        return to

    # Jobs run again.

    def start_replay(
        self,
        job: str,
        *,
        threads: int | None = None,
        any_build: bool = False,
        anyway: bool = False,
        at: str | None = None,
    ) -> Json:
        """Begins a replay and gives its `id`; arguments and errors as `replay`."""
        body = {"job": job, "threads": threads, "any_build": any_build, "anyway": anyway, "at": at}
        return dict(self._call("POST", "/v1/audit/replays", body))

    def replay(
        self,
        job: str,
        *,
        threads: int | None = None,
        any_build: bool = False,
        anyway: bool = False,
        at: str | None = None,
        timeout: float | None = None,
        progress: Callable[[Json], None] = lambda shown: None,
    ) -> Json:
        """Runs this node's side of a completed job again and waits for the report.

            found = node.audit.replay(job.id)
            found["ok"], [f["en"] for f in found["report"]["findings"]]

        Args:
            job: its identifier.
            threads: 1 to 1024; None for as many as then. Messages do not depend on it.
            any_build: also where the program is not the one that the receipt names.
            anyway: also where seed, input, messages or receipt were changed, to see which message differs first.
            at: name or key of the partner that runs it, where every agreement of the job names it as a host. It is
                sent inputs, seed and messages of this side, and its operator can see them; so only a steward may
                ask for it. None for this node.
            timeout: seconds to wait; None without end. The replay goes on at the node.
            progress: called with the replay as it stands, at each look.

        Returns:
            The replay with `ok`, `report` (each finding with `code`, `level`, `facts`, `en`, `zh`) and `envelope`, the
            report as the node signed it.

        Raises:
            AtollError: `E_STATE` if the job cannot be run again; `E_AGREEMENT` for a host that is not agreed on;
                `E_BUSY`; `E_TIME`; why the replay itself failed.
        """
        found = self.start_replay(job, threads=threads, any_build=any_build, anyway=anyway, at=at)
        end = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_PAUSE
        while found["state"] == "running":
            if end is not None and time.monotonic() > end:
                raise AtollError("E_TIME", f"replay {found['id']} still runs", cure="Look at it later.")
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 1.5)
            found = self.show_replay(found["id"])
            progress(found)
        if found["error"] is not None:
            raise AtollError.from_problem(found["error"])
        return found

    def replays(self, job: str | None = None, limit: int = 100, before: str | None = None) -> list[Json]:
        """Replays, newest first; all or one job's; page with `before`, the `created` of the last one."""
        return objects(self._call("GET", "/v1/audit/replays", job=job, limit=limit, before=before))

    def show_replay(self, identifier: str) -> Json:
        """One replay as it stands, with its report once it is done."""
        return dict(self._call("GET", f"/v1/audit/replays/{segment(identifier)}"))

    def cancel_replay(self, identifier: str) -> Json:
        """Ends a replay that runs; `E_STATE` if it has ended."""
        return dict(self._call("POST", f"/v1/audit/replays/{segment(identifier)}/cancel"))


def verify_audit(path: str | Path, keys: Mapping[str, str] | None = None) -> AuditReport:
    """Checks an auditor's file offline, with no node and no network, and says what it proves.

    Args:
        path: a file that `audit.export` wrote.
        keys: identifiers of signatories and witnesses by display name, from a source other than the file. Without them
            the file's own keys are used, and the report says so.

    Returns:
        A report: `.ok`, `.lines("en")`, `.first_bad`, `.require()` to raise `E_LEDGER`.

    Raises:
        AtollError: `E_NOT_FOUND` if the file cannot be read, `E_FORMAT` for a key that is none.
    """
    # Only who verifies waits until what verifies is loaded, which takes half a second.
    from atoll.audit import verify_audit as verify

    trusted = {name: PublicKey.parse(key) for name, key in keys.items()} if keys else None
    return verify(Path(path), trusted)


def draw_calls(path: str | Path, count: int) -> list[str]:
    """Draws calls of services from the receipts in a file, evenly over all of them, for the asker to open.

    The auditor draws, with its own randomness, so that the audited side does not choose what is looked at.

    Returns:
        `JOB:BLOCK:CALL` of each, sorted; all of them if there are no more than `count`.

    Raises:
        AtollError: `E_NOT_FOUND` if the file cannot be read, `E_LEDGER` if it is damaged.
    """
    from atoll.audit import calls_in

    if count < 1:
        raise AtollError("E_FORMAT", "count: draw at least one call.")
    blocks = calls_in(Path(path))
    total = sum(calls for _, _, calls in blocks)
    drawn = sorted(secrets.SystemRandom().sample(range(total), min(count, total)))
    out, start, at = [], 0, 0
    for job, block, calls in blocks:
        while at < len(drawn) and drawn[at] < start + calls:
            out.append(f"{job}:{block}:{drawn[at] - start + 1}")
            at += 1
        start += calls
    return out
