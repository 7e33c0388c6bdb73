#!/bin/sh
# Makes a virtual environment with the newest Python here that works and is 3.11 or newer: make_venv.sh DIR
set -eu
dir=${1:?usage: make_venv.sh DIR}
for python in "${PYTHON:-}" python3.14 python3.13 python3.12 python3.11 python3; do
    [ -n "$python" ] || continue
    "$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
    echo "    with $("$python" --version) ($python)"
    "$python" -m venv "$dir"
    exit 0
done
echo "widenet needs Python 3.11 or newer with venv; none was found." >&2
echo "Install one (for example: apt-get install python3 python3-venv), or say which: make demo PYTHON=/path/to/python3" >&2
exit 1
