#!/usr/bin/env bash
# What requests of a page wait while a Hummingbird server computes: in a ComputePool, in its handlers, on its event loops.
#
#   Tests/Benchmarks/pool/run.sh [OPTION ...]
#
# pool-lab does the work; --help lists its options. Ends with 1 when the page's p99 beside a saturated pool is more than twice what it is in quiet.
#
# SESSIONMESH_BENCH_BIN: a folder with a built pool-lab, to skip building it.
set -euo pipefail
cd "$(dirname "$0")/../../.."

if [ -n "${SESSIONMESH_BENCH_BIN:-}" ]; then
    bin=$SESSIONMESH_BENCH_BIN
else
    swift build -c release --product pool-lab >&2
    bin=$(swift build -c release --show-bin-path)
fi

# A session of its own, which goes before all others: Linux shares the cores between sessions first (sched(7), autogroups), so that somebody else's
# work would be paid for by the page when the pool has used up this one's share. Without root they stay equal, and the machine should be idle.
setsid bash -c 'echo -19 2>/dev/null >/proc/self/autogroup || true; exec "$@"' lab "$bin/pool-lab" "$@" & lab=$!
trap 'kill $lab' INT TERM
wait $lab
