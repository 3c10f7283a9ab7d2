"""Money that is divided exactly, statements that add up, and differences that are named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.billing import Item, compare, compare_day, money, parse_statement, split, statement
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError

A, B, C = sorted(str(SigningKey(bytes([n]) * 32).public) for n in range(3))
AGREEMENT = "agr-0011223344556677"

parts = st.dictionaries(st.text(min_size=1, max_size=4), st.integers(1, 10**6), min_size=1, max_size=8)


def item(number: int, **changed: object) -> Item:
    first = Item(
        day="2026-11-03", evidence=f"sha256:{number:064x}", agreement=AGREEMENT, asset="taxes", provider=B, payer=A,
        unit="run", quantity=1, price=500, currency="CNY", payees=((B, 1),), job=f"job-{number:032x}", block=0,
        basis="receipt",
    )  # fmt: skip
    return replace(first, **changed)  # type: ignore[arg-type]


@given(st.integers(0, 10**30), parts)
def test_shares_sum_exactly_and_nobody_is_a_unit_off(amount: int, shares: dict[str, int]) -> None:
    found = split(amount, shares)
    total = sum(shares.values())
    assert sum(found.values()) == amount
    assert set(found) == set(shares)
    for key, part in shares.items():
        assert amount * part // total <= found[key] <= amount * part // total + 1


@given(st.integers(0, 10**12), parts)
def test_the_order_of_payees_does_not_matter(amount: int, shares: dict[str, int]) -> None:
    assert split(amount, shares) == split(amount, dict(reversed(shares.items())))


@given(st.integers(0, 10**9), st.integers(1, 10**6), st.integers(0, 10**6))
def test_more_parts_never_give_less_to_the_one_who_has_them(amount: int, one: int, more: int) -> None:
    before = split(amount, {"a": one, "b": 7})["a"]
    assert split(amount, {"a": one + more, "b": 7})["a"] >= before


@pytest.mark.parametrize("wrong", [(-1, {"a": 1}), (1, {}), (1, {"a": 0})])
def test_what_cannot_be_divided(wrong: tuple[int, dict[str, int]]) -> None:
    with pytest.raises(ValueError, match="divided"):
        split(*wrong)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (0, "CNY", "0.00 CNY"), (5, "CNY", "0.05 CNY"), (1234, "EUR", "12.34 EUR"), (1234, "JPY", "1234 JPY"),
        (1234, "KWD", "1.234 KWD"), (12345, "CLF", "1.2345 CLF"), (-7, "USD", "-0.07 USD"),
    ],
)  # fmt: skip
def test_money_for_people(amount: int, currency: str, text: str) -> None:
    assert money(amount, currency) == text


uses = st.lists(
    st.builds(
        item,
        st.integers(0, 10**6),
        quantity=st.integers(1, 10**6),
        price=st.integers(1, 10**9),
        unit=st.sampled_from(["run", "call", "row", "hit"]),
        day=st.sampled_from([f"2026-11-{d:02}" for d in (1, 15, 30)] + ["2026-10-31", "2026-12-01"]),
        payees=st.sampled_from([((B, 1),), ((A, 1), (B, 2)), ((A, 3), (B, 3), (C, 1))]),
        payer=st.sampled_from([A, B, C]),
        provider=st.sampled_from([A, B]),
    ),
    max_size=30,
    unique_by=lambda i: (i.job, i.unit),
)


@given(uses)
def test_a_statement_adds_up_and_is_the_same_at_both_sides(items: list[Item]) -> None:
    one = statement("2026-11", AGREEMENT, (A, B), items)
    assert one == statement("2026-11", AGREEMENT, (B, A), list(reversed(items)))
    found = parse_statement(one)
    counted = [i for i in items if i.month == "2026-11" and {i.payer, i.provider} == {A, B}]
    assert sum(int(line.amount) for line in found.lines) == sum(i.amount for i in counted)
    assert sum(int(total.amount) for total in found.totals) == sum(i.amount for i in counted)
    assert sum(day.items for day in found.days) == len(counted)
    for line in found.lines:
        assert sum(int(payee.amount) for payee in line.payees) == int(line.amount)


@pytest.mark.parametrize(
    ("where", "value", "text"),
    [
        (("lines", 0, "amount"), "501", "quantity times price"),
        (("lines", 0, "quantity"), 2, "quantity times price"),
        (("lines", 0, "payees", 0, "amount"), "499", "do not sum"),
        (("totals", 0, "amount"), "1", "sums of the lines"),
        (("lines", 0, "payer"), C, "between the two parties"),
        (("parties", 0), C, "parties"),
        (("days", 0, "day"), "2026-12-03", "another month"),
        (("lines", 0, "price"), "-5", "price"),
        (("month",), "2026-13", "month"),
        (("lines", 0, "provisional"), 2, "provisional"),
    ],
)
def test_a_statement_that_does_not_add_up_is_refused(
    where: tuple[object, ...], value: object, text: str
) -> None:
    document = statement("2026-11", AGREEMENT, (A, B), [item(1)])
    place = document
    for step in where[:-1]:
        place = place[step]  # type: ignore[index]
    place[where[-1]] = value  # type: ignore[index]
    with pytest.raises(AtollError, match=text) as error:
        parse_statement(document)
    assert error.value.code == "E_FORMAT"


def both(mine: list[Item], theirs: list[Item]) -> tuple[list[str], list[str]]:
    one, other = (parse_statement(statement("2026-11", AGREEMENT, (A, B), items)) for items in (mine, theirs))
    lines, days = compare(one, other)
    return [f"{d.unit} {d.here} {d.there}" for d in lines], days


def test_differences_are_named_down_to_the_receipt() -> None:
    mine = [item(n, day=f"2026-11-{n + 1:02}") for n in range(5)]
    assert both(mine, list(mine)) == ([], [])
    assert both(mine, mine[:-1]) == (["run 5 4"], ["2026-11-05"])
    changed = [*mine[:-1], replace(mine[-1], quantity=3)]
    assert both(mine, changed) == (["run 5 7"], ["2026-11-05"])
    (found,) = compare_day([mine[-1].document()], [changed[-1].document()])
    assert (found.evidence, found.where, found.fields) == (mine[-1].evidence, "both", ("quantity",))
    (found,) = compare_day([mine[-1].document()], [])
    assert (found.job, found.where) == (mine[-1].job, "here")
    # Two errors that cancel out in the sums are found by day.
    swapped = [replace(mine[0], evidence="sha256:" + "f" * 64), *mine[1:]]
    assert both(mine, swapped) == ([], ["2026-11-01"])
    (found,) = compare_day([mine[0].document()], [swapped[0].document()])
    assert found.fields == ("evidence",)
