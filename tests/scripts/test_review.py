"""The review page: of the example, of a changed version, with problems; and the explanation of a decision."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from atoll.client.authoring import read_folder
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.scripts.examine import Examination, examine, from_document
from atoll.scripts.finding import Finding
from atoll.scripts.manifest import parse
from atoll.scripts.package import Package, build
from atoll.scripts.page import bits, explanation, finding_line, page_lines
from atoll.scripts.review import over_reach, review

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "scripts" / "claims"
AUTHOR = str(SigningKey(b"\1" * 32).public)


def facts(kind: str, precision: int | None = None, scale: int | None = None) -> dict[str, Any]:
    return {"type": kind, "precision": precision, "scale": scale}


def tables() -> dict[str, Any]:
    return {
        "claims": {
            "claim_id": facts("string"), "admitted": facts("date"), "discharged": facts("date"),
            "diagnosis": facts("string"), "age": facts("int64"), "name": facts("string"),
        },
        "bills": {
            "claim_id": facts("string"), "item": facts("string"), "quantity": facts("int64"),
            "price": facts("decimal", 10, 2),
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def package() -> Package:
    source = read_folder(EXAMPLE)
    return build(source.manifest, source.files, AUTHOR)


@pytest.fixture(scope="module")
def examined(package: Package) -> Examination:
    return examine(package)


def page(
    package: Package,
    examined: Examination,
    own: Any = None,
    before: Any = None,
    granted: Any = None,
    **bounds: Any,
) -> Any:
    return review(package, examined, tables=own or tables(), granted=granted, before=before, bounds=bounds)


def test_the_page_of_the_example(package: Package, examined: Examination) -> None:
    found = page(package, examined)
    assert over_reach(found) is None
    assert found["package"] == package.digest
    assert [(item["asset"], item["problem"]) for item in found["reads"]] == [
        ("bills", None),
        ("claims", None),
    ]
    outputs = {output["name"]: output for output in found["outputs"]}
    assert list(outputs) == ["decision", "pay", "reasons"]
    assert outputs["decision"]["outcomes"] == 3
    assert outputs["pay"]["outcomes"] == 50001
    # None, one of five, or two of five.
    assert outputs["reasons"]["outcomes"] == 1 + 5 + 10
    assert found["bits"]["outcomes"] == 3 * 50001 * 16 + 1
    # log2(2400049) is 21.194..., and three bits of timing.
    assert found["bits"]["per_call"] == 24195
    assert found["bits"]["calls_per_subject"] == 2
    assert ["bills", "price"] in outputs["pay"]["depends"]
    assert ["claim", "diagnosis"] in outputs["pay"]["depends"]
    assert ["tariff", "cap"] in outputs["pay"]["depends"]
    assert ["arguments", "insured"] in outputs["pay"]["depends"]
    # Features are followed to the columns that they are made of.
    assert not [s for output in outputs.values() for s in output["depends"] if s[0] == "features"]
    assert ["claim", "age"] not in outputs["pay"]["depends"]
    assert (found["changes"], found["approved_before"]) == (None, None)


def test_the_lines_of_the_example_say_it_in_both_languages(package: Package, examined: Examination) -> None:
    lines = page_lines(page(package, examined) | {"author_name": "insurer", "agreement": "agr-1"})
    english, chinese = "\n".join(lines["en"]), "\n".join(lines["zh"])
    assert len(lines["en"]) == len(lines["zh"])
    for text in (
        'from insurer, for the purpose "claim settlement", under agr-1',
        "bills: up to 200 rows whose claim_id is the claim of the call, as bills",
        "claims: the row whose claim_id is the claim of the call, as claim",
        "pay: 0 to 5000000 fen in steps of 100 (50001 values)",
        "bills.item, bills.price, bills.quantity",
        "which rows of bills and claims there are",
        "tariff.cap, tariff.item and tariff.rate_bp, which it brings along",
        "the caller's arguments deductible and insured",
        "read, but nothing depends on it: claims.age",
        "a call: at most 24.2 bits. It is one of 2400049 answers",
        "a claim: at most 64 bits in any 365 days, that is 2 calls",
        "reason capped: Some items were paid up to the tariff only.",
        "You have approved no version of it before.",
    ):
        assert text in english, text
    for text in (
        "作者 insurer", "步长 100", "依赖于 bills.item", "调用方的参数 deductible、insured", "claims.age",
        "至多 24.2 比特", "理由 capped：部分项目按目录限价赔付。", "此前未批准过",
    ):  # fmt: skip
        assert text in chinese, text
    assert "Cannot be deployed" not in english


def test_bounds_change_what_may_leave(package: Package, examined: Examination) -> None:
    found = page(
        package, examined, steps={"pay": 1000}, reasons=False, calls_per_day=7, hold_above={"pay": 100000},
        not_after="2027-01-01T00:00:00Z", subject_days=30,
    )  # fmt: skip
    outputs = {output["name"]: output for output in found["outputs"]}
    assert list(outputs) == ["decision", "pay"]
    assert outputs["pay"]["outcomes"] == 5001
    # No decision, and a held answer that was denied.
    assert found["bits"]["outcomes"] == 3 * 5001 + 2
    assert found["bits"]["calls_per_day"] == 7
    english = page_lines(found)["en"]
    for line in (
        "  at most 7 calls a day", "  pay in steps of 1000", "  no reasons leave",
        "  a pay above 100000 waits for a steward", "  ends at 2027-01-01T00:00:00Z",
    ):  # fmt: skip
        assert line in english
    assert any("any 30 days" in line for line in english)
    denied = {
        "en": "15005 answers, no decision and a denial of what was held among them",
        "zh": "“扣留后未放行”",
    }
    for language, text in denied.items():
        assert any(text in line for line in page_lines(found)[language])
        assert not any(text in line for line in page_lines(page(package, examined))[language])


@pytest.mark.parametrize(
    "bounds",
    [
        {"steps": {"pay": 150}},
        {"steps": {"decision": 2}},
        {"steps": {"amount": 100}},
        {"hold_above": {"decision": 1}},
        {"subject_millibits": 22194},
        {"day_millibits": 1},
        {"reasons": "few"},
        {"colour": "red"},
        {"calls_per_day": -1},
    ],
)
def test_bounds_that_do_not_fit_are_refused(package: Package, examined: Examination, bounds: Any) -> None:
    with pytest.raises(AtollError) as caught:
        page(package, examined, **bounds)
    assert caught.value.code == "E_SCRIPT"


def _without(own: Any, table: str, column: str) -> Any:
    return {**own, table: {k: v for k, v in own[table].items() if k != column}}


@pytest.mark.parametrize(
    ("own", "en", "zh"),
    [
        ({**tables(), "bills": None}, "no such table", "没有这个表"),
        (_without(tables(), "bills", "claim_id"), "no column 'claim_id'", "没有列 'claim_id'"),
        (_without(tables(), "bills", "price"), "no such column", "没有此列"),
        (
            {**tables(), "bills": {**tables()["bills"], "claim_id": facts("int64")}},
            "is int64, and the subject string", "而主体为 string",
        ),
        (
            {**tables(), "bills": {**tables()["bills"], "price": facts("decimal", 12, 3)}},
            "decimal(12,3) in the table", "表中为 decimal(12,3)",
        ),
        (
            {**tables(), "bills": {**tables()["bills"], "price": facts("decimal", 14, 2)}},
            "decimal(14,2) in the table", "表中为 decimal(14,2)",
        ),
        (
            {**tables(), "claims": {**tables()["claims"], "age": facts("float64")}},
            "float64 in the table", "表中为 float64",
        ),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit(
    package: Package, examined: Examination, own: Any, en: str, zh: str
) -> None:
    found = page(package, examined, own=own)
    assert en in str(over_reach(found))
    assert zh in str(over_reach(found, "zh"))
    lines = page_lines(found)
    assert lines["en"][-1].startswith("Cannot be deployed: input ")
    assert lines["zh"][-1].startswith("不能部署：输入 ")
    assert any(line.lstrip().startswith("PROBLEM") for line in lines["en"])


def test_what_changed_since_the_approved_version(package: Package, tmp_path: Path) -> None:
    folder = tmp_path / "claims"
    shutil.copytree(EXAMPLE, folder)
    for name, old, new in (
        ("package.toml", 'version = "1.0.0"', 'version = "1.1.0"'),
        ("package.toml", "range = [0, 5000000]", "range = [0, 9000000]"),
        ("rules.py", "min(total, 5000000)", "min(total, 9000000)"),
        ("tariff.csv", "drug-b,48000,5000", "drug-b,48000,5500"),
    ):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))
    source = read_folder(folder)
    new_package = build(source.manifest, source.files, AUTHOR)
    found = page(new_package, examine(new_package), before=package)
    assert found["approved_before"] == "1.0.0"
    changes = {change["path"]: change for change in found["changes"]}
    assert changes["manifest.version"]["en"] == 'manifest.version: "1.0.0" becomes "1.1.0"'
    assert "由" in changes["manifest.outputs.pay.range"]["zh"]
    assert "+    pay = min(total, 9000000) // 100 * 100" in changes["rules.py"]["lines"]
    assert "-drug-b,48000,5000" in changes["tariff.csv"]["lines"]
    assert "features.sql" not in changes
    english = page_lines(found)["en"]
    assert "Changed since 1.0.0, which you approved:" in english
    assert "    +drug-b,48000,5500" in english


def test_the_same_version_again_changes_nothing(package: Package, examined: Examination) -> None:
    found = page(package, examined, before=package)
    assert found["changes"] == []
    assert "Nothing changed since 1.0.0." in page_lines(found)["en"]


def test_findings_stand_on_the_page_and_hide_what_they_make_unsure(package: Package) -> None:
    wrong = Examination((Finding("rules-import", "rules.py:1:1", "remove this import"),), {}, {})
    found = page(package, wrong)
    assert over_reach(found) == "rules.py:1:1: remove this import"
    for lines in page_lines(found).values():
        assert "  rules.py:1:1: remove this import [rules-import]" in lines
        assert not [line for line in lines if "depends on" in line or "依赖于" in line]
    assert finding_line(found["findings"][0]) == "rules.py:1:1: remove this import [rules-import]"


def test_an_examination_comes_back_from_the_store(examined: Examination) -> None:
    assert from_document(examined.document()) == examined


def test_a_package_too_wide_for_the_defaults_is_shown_and_says_so(package: Package) -> None:
    document = package.manifest.document()
    wide = {"type": "int64", "range": [0, 2**52], "step": 1, "unit": None}
    document["outputs"] |= {"pay": wide, "rest": wide}
    manifest = parse(document)
    made = build(manifest, package.contents, AUTHOR)
    found = page(made, Examination((), {}, {}))
    assert found["bits"]["calls_per_subject"] == 0
    assert any("do not cover one call" in line for line in page_lines(found)["en"])


@pytest.mark.parametrize(
    ("millibits", "text"), [(0, "0"), (1, "0.1"), (1000, "1"), (22195, "22.2"), (64000, "64"), (99, "0.1")]
)
def test_bits_are_never_rounded_down(millibits: int, text: str) -> None:
    assert bits(millibits) == text


# One decision.


def explained(package: Package, **how: Any) -> dict[str, list[str]]:
    given: dict[str, Any] = {"author": "insurer", "state": "decided", "date": "2026-11-26T07:00:00Z"} | how
    return explanation(package.manifest, **given)


def test_a_decision_in_words(package: Package) -> None:
    answer = {"pay": 25000, "decision": "approve", "reasons": ["capped", "insured"]}
    found = explained(package, answer=answer)
    assert found["en"] == [
        "Hospital claims: pay or not, and how much",
        "decision: approve",
        "pay: 25000 fen",
        "Because:",
        "  Some items were paid up to the tariff only.",
        "  The sum insured limits the payment.",
        "Decided by the rules claims, version 1.0.0, of insurer on 2026-11-26.",
    ]
    assert found["zh"][1:5] == ["decision：approve", "pay：25000 fen", "理由：", "  部分项目按目录限价赔付。"]


def test_no_decision_is_no_refusal(package: Package) -> None:
    found = explained(package, answer=None)
    assert "not a refusal" in found["en"][1]
    assert "不等于拒绝" in found["zh"][1]


def test_a_held_answer_is_not_told(package: Package) -> None:
    answer = {"pay": 25000, "decision": "approve", "reasons": []}
    found = explained(package, answer=answer, state="held")
    assert not [line for line in (*found["en"], *found["zh"]) if "25000" in line or "approve" in line]


def test_an_answer_without_reasons_says_so(package: Package) -> None:
    answer = {"pay": 0, "decision": "check", "reasons": []}
    assert "The rules name no reason." in explained(package, answer=answer, date=None)["en"]


def test_what_the_agreement_does_not_grant_cannot_be_deployed(
    package: Package, examined: Examination
) -> None:
    granted = {
        name: dict.fromkeys(columns, ("lookup_key", "script_input")) for name, columns in tables().items()
    }
    assert over_reach(page(package, examined, granted=granted)) is None
    less = {**granted, "claims": {c: u for c, u in granted["claims"].items() if c != "diagnosis"}}
    found = page(package, examined, granted=less)
    assert over_reach(found) == "input claim, column diagnosis: the agreement grants no use of it in scripts"
    assert "diagnosis" in str(over_reach(found, "zh"))
    key = {**granted, "bills": {**granted["bills"], "claim_id": ("script_input",)}}
    assert "look-up by 'claim_id'" in str(over_reach(page(package, examined, granted=key)))
