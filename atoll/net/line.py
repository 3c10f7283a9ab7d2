"""What the kernel measured of a connection: round trip and rate, for estimates alone."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

# Linux, include/uapi/linux/tcp.h, struct tcp_info: offsets that no later version moves. Times are microseconds.
_RTT, _MIN_RTT, _ACKED, _RATE, _BUSY, _PEER_FULL = 68, 148, 120, 160, 168, 176
_LENGTH = 184
_NONE = 2**32 - 1


@dataclass(frozen=True)
class Measured:
    """Of one connection: seconds of a round trip without load, bytes in a second that it carried while it was busy,
    and the bytes that this side sent, which say how much the rate is worth. None where the kernel says nothing.
    """

    round_seconds: float | None
    bytes_per_second: float | None
    sent: int


def measure(sock: socket.socket) -> Measured | None:
    """What the kernel says of a connection now; None for other kernels, and for sockets that are no TCP."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, option, 256)
    except OSError:
        return None
    if len(info) < _LENGTH:
        return None
    smoothed, least = (struct.unpack_from("=I", info, at)[0] for at in (_RTT, _MIN_RTT))
    acked, rate, busy, full = (
        struct.unpack_from("=Q", info, at)[0] for at in (_ACKED, _RATE, _BUSY, _PEER_FULL)
    )
    trip = least if least not in (0, _NONE) else smoothed
    # Time in which the peer's buffer was full says how fast the peer works, and nothing of the line.
    working = busy - full
    mean = acked * 1e6 / working if working > 0 else 0.0
    best = max(float(rate), mean)
    return Measured(trip / 1e6 if trip else None, best or None, acked)
