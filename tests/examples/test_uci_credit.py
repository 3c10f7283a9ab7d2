"""The UCI credit table over several nodes: every kind of join and every sum equals pandas' answer.

The table is not part of the project: `ATOLL_DATA` names the folder that holds `UCI_Credit_Card.csv`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from atoll.errors import AtollError
from atoll.testing import Net, nodes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FILE = "UCI_Credit_Card.csv"
LABEL = "default.payment.next.month"
HOLDERS = [f"lender {number}" for number in range(1, 9)]
GRADES = [str(code) for code in range(7)]
WAIT = 120.0


@pytest.fixture(scope="module")
def credit() -> pd.DataFrame:
    """The 30,000 clients of the table."""
    folder = os.environ.get("ATOLL_DATA", "")
    path = Path(folder) / FILE
    if not folder or not path.is_file():
        pytest.skip(f"ATOLL_DATA names no folder with {FILE}")
    return pd.read_csv(path)


def _strangers(frame: pd.DataFrame, first: int, count: int) -> pd.DataFrame:
    """Rows of clients that only one side knows."""
    extra = frame.head(count).copy()
    extra["ID"] = range(first, first + count)
    return extra


def _rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """The rows as plain values, in an order of their own."""
    plain = frame.astype(object).where(frame.notna(), None)
    return sorted(plain.itertuples(index=False, name=None))


@pytest.fixture(scope="module")
def tables(credit: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The table split by columns, with clients dropped and added on each side, in different orders.

    `visits` and `cards` have several rows for a client. A fifth of the bank's ages differ from the office's.
    """
    money = [c for c in credit.columns if c not in ("EDUCATION", "MARRIAGE")]
    bank = pd.concat([credit[credit["ID"] % 10 != 0], _strangers(credit, 50_001, 400)])[money]
    bank.loc[bank["ID"] % 5 == 1, "AGE"] += 1
    office = pd.concat([credit[credit["ID"] % 7 != 0], _strangers(credit, 60_001, 300)])
    office = office[["ID", "SEX", "EDUCATION", "MARRIAGE", "AGE"]]
    few = np.arange(1, 1201)
    cards = pd.DataFrame({"ID": np.repeat(few, few % 4), "card": range(int((few % 4).sum()))})
    visits = pd.DataFrame({"ID": np.repeat(few + 300, few % 3), "visit": range(int((few % 3).sum()))})
    return {
        "bank": bank.sample(frac=1, random_state=1).reset_index(drop=True),
        "office": office.sample(frac=1, random_state=2).reset_index(drop=True),
        "cards": cards.sample(frac=1, random_state=3).reset_index(drop=True),
        "visits": visits.sample(frac=1, random_state=4).reset_index(drop=True),
    }


@pytest.fixture(scope="module")
def two(
    tables: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Net, str]]:
    """A bank and an office, paired, with one agreement over their tables."""
    folder = tmp_path_factory.mktemp("uci")
    with nodes("bank", "office") as net:
        for name, frame in tables.items():
            path = folder / f"{name}.csv"
            frame.to_csv(path, index=False)
            owner = net.bank if name in ("bank", "cards") else net.office
            owner.steward.data.add(name, path)
        agreement = net.agreement(
            {"bank": {"bank": "*", "cards": "*"}, "office": {"office": "*", "visits": "*"}}
        )
        yield net, agreement


def _join(two: tuple[Net, str], left: str = "bank", right: str = "office", **how: Any) -> dict[str, Any]:
    """Asks at the bank; gives each side's result, where it has one."""
    net, agreement = two
    job = net.bank.analyst.join(agreement, left, right, **{"on": "ID", "purpose": "test"} | how)
    job.wait(timeout=WAIT)
    found: dict[str, Any] = {}
    for node in net:
        seen = node.analyst.jobs.get(job.id).wait(timeout=WAIT)
        if seen.document["result"] is not None:
            found[node.name] = seen.result()
    return found


def test_one_side_learns_its_own_matching_rows(two: tuple[Net, str], tables: dict[str, pd.DataFrame]) -> None:
    found = _join(two)
    bank, office = tables["bank"], tables["office"]
    assert list(found) == ["bank"]
    frame = found["bank"].pandas()
    assert list(frame.columns) == list(bank.columns)
    assert _rows(frame) == _rows(bank[bank["ID"].isin(office["ID"])])


