"""Every scenario of the table, by the command line, the SDK and bare HTTP."""

from __future__ import annotations

import contextlib

import atoll_scenario_data_table  # noqa: F401  # fills the table
import atoll_scenario_evidence_table  # noqa: F401
import atoll_scenario_offer_table  # noqa: F401
import atoll_scenario_replay_table  # noqa: F401
import atoll_scenario_roster_table  # noqa: F401
import atoll_scenario_script_table  # noqa: F401
import atoll_scenario_table  # noqa: F401
import pytest
from atoll_scenario_drivers import DRIVERS
from atoll_scenario_world import TABLE, Play

from atoll import AtollError


def test_the_table_has_no_two_scenarios_of_one_name() -> None:
    names = [scenario.name for scenario in TABLE]
    assert len(names) == len(set(names))


CASES = [
    pytest.param(
        scenario,
        driver,
        id=f"{scenario.name}-{driver.name}",
        marks=[pytest.mark.slow] if scenario.heavy and driver.name != "sdk" else [],
    )
    for driver in DRIVERS
    for scenario in TABLE
]


@pytest.mark.parametrize(("scenario", "driver"), CASES)
def test_scenario(world, scenario, driver) -> None:
    play = Play(world, driver)
    try:
        _run(scenario, play)
    finally:
        if scenario.heavy:
            _withdraw(play)


def _withdraw(play) -> None:
    """Ends the services of packages that a scenario deployed: each is processes at both nodes.

    The standing one stays: later scenarios use it.
    """
    scripts = play.bob.steward.scripts
    standing = getattr(play.world, "standing", {}).get("digest")
    for package in scripts.packages():
        if package.get("state") == "deployed" and not package["mine"] and package["digest"] != standing:
            with contextlib.suppress(AtollError):
                scripts.withdraw(package["digest"], "the scenario is over")


def _run(scenario, play) -> None:
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
