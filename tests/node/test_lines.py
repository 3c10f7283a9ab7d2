"""Measures of lines are smoothed, and small connections say little of a rate."""

from __future__ import annotations

import pytest

from atoll.functions.compiling import Line
from atoll.net.line import Measured
from atoll.node.lines import ENOUGH_BYTES, Lines


def test_measures_are_smoothed_by_partner() -> None:
    lines = Lines()
    assert lines.known() == {}
    lines.note("bob", Measured(0.1, 1e6, ENOUGH_BYTES))
    lines.note("carol", Measured(0.02, 5e6, ENOUGH_BYTES))
    assert lines.known()["bob"] == Line(0.1, 1e6)
    lines.note("bob", Measured(0.2, 3e6, ENOUGH_BYTES))
    found = lines.known()["bob"]
    assert found.round_seconds == pytest.approx(0.125)
    assert found.bytes_per_second == pytest.approx(2e6)
    assert lines.known()["carol"] == Line(0.02, 5e6)


def test_a_connection_that_sent_little_never_lowers_a_rate() -> None:
    lines = Lines()
    lines.note("bob", Measured(0.1, 10.0, 500))
    assert lines.known()["bob"] == Line(0.1, None)
    lines.note("bob", Measured(None, 1e6, ENOUGH_BYTES))
    lines.note("bob", Measured(None, 10.0, ENOUGH_BYTES - 1))
    assert lines.known()["bob"] == Line(0.1, 1e6)
    lines.note("bob", Measured(None, 4e6, ENOUGH_BYTES - 1))
    assert lines.known()["bob"].bytes_per_second == 4e6


def test_where_the_kernel_says_nothing_nothing_changes() -> None:
    lines = Lines()
    lines.note("bob", None)
    assert lines.known() == {}
    lines.note("bob", Measured(0.1, 1e6, ENOUGH_BYTES))
    lines.note("bob", Measured(None, None, ENOUGH_BYTES))
    assert lines.known() == {"bob": Line(0.1, 1e6)}
