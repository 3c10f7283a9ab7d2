"""Calls of standing services: from the API to the warm worker and back."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from atoll.errors import AtollError
from atoll.node.jobs.desk import Desk
from atoll.node.worker.supervise import Worker


class Calls:
    """Calls that wait for their answer."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._waiting: dict[tuple[str, int], Future[bytes]] = {}
        self._number = 0
        self._lock = threading.Lock()

    def call(
        self,
        worker: Worker | None,
        job: str,
        payload: bytes,
        shown: dict[str, Any] | None = None,
        timeout: float = 30.0,
    ) -> bytes:
        """One call of a standing service that this node asks.

        Raises:
            AtollError: `E_STATE` if it does not run, `E_TOO_LARGE` beyond the plan's limit, `E_PEER_SILENT` if no
                answer came in `timeout` seconds, and what the owner refused the call with.
        """
        row = self._desk.job(job)
        if worker is None or row.shape != "service" or row.asker != self._desk.me:
            raise AtollError("E_STATE", f"job {job} is {row.state} and serves no calls")
        maximum = max(op["parameters"].get("maximum_bytes", 0) for op in self._desk.plan(row)["operators"])
        if len(payload) > maximum:
            text = f"a call of {len(payload)} bytes; the plan allows {maximum}"
            raise AtollError("E_TOO_LARGE", text, fault="caller")
        answer: Future[bytes] = Future()
        with self._lock:
            self._number += 1
            number = self._number
            self._waiting[(job, number)] = answer
        worker.send({"kind": "call", "call": number, "payload": payload, "shown": shown})
        self._desk.metrics.service_calls.labels(function=row.function).inc()
        try:
            return answer.result(timeout)
        except TimeoutError:
            raise AtollError("E_PEER_SILENT", "the service did not answer in time") from None

    def answered(self, job: str, number: int, payload: bytes, error: AtollError | None) -> None:
        """The worker's answer to a call, or what it was refused with."""
        with self._lock:
            waiting = self._waiting.pop((job, number), None)
        if waiting is not None and error is not None:
            waiting.set_exception(error)
        elif waiting is not None:
            waiting.set_result(payload)

    def drop(self, job: str) -> None:
        """The service's worker is gone: what waits for it is told."""
        with self._lock:
            gone = [self._waiting.pop(key) for key in [k for k in self._waiting if k[0] == job]]
        for waiting in gone:
            waiting.set_exception(AtollError("E_STATE", "the service ended before it answered"))
