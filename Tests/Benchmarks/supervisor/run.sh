#!/usr/bin/env bash
# How soon the mesh knows of a worker that was killed, and how soon there is another.
#
#   Tests/Benchmarks/supervisor/run.sh [OPTION ...]
#
# supervisor-lab does the work; --help lists its options. Ends with 1 when a goal is missed.
#
# SESSIONMESH_BENCH_BIN: a folder with built sessionmesh and supervisor-lab, to skip building them.
set -euo pipefail
cd "$(dirname "$0")/../../.."

if [ -n "${SESSIONMESH_BENCH_BIN:-}" ]; then
    bin=$SESSIONMESH_BENCH_BIN
else
    swift build -c release --product sessionmesh >&2
    swift build -c release --product supervisor-lab >&2
    bin=$(swift build -c release --show-bin-path)
fi
exec "$bin/supervisor-lab" "$@"
