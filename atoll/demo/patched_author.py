"""A dishonest author's node: the real one, except that its own checks of packages find nothing.

`python -m atoll.demo.patched_author node -d DIR`, with the passphrase in ATOLL_PASSPHRASE, as the demo starts it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any


def main(arguments: list[str]) -> None:
    """Runs the node in the folder that the last argument names."""
    from atoll.node.scripts.packages import Packages
    from atoll.node.serve import serve

    honest = vars(Packages)["_examine"]

    def examine(*given: Any) -> Any:
        return replace(honest(*given), findings=())

    setattr(Packages, "_examine", examine)  # noqa: B010
    serve(Path(arguments[-1]), os.environ["ATOLL_PASSPHRASE"])


if __name__ == "__main__":
    main(sys.argv[1:])
