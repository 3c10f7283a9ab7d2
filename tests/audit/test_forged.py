"""Files that somebody changed: from outside, and by a signatory who signs a log of its own making."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll import AtollError
from atoll.agreements.replay import build_replay
from atoll.audit import AuditFile, LogPart, Opening, Selected, read_audit, write_audit
from atoll.client import verify_audit
from atoll.crypto import canonical, dsse
from atoll.crypto.suite import SigningKey
from atoll.ledger.entry import Body, Entry, Record, open_leaf
from atoll.ledger.log import OwnLog
from atoll.ledger.report import Report
from atoll.ledger.storage import MemoryStorage
from atoll.net.identity import NodeKeys

from .conftest import History

Change = Callable[[list[Body]], list[Body]]


def bad(report: Report) -> list[str]:
    return [finding.code for finding in report.findings if finding.level == "bad"]


def text_of(report: Report, code: str) -> str:
    return next(finding.text() for finding in report.findings if finding.code == code)


def solid(content: AuditFile) -> AuditFile:
    """With entries that can be read more than once."""
    return replace(content, logs=[replace(log, entries=list(log.entries)) for log in content.logs])


# From outside.


def test_a_changed_byte_anywhere_is_found(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    assert verify_audit(whole).ok

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.integers(0, len(data) - 1), st.integers(1, 255))
    def change(at: int, by: int) -> None:
        path = tmp_path / "changed"
        path.write_bytes(data[:at] + bytes([data[at] ^ by]) + data[at + 1 :])
        report = verify_audit(path)
        assert not report.ok
        assert report.lines("zh")[0]

    change()


@given(st.binary(max_size=400))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_else_is_refused_with_a_reason(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "noise"
    path.write_bytes(data)
    report = verify_audit(path)
    assert not report.ok
    with pytest.raises(AtollError) as error:
        report.require()
    assert error.value.code == "E_LEDGER"


def test_a_file_cut_short_and_one_that_is_not_there(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(whole.read_bytes()[:-100])
    assert not verify_audit(path).ok
    with pytest.raises(AtollError) as error:
        verify_audit(tmp_path / "none")
    assert error.value.code == "E_NOT_FOUND"


def test_an_entry_left_out_moved_or_put_in_is_found(whole: Path, tmp_path: Path) -> None:
    content = solid(read_audit(whole))
    log = content.logs[0]
    entries = list(log.entries)
    middle = len(entries) // 2
    swapped = [*entries]
    swapped[middle], swapped[middle + 1] = (
        replace(entries[middle], entry=entries[middle + 1].entry),
        replace(entries[middle + 1], entry=entries[middle].entry),
    )
    other = next(iter(content.logs[1].entries))
    for changed in (swapped, [*entries[:middle], replace(other, index=middle), *entries[middle + 1 :]]):
        path = tmp_path / "forged"
        write_audit(path, replace(content, logs=[replace(log, entries=changed), *content.logs[1:]]))
        report = verify_audit(path)
        assert bad(report)[0] == "log-bad"
    with pytest.raises(AtollError):
        write_audit(tmp_path / "short", replace(content, logs=[replace(log, entries=entries[:-1])]))
    assert not (tmp_path / "short").exists()


def test_a_body_that_does_not_open_its_entry(whole: Path, tmp_path: Path) -> None:
    content = solid(read_audit(whole))
    log = content.logs[1]
    entries = list(log.entries)
    place = next(i for i, item in enumerate(entries) if _kind(item) == "receipt/v1")
    opened = entries[place].entry.opened
    assert opened is not None
    changed = replace(opened, body=opened.body.replace(b'"kind":"receipt/v1"', b'"kind":"outcome/v1"'))
    entries[place] = replace(entries[place], entry=replace(entries[place].entry, opened=changed))
    path = tmp_path / "forged"
    write_audit(path, replace(content, logs=[content.logs[0], replace(log, entries=entries)]))
    report = verify_audit(path)
    assert bad(report)[0] == "log-bad"
    assert f"entry {place}" in text_of(report, "log-bad")


def _kind(item: Selected) -> str:
    opened = item.entry.opened
    return open_leaf(item.entry.leaf, opened).kind if opened else ""


def test_keys_of_others_count_for_nothing(history: History, whole: Path) -> None:
    wrong = history.keys | {"bob": str(SigningKey.generate().public)}
    report = verify_audit(whole, wrong)
    assert "untrusted" in bad(report)
    assert history.keys["bob"] in text_of(report, "untrusted")


# By a signatory.


@pytest.fixture(scope="session")
def keys(history: History, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SigningKey]:
    """The nodes' own signing keys, as a signatory has who cheats."""
    out = {}
    for node in history.net:
        folder = tmp_path_factory.mktemp("keys") / node.name
        shutil.copytree(node.folder / "keys", folder)
        out[node.name] = NodeKeys.load(folder, node.passphrase).signing
    return out