def test_the_other_side_alone_can_learn(two: tuple[Net, str], tables: dict[str, pd.DataFrame]) -> None:
    found = _join(two, receivers="peer", right_select=["ID", "EDUCATION"])
    bank, office = tables["bank"], tables["office"]
    assert list(found) == ["office"]
    want = office[office["ID"].isin(bank["ID"])][["ID", "EDUCATION"]]
    assert _rows(found["office"].pandas()) == _rows(want)


def test_both_sides_learn_in_the_same_order(two: tuple[Net, str], tables: dict[str, pd.DataFrame]) -> None:
    found = _join(two, receivers="both")
    left, right = found["bank"].pandas(), found["office"].pandas()
    assert left["ID"].tolist() == right["ID"].tolist()
    # Side by side, without any key, the two results are the join.
    beside = pd.concat([left, right.drop(columns="ID").add_suffix("_office")], axis=1)
    want = tables["bank"].merge(tables["office"], on="ID", suffixes=("", "_office"))
    want = want.rename(columns={"EDUCATION": "EDUCATION_office", "MARRIAGE": "MARRIAGE_office"})
    assert _rows(beside[want.columns]) == _rows(want)


@pytest.mark.parametrize("receivers", ["me", "peer", "both"])
def test_only_the_size_is_learned(
    two: tuple[Net, str], tables: dict[str, pd.DataFrame], receivers: str
) -> None:
    found = _join(two, receivers=receivers, reveal="size")
    want = len(set(tables["bank"]["ID"]) & set(tables["office"]["ID"]))
    assert sorted(found) == {"me": ["bank"], "peer": ["office"], "both": ["bank", "office"]}[receivers]
    for result in found.values():
        assert result.scalars["intersection_size"] == want
        assert result.arrow().to_pylist() == [{"intersection_size": want}]


def test_several_key_columns(two: tuple[Net, str], tables: dict[str, pd.DataFrame]) -> None:
    keys = ["ID", "SEX", "AGE"]
    found = _join(two, on=keys, receivers="both")
    left, right = found["bank"].pandas(), found["office"].pandas()
    want = tables["bank"].merge(tables["office"], on=keys)
    assert 0 < len(want) < len(tables["bank"].merge(tables["office"], on="ID"))
    beside = pd.concat([left, right[["EDUCATION", "MARRIAGE"]]], axis=1)
    assert left[keys].equals(right[keys])
    assert _rows(beside[want.columns]) == _rows(want)


def test_duplicates_join_as_in_sql(two: tuple[Net, str], tables: dict[str, pd.DataFrame]) -> None:
    found = _join(two, "cards", "visits", receivers="both")
    left, right = found["bank"].pandas(), found["office"].pandas()
    beside = pd.concat([left, right[["visit"]]], axis=1)
    want = tables["cards"].merge(tables["visits"], on="ID")
    assert want["ID"].duplicated().any()
    assert left["ID"].tolist() == right["ID"].tolist()
    assert _rows(beside) == _rows(want)


def test_duplicates_where_one_side_learns(two: tuple[Net, str], tables: dict[str, pd.DataFrame]) -> None:
    cards, visits = tables["cards"], tables["visits"]
    found = _join(two, "cards", "visits")["bank"]
    assert _rows(found.pandas()) == _rows(cards[cards["ID"].isin(visits["ID"])])
    assert found.scalars["matched_keys"] == len(set(cards["ID"]) & set(visits["ID"]))
    size = _join(two, "cards", "visits", reveal="size")["bank"].scalars["intersection_size"]
    assert size == found.scalars["matched_keys"]


def test_duplicates_are_refused_by_choice(two: tuple[Net, str]) -> None:
    with pytest.raises(AtollError) as caught:
        _join(two, "cards", "office", duplicates="refuse")
    assert caught.value.code == "E_DUPLICATE"
    # Unique keys pass under the same choice.
    assert _join(two, duplicates="refuse")["bank"].rows > 0


