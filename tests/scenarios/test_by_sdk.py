"""Every scenario of the table, by the SDK."""

from __future__ import annotations

import pytest
from atoll_scenario_running import cases, run
from atoll_scenario_world import TABLE


def test_the_table_has_no_two_scenarios_of_one_name() -> None:
    names = [scenario.name for scenario in TABLE]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("scenario", "driver"), cases("sdk"))
def test_scenario(world, scenario, driver) -> None:
    run(world, scenario, driver)
