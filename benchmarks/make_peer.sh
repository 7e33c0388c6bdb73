#!/bin/sh
# Makes an environment in which neural-tangents 0.6.5 runs: make_peer.sh DIR
# It needs an older jax, hence an older Python; TensorFlow, which it imports but no kernel needs, is stubbed in peer.py.
set -eu
dir=${1:?usage: make_peer.sh DIR}
[ -z "${WIDENET_PEER_PYTHON:-}" ] || exit 0  # there is one already
"$dir/bin/python" -c 'import jax, flatbuffers, frozendict' 2>/dev/null && exit 0
for python in "${PYTHON:-}" python3.12 python3.11 python3.10 python3; do
    [ -n "$python" ] || continue
    "$python" -c 'import sys, ensurepip, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null || continue
    echo "    with $("$python" --version) ($python)"
    "$python" -m venv --clear "$dir"
    "$dir/bin/python" -m pip install --quiet jax==0.4.25 jaxlib==0.4.25 'numpy<2' 'scipy<1.13' \
        frozendict flatbuffers absl-py more-itertools
    "$dir/bin/python" -m pip install --quiet --no-deps neural-tangents==0.6.5
    exit 0
done
echo "neural-tangents 0.6.5 needs Python 3.10 to 3.12 with venv; none was found, so only our side is timed." >&2
