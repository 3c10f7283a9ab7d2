"""Every scenario of the table, by the command line."""

from __future__ import annotations

import pytest
from atoll_scenario_running import cases, run


@pytest.mark.parametrize(("scenario", "driver"), cases("cli"))
def test_scenario(world, scenario, driver) -> None:
    run(world, scenario, driver)
