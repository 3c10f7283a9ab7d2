"""Files for auditors: written by a node, verified without one."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from atoll.audit import AuditReport, calls_in
from atoll.audit import verify_audit as _verify
from atoll.client.resources import Resource
from atoll.crypto.suite import PublicKey
from atoll.errors import AtollError


class Audit(Resource):
    """What a node writes for an auditor."""

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
    trusted = {name: PublicKey.parse(key) for name, key in keys.items()} if keys else None
    return _verify(Path(path), trusted)


def draw_calls(path: str | Path, count: int) -> list[str]:
    """Draws calls of services from the receipts in a file, evenly over all of them, for the asker to open.

    The auditor draws, with its own randomness, so that the audited side does not choose what is looked at.

    Returns:
        `JOB:BLOCK:CALL` of each, sorted; all of them if there are no more than `count`.

    Raises:
        AtollError: `E_NOT_FOUND` if the file cannot be read, `E_LEDGER` if it is damaged.
    """
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
