"""What an author does before any node sees a package: read, check, test; and calls from files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.client import call_tables
from atoll.client.authoring import NO_DECISION, check_folder, read_folder, run_cases
from atoll.client.template import new_folder
from atoll.errors import AtollError

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "scripts" / "claims"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "claims"
    new_folder(path)
    return path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def refusal(act, *arguments) -> AtollError:
    with pytest.raises(AtollError) as caught:
        act(*arguments)
    assert caught.value.code == "E_SCRIPT"
    return caught.value


# The template.


def test_the_template_has_no_finding_and_its_cases_pass(folder: Path) -> None:
    source, examined, findings = check_folder(folder)
    assert findings == []
    assert source.manifest.name == "claims"
    assert {"decision", "pay", "reasons"} <= set(examined.depends)
    found = run_cases(folder)
    assert len(found) == 4
    assert [outcome.differs for outcome in found] == [[], [], [], []]


def test_a_folder_is_never_written_over(folder: Path) -> None:
    with pytest.raises(AtollError) as caught:
        new_folder(folder)
    assert caught.value.code == "E_CONFLICT"


@pytest.mark.parametrize(
    ("name", "made"),
    [("Claims 2026", "claims-2026"), ("2026", "rules-2026"), ("理赔", "rules"), ("x" * 60, "x" * 32)],
)
def test_a_package_is_named_after_its_folder(tmp_path: Path, name: str, made: str) -> None:
    new_folder(tmp_path / name)
    assert read_folder(tmp_path / name).manifest.name == made


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AtollError) as caught:
        new_folder(tmp_path / "file" / "claims")
    assert caught.value.code == "E_SOURCE"


# Folders.


def test_the_example_reads(folder: Path) -> None:
    source = read_folder(EXAMPLE)
    assert set(source.files) == {"rules.py", "features.sql", "tariff.csv"}
    assert source.package.content == read_folder(EXAMPLE).package.content


def test_each_missing_file_is_named(folder: Path) -> None:
    for name in ("rules.py", "features.sql", "tariff.csv", "package.toml"):
        copy = folder.with_name(f"without-{name}")
        shutil.copytree(folder, copy)
        (copy / name).unlink()
        assert name in refusal(read_folder, copy).text


def test_a_manifest_that_is_no_toml_names_its_line(folder: Path) -> None:
    change(folder / "package.toml", "version =", "version :")
    error = refusal(read_folder, folder)
    assert "package.toml" in error.text
    assert "line 4" in error.text


def test_a_wrong_field_is_named(folder: Path) -> None:
    change(folder / "package.toml", "step = 100", "step = 0")
    assert "outputs.pay" in refusal(read_folder, folder).text


def test_a_field_that_is_not_known_is_named(folder: Path) -> None:
    change(folder / "package.toml", "step = 100", "step = 100\nsteps = 3")
    assert "steps" in refusal(read_folder, folder).text


def test_a_file_outside_the_folder_is_not_read(folder: Path) -> None:
    (folder.parent / "secret.csv").write_text("item,cap,rate_bp\n")
    change(folder / "package.toml", '"tariff.csv"', '"../secret.csv"')
    assert "../secret.csv" in refusal(read_folder, folder).text


def test_a_link_to_the_outside_is_not_followed(folder: Path) -> None:
    outside = folder.parent / "secret.csv"
    outside.write_text("item,cap,rate_bp\n")
    (folder / "tariff.csv").unlink()
    (folder / "tariff.csv").symlink_to(outside)
    assert "inside its folder" in refusal(read_folder, folder).text


def test_a_manifest_in_another_encoding(folder: Path) -> None:
    text = (folder / "package.toml").read_text(encoding="utf-8")
    (folder / "package.toml").write_bytes(text.encode("gb18030"))
    assert "package.toml" in refusal(read_folder, folder).text


def test_chinese_columns_and_values(folder: Path) -> None:
    change(folder / "package.toml", 'columns = { diagnosis = "string" }', 'columns = { "诊断" = "string" }')
    change(folder / "rules.py", '"cosmetic", "dental"', '"美容", "牙科"')
    change(folder / "rules.py", 'claim["diagnosis"]', 'claim["诊断"]')
    sample = folder / "samples" / "claims.csv"
    sample.write_text(
        sample.read_text().replace("diagnosis", "诊断").replace("dental", "牙科"), encoding="utf-8"
    )
    _, examined, findings = check_folder(folder)
    assert findings == []
    assert ("claim", "诊断") in examined.depends["decision"]
    assert all(outcome.passed for outcome in run_cases(folder))


# Findings.


@pytest.mark.parametrize(
    ("file", "old", "new", "place", "code"),
    [
        ("rules.py", "# Typed", "import os\n# Typed", "rules.py:1:1", "rules-import"),
        ("features.sql", "FROM bills", "FROM read_csv('x')", "features.sql", "features-"),
        ("tariff.csv", "60000", "many", "tariff.csv", "table"),
        ("tariff.csv", "ward,60000,9000", "ward,60000", "tariff.csv", "table"),
        ("tariff.csv", "item,cap", "item,capacity", "tariff.csv", "table"),
        ("rules.py", 'entry["cap"]', 'entry["cap"] + "x"', "rules.py:22:", "rules-type"),
        ("rules.py", 'line["quantity"]', 'line["amount"]', "rules.py:", "rules-"),
    ],
    ids=["import", "file in SQL", "no number", "short row", "other column", "a wrong type", "no such column"],
)
def test_findings_have_a_place(folder: Path, file: str, old: str, new: str, place: str, code: str) -> None:
    change(folder / file, old, new)
    _, _, findings = check_folder(folder)
    assert findings
    assert findings[0].place.startswith(place), findings
    assert findings[0].code.startswith(code), findings
    # Cases do not run on what no host would take.
    assert findings[0].text in refusal(run_cases, folder).text


# Cases.


def test_a_case_that_differs_says_how(folder: Path) -> None:
    change(folder / "cases.toml", "pay = 1176000", "pay = 1")
    change(folder / "cases.toml", 'subject = "C-9"', 'subject = "C-9"\ntoday = 2020-01-01')
    first, *others = run_cases(folder)
    assert first.differs == ["pay: 1176000 instead of 1"]
    assert all(outcome.passed for outcome in others)


def test_no_decision_is_expected_in_words(folder: Path) -> None:
    # More lines of a bill than a call may see.
    change(folder / "package.toml", "maximum_rows = 200", "maximum_rows = 1")
    first, *_ = run_cases(folder)
    assert first.answer is None
    assert first.differs == [f"no decision instead of {first.case.expect}"]
    expected = 'expect = { decision = "approve", pay = 1176000, reasons = [] }'
    change(folder / "cases.toml", expected, f'expect = "{NO_DECISION}"')
    assert run_cases(folder)[0].passed


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("deductible = 100000", "deductible = -1", "deductible"),
        ("deductible = 100000", 'deductible = "much"', "deductible"),
        ("deductible = 100000", "age = 1", "age"),
        ('subject = "C-1"', 'topic = "C-1"', "case 1"),
        ('name = "operation with a stay"', "note = 1", "note"),
        ("today = 2026-01-01", "today =", "cases.toml"),
    ],
)
def test_cases_that_are_wrong_are_named(folder: Path, old: str, new: str, text: str) -> None:
    change(folder / "cases.toml", old, new)
    assert text in refusal(run_cases, folder).text


def test_a_file_without_a_case(folder: Path) -> None:
    (folder / "cases.toml").write_text("")
    assert "no case" in refusal(run_cases, folder).text
    assert "other.toml" in refusal(run_cases, folder, folder / "other.toml").text


def test_samples_that_are_wrong_are_named(folder: Path) -> None:
    sample = folder / "samples" / "bills.csv"
    change(sample, "12000.00", "a lot")
    assert "bills.csv" in refusal(run_cases, folder).text
    change(sample, "a lot", "1.00,more")
    assert "bills.csv" in refusal(run_cases, folder).text
    sample.unlink()
    assert "bills.csv is missing" in refusal(run_cases, folder).text


def test_a_sample_without_a_column_is_named(folder: Path) -> None:
    change(folder / "samples" / "claims.csv", "diagnosis", "treatment")
    error = refusal(run_cases, folder)
    assert "claims.csv" in error.text
    assert "diagnosis" in error.text


# Calls from files.

PACKAGE = {
    "subject": {"name": "claim", "type": "string"},
    "arguments": {
        "deductible": {"type": "int64"},
        "urgent": {"type": "bool"},
        "plan": {"type": "string"},
    },
}


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    return tmp_path / "calls.csv"


def test_calls_are_read_with_their_types(file: Path) -> None:
    file.write_text("subject,deductible,urgent,plan,key\nC-1,100,true,007,k1\n9,,,,\n", encoding="utf-8-sig")
    assert call_tables.read_calls(file, PACKAGE) == [
        {"subject": "C-1", "arguments": {"deductible": 100, "urgent": True, "plan": "007"}, "key": "k1"},
        {"subject": "9", "arguments": {}},
    ]
    whole = PACKAGE | {"subject": {"name": "claim", "type": "int64"}}
    file.write_text("subject\n12\n\n13\n")
    assert [c["subject"] for c in call_tables.read_calls(file, whole)] == [12, 13]


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("", "E_FORMAT", "subject is missing"),
        ("claim\nC-1\n", "E_FORMAT", "subject is missing"),
        ("subject\n", "E_FORMAT", "no call"),
        ("subject,subject\na,b\n", "E_FORMAT", "twice"),
        ("subject,deductible\nC-1\n", "E_FORMAT", "line 2"),
        ("subject,deductible\nC-1,1,2\n", "E_FORMAT", "line 2"),
        ("subject,deductible\nC-1,1\nC-2,1.5\n", "E_FORMAT", "line 3, deductible"),
        ("subject,urgent\nC-1,yes\n", "E_FORMAT", "urgent"),
        ("subject,age\nC-1,1\n", "E_FORMAT", "age"),
        ("subject,deductible\n,1\n", "E_FORMAT", "line 2, subject"),
        ('subject\n"C-1\n', "E_FORMAT", "line"),
    ],
)
def test_call_files_that_are_wrong(file: Path, text: str, code: str, named: str) -> None:
    file.write_text(text)
    with pytest.raises(AtollError) as caught:
        call_tables.read_calls(file, PACKAGE)
    assert caught.value.code == code
    assert named in caught.value.text


def test_call_files_that_cannot_be_read(file: Path) -> None:
    with pytest.raises(AtollError) as caught:
        call_tables.read_calls(file, PACKAGE)
    assert caught.value.code == "E_SOURCE"
    file.write_bytes("subject\n理赔\n".encode("gb18030"))
    with pytest.raises(AtollError) as caught:
        call_tables.read_calls(file, PACKAGE)
    assert caught.value.code == "E_ENCODING"


def test_a_column_that_means_two_things_is_refused(file: Path) -> None:
    file.write_text("subject,key\nC-1,k\n")
    with pytest.raises(AtollError, match="key"):
        call_tables.read_calls(file, PACKAGE | {"arguments": {"key": {"type": "string"}}})


def test_answers_are_written_in_order(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    answers = [
        {"key": "a", "subject": "C,1", "state": "decided", "error": None,
         "answer": {"decision": "approve", "fast": True, "reasons": ["x", "y"]}},
        {"key": "b", "subject": 2, "state": "decided", "error": None, "answer": None},
        {"key": "c", "subject": "3", "state": "refused", "answer": None,
         "error": {"code": "E_BUDGET", "detail": "64 bits"}},
    ]  # fmt: skip
    call_tables.write_answers(out, answers, ["decision", "fast"])
    assert out.read_text().splitlines() == [
        "key,subject,state,decision,fast,reasons,error,text",
        'a,"C,1",decided,approve,true,x y,,',
        "b,2,decided,,,,,",
        "c,3,refused,,,,E_BUDGET,64 bits",
    ]
    with pytest.raises(AtollError, match="cannot write"):
        call_tables.write_answers(tmp_path / "no" / "out.csv", answers, ["decision"])
