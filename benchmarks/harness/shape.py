"""A link of known rate and delay between two network namespaces of this machine. Needs Linux, root, `ip` and TUN.

Packets go through TUN devices and a process that holds them back (`relay`), so no queueing discipline of the kernel is
needed. At 100 Mbit/s that process takes a quarter of a processor, which is counted for neither party.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_ADDRESSES = ("10.213.77.1", "10.213.77.2")
_RELAY = Path(__file__).with_name("relay.py")
_DEVICES = Path("/dev/net/tun")
# From linux/if_tun.h: a device of IP packets without a header of its own.
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_RATES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_DELAYS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


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


def _device(name: str) -> int:
    """An open TUN device; it goes when it is closed."""
    try:
        device = os.open(_DEVICES, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise NoShapingError(f"no TUN devices: {error}") from error
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


def _join(name: str, end: str, own: str, other: str) -> None:
    """Moves an end of the link into its namespace, with its address and the way to the other one."""
    _do("ip", "link", "set", end, "netns", name)
    inside = ["ip", "-n", name]
    _do(*inside, "address", "add", own, "peer", other, "dev", end)
    _do(*inside, "link", "set", end, "up", "txqueuelen", "10000")
    _do(*inside, "link", "set", "lo", "up")


def _rate_and_delay(text: str) -> tuple[float, float]:
    """Bits a second and seconds."""
    form = re.fullmatch(r"(\d+)(k|m|g|)bit,(\d+)(us|ms|s)", text)
    if form is None:
        raise ValueError(f"a link is RATE,DELAY such as 100mbit,10ms, not {text!r}")
    return int(form[1]) * _RATES[form[2]], int(form[3]) * _DELAYS[form[4]]


def rate_and_delay(text: str) -> tuple[float, float]:
    """Bytes a second of each direction, and seconds that a packet takes; `ValueError` if `text` is none such."""
    rate, delay = _rate_and_delay(text)
    return rate / 8, delay


@contextmanager
def shaped(text: str | None) -> Iterator[Link]:
    """The link that `text` describes, `RATE,DELAY` such as `100mbit,10ms`; loopback for None.

    Rate and delay are those of each direction: a round trip takes twice the delay.

    Raises:
        NoShapingError: if tools, rights or TUN devices are missing.
        ValueError: if `text` is no rate and delay.
    """
    if text is None:
        yield Link([[], []], "127.0.0.1")
        return
    rate, delay = _rate_and_delay(text)
    if os.geteuid():
        raise NoShapingError("network namespaces need root")
    if shutil.which("ip") is None:
        raise NoShapingError("not installed: ip (package iproute2)")
    names = [f"atoll-bench-{os.getpid()}-{side}" for side in range(2)]
    ends = [f"atb{os.getpid() % 100_000}{side}" for side in "ab"]
    devices: list[int] = []
    relay: subprocess.Popen[bytes] | None = None
    try:
        for name, end, own, other in zip(names, ends, _ADDRESSES, _ADDRESSES[::-1], strict=True):
            devices.append(_device(end))
            _do("ip", "netns", "add", name)
            _join(name, end, own, other)
        command = [sys.executable, str(_RELAY), *map(str, devices), str(rate), str(delay)]
        relay = subprocess.Popen(command, pass_fds=devices)
        yield Link([["ip", "netns", "exec", name] for name in names], _ADDRESSES[0])
    finally:
        if relay is not None:
            relay.kill()
            relay.wait()
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
        for device in devices:
            os.close(device)
