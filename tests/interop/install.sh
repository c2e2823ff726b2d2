#!/usr/bin/env bash
# Installs one TensorFlow into an environment of its own, or notes why it cannot be:
#   install.sh tf115 | tf2
# Nothing is done where FLOWMESH_TF115 or FLOWMESH_TF2 names a Python that has it.
set -uo pipefail
cd "$(dirname "$0")/../.."
case "$1" in
    tf115)
        given=${FLOWMESH_TF115:-} python=${PYTHON37:-python3.7}
        for each in "$python" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.7.*/bin/python; do
            if "$each" --version >/dev/null 2>&1; then
                python=$each
                break
            fi
        done
        packages=("tensorflow==1.15.5" "protobuf<3.21" "numpy<1.19") ;;
    tf2)
        given=${FLOWMESH_TF2:-} python=${PYTHON:-python3}
        packages=("tensorflow-cpu==2.21.*") ;;
    *)
        echo "usage: install.sh tf115 | tf2" >&2
        exit 2 ;;
esac
folder=.venv-$1 reason=.venv-$1.reason
ready=$folder/.ready
if [ -n "$given" ] || [ -e "$ready" ]; then
    exit 0
fi
echo "Setting up $folder (${packages[*]}) ..."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
    "$python" -m venv "$folder" &&
        timeout 1200 "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}" &&
        "$folder/bin/python" -c 'import tensorflow'
}
if install >"$log" 2>&1; then
    rm -f "$reason"
    touch "$ready"
else
    rm -rf "$folder"
    echo "${packages[0]} could not be installed with $python: $(grep -v '^ *$' "$log" | tail -1)" >"$reason"
    cat "$reason"
fi