@pytest.fixture(scope="module")
def eight(
    credit: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Net, str, pd.DataFrame]]:
    """Eight lenders, each with its own clients; the limits are decimals, grade and sex are codes."""
    folder = tmp_path_factory.mktemp("eight")
    book = credit[["ID", "LIMIT_BAL", "EDUCATION", "SEX", "BILL_AMT1", "PAY_AMT1", LABEL]].copy()
    book["LIMIT_BAL"] = [f"{value:.2f}" for value in book["LIMIT_BAL"] + book["ID"] / 100]
    words = {
        "columns": {
            "EDUCATION": {"type": "string", "codes": GRADES},
            "SEX": {"type": "string"},
            "LIMIT_BAL": {"type": "decimal", "scale": 2, "unit": "TWD"},
        }
    }
    with nodes(*HOLDERS, pair="star") as net:
        for number, node in enumerate(net):
            path = folder / f"book{number}.csv"
            book[book["ID"] % 8 == number].to_csv(path, index=False)
            node.steward.data.add("book", path, declaration=words)
        agreement = net.agreement({name: {"book": "*"} for name in HOLDERS})
        yield net, agreement, book


def _limits(book: pd.DataFrame) -> pd.Series[int]:
    """Limits in hundredths, exact."""
    return book["LIMIT_BAL"].str.replace(".", "", regex=False).astype("int64")


def test_sums_by_segment_over_eight_nodes(eight: tuple[Net, str, pd.DataFrame]) -> None:
    net, agreement, book = eight
    values = ["LIMIT_BAL", "BILL_AMT1", "PAY_AMT1", LABEL]
    job = net[HOLDERS[0]].analyst.totals(
        agreement, "book", group="EDUCATION", values=values, subject="ID", purpose="test"
    )
    found = job.wait(timeout=WAIT).result().arrow().to_pylist()
    assert [row["EDUCATION"] for row in found] == GRADES
    exact = book.assign(LIMIT_BAL=_limits(book), EDUCATION=book["EDUCATION"].astype(str))
    want = exact.groupby("EDUCATION")[values].sum()
    counts = exact["EDUCATION"].value_counts()
    for row in found:
        grade = row["EDUCATION"]
        assert row["count"] == counts.get(grade, 0)
        assert int(row["LIMIT_BAL"] * 100) == want.loc[grade, "LIMIT_BAL"]
        assert [int(row[name]) for name in values[1:]] == want.loc[grade, values[1:]].tolist()
    assert set(job.receipt(10)["document"]["parties"]) == {node.identity for node in net}


def test_one_total_over_eight_nodes_and_named_segments(eight: tuple[Net, str, pd.DataFrame]) -> None:
    net, agreement, book = eight
    asker = net[HOLDERS[0]].analyst
    one = asker.totals(agreement, "book", values=["BILL_AMT1"], purpose="test").wait(timeout=WAIT)
    total = one.result().arrow().to_pylist()
    assert [(int(row["BILL_AMT1"]), row["count"]) for row in total] == [
        (int(book["BILL_AMT1"].sum()), len(book))
    ]
    named = asker.totals(
        agreement, "book", group="SEX", segments=["1", "2"], values=["PAY_AMT1"], purpose="test"
    )
    rows = named.wait(timeout=WAIT).result().arrow().to_pylist()
    want = book.groupby("SEX")["PAY_AMT1"].sum()
    assert {row["SEX"]: int(row["PAY_AMT1"]) for row in rows} == {str(k): int(v) for k, v in want.items()}


def test_a_holder_with_few_subjects_keeps_its_segment(eight: tuple[Net, str, pd.DataFrame]) -> None:
    net, agreement, book = eight
    by_holder = book.groupby([book["ID"] % 8, "EDUCATION"]).size()
    minimum = int(by_holder.min()) + 1
    job = net[HOLDERS[0]].analyst.totals(
        agreement, "book", group="EDUCATION", values=[LABEL], subject="ID", minimum_group=minimum,
        purpose="test",
    )  # fmt: skip
    with pytest.raises(AtollError) as caught:
        job.wait(timeout=WAIT)
    assert caught.value.code == "E_MIN_GROUP"
