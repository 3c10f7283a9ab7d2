"""What is said when a job ends before its time: signed, and with the names that people know."""

from __future__ import annotations

from typing import Any

from atoll.crypto import dsse
from atoll.errors import AtollError
from atoll.node.clock import stamp
from atoll.node.jobs.desk import Desk
from atoll.node.state.models import Job

ABORT_KIND = "abort/v1"


def signed_abort(desk: Desk, row: Job, error: AtollError) -> Any:
    """This node's signed word that an attempt ended, and why."""
    document = {
        "format": "atoll.abort/v1",
        "job": row.id,
        "attempt": row.attempt,
        "by": desk.me,
        "error": {**error.to_wire(), "party": error.party or desk.config["node.name"]},
        "at": stamp(desk.clock()),
    }
    return dsse.sign(ABORT_KIND, document, desk.signing)


def name_parties(error: AtollError, names: dict[str, str]) -> None:
    """Workers know parties by key; people know them by name."""
    for key, name in names.items():
        error.text = error.text.replace(key, name)
        error.party = name if error.party == key else error.party
