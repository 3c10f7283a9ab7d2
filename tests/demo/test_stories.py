"""`atoll demo claims` and `atoll demo subsidy`: every verdict of a good run, and the parts that verdicts rest on."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from atoll import demo
from atoll.client.authoring import check_folder, run_cases
from atoll.demo import claims, claims_later, claims_plain, claims_stage, families, hospital, subsidy_plain
from atoll.demo.claims_acts import bits_of
from atoll.demo.families import Application
from atoll.demo.packages import changed, folder_of
from atoll.demo.show import Show
from atoll.demo.subsidy_combine import combine
from atoll.demo.visiting import Caller
from atoll.demo.wiretap import crossed
from atoll.errors import AtollError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "scripts"
PACKAGES = ("claims", "ownership", "income", "household")


def run(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TMPDIR": str(home), "http_proxy": "http://127.0.0.1:9", "all_proxy": ""}
    return subprocess.run(
        [sys.executable, "-m", "atoll.cli", "demo", *arguments],
        capture_output=True, text=True, timeout=280, env=environment, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("story", "language", "checks"),
    [
        ("claims", "zh", [4, 6, 9, 2, 4, 9, 6, 9]),
        ("claims", "en", [4, 6, 9, 2, 4, 9, 6, 9]),
        ("subsidy", "zh", [10, 6, 8, 7, 4]),
        ("subsidy", "en", [10, 6, 8, 7, 4]),
    ],
)
def test_a_whole_story_is_right_and_leaves_nothing(
    tmp_path: Path, story: str, language: str, checks: list[int]
) -> None:
    ended = run(story, "--json", "--lang", language, home=tmp_path)
    found = json.loads(ended.stdout)
    wrong = [check for act in found["acts"] for check in act["checks"] if not check["ok"]]
    assert (ended.returncode, wrong, ended.stderr) == (0, [], "")
    assert [act["act"] for act in found["acts"]] == list("abcdefgh"[: len(checks)])
    assert [len(act["checks"]) for act in found["acts"]] == checks
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("story", ["claims", "subsidy"])
def test_an_interrupted_story_leaves_nothing(tmp_path: Path, story: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "atoll.cli", "demo", story], env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    end = time.monotonic() + 120
    # Nodes run then, and speak to each other.
    while not list(tmp_path.glob("atoll-demo-*/tap/crossed/*")):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("right", [True, False])
def test_a_wrong_check_of_a_story_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], right: bool
) -> None:
    def play(show: Show, folder: Path, keep: bool) -> None:
        assert folder.is_dir()
        show.act("a", "act-claims-author")
        show.check("answer", 1, 1 if right else 2)

    monkeypatch.setattr(claims, "play", play)
    assert demo.main(["claims", "--json"]) == (0 if right else 1)
    assert json.loads(capsys.readouterr().out)["ok"] is right


@pytest.mark.parametrize(
    "arguments", [("claims", "--data", "a.csv", "b.csv", "--key", "id"), ("taxes",), ("claims", "subsidy")]
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        demo.main(arguments)
    assert ended.value.code == 2
    assert "usage: atoll demo" in capsys.readouterr().err


# Packages.


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_is_without_findings_and_says_everything_in_both_languages(name: str) -> None:
    source, _, findings = check_folder(folder_of(name))
    assert findings == []
    for text in (source.manifest.title, *source.manifest.reasons.values()):
        assert text.en
        assert text.zh


@pytest.mark.parametrize("name", PACKAGES[1:])
def test_the_offices_packages_pass_their_own_cases(name: str) -> None:
    for outcome in run_cases(folder_of(name)):
        assert outcome.passed, (outcome.case.name, outcome.differs)


@pytest.mark.parametrize("name", ["WAIVED", "BY_NAME", "IN_FEN", "IN_YUAN"])
def test_changed_versions_pass_the_authors_own_check(tmp_path: Path, name: str) -> None:
    folder = changed("claims", tmp_path / "x", vars(claims_later)[name])
    assert check_folder(folder)[2] == []


def test_a_package_without_its_model_still_answers_as_the_plain_rules(tmp_path: Path) -> None:
    folder = changed("claims", tmp_path / "x", claims_stage.WITHOUT_MODEL)
    source, _, findings = check_folder(folder)
    assert findings == []
    assert source.manifest.models == {}
    plain = claims_plain.load(hospital.write(tmp_path / "tables").folder)
    for outcome in run_cases(folder):
        assert outcome.passed, outcome.differs
        yuan = {name: Decimal(fen) / 100 for name, fen in outcome.case.arguments.items()}
        answer = claims_plain.decide(plain, folder, str(outcome.case.subject), model=False, **yuan)
        assert answer == outcome.answer, outcome.case.name


def test_sql_that_reads_an_undeclared_column_is_found(tmp_path: Path) -> None:
    folder = changed("claims", tmp_path / "x", claims_later.BY_PHONE)
    findings = check_folder(folder)[2]
    assert [finding.place.partition(":")[0] for finding in findings] == ["features.sql"]
    assert "'phone'" in findings[0].text


@pytest.mark.parametrize("text", ["no such text", "total"])
def test_a_change_of_a_text_that_does_not_stand_there_once_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(AtollError) as caught:
        changed("claims", tmp_path / "x", {"rules.py": [(text, "")]})
    assert caught.value.code == "E_STATE"


def test_the_model_is_the_one_of_the_example() -> None:
    example = EXAMPLES / "claims-model" / "risk.onnx"
    assert (folder_of("claims") / "risk.onnx").read_bytes() == example.read_bytes()


def test_the_bits_of_an_answer_are_those_of_the_package() -> None:
    from atoll.scripts.outputs import bits_per_call

    manifest = check_folder(folder_of("claims"))[0].manifest
    for holds in (False, True):
        assert bits_of(50_001, holds) == bits_per_call(manifest, holds)


# Tables and plain answers.


def test_the_hospitals_tables_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    one, two = (hospital.write(tmp_path / name) for name in ("one", "two"))
    for name in hospital.TABLES:
        assert (one.folder / f"{name}.csv").read_bytes() == (two.folder / f"{name}.csv").read_bytes()
    assert len(one.planted) == 3 * one.rows["claims"]
    assert len(set(one.planted)) > 2.9 * one.rows["claims"]


def test_the_offices_tables_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    one, two = (families.write(tmp_path / name) for name in ("one", "two"))
    for table in one.rows:
        assert one.path(table).read_bytes() == two.path(table).read_bytes()
    assert all(len(value) >= 8 for value in one.planted)


def test_plain_rules_and_the_package_agree_on_the_samples(tmp_path: Path) -> None:
    """Samples whose answers stand in cases.toml, written by hand."""
    plain = claims_plain.load(hospital.write(tmp_path).folder)
    outcomes = run_cases(folder_of("claims"))
    assert all(outcome.passed for outcome in outcomes)
    for outcome in outcomes:
        yuan = {name: Decimal(fen) / 100 for name, fen in outcome.case.arguments.items()}
        answer = claims_plain.decide(plain, folder_of("claims"), str(outcome.case.subject), **yuan)
        assert answer == outcome.answer, outcome.case.name


def test_the_plain_rules_say_everything_that_the_rules_can_say(tmp_path: Path) -> None:
    written = hospital.write(tmp_path)
    plain = claims_plain.load(written.folder)
    answers = [claims_plain.decide(plain, folder_of("claims"), claim) for claim in written.ids[:100]]
    assert {answer["decision"] if answer else None for answer in answers} == {
        "approve",
        "refuse",
        "check",
        None,
    }
    assert sum(claims_stage.waits(answer) for answer in answers) >= 2
    changes = [
        claims_plain.decide(plain, folder_of("claims"), claim, waived=True) != answer
        for claim, answer in zip(written.ids, answers, strict=False)
    ]
    assert any(changes)


def test_every_verdict_on_families_occurs_and_the_changed_rule_matters(tmp_path: Path) -> None:
    written = families.write(tmp_path)
    plain = subsidy_plain.load(written.folder)
    today = date(2026, 11, 26)
    first = [subsidy_plain.verdict(plain, each, today) for each in written.applications[:80]]
    assert set(first) == {"yes", "no", "check", "open"}
    later = written.applications[81:]
    bands = [
        (subsidy_plain.band(plain, each), subsidy_plain.band(plain, each, Decimal(3000))) for each in later
    ]
    assert ("middle", "low") in bands


@pytest.mark.parametrize(
    ("owns", "band", "size", "subsidised", "verdict"),
    [
        (False, "low", 3, False, "yes"),
        (True, "low", 3, False, "no"),
        (False, "middle", 3, False, "no"),
        (False, "high", 3, False, "no"),
        (False, "low", 3, True, "no"),
        (False, "low", 4, False, "check"),
        (True, "high", 4, True, "check"),
    ],
)
def test_the_department_combines_three_outcomes(
    owns: bool, band: str, size: int, subsidised: bool, verdict: str
) -> None:
    parts: list[Any] = [{"owns": owns}, {"band": band}, {"size": size, "subsidised": subsidised}]
    assert combine(Application("x", 3), *parts) == verdict
    for at in range(3):
        assert combine(Application("x", 3), *[*parts[:at], None, *parts[at + 1 :]]) == "open"


# The search in what crossed.

VALUES = ["欧阳浩然", "110101199003071234", "13912345678"]


@pytest.mark.parametrize(
    "disguise",
    [
        str.encode,
        lambda v: v.encode("gb18030"),
        lambda v: v.encode("utf-16-le"),
        lambda v: v.encode().hex().encode(),
        lambda v: base64.b64encode(b"x" + v.encode() + b"yz"),
        lambda v: base64.b64encode(b"xy" + v.encode()),
        lambda v: base64.b64encode(v.encode() + b"z"),
        lambda v: hashlib.sha256(v.encode()).digest(),
        lambda v: hashlib.md5(v.encode()).hexdigest().encode(),
        lambda v: int(v).to_bytes(8, "big") if v.isdecimal() else v.encode(),
    ],
)
@pytest.mark.parametrize("value", VALUES)
def test_a_value_that_crossed_is_found(disguise: Callable[[str], bytes], value: str) -> None:
    noise = random.Random(5).randbytes
    assert crossed(noise(3000) + disguise(value) + noise(3000), VALUES) == [value]


def test_noise_and_neighbours_are_no_finding() -> None:
    assert crossed(random.Random(6).randbytes(100_000) + b"13912345670 1101011990030712", VALUES) == []


# The application that goes on calling.


class _Scripts:
    def __init__(self) -> None:
        self.made: list[str] = []

    def call(self, name: str, subject: str, arguments: Any, *, key: str) -> dict[str, Any]:
        self.made.append(key)
        if subject == "s3":
            raise AtollError("E_UNREACHABLE", "no answer")
        return {"version": "1.0.0" if len(self.made) < 20 else "1.1.0", "subject": subject}


class _Node:
    def __init__(self) -> None:
        self.application = type("Client", (), {"scripts": _Scripts()})


def test_a_caller_keeps_answers_and_errors_and_makes_each_call_once() -> None:
    node: Any = _Node()
    calls = [{"subject": f"s{n}", "arguments": {}, "key": f"k{n}"} for n in range(200)]
    caller = Caller(node, "claims", calls)
    caller.wait("1.0.0")
    caller.wait("1.1.0")
    caller.close()
    made = node.application.scripts.made
    assert made == [f"k{n}" for n in range(len(made))]
    assert [error.code for error in caller.errors] == ["E_UNREACHABLE"]
    assert len(caller.answers) == len(made) - 1
    assert caller.by("1.0.0") + caller.by("1.1.0") == len(caller.answers)
    time.sleep(0.1)
    assert len(made) == len(node.application.scripts.made), "nothing is called after the end"