@pytest.fixture
def forge(whole: Path, keys: dict[str, SigningKey], tmp_path: Path) -> Callable[..., Report]:
    """Gives the report on the file after signatories rewrote their logs and signed them anew."""

    def forged(changes: dict[str, Change]) -> Report:
        content = solid(read_audit(whole))
        logs = []
        for part in content.logs:
            name = next(name for name, key in keys.items() if str(key.public) == str(part.owner))
            logs.append(_rewritten(content.agreement, part, keys[name], changes.get(name, lambda b: b)))
        path = tmp_path / "forged"
        write_audit(path, replace(content, logs=logs))
        return verify_audit(path, {name: str(key.public) for name, key in keys.items()})

    return forged


def _rewritten(agreement: str, part: LogPart, key: SigningKey, change: Change) -> LogPart:
    bodies = [open_leaf(item.entry.leaf, item.entry.opened) for item in part.entries if item.entry.opened]
    log = OwnLog(MemoryStorage(), agreement, key)
    made: list[Entry] = []
    for body in change(copy.deepcopy(bodies)):
        # Past the rule that times do not go back: a cheat writes what it likes.
        log._tail = None
        made += _append(log, body)
    head = log.storage.head()
    assert head is not None
    entries = [Selected(i, entry) for i, entry in enumerate(made)]
    return LogPart(part.owner, head, len(made), {}, True, len(made), entries)


def _append(log: OwnLog, body: Body) -> tuple[Entry, ...]:
    import atoll.ledger.log as module

    keep = module.last_time
    module.last_time = lambda *_: ""
    try:
        return log.append([Record(body.kind, body.document)], datetime.fromisoformat(body.time)).entries
    finally:
        module.last_time = keep


def test_the_rewritten_file_is_good_if_nothing_is_changed(forge: Callable[..., Report]) -> None:
    report = forge({})
    assert report.ok, report.lines()
    assert "unseen" in [finding.code for finding in report.findings]


def each(kind: str, change: Callable[[Any], Any]) -> Change:
    def apply(bodies: list[Body]) -> list[Body]:
        return [
            replace(body, document=change(body.document)) if body.kind == kind else body for body in bodies
        ]

    return apply


def without(kind: str) -> Change:
    return lambda bodies: [body for body in bodies if body.kind != kind]


def test_a_release_without_its_debit_is_named(history: History, forge: Callable[..., Report]) -> None:
    """A debit skipped."""
    report = forge({"bob": each("release/v1", lambda d: d | {"debits": []})})
    assert set(bad(report)) == {"undebited"}
    assert text_of(report, "undebited").startswith("bob: ")


def test_more_runs_than_agreed_are_counted(history: History, forge: Callable[..., Report]) -> None:
    def more(document: dict[str, Any]) -> dict[str, Any]:
        debits = [d | {"amount": "2"} if d["kind"] == "run" else d for d in document["debits"]]
        return document | {"debits": debits}

    report = forge({"bob": each("release/v1", more)})
    assert bad(report) == ["quota-exceeded"]
    assert "used 4 of 3 runs" in text_of(report, "quota-exceeded")


def test_a_release_outside_the_validity_is_named(forge: Callable[..., Report]) -> None:
    def late(bodies: list[Body]) -> list[Body]:
        return [
            replace(body, time=f"2199{body.time[4:]}") if i >= 6 else body for i, body in enumerate(bodies)
        ]

    report = forge({"bob": late})
    assert "invalid" in bad(report)


def test_a_release_after_a_revocation_is_named(
    keys: dict[str, SigningKey], forge: Callable[..., Report]
) -> None:
    def revoke(bodies: list[Body]) -> list[Body]:
        from atoll.agreements.model import parse

        agreement = parse(canonical.loads(dsse.payload_bytes(bodies[0].document["envelope"])))
        document = {
            "format": "atoll.revocation/v1", "agreement": agreement.id, "version": 1,
            "by": str(keys["alice"].public), "reason": "enough", "at": bodies[0].time,
        }  # fmt: skip
        envelope = dsse.sign("revocation/v1", document, keys["alice"])
        return [bodies[0], Body("revocation/v1", bodies[0].time, {"envelope": envelope}), *bodies[1:]]

    report = forge({"bob": revoke})
    assert bad(report) == ["invalid"]
    assert "alice revoked" in text_of(report, "revoked")


