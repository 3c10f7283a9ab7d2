"""Every scenario of the table, by the command line, the SDK and bare HTTP."""

from __future__ import annotations

import pytest
from atoll_scenario_drivers import DRIVERS
from atoll_scenario_table import TABLE, Play

from atoll import AtollError


def test_the_table_has_no_two_scenarios_of_one_name() -> None:
    names = [scenario.name for scenario in TABLE]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)
@pytest.mark.parametrize("scenario", TABLE, ids=lambda scenario: scenario.name)
def test_scenario(world, scenario, driver) -> None:
    play = Play(world, driver)
    if scenario.error is None:
        scenario.steps(play)
        return
    with pytest.raises(AtollError) as caught:
        scenario.steps(play)
    found = caught.value
    assert found.code == scenario.error, str(found)
    assert found.column == scenario.column, str(found)
    if scenario.text is not None:
        assert scenario.text in found.text
    if scenario.then is not None:
        scenario.then(play, found)
