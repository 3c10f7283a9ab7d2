"""What the questions of an audit share: the case, names, what each plan means, and how answers are counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atoll.agreements.model import Agreement
from atoll.agreements.receipt import Receipt
from atoll.audit.case import Case, JobCase
from atoll.audit.logs import CheckedLog
from atoll.audit.texts import TEXTS
from atoll.errors import AtollError
from atoll.ledger.report import Finding
from atoll.plan import Derivation, check

_EXAMPLES = 3


@dataclass
class Tally:
    """Answers of many jobs, counted: one finding for each code and set of facts, with a few jobs named."""

    _counts: dict[tuple[str, tuple[tuple[str, object], ...]], list[str]] = field(default_factory=dict)

    def add(self, code: str, job: str, **facts: object) -> None:
        """One more answer of that code about a job."""
        self._counts.setdefault((code, tuple(sorted(facts.items()))), []).append(job)

    def findings(self) -> list[Finding]:
        """In the order in which codes first came up."""
        out = []
        for (code, facts), jobs in self._counts.items():
            distinct = list(dict.fromkeys(jobs))
            named = ", ".join(distinct[:_EXAMPLES]) + (", ..." if len(distinct) > _EXAMPLES else "")
            out.append(found(code, **{**dict(facts), "count": len(jobs), "jobs": named}))
        return out


def found(code: str, **facts: object) -> Finding:
    """A finding of an audit."""
    return Finding(code, facts, TEXTS)


class Scene:
    """The case with its logs, and everything that is derived once and asked often.

    Args:
        case: as gathered.
        logs: the checked logs, by owner.
        names: display names by key; a key without one is called by its beginning.
    """

    def __init__(self, case: Case, logs: Mapping[str, CheckedLog], names: Mapping[str, str]) -> None:
        self.case, self.logs = case, dict(logs)
        self._names = dict(names)
        for version in case.versions.values():
            self._names |= version.document.names
        self._derived: dict[str, Derivation | AtollError | None] = {}
        self._plans: dict[str, dict[str, Any]] = {}
        # For each job a receipt that fits: others of the same plan are compared with it.
        self.passed: dict[str, Receipt] = {}

    def name(self, key: str) -> str:
        """What a key is called: by the agreement where it names it, else by the file."""
        return self._names.get(key, key[:24])

    def names(self, keys: object) -> str:
        """Several of them, in order of name."""
        return ", ".join(sorted(self.name(str(key)) for key in keys))  # type: ignore[attr-defined]

    def agreements(self, job: JobCase) -> dict[str, Agreement] | None:
        """The agreement versions that a job's plan names; None if the plan or one of them is not in the file."""
        if job.plan is None:
            return None
        out = {}
        for item in job.plan.document.inputs:
            version = self.case.versions.get(item.agreement_digest)
            if version is None or set(version.document.keys) - version.signers:
                return None
            out[item.agreement] = version.document
        return out

    def derivation(self, job: JobCase) -> Derivation | AtollError | None:
        """What a job's plan means under its agreements; the refusal if it does not fit; None if something lacks."""
        if job.job not in self._derived:
            self._derived[job.job] = self._derive(job)
        return self._derived[job.job]

    def plan(self, job: JobCase) -> dict[str, Any]:
        """The document of a job's plan, which must be in the file."""
        if job.job not in self._plans:
            if job.plan is None:
                raise AtollError("E_INTERNAL", f"the plan of {job.job} is not in the file")
            self._plans[job.job] = job.plan.document.document()
        return self._plans[job.job]

    def _derive(self, job: JobCase) -> Derivation | AtollError | None:
        agreements = self.agreements(job)
        if job.plan is None or agreements is None:
            return None
        try:
            documents = {name: agreement.document() for name, agreement in agreements.items()}
            return check(job.plan.document.document(), documents)
        except AtollError as error:
            return error
