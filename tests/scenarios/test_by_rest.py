"""Every scenario of the table, by bare HTTP."""

from __future__ import annotations

import pytest
from atoll_scenario_running import cases, run


@pytest.mark.parametrize(("scenario", "driver"), cases("rest"))
def test_scenario(world, scenario, driver) -> None:
    run(world, scenario, driver)
