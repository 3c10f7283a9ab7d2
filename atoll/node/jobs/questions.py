"""What workers ask their node: a release, a signature, a call admitted, decisions stored, a confined process."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from atoll.errors import AtollError
from atoll.node.jobs.desk import Desk
from atoll.node.jobs.rates import Rates
from atoll.node.jobs.release import Releases
from atoll.node.logs import logger
from atoll.node.memo import Memo
from atoll.node.worker.nursery import Child
from atoll.node.worker.supervise import Worker
from atoll.protocols import pairwise_masks, star_psi

ASKED = frozenset({"release", "sign", "admit", "recall", "settle", "cell"})
# A worker asks for signatures only for these purposes, and only over bytes that begin with their domain.
_SIGNED = {
    "pairwise-masks key": pairwise_masks.STATEMENT_PREFIX,
    "star-psi key": star_psi.STATEMENT_PREFIX,
}


class Questions:
    """Answers for the workers of all jobs."""

    def __init__(self, desk: Desk, releases: Releases) -> None:
        self._desk, self._releases = desk, releases
        self._rates = Rates(desk)
        self._plans: Memo[dict[str, Any]] = Memo(64)
        self._log = logger("questions")

    def answer(
        self, job: str, attempt: int, message: dict[str, Any], worker: Callable[[], Worker | None]
    ) -> None:
        """Answers one question; a refusal, or a failure here, is an answer too.

        Args:
            worker: gives the worker of the job, None once it is gone.
        """
        found: dict[str, Any] = {}
        child: Child | None = None
        try:
            if message["kind"] == "cell":
                child = self._cell(message["descriptor"])
                found = {"pid": child.pid}
            else:
                found = self._found(job, attempt, message)
        except AtollError as error:
            found = {"error": error.to_problem()}
        except Exception as error:
            self._log.exception("answering a worker failed", job=job)
            found = {"error": AtollError("E_INTERNAL", type(error).__name__).to_problem()}
        to = worker()
        if to is not None:
            answer = {"kind": "answer", "question": message["question"], **found}
            to.send(answer, child.descriptor if child else None)
        elif child is not None:
            child.kill()
        if child is not None:
            child.close()

    def _found(self, job: str, attempt: int, message: dict[str, Any]) -> dict[str, Any]:
        desk, kind = self._desk, message["kind"]
        if kind == "release":
            self._releases.release(job, message["receivers"])
            return {}
        if kind == "admit":
            self._rates.admit(job, attempt)
            return {}
        if kind in ("recall", "settle"):
            # Asked for each group of calls; a job's plan never changes.
            plan = self._plans.get(job, lambda: desk.plan(desk.job(job)))
        if kind == "recall":
            name = next(op["parameters"]["name"] for op in plan["operators"] if op["kind"] == "visit/v1")
            return {"found": desk.decisions.recall(plan["asker"], name, message["keys"])}
        if kind == "settle":
            refusals = desk.decisions.settle(job, plan, message["decisions"])
            return {"refusals": [error.to_problem() if error else None for error in refusals]}
        if message["purpose"] in _SIGNED and message["message"].startswith(_SIGNED[message["purpose"]]):
            return {"signature": desk.signing.sign(message["message"])}
        raise AtollError("E_INTERNAL", "a worker asked for a signature that none needs")

    def _cell(self, descriptor: int) -> Child:
        """A confined process at the other end of a worker's line."""
        with socket.socket(fileno=descriptor) as line:
            return self._desk.cells.spawn(line)
