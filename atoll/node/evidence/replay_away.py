"""The audited node's side of a replay at a host: sends the bundle in pieces, waits, and checks the report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atoll.agreements.replay import ReplayReport, open_replay
from atoll.crypto import dsse
from atoll.errors import AtollError
from atoll.node.evidence.replay_bundle import PIECE, Bundle, pack
from atoll.node.evidence.replay_case import Case
from atoll.node.evidence.replay_papers import Papers
from atoll.node.evidence.replay_run import Options
from atoll.node.jobs.desk import Desk
from atoll.plan import plan_digest

Json = dict[str, Any]
_PAUSE = 0.3
_SPARE_SECONDS = 600.0


def require_host(desk: Desk, case: Case, host: str) -> tuple[str, str]:
    """Key and name of the partner that is to run a case.

    Raises:
        AtollError: `E_NOT_FOUND` for no partner of that name or key; `E_AGREEMENT` unless every agreement of the job
            names it as a host; `E_STATE` where there is nothing that could be sent.
    """
    peer = desk.partners.peer(host)
    for name, agreement in case.signed.agreements.items():
        if agreement.replay is None or peer.identity not in agreement.replay.hosts:
            raise AtollError(
                "E_AGREEMENT",
                f"agreement {name} does not name {peer.name} as a host of replays",
                cure="Run the replay at this node, or agree on that host for future jobs.",
            )
    if not case.can_run:
        raise AtollError(
            "E_STATE",
            "what the replay runs on is not there any more",
            cure="Run the replay at this node: its report says what is missing.",
        )
    return peer.identity, peer.name


class Away:
    """One replay at one host.

    Args:
        desk: shared parts.
        host, name: key and name of the host.
        on_progress: called with `done`, `total`, `step`.
        alive: raises once the replay was cancelled.
    """

    def __init__(
        self,
        desk: Desk,
        host: str,
        name: str,
        on_progress: Callable[[Json], None],
        alive: Callable[[], None],
    ) -> None:
        self._desk, self._host, self._name = desk, host, name
        self._on_progress, self._alive = on_progress, alive

    def run(self, papers: Papers, case: Case, options: Options, work: Path) -> tuple[Json, dsse.Envelope]:
        """Sends, waits, checks; gives the report as a document and as the host signed it.

        Raises:
            AtollError: what the host refused with, `E_UNREACHABLE`, `E_TIME`; `E_REPLAY` for another report.
        """
        bundle, places = pack(papers, self._desk.folder(case.job), case.inputs, work)
        offer = {
            "plan": papers.plan,
            "agreements": dict(papers.agreements),
            "files": bundle.document()["files"],
        }
        answer = self._ask("replay.offer", offer)
        if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
            raise AtollError("E_WIRE", f"{self._name} did not answer the offer", party=self._name)
        identifier = answer["id"]
        try:
            self._send(identifier, bundle, places)
            self._ask("replay.run", {"id": identifier, **options.document()})
            envelope = self._wait(identifier)
        except BaseException:
            with contextlib.suppress(AtollError):
                self._ask("replay.cancel", {"id": identifier})
            raise
        return self._check(case, options, envelope).document(), envelope

    def _ask(self, verb: str, body: Json) -> Any:
        return self._desk.partners.request(self._host, verb, body, timeout=60.0)

    def _send(self, identifier: str, bundle: Bundle, places: dict[str, Path]) -> None:
        sent = 0
        for number, file in enumerate(bundle.files):
            with places[file.name].open("rb") as source:
                offset = 0
                while data := source.read(PIECE):
                    self._alive()
                    self._ask(
                        "replay.piece", {"id": identifier, "file": number, "offset": offset, "data": data}
                    )
                    offset += len(data)
                    sent += len(data)
                    self._on_progress({"done": sent, "total": bundle.size, "step": "sending"})

    def _wait(self, identifier: str) -> dsse.Envelope:
        end = time.monotonic() + float(self._desk.config["jobs.seconds"]) + _SPARE_SECONDS
        while time.monotonic() < end:
            self._alive()
            answer = self._ask("replay.report", {"id": identifier})
            if not isinstance(answer, dict) or set(answer) != {"state", "progress", "envelope", "error"}:
                raise AtollError("E_WIRE", f"{self._name} said nothing about the replay", party=self._name)
            if answer["state"] == "done":
                envelope: dsse.Envelope = answer["envelope"]
                return envelope
            if answer["state"] == "failed":
                raise AtollError.from_wire(answer["error"], peer=self._name)
            shown = answer["progress"]
            if (
                isinstance(shown, dict)
                and set(shown) == {"done", "total", "step"}
                and type(shown["done"]) is type(shown["total"]) is int
                and isinstance(shown["step"], str)
            ):
                self._on_progress({**shown, "step": f"{self._name}: {shown['step'][:100]}"})
            time.sleep(_PAUSE)
        raise AtollError("E_TIME", f"{self._name} did not end the replay in time", party=self._name)

    def _check(self, case: Case, options: Options, envelope: dsse.Envelope) -> ReplayReport:
        """The host's report, which must be of this very case."""
        found = open_replay(envelope)
        wanted = {
            "host": self._host,
            "party": case.party,
            "job": case.job,
            "plan": plan_digest(case.plan),
            "attempt": case.attempt,
            "receipt": case.receipt,
            "threads": options.threads or case.threads,
        }
        for name, value in wanted.items():
            if getattr(found, name) != value:
                raise AtollError(
                    "E_REPLAY",
                    f"the report of {self._name} is of another {name}",
                    party=self._name,
                    fault="peer",
                    cure="Ask the host what it ran.",
                )
        return found
