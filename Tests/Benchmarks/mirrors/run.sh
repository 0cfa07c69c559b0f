#!/usr/bin/env bash
# Mirrors: what becomes of requests and sessions while a store is harmed, killed or comes back, and what mirroring costs. Real agents, real stores.
#
#   Tests/Benchmarks/mirrors/run.sh [--seconds N] [--rounds N] [--json] [ROW ...]
#
# Rows, with redis, memcached or mongodb for STORE; all of them by default, which takes half an hour. The beginning of names does too: harm, drain-redis.
#   harm-STORE-killed     three agents, 1,000 requests a second, the store gone for 60 s; Redis and Memcached come back empty
#   harm-STORE-stopped    the same, by SIGSTOP
#   harm-STORE-flushed    the same, emptied every 5 s
#   harm-STORE-slow       the same, each answer after 2 s
#   restart-STORE         all agents killed at once under load and started again
#   drain-STORE           100,000 sessions that the store has never seen, and the store comes
#   cpu-redis             what mirroring adds to the agents' CPU
#   tail-STORE            one process appends to the log of a channel slot, another tails it, with nothing but the store between them
#
# mirror-lab does the work; `mirror-lab --help` has more options. Stores are started by it, on ports of 127.0.0.1 that the system chooses, in a
# temporary folder, and are gone afterwards. Ends with 1 when a goal is missed.
#
# SESSIONMESH_BENCH_BIN: a folder with built programs, sessionmesh and mirror-lab, to skip building them.
set -euo pipefail
cd "$(dirname "$0")/.."

case " $* " in *" --help "*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' mirrors/run.sh; exit 0 ;; esac
for tool in redis-server memcached; do
    command -v $tool >/dev/null || { echo "$tool is not installed: run .ci/setup bench" >&2; exit 69; }
done

if [ -n "${SESSIONMESH_BENCH_BIN:-}" ]; then
    bin=$SESSIONMESH_BENCH_BIN
else
    for product in sessionmesh mirror-lab; do swift build -c release --package-path ../.. --product $product >&2; done
    bin=$(swift build -c release --package-path ../.. --show-bin-path)
fi

exec "$bin/mirror-lab" --sessionmesh "$bin/sessionmesh" "$@"
