"""A dishonest lender's node: the real one, except that its own policy approves whatever its people ask for.

`python -m atoll.demo.patched node -d DIR`, with the passphrase in ATOLL_PASSPHRASE, as the demo starts it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any


def main(arguments: list[str]) -> None:
    """Runs the node in the folder that the last argument names."""
    from atoll.node.jobs import propose, run
    from atoll.node.serve import serve

    honest = vars(propose)["decide"]

    def approve(*given: Any, **named: Any) -> Any:
        return replace(honest(*given, **named), outcome="approve", reasons=())

    for module in (propose, run):
        vars(module)["decide"] = approve
    serve(Path(arguments[-1]), os.environ["ATOLL_PASSPHRASE"])


if __name__ == "__main__":
    main(sys.argv[1:])