def test_times_that_go_back_are_back_dating(forge: Callable[..., Report]) -> None:
    report = forge({"bob": lambda bodies: [*bodies[:-1], replace(bodies[-1], time="2020-01-01T00:00:00Z")]})
    assert bad(report)[0] == "log-bad"
    assert "back-dated" in text_of(report, "log-bad")


def test_approvals_left_out_leave_the_authority_unproved(forge: Callable[..., Report]) -> None:
    report = forge({"bob": without("approval/v1"), "alice": without("approval/v1")})
    found = [finding.code for finding in report.findings]
    assert report.ok
    assert "authority-unknown" in found
    assert "authorised" not in found
    assert "receipt-unchecked" in found


def test_receipts_left_out_are_unacknowledged_releases(forge: Callable[..., Report]) -> None:
    report = forge({"bob": without("receipt/v1"), "alice": without("receipt/v1")})
    assert report.ok
    text = text_of(report, "receipt-unsigned")
    assert "provisional receipts stand" in text
    assert "alice, bob" in text


def _altered(envelope: dsse.Envelope, kind: str, change: Callable[[Any], Any], *signers: SigningKey) -> Any:
    return {"envelope": dsse.sign(kind, change(canonical.loads(dsse.payload_bytes(envelope))), *signers)}


def test_a_receipt_that_one_side_changed_lacks_the_other_signature(
    keys: dict[str, SigningKey], forge: Callable[..., Report]
) -> None:
    def cheaper(document: Any) -> Any:
        return _altered(document["envelope"], "receipt/v1", lambda d: d | {"purpose": "other"}, keys["alice"])

    report = forge({"alice": each("receipt/v1", cheaper), "bob": without("receipt/v1")})
    assert set(bad(report)) == {"receipt-differs"}
    assert "bob did not sign" in text_of(report, "receipt-differs")


def test_a_receipt_that_both_signed_must_still_fit_the_plan(
    keys: dict[str, SigningKey], forge: Callable[..., Report]
) -> None:
    """A share revealed: a receipt that discloses less than the plan does, or states a number it must not."""

    def reveals(document: Any) -> Any:
        def change(receipt: Any) -> Any:
            receipt["disclosures"] = receipt["disclosures"][:-1]
            return receipt

        return _altered(document["envelope"], "receipt/v1", change, keys["alice"], keys["bob"])

    both = each("receipt/v1", reveals)
    report = forge({"alice": both, "bob": both})
    assert set(bad(report)) == {"receipt-differs"}
    assert "disclosures" in text_of(report, "receipt-differs")


def test_two_receipts_for_one_job_contradict(
    keys: dict[str, SigningKey], forge: Callable[..., Report]
) -> None:
    def other(document: Any) -> Any:
        def change(receipt: Any) -> Any:
            return receipt | {"attempt": receipt["attempt"] + 1}

        return _altered(document["envelope"], "receipt/v1", change, keys["alice"], keys["bob"])

    report = forge({"alice": each("receipt/v1", other)})
    assert "document" in bad(report)
    assert "another receipt" in text_of(report, "document")


def test_a_plan_that_is_not_the_askers(keys: dict[str, SigningKey], forge: Callable[..., Report]) -> None:
    def resigned(document: Any) -> Any:
        return _altered(document["envelope"], "plan/v1", lambda d: d, keys["bob"])

    report = forge({"bob": each("plan/v1", resigned), "alice": each("plan/v1", resigned)})
    assert "unauthorised" in bad(report)
    assert "not signed by its asker" in text_of(report, "unauthorised")


def test_an_entry_of_a_kind_that_holds_something_else(forge: Callable[..., Report]) -> None:
    for nonsense in ({}, {"envelope": 7}, {"envelope": {}}, {"job": [], "block": None}, [], "x", None, 3):
        report = forge({"bob": each("receipt/v1", lambda d, n=nonsense: n)})
        assert "document" in bad(report), nonsense
        assert "bob (receipt/v1)" in text_of(report, "document")


def _billed(
    history: History, keys: dict[str, SigningKey], change: Callable[[Any], Any], *signers: str
) -> Change:
    """Puts a statement of the month into a log, computed at the node and then changed."""
    month = str(history.net.bob.auditor.ledger.entries(history.agreement, 0, 1)[0]["time"])[:7]
    (bill,) = history.net.bob.auditor.bills.show(month, agreement=history.agreement)
    envelope = dsse.sign("statement/v1", change(bill["document"]), *(keys[name] for name in signers))
    return lambda bodies: [*bodies, Body("statement/v1", bodies[-1].time, {"envelope": envelope})]


def test_a_statement_that_follows_from_the_receipts(
    history: History, keys: dict[str, SigningKey], forge: Callable[..., Report]
) -> None:
    report = forge({"bob": _billed(history, keys, lambda d: d, "alice", "bob")})
    assert report.ok, report.lines()
    assert "to the minor unit" in text_of(report, "billed")


