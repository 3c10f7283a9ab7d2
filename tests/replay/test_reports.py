"""From what a worker gave to findings, and the report as a signed document."""

from __future__ import annotations

import copy
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from atoll.agreements.receipt import PartyRecord
from atoll.agreements.replay import REPLAY_KIND, ReplayReport, build_replay, open_replay
from atoll.crypto import dsse
from atoll.crypto.suite import SigningKey, commit, digest
from atoll.errors import AtollError
from atoll.node.evidence import replay_host
from atoll.node.evidence.replay_bundle import Bundle
from atoll.node.evidence.replay_report import TEXTS, Expected, after, as_shown, before, conclude

ROOT = Path(__file__).resolve().parents[2]
Json = dict[str, Any]
KEY = SigningKey(b"\x01" * 32)
ME, PEER = str(KEY.public), str(SigningKey(b"\x02" * 32).public)
ONE, TWO, THREE = (digest(c) for c in (b"1", b"2", b"3"))
OPENING = b"o" * 16


def record(**changed: Any) -> PartyRecord:
    return PartyRecord.parse(
        {
            "times": {"started": "2026-11-26T01:00:00Z", "finished": "2026-11-26T01:00:01Z"},
            "meters": {
                "rows": None,
                "calls": 3,
                "hits": None,
                "bytes_sent": 10,
                "bytes_received": 20,
                "cpu_seconds": 1,
            },
            "transcripts": {
                PEER: {"psi": {"sent": ONE, "received": TWO, "messages": [2, 3], "bytes": [10, 20]}}
            },
            "output": {"commitment": commit(THREE.encode(), OPENING)},
            "execution": {"build": THREE, "threads": 1, "inputs": ["left"]},
            "grants": {},
        }
        | changed
    )


def expected(**changed: Any) -> Expected:
    block = {"number": 7, "book": 2, "calls": 3, "root": ONE, "record": record(output=None)}
    fields: Json = {
        "record": record(),
        "names": {ME: "me", PEER: "the peer"},
        "assets": {"left": "loans"},
        "blocks": (block,),
        "earlier": 0,
        "opening": OPENING,
    }
    return Expected(**(fields | changed))


CHECKED: Json = {
    "build": THREE,
    "inputs": {"left": {"code": None, "chunk": None}},
    "received": {PEER: {"psi": {"chain": TWO, "messages": 3, "bytes": 20, "code": None}}},
    "events": {"count": 4, "changed": None},
}
SENT = {"chain": ONE, "messages": 2, "bytes": 10}
TAKEN = {"chain": TWO, "messages": 3, "bytes": 20}
RESULT: Json = {
    "ran": True,
    "failed": None,
    "output": THREE,
    "calls": 3,
    "transcripts": {
        PEER: {"psi": {"sent": SENT, "taken": TAKEN, "first": None, "kept_end": ONE, "kept_more": False}}
    },
    "blocks": [
        {
            "book": 2,
            "calls": 3,
            "root": ONE,
            "hits": None,
            "transcripts": {PEER: {"psi": {"sent": {**SENT}, "taken": {**TAKEN}}}},
        }
    ],
}


def put(where: Json, path: str, value: Any) -> Json:
    """A copy with another value at a path of keys and numbers."""
    found = copy.deepcopy(where)
    at: Any = found
    *steps, last = [PEER if s == "peer" else int(s) if s.isdigit() else s for s in path.split(".")]
    for step in steps:
        at = at[step]
    at[last] = value
    return found


def codes(findings: Any, level: str = "bad") -> list[str]:
    return [f.code for f in findings if f.level == level]


def test_what_fits_is_proved() -> None:
    found = conclude([*before(expected(), CHECKED, any_build=False), *after(expected(), RESULT, 1)])
    assert codes(found) == []
    assert codes(found, "ok") == ["input", "received", "events", "build", "sent", "calls", "output"]
    assert codes(found, "note") == ["proved"]


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("inputs.left.code", "E_DATA", "input-changed"),
        ("inputs.left.code", "E_NOT_FOUND", "input-gone"),
        ("received.peer.psi.chain", ONE, "received-changed"),
        ("received.peer.psi.messages", 2, "received-changed"),
        ("received.peer.psi.bytes", 19, "received-changed"),
        ("received.peer.psi.code", "E_DATA", "received-gone"),
        ("events.changed", 2, "events-changed"),
        ("build", ONE, "build-other"),
    ],
)
def test_what_does_not_hold_before_a_run_is_named(path: str, value: Any, code: str) -> None:
    found = conclude(before(expected(), put(CHECKED, path, value), any_build=False))
    assert codes(found) == [code]
    assert "proved" not in codes(found, "note")


def test_another_program_may_be_allowed() -> None:
    found = before(expected(), put(CHECKED, "build", ONE), any_build=True)
    assert (codes(found), codes(found, "note")) == ([], ["build-allowed"])


