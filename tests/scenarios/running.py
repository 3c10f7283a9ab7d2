"""How a scenario of the table is run. Each way to a node is a test file of its own, so that they run side by side."""

from __future__ import annotations

import contextlib
from typing import Any

import atoll_scenario_data_table  # noqa: F401  # fills the table
import atoll_scenario_evidence_table  # noqa: F401
import atoll_scenario_join_table  # noqa: F401
import atoll_scenario_lookup_totals_table  # noqa: F401
import atoll_scenario_offer_table  # noqa: F401
import atoll_scenario_query_table  # noqa: F401
import atoll_scenario_replay_table  # noqa: F401
import atoll_scenario_roster_table  # noqa: F401
import atoll_scenario_script_table  # noqa: F401
import atoll_scenario_table  # noqa: F401
import pytest
from atoll_scenario_drivers import DRIVERS, Driver
from atoll_scenario_world import TABLE, Play, Scenario, World

from atoll import AtollError


def cases(way: str) -> list[Any]:
    """All scenarios by the driver of that name, as parameters of a test.

    By default the SDK goes all of them, the command line and bare HTTP in turns one or the other, and no heavy one.
    """
    (driver,) = [found for found in DRIVERS if found.name == way]
    turn = ["cli", "rest"]
    return [
        pytest.param(
            scenario,
            driver,
            id=f"{scenario.name}-{way}",
            marks=[pytest.mark.slow] if way != "sdk" and (scenario.heavy or turn[number % 2] != way) else [],
        )
        for number, scenario in enumerate(TABLE)
    ]


def run(world: World, scenario: Scenario, driver: Driver) -> None:
    """The steps of a scenario, and what must come of them."""
    play = Play(world, driver)
    try:
        _steps(scenario, play)
    finally:
        if scenario.heavy:
            _withdraw(play)


def _withdraw(play: Play) -> None:
    """Ends the services of packages that a scenario deployed: each is processes at both nodes.

    The standing one stays: later scenarios use it.
    """
    scripts = play.bob.steward.scripts
    standing = getattr(play.world, "standing", {}).get("digest")
    for package in scripts.packages():
        if package.get("state") == "deployed" and not package["mine"] and package["digest"] != standing:
            with contextlib.suppress(AtollError):
                scripts.withdraw(package["digest"], "the scenario is over")


def _steps(scenario: Scenario, play: Play) -> None:
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
