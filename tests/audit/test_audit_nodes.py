"""An auditor's file of two real nodes: what it proves, for whom, and with which words."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from atoll import AtollError
from atoll.audit import read_audit
from atoll.client import draw_calls, verify_audit

from .conftest import History


def codes(path: Path, keys: dict[str, str] | None = None) -> dict[str, list[str]]:
    """Sentences of a report by code; nothing may be wrong."""
    report = verify_audit(path, keys)
    assert report.ok, report.lines()
    found: dict[str, list[str]] = {}
    for finding in report.findings:
        found.setdefault(finding.code, []).append(finding.text())
    return found


def test_a_whole_file_answers_every_question(history: History, whole: Path) -> None:
    found = codes(whole, history.keys)
    assert len(found["log-whole"]) == 2
    assert "keys" not in found
    assert found["agreement"][0].endswith("alice, bob.")
    assert found["authorised"][0].startswith("Authorised jobs: 3.")
    assert {text.split(":")[0] for text in found["approved-rule"]} == {"alice", "bob"}
    assert found["refused"] == ["Refused plans: 1. They gave nothing out."]
    assert "released: 5." in found["valid"][0]
    assert "bob, taxes: alice used at most 2 of 3 runs in a UTC day." in found["quota"]
    assert "bob, echo: alice used at most 7 of 1000 calls in a UTC day." in found["quota"]
    assert found["receipted"][0].endswith(": 6.")
    assert "attested): 7, in 3 blocks. Opened in this file: 0" in found["consent-bound"][0]
    assert {text.split(":")[0] for text in found["witnessed"]} == {"alice", "bob"}
    assert set(found) >= {"limits"}
    assert not set(found) & {"unseen", "absent", "quota-unknown", "authority-unknown", "receipt-unsigned"}


def test_both_languages_say_it_and_the_file_names_its_own_keys_as_such(history: History, whole: Path) -> None:
    report = verify_audit(whole)
    assert any("核对" in line for line in report.lines("zh"))
    assert all(
        key in next(f for f in report.findings if f.code == "keys").text() for key in history.keys.values()
    )
    english, chinese = report.lines("en"), report.lines("zh")
    assert len(english) == len(chinese)
    assert not any("{" in line for line in english + chinese)
    assert report.to_json()["agreement"] == history.agreement


def test_one_job_alone_proves_that_job_and_says_what_is_missing(history: History, tmp_path: Path) -> None:
    job = history.jobs[0]
    path = history.net.alice.auditor.audit.export(history.agreement, tmp_path / "job", jobs=[job])
    found = codes(path, history.keys)
    assert found["authorised"][0].startswith("Authorised jobs: 1.")
    assert found["receipted"][0].endswith(": 1.")
    assert len(found["log-part"]) == 2
    # Other jobs' debits of that day are not shown: so nothing is said of the day's quota.
    assert any("runs in a UTC day" in text for text in found["quota-unknown"])
    jobs = {body.document.get("job") for body in _bodies(path) if isinstance(body.document, dict)}
    assert jobs <= {job, None}


def _bodies(path: Path) -> list:  # type: ignore[type-arg]
    from atoll.ledger.entry import open_leaf

    return [
        open_leaf(item.entry.leaf, item.entry.opened)
        for log in read_audit(path).logs
        for item in log.entries
        if item.entry.opened
    ]


def test_a_month_proves_the_quota_of_its_days(history: History, tmp_path: Path) -> None:
    month = str(history.net.bob.auditor.ledger.entries(history.agreement, 0, 1)[0]["time"])[:7]
    path = history.net.bob.auditor.audit.export(history.agreement, tmp_path / "month", months=[month])
    found = codes(path, history.keys)
    assert "bob, taxes: alice used at most 2 of 3 runs in a UTC day." in found["quota"]
    assert found["receipted"][0].endswith(": 6.")
    empty = history.net.bob.auditor.audit.export(history.agreement, tmp_path / "empty", months=["2024-02"])
    assert "receipted" not in codes(empty, history.keys)


def test_calls_that_the_auditor_draws_are_opened_with_their_consent(
    history: History, whole: Path, tmp_path: Path
) -> None:
    drawn = draw_calls(whole, 4)
    assert len(set(drawn)) == 4
    assert set(draw_calls(whole, 100)) == {
        f"{history.service}:{block}:{call}" for block in (1, 2) for call in (1, 2, 3)
    } | {f"{history.service}:3:1"}
    path = history.net.alice.auditor.audit.export(
        history.agreement, tmp_path / "drawn", jobs=[history.service], calls=drawn
    )
    found = codes(path, history.keys)
    assert found["consent-shown"][0].endswith(": 4.")
    assert "Opened in this file: 4." in found["consent-bound"][0]
    assert history.subject.encode() not in path.read_bytes()
    # The owner of an attested service never saw the authorisation, and can open nothing.
    owners = history.net.bob.auditor.audit.export(
        history.agreement, tmp_path / "owner", jobs=[history.service], calls=drawn[:1]
    )
    report = verify_audit(owners, history.keys)
    assert report.first_bad is not None
    assert report.first_bad.code == "consent-bad"


def test_verification_needs_no_node_no_network_and_no_keys(
    history: History, whole: Path, tmp_path: Path
) -> None:
    """In a process that may not touch a socket or a database, in an empty folder, by the command."""
    program = (
        "import sys\n"
        "def watch(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.bind', 'socket.getaddrinfo', 'sqlite3.connect'):\n"
        "        raise RuntimeError('no network and no state here: ' + event)\n"
        "sys.addaudithook(watch)\n"
        "from atoll.cli.app import main\n"
        "sys.argv = ['atoll', *sys.argv[1:]]\n"
        "main()\n"
    )
    words = ["audit", "verify", str(whole), "--json"]
    words += [word for name, key in history.keys.items() for word in ("--key", f"{name}={key}")]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] is True


def test_a_dictionary_attack_on_a_closed_file_finds_nothing(history: History, tmp_path: Path) -> None:
    """Commitments alone, and everything that an attacker could guess: the true documents included."""
    path = history.net.bob.auditor.ledger.export(history.agreement, tmp_path / "closed", bodies=False)
    data = path.read_bytes()
    guesses = [
        entry["document"] for entry in history.net.bob.auditor.ledger.entries(history.agreement, 0, 100)
    ]
    assert len(guesses) == 18
    from atoll.crypto import canonical
    from atoll.crypto.suite import commit

    times = [e["time"] for e in history.net.bob.auditor.ledger.entries(history.agreement, 0, 100)]
    kinds = [e["kind"] for e in history.net.bob.auditor.ledger.entries(history.agreement, 0, 100)]
    tried = 0
    for document, time, kind in zip(guesses, times, kinds, strict=True):
        body = canonical.dumps({"kind": kind, "time": time, "document": document})
        for guess in (body, canonical.dumps(document), time.encode(), kind.encode()):
            for found in (hashlib.sha256(guess).hexdigest(), commit(guess, bytes(16)).split(":")[1]):
                tried += 1
                assert found.encode() not in data
                assert bytes.fromhex(found) not in data
    assert tried == 18 * 4 * 2
    for planted in (b"330106", b"taxes", b"loans", b"request 1", history.service.encode()):
        assert planted not in data
    # The control: the true opening does find the entry.
    opened = history.net.bob.auditor.ledger.export(
        history.agreement, tmp_path / "open", bodies=True
    ).read_bytes()
    assert b"taxes" in opened


def test_receipts_in_the_file_do_not_let_results_or_plans_be_guessed(history: History, whole: Path) -> None:
    """The result is committed to with an opening that is not in the file: no candidate result matches."""
    from atoll.crypto import canonical, dsse

    data = whole.read_bytes()
    rows = history.net.alice.analyst.jobs.get(history.jobs[0]).result().pandas()
    result = history.net.alice.analyst.jobs.get(history.jobs[0]).result()
    assert len(rows) == 20
    receipts = [body.document["envelope"] for body in _bodies(whole) if body.kind == "receipt/v1"]
    commitments = {
        record["output"]["commitment"].split(":")[1]
        for envelope in receipts
        for record in canonical.loads(dsse.payload_bytes(envelope))["parties"].values()
        if record["output"]
    }
    assert commitments
    for guess in (
        rows.to_csv(index=False).encode(),
        json.dumps(rows.to_dict("list")).encode(),
        repr(result).encode(),
    ):
        assert hashlib.sha256(guess).hexdigest() not in commitments
    assert b'"rows":20' not in data


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        ({"jobs": ["job-unknown"]}, "E_NOT_FOUND", "job-unknown"),
        ({"months": ["2026-13"]}, "E_FORMAT", "2026-13"),
        ({"months": ["november"]}, "E_FORMAT", "november"),
        ({"calls": ["x"]}, "E_FORMAT", "JOB:BLOCK:CALL"),
        ({"calls": ["job-unknown:1:1"]}, "E_NOT_FOUND", "job-unknown"),
    ],
)
def test_what_cannot_be_asked(
    history: History, tmp_path: Path, asked: dict[str, list[str]], code: str, words: str
) -> None:
    with pytest.raises(AtollError) as error:
        history.net.bob.auditor.audit.export(history.agreement, tmp_path / "none", **asked)
    assert error.value.code == code
    assert words in error.value.text
    assert not (tmp_path / "none").exists()
    assert not list((history.net.bob.folder / "work").glob("*/audit*"))


def test_calls_that_are_not_there_and_agreements_that_are_not(history: History, tmp_path: Path) -> None:
    auditor = history.net.alice.auditor.audit
    for call, words in ((f"{history.service}:9:1", "no block 9"), (f"{history.service}:1:4", "3 calls")):
        with pytest.raises(AtollError, match=words) as error:
            auditor.export(history.agreement, tmp_path / "none", calls=[call])
        assert error.value.code == "E_NOT_FOUND"
    for agreement in ("agr-0000000000000000", "private"):
        with pytest.raises(AtollError) as error:
            auditor.export(agreement, tmp_path / "none")
        assert error.value.code == "E_NOT_FOUND"
    with pytest.raises(AtollError) as error:
        history.net.alice.analyst.audit.export(history.agreement, tmp_path / "none")
    assert error.value.code == "E_ROLE"