@pytest.mark.parametrize(
    ("path", "value", "wanted"),
    [
        ("ran", False, ["not-run"]),
        ("failed", {"code": "E_PROTOCOL"}, ["stopped"]),
        ("transcripts.peer.psi.sent.chain", TWO, ["sent-other"]),
        ("transcripts.peer.psi.sent.messages", 1, ["sent-other"]),
        ("transcripts.peer.psi.sent.bytes", 9, ["sent-other"]),
        ("transcripts.peer.psi.first", {"number": 1, "step": "s", "bytes": 1}, ["sent-notes"]),
        ("transcripts.peer.psi.kept_more", True, ["sent-notes"]),
        ("transcripts.peer.psi.taken.messages", 2, ["received-left"]),
        ("transcripts.peer.more", RESULT["transcripts"][PEER]["psi"], ["channel-more"]),
        ("transcripts.peer", {}, ["sent-other", "received-left"]),
        ("calls", 2, ["calls-differ"]),
        ("blocks", [], ["block-differs"]),
        ("blocks.0.calls", 2, ["block-differs"]),
        ("blocks.0.root", TWO, ["block-differs"]),
        ("blocks.0.transcripts.peer.psi.sent", TAKEN, ["block-differs"]),
        ("blocks.0.transcripts", {}, ["block-differs"]),
        ("output", ONE, ["output-differs"]),
        ("output", None, ["output-differs"]),
    ],
)
def test_what_comes_out_otherwise_is_named(path: str, value: Any, wanted: list[str]) -> None:
    assert codes(after(expected(), put(RESULT, path, value), 1)) == wanted


def test_the_first_message_that_differs_is_named_by_number_and_step() -> None:
    result = put(RESULT, "transcripts.peer.psi.sent.chain", TWO)
    result = put(result, "transcripts.peer.psi.first", {"number": 2, "step": "tags/0", "bytes": 1})
    (found,) = [f for f in after(expected(), result, 1) if f.level == "bad"]
    assert (found.code, found.facts["number"], found.facts["step"]) == ("sent-differs", 2, "tags/0")
    # Where the kept chain does not end as the receipt says, its word on the first one is not to be trusted.
    result = put(result, "transcripts.peer.psi.kept_end", THREE)
    assert codes(after(expected(), result, 1)) == ["sent-differs", "sent-notes"]


def test_notes_say_what_was_not_compared() -> None:
    found = after(expected(opening=None, earlier=2), RESULT, 2)
    assert codes(found, "note") == ["blocks-earlier", "output-unopened", "threads"]
    hits = record(output=None, meters={**record().document()["meters"], "hits": 1})
    block = {"number": 7, "book": 2, "calls": 3, "root": ONE, "record": hits}
    assert codes(after(expected(blocks=(block,)), RESULT, 1)) == ["block-differs"]


def test_every_finding_has_two_languages_and_stands_on_the_page() -> None:
    page = (ROOT / "docs" / "how-to" / "audit-replay.md").read_text(encoding="utf-8")
    for code, (level, english, chinese) in TEXTS.items():
        assert level in ("ok", "note", "bad")
        assert english != chinese
        assert f"`{code}`" in page


def report(**changed: Any) -> Json:
    moment = datetime(2026, 11, 26, tzinfo=UTC)
    fields: Json = {
        "job": "job-" + "0" * 32,
        "plan": ONE,
        "attempt": 1,
        "party": ME,
        "host": ME,
        "receipt": None,
        "build": TWO,
        "threads": 2,
        "ran": True,
        "started": moment,
        "finished": moment,
        "findings": [{"code": "not-run", "level": "bad", "facts": {}}],
    }
    return build_replay(**(fields | changed))


def test_a_report_is_ok_only_where_it_ran_and_found_nothing() -> None:
    fine = [{"code": "proved", "level": "note", "facts": {}}]
    assert not report()["ok"]
    assert report(findings=fine)["ok"]
    assert not report(findings=fine, ran=False)["ok"]
    with pytest.raises(AtollError):
        ReplayReport.parse({**report(), "ok": True})
    shown = as_shown(report(findings=fine))
    assert shown["findings"][0]["en"].startswith("Proved")
    assert open_replay(dsse.sign(REPLAY_KIND, report(), KEY)).host == ME
    with pytest.raises(AtollError) as refused:
        open_replay(dsse.sign(REPLAY_KIND, report(host=PEER), KEY))
    assert refused.value.code == "E_SIGNATURE"


def test_a_bundle_that_is_left_unfinished_is_erased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_host, "_SWEEP_SECONDS", 0.01)
    partners = SimpleNamespace(handle=lambda *_: None)
    host = replay_host.ReplayHost(SimpleNamespace(partners=partners))  # type: ignore[arg-type]
    bundle = Bundle.parse({"files": [{"name": "papers.json", "size": 1, "digest": ONE}]})

    def left(seconds: float) -> Path:
        folder = tmp_path / f"guest-{seconds}"
        folder.mkdir()
        host._guest = replay_host._Guest("id", PEER, ONE, bundle, folder, [0], datetime.now(UTC))
        host._guest.touched = time.monotonic() - seconds
        return folder

    host.start()
    try:
        young = left(replay_host.IDLE_SECONDS - 60)
        threading.Event().wait(0.2)
        assert young.exists()
        old = left(replay_host.IDLE_SECONDS + 1)
        end = time.monotonic() + 5
        while old.exists() and time.monotonic() < end:
            threading.Event().wait(0.01)
        assert not old.exists()
        assert host._guest is None
    finally:
        host.stop()
