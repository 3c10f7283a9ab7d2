"""The state store: the only place that knows SQL tables of the node."""

from atoll.node.state.store import Store

__all__ = ["Store"]
