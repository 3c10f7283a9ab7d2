"""`keys`: the TLS keys of a node that does not run."""

from __future__ import annotations

from typing import Annotated

import typer

from atoll.cli import show
from atoll.cli.context import Here, command, passphrase
from atoll.cli.groups import group
from atoll.cli.nodes import PassphraseFile

keys = group("keys", "TLS keys of a node: show, renew, drop the older one.")


def _people(found: list[dict[str, str]]) -> None:
    rows = [k | {"key": "newest" if number == 0 else "older"} for number, k in enumerate(found)]
    show.table(rows, ["key", "not_after", "fingerprint"], "none")


@command(keys, "show")
def show_(here: Here) -> None:
    """Fingerprint and end of each TLS key, the newest first."""
    from atoll.node.home import Home

    found = Home.open(here.folder()).tls_keys()
    here.out(found, lambda: _people(found))


@command(keys, "renew-tls")
def renew_tls(
    here: Here,
    days: Annotated[int, typer.Option(min=1, max=3660, help="How long the new key is good.")] = 825,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Makes a new TLS key under the same identity, while the node is stopped; the present one is kept beside it."""
    from atoll.node.home import Home

    home = Home.open(here.folder())
    found = home.renew_tls(passphrase(passphrase_file, new=False), days)

    def people() -> None:
        _people(found)
        show.line("Start the node. It answers each partner with the key that the partner pins.")
        show.line("Now let your consortium pin the new key:")
        show.line("  atoll roster card > card.json")
        show.line("  atoll roster next ID --renew card.json > next.json")
        show.line("  atoll roster propose next.json")
        show.line("Partners outside of a roster pin the older key until you pair with them anew.")

    here.out(found, people)


@command(keys, "drop-old-tls")
def drop_old_tls(here: Here, passphrase_file: PassphraseFile = None) -> None:
    """Deletes the older TLS key, while the node is stopped: partners that still pin it are cut off."""
    from atoll.node.home import Home

    home = Home.open(here.folder())
    found = home.drop_old_tls(passphrase(passphrase_file, new=False))
    here.out(found, lambda: _people(found))
