"""A link of known rate and delay between two network namespaces of this machine. Needs Linux, root, `ip` and `tc`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_ADDRESSES = ("10.213.77.1", "10.213.77.2")


@dataclass(frozen=True)
class Link:
    """How to run each party, and where the first one listens."""

    prefixes: list[list[str]]
    host: str


class NoShapingError(Exception):
    """This machine cannot make the link; the text says what is missing."""


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoShapingError(
            f"`{' '.join(command[:4])} ...` failed: {done.stderr.strip() or done.returncode}"
        )


@contextmanager
def shaped(text: str | None) -> Iterator[Link]:
    """The link that `text` describes, `RATE,DELAY` as tc writes them (`100mbit,10ms`); loopback for None.

    Rate and delay are those of each direction: a round trip takes twice the delay.

    Raises:
        NoShapingError: if tools, rights or the kernel's netem are missing.
        ValueError: if `text` is no rate and delay.
    """
    if text is None:
        yield Link([[], []], "127.0.0.1")
        return
    form = re.fullmatch(r"(\d+(?:k|m|g)?bit),(\d+(?:us|ms|s))", text)
    if form is None:
        raise ValueError(f"a link is RATE,DELAY such as 100mbit,10ms, not {text!r}")
    if os.geteuid():
        raise NoShapingError("network namespaces need root")
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if missing:
        raise NoShapingError(f"not installed: {', '.join(missing)} (package iproute2)")
    names = [f"atoll-bench-{os.getpid()}-{side}" for side in range(2)]
    ends = [f"atb{os.getpid() % 100_000}{side}" for side in "ab"]
    try:
        for name in names:
            _do("ip", "netns", "add", name)
        pair = ["type", "veth", "peer", "name", ends[1], "netns", names[1]]
        _do("ip", "link", "add", ends[0], "netns", names[0], *pair)
        for name, end, address in zip(names, ends, _ADDRESSES, strict=True):
            inside = ["ip", "netns", "exec", name]
            _do(*inside, "ip", "address", "add", f"{address}/24", "dev", end)
            _do(*inside, "ip", "link", "set", end, "up")
            _do(*inside, "ip", "link", "set", "lo", "up")
            # A queue that holds more than rate times delay, so that nothing is dropped.
            netem = ["netem", "rate", form[1], "delay", form[2], "limit", "100000"]
            _do(*inside, "tc", "qdisc", "add", "dev", end, "root", *netem)
        yield Link([["ip", "netns", "exec", name] for name in names], _ADDRESSES[0])
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
