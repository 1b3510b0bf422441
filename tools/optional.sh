#!/bin/sh
# optional.sh PIP LOG WHAT ARGUMENT...: `pip install ARGUMENT...` of what the rest does without. A failure of it is one
# line on stderr, and pip's own words are in LOG.
pip=$1 log=$2 what=$3
shift 3
echo "Installing $what." >&2
"$pip" install --quiet --no-compile "$@" >"$log" 2>&1 ||
    echo "Not installed: $what. The rest is; backends that need it are SKIPPED or FALLBACK. Why: $log; again: PIP_CONSTRAINT='${PIP_CONSTRAINT-}' $pip install $*" >&2
