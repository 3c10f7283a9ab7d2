"""What both stories with visiting packages need: agreements for scripts, publishing, and an application that calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoll.client import drafts
from atoll.errors import AtollError
from atoll.testing import NodeProcess, until

Json = dict[str, Any]
Uses = Mapping[str, Mapping[str, str]]
AT_LEAST, SECONDS = 15, 30.0
# What a partner may report about a table.
_FINDINGS = ("missing", "stale")


def code(error: AtollError | None) -> str:
    """The code of a refusal."""
    return error.code if error is not None else "-"


def assets(owner: NodeProcess, asker: NodeProcess, uses: Uses, purpose: str) -> list[Json]:
    """An owner's tables as assets of an agreement, with what the asker's scripts may read of them."""
    found = []
    for name, columns in uses.items():
        grant = drafts.grant(
            [asker.identity], purposes=[purpose], functions=["script"], columns=columns, disclose=["outcome"],
            approval="automatic",
        )  # fmt: skip
        facts = owner.steward.data.show(name)["columns"]
        found.append(drafts.asset(name, owner.identity, columns=facts, grants=[grant], findings=_FINDINGS))
    return found


def state(node: NodeProcess, name: str, version: str) -> str | None:
    """How a version of a package stands at a node; None where it is not known."""
    found = node.steward.scripts.packages()
    return next((p.get("state") for p in found if (p["name"], p["version"]) == (name, version)), None)


def publish(
    author: NodeProcess, host: NodeProcess, agreement: str, folder: Path, name: str, version: str
) -> Json:
    """Signs a folder, publishes it, waits until it arrived; the page that the host's steward reads."""
    author.analyst.scripts.pack(folder)
    author.steward.scripts.publish(f"{name}@{version}", host.name, agreement)
    until(f"{name} {version} has arrived", lambda: state(host, name, version))
    return host.steward.scripts.review(f"{name}@{version}")


def consent(author: NodeProcess, host: NodeProcess, name: str, version: str, bounds: Json) -> None:
    """The host's steward deploys a version; waits until its author knows."""
    host.steward.scripts.deploy(f"{name}@{version}", bounds=bounds)
    until("the author knows of the consent", lambda: state(author, name, version) == "deployed")


@dataclass
class Caller:
    """An application that goes on calling a package in a thread of its own, each time about another subject.

    Args:
        calls: subject, arguments and key of each call.
    """

    node: NodeProcess
    name: str
    calls: Sequence[Json]
    answers: list[Json] = field(default_factory=list)
    errors: list[AtollError] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        scripts = self.node.application.scripts
        for made, call in enumerate(self.calls):
            if self._stop.is_set():
                return
            try:
                found = scripts.call(self.name, call["subject"], call["arguments"], key=call["key"])
                self.answers.append(found)
            except AtollError as error:
                self.errors.append(error)
            # Slower and slower, so that the subjects last until the new version is there.
            time.sleep(0.02 + 0.15 * made / len(self.calls))

    def by(self, version: str) -> int:
        """So many calls that a version answered."""
        return sum(answer["version"] == version for answer in list(self.answers))

    def wait(self, version: str) -> None:
        """Until a version answered a few; `E_TIME`."""
        until(
            f"calls answered by {version}",
            lambda: self.by(version) >= AT_LEAST or not self._thread.is_alive(),
            SECONDS,
        )

    def close(self) -> None:
        """Ends after the call that is on its way."""
        self._stop.set()
        self._thread.join(SECONDS)
