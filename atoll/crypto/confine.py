"""The kernel of the second wall: Landlock and seccomp, bound by a process to itself and never to be taken off.

What they leave stands in `rust/confine`.
"""

from __future__ import annotations

from collections.abc import Sequence

from atoll import _core
from atoll.crypto.stream import kernel_errors


def enclose(read: Sequence[str], execute: Sequence[str]) -> str:
    """Leaves this process, and whatever it starts, these files and few system calls.

    It has no new privileges from then on, cannot be debugged, and ends with its parent.

    Args:
        read: paths of files that may be read.
        execute: paths of files that may be read and executed.

    Returns:
        What holds, for the log: such as `Landlock V7`.

    Raises:
        AtollError: `E_SANDBOX` names what this machine lacks. Some walls may stand: the process must end.
    """
    with kernel_errors():
        return _core.confine_enclose(list(read), list(execute))


def narrow() -> None:
    """Takes away the change of other processes' limits, from this thread and from what it starts from now on.

    A thread that was there before keeps it, and can still bind what this one starts, until `seal`.
    """
    with kernel_errors():
        _core.confine_narrow()


def seal() -> None:
    """Ends what only a start needs: no thread of this process starts a program or opens a file any more."""
    with kernel_errors():
        _core.confine_seal()


def adopt_orphans() -> None:
    """Makes this process the parent of its children's orphans."""
    with kernel_errors():
        _core.confine_adopt_orphans()
