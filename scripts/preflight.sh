#!/bin/sh
# Checks that this machine has what a build needs, and prints the cure for what it lacks.
#
#   preflight.sh            reports; exit status 1 if anything is missing
#   preflight.sh --python   prints the Python that the build will use, or nothing
#
# Uses only the shell itself, so that it works where nothing else does. PYTHON names a Python to use.

set -u

here=${0%/*}
[ "$here" = "$0" ] && here=.
manifest=$here/../Cargo.toml

# at_least HAVE WANT: both as major.minor[.patch]; true if HAVE is not older.
at_least() {
    have_major=${1%%.*} have_rest=${1#*.} want_major=${2%%.*} want_rest=${2#*.}
    have_minor=${have_rest%%.*} want_minor=${want_rest%%.*}
    [ "$have_major" -gt "$want_major" ] && return 0
    [ "$have_major" -eq "$want_major" ] && [ "$have_minor" -ge "$want_minor" ]
}

present() { command -v "$1" >/dev/null 2>&1; }

suits='import sys; sys.exit(sys.version_info < (3, 11))'
complete='import venv, ensurepip'
python=
bare=
for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python3.14 python; do
    present "$candidate" || continue
    "$candidate" -c "$suits" >/dev/null 2>&1 || { [ "$candidate" = "${PYTHON-}" ] && break; continue; }
    if "$candidate" -c "$complete" >/dev/null 2>&1; then
        python=$candidate
        break
    fi
    [ -n "$bare" ] || bare=$candidate
    # A Python that was asked for by name is the only one to use.
    [ "$candidate" = "${PYTHON-}" ] && break
done

if [ "${1-}" = --python ]; then
    [ -n "$python" ] && printf '%s\n' "$python"
    exit 0
fi

missing=0
# lack WHAT DEBIAN FEDORA MACOS
lack() {
    missing=1
    printf 'Missing: %s\n' "$1"
    printf '  Debian, Ubuntu: %s\n  Fedora:         %s\n  macOS:          %s\n' "$2" "$3" "$4"
}

if [ -z "$python" ]; then
    if [ -n "$bare" ]; then
        lack "the venv and ensurepip modules of $bare" \
            'apt-get install python3-venv' 'dnf install python3' 'brew install python@3.12'
    elif [ -n "${PYTHON-}" ]; then
        lack "a Python 3.11 or newer at PYTHON=$PYTHON" \
            'apt-get install python3 python3-venv' 'dnf install python3' 'brew install python@3.12'
    else
        lack 'python3, version 3.11 or newer' \
            'apt-get install python3 python3-venv' 'dnf install python3' 'brew install python@3.12'
    fi
fi

rust=
while IFS= read -r line; do
    case $line in
        rust-version*=*) rust=${line#*\"} rust=${rust%%\"*} ;;
    esac
done <"$manifest"
[ -n "$rust" ] || { printf 'Cargo.toml declares no rust-version\n'; exit 1; }
rustup='install rustup from https://rustup.rs, then: rustup default stable'
cargo=
present cargo && cargo=$(cargo --version 2>/dev/null)
cargo=${cargo#cargo }
cargo=${cargo%% *}
case $cargo in
    [0-9]*.[0-9]*)
        at_least "$cargo" "$rust" ||
            lack "cargo $rust or newer (this is $cargo)" 'rustup update stable' 'rustup update stable' 'rustup update stable'
        ;;
    *) lack "cargo, version $rust or newer" "$rustup" "$rustup" "$rustup" ;;
esac

present cc || lack 'cc, a C compiler' 'apt-get install build-essential' 'dnf install gcc' 'xcode-select --install'
present make || lack make 'apt-get install build-essential' 'dnf install make' 'xcode-select --install'
present git || lack git 'apt-get install git' 'dnf install git' 'xcode-select --install'

if [ "$missing" -ne 0 ]; then
    printf 'Install what is missing (as root, or with sudo), then run the same command again.\n'
    exit 1
fi
[ "${1-}" = --quiet ] || printf 'All here: %s, cargo %s, cc, make, git.\n' "$python" "$cargo"
