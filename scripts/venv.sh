#!/bin/sh
# Makes .venv in the current folder unless a working one stands there, and touches .venv/.made when it did.

set -eu

# Console scripts and the editable install hold absolute paths: an environment does not survive a move.
if [ -e .venv/.made ]; then
    if [ "$(cat .venv/.made)" = "$(pwd -P)" ] && .venv/bin/python -c '' 2>/dev/null; then
        exit 0
    fi
    echo 'The environment in .venv no longer works here; making it anew.'
    rm -rf .venv
fi

sh scripts/preflight.sh --quiet
python=$(sh scripts/preflight.sh --python)
"$python" -m venv .venv
pwd -P >.venv/.made
