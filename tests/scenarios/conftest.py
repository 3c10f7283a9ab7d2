"""Makes the drivers and the table of these tests importable, and starts the nodes once."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from atoll.testing import nodes


def _load(name: str, file: str) -> None:
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


_load("atoll_scenario_drivers", "drivers.py")
_load("atoll_scenario_world", "world.py")
_load("atoll_scenario_table", "table.py")
_load("atoll_scenario_join_table", "join_table.py")
_load("atoll_scenario_data_actions", "data_actions.py")
_load("atoll_scenario_data_table", "data_table.py")
_load("atoll_scenario_evidence_actions", "evidence_actions.py")
_load("atoll_scenario_evidence_table", "evidence_table.py")
_load("atoll_scenario_offer_actions", "offer_actions.py")
_load("atoll_scenario_offer_table", "offer_table.py")
_load("atoll_scenario_roster_table", "roster_table.py")
_load("atoll_scenario_replay_table", "replay_table.py")
_load("atoll_scenario_script_actions", "script_actions.py")
_load("atoll_scenario_script_table", "script_table.py")
_load("atoll_scenario_query_actions", "query_actions.py")
_load("atoll_scenario_query_table", "query_table.py")
_load("atoll_scenario_lookup_totals_table", "lookup_totals_table.py")
_load("atoll_scenario_running", "running.py")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Three paired nodes with their tables, shared by all scenarios of one way, and gone before other tests."""
    from atoll_scenario_world import World

    settings = {"jobs.concurrent": 16, "carol": {"audit.replay_for": ["alice"]}}
    with nodes("alice", "bob", "carol", settings=settings) as net:
        yield World(net, tmp_path_factory.mktemp("scenarios"))