def test_statements_that_do_not(
    history: History, keys: dict[str, SigningKey], forge: Callable[..., Report]
) -> None:
    def dearer(document: Any) -> Any:
        line = next(line for line in document["lines"] if line["unit"] == "call")
        added = int(line["price"])
        line["quantity"] += 1
        line["amount"] = line["payees"][0]["amount"] = str(int(line["amount"]) + added)
        document["totals"][0]["amount"] = str(int(document["totals"][0]["amount"]) + added)
        return document

    report = forge({"bob": _billed(history, keys, dearer, "alice", "bob")})
    assert bad(report) == ["billed-differs"]
    assert "echo: it counts 8 by call, the receipts 7" in text_of(report, "billed-differs")
    report = forge({"bob": _billed(history, keys, lambda d: d, "bob")})
    assert bad(report) == ["billed-differs"]
    assert "alice did not sign" in text_of(report, "billed-differs")
    for nonsense in ({}, {"envelope": 3}, [], None):
        report = forge({"bob": lambda b, n=nonsense: [*b, Body("statement/v1", b[-1].time, n)]})
        assert bad(report) == ["document"]


def test_a_dispute_is_told(
    history: History, keys: dict[str, SigningKey], forge: Callable[..., Report]
) -> None:
    document = {"month": "2026-11", "partner": str(keys["alice"].public)}
    report = forge({"bob": lambda b: [*b, Body("statement-dispute/v1", b[-1].time, document)]})
    assert report.ok
    assert "bob recorded that its statement of 2026-11 differs from that of alice" in text_of(
        report, "bill-disputed"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"block": {"number": [], "first": 1, "calls": 3}}, {"block": {"number": "1", "first": 1, "calls": 3}},
        {"block": [1]}, {"attempt": "1"}, {"attempt": None}, {"job": []}, {"debits": [{}]}, {"debits": 3},
    ],
    ids=str,
)  # fmt: skip
def test_a_signatory_cannot_make_the_verifier_fall_over(
    forge: Callable[..., Report], change: dict[str, Any]
) -> None:
    report = forge({"bob": each("release/v1", lambda d: d | change)})
    assert "document" in bad(report)
    assert report.lines("zh")


def test_a_debit_at_a_time_that_is_none(forge: Callable[..., Report]) -> None:
    def never(document: dict[str, Any]) -> dict[str, Any]:
        return document | {"debits": [d | {"at": "2026-02-31T10:00:00.000Z"} for d in document["debits"]]}

    assert "document" in bad(forge({"bob": each("release/v1", never)}))


@pytest.mark.parametrize("field", ["consent", "withdrawal", "path"])
def test_an_opened_call_of_another_form(whole: Path, tmp_path: Path, field: str) -> None:
    content = solid(read_audit(whole))
    opening = Opening("job-0", 1, 0, b"{}", (), None, None, None)
    document = opening.document() | {field: [[1, 2, 3]] if field != "path" else "00"}
    with pytest.raises(AtollError) as error:
        Opening.read(document)
    assert error.value.code == "E_LEDGER"
    assert Opening.read(opening.document()) == opening
    path = tmp_path / "opened"
    write_audit(path, replace(content, openings=[opening]))
    assert "consent-unknown" in [finding.code for finding in verify_audit(path).findings]


def test_replays_count_only_from_the_party_or_a_host_that_the_agreement_names(
    history: History, keys: dict[str, SigningKey], forge: Callable[..., Report]
) -> None:
    receipt = next(
        dsse.identifier(entry["document"]["envelope"])
        for entry in history.net.bob.auditor.ledger.entries(history.agreement, 0, 100)
        if entry["kind"] == "receipt/v1"
    )
    now = datetime.fromisoformat("2026-11-26T00:00:00+00:00")

    def put(signer: SigningKey) -> Change:
        document = build_replay(
            job=history.jobs[0], plan="sha256:" + "0" * 64, attempt=1, party=str(keys["bob"].public),
            host=str(signer.public), receipt=receipt, build="sha256:" + "0" * 64, threads=1, ran=True, started=now,
            finished=now, findings=[],
        )  # fmt: skip
        entry = {"envelope": dsse.sign("replay/v1", document, signer), "replay": "rpl-0"}
        return lambda bodies: [*bodies, Body("replay/v1", bodies[-1].time, entry)]

    assert "replayed" in [f.code for f in forge({"bob": put(keys["bob"])}).findings]
    found = [f.code for f in forge({"bob": put(SigningKey.generate())}).findings]
    assert "replay-stranger" in found
    assert "replayed" not in found
