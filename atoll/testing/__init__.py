"""Real nodes on this machine from one call, for our tests and our users'.

    from atoll.testing import nodes

    with nodes("alice", "bob") as net:
        net.alice.steward.data.add("loans", {"id": ["1", "2"], "debt": [10, 20]})
        net.bob.steward.data.add("taxes", {"id": ["2", "3"]})
        agreement = net.agreement({"alice": {"loans": "*"}, "bob": {"taxes": "*"}})
        job = net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test")
        print(job.wait().result().pandas())

Each node is a process of its own with real keys, TLS and pairing; nothing is weaker than in production but
the budgets. The first start loads the code, which takes seconds: share a net between tests.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from atoll.testing.network import Net, Pairing, pair, until
from atoll.testing.node import ROLES, NodeProcess, Role

__all__ = ["ROLES", "Net", "NodeProcess", "Role", "fixture", "nodes", "pair", "until"]


@contextmanager
def nodes(
    *names: str,
    pair: Pairing | None = "all",
    settings: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    keep: bool = False,
    warm: bool = True,
) -> Iterator[Net]:
    """Starts nodes, pairs them, and stops them at the end.

    Args:
        names: of the institutions; unique.
        pair: all with all, `star` for the first with each other one, or None.
        settings: values of `atoll.toml` by `section.name` for every node, or by node's name and then so:
            `{"bob": {"partners.listen": ""}}` makes bob a node that only dials out.
        folder: where the nodes' folders are made; default a new temporary one.
        keep: leaves the folders for a look afterwards.
        warm: forks the nodes from a process that has loaded their code, which saves most of the time of a start;
            False starts each as an operator does, by `atoll node`.

    Yields:
        The net: `net.alice.analyst`, `net.agreement(...)`.

    Raises:
        AtollError: `E_STATE` with the end of the log of a node that does not start. An exception from inside
            the `with` carries the end of every node's log as a note.
    """
    if len(set(names)) != len(names) or not names:
        raise ValueError("the nodes have different names")
    root = Path(tempfile.mkdtemp(prefix="atoll-", dir=folder))
    net = Net([NodeProcess(name, root / _folder_name(name, i), _settings(name, names, settings))
               for i, name in enumerate(names)])  # fmt: skip
    for node in net:
        node.warm = warm
    try:
        net.start()
        if pair is not None:
            net.pair(pair)
        yield net
    except Exception as error:
        error.add_note(net.logs())
        raise
    finally:
        net.close()
        if not keep:
            shutil.rmtree(root, ignore_errors=True)


def fixture(
    *names: str,
    scope: Literal["session", "package", "module", "class", "function"] = "module",
    **options: Any,
) -> Any:
    """A pytest fixture of nodes that are shared in its scope; arguments as `nodes`.

    net = atoll.testing.fixture("alice", "bob")

    def test_join(net): ...
    """
    import pytest

    @pytest.fixture(scope=scope)
    def net() -> Iterator[Net]:
        with nodes(*names, **options) as found:
            yield found

    return net


def _folder_name(name: str, number: int) -> str:
    safe = "".join(c if c.isalnum() else "_" for c in name)
    return f"{number}-{safe}"


def _settings(name: str, names: tuple[str, ...], given: Mapping[str, Any] | None) -> dict[str, Any]:
    given = given or {}
    shared = {k: v for k, v in given.items() if k not in names}
    return shared | dict(given.get(name, {}))
