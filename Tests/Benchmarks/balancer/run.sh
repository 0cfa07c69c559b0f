#!/usr/bin/env bash
# CPU per request of the balancer against HAProxy, in alternating rounds on one machine.
#
#   Tests/Benchmarks/balancer/run.sh [rounds]        (default 7; about 6 s a round, plus the build)
#
# One proxy thread on CPU 0; the load generator, which is also the origin, on CPU 1, so that the proxy is the limit. 64 keep-alive connections, each with a
# session cookie of its own; answers of 1 KB; everything on 127.0.0.1, on ports that the system chose. CPU is what the kernel says the proxy's threads
# ran (schedstat), and the ratio is the median of each round's ratio: a noisy moment hits both or drops out.
#
# SESSIONMESH_BENCH_SECONDS: length of a measurement, default 2. SESSIONMESH_BENCH_BIN: a folder with built programs, to skip building.
# Fails when the ratio is above SESSIONMESH_BENCH_GOAL, default 1.00.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-7}
seconds=${SESSIONMESH_BENCH_SECONDS:-2}
goal=${SESSIONMESH_BENCH_GOAL:-1.00}
command -v haproxy >/dev/null || { echo "haproxy is not installed: apt-get install haproxy" >&2; exit 69; }

if [ -n "${SESSIONMESH_BENCH_BIN:-}" ]; then
    bin=$SESSIONMESH_BENCH_BIN
else
    swift build -c release >&2
    bin=$(swift build -c release --show-bin-path)
fi

work=$(mktemp -d)
pids=()
finish() {
    exec 3>&- 4>&- 2>/dev/null || true
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

two=0
[ "$(nproc)" -gt 1 ] && two=1
mkfifo "$work/load.in" "$work/load.out" "$work/driver.in" "$work/driver.out"

taskset -c $two "$bin/balancer-load" <"$work/load.in" >"$work/load.out" & pids+=($!)
exec 3>"$work/load.in" 5<"$work/load.out"
read -r origin1 origin2 <&5

MALLOC_COUNT_FILE="$work/mallocs" LD_PRELOAD="$bin/libMallocCount.so" \
    taskset -c 0 "$bin/balancer-driver" "$work/cookies" "$origin1" "$origin2" <"$work/driver.in" >"$work/driver.out" & ours=$!
pids+=($ours)
exec 4>"$work/driver.in" 6<"$work/driver.out"
read -r port_ours <&6

# HAProxy can't say which port the system gave it, so one that was free a moment ago is borrowed from the ephemeral range and checked.
for _ in 1 2 3 4 5; do
    port_haproxy=$((20000 + RANDOM % 12000))
    cat >"$work/haproxy.cfg" <<CFG
global
    nbthread 1
    maxconn 4000
defaults
    mode http
    no log
    option forwardfor
    option http-keep-alive
    timeout client 60s
    timeout server 60s
    timeout connect 5s
frontend fe
    bind 127.0.0.1:$port_haproxy
    default_backend be
backend be
    balance hash req.cook(sid)
    http-reuse always
    server b1 127.0.0.1:$origin1 pool-max-conn -1
    server b2 127.0.0.1:$origin2 pool-max-conn -1
CFG
    taskset -c 0 haproxy -db -f "$work/haproxy.cfg" 2>"$work/haproxy.log" & theirs=$!
    sleep 0.5
    if kill -0 "$theirs" 2>/dev/null; then break; fi
    theirs=
done
[ -n "$theirs" ] || { cat "$work/haproxy.log" >&2; exit 69; }
pids+=("$theirs")

cpu() { cat /proc/"$1"/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum }'; }
mallocs() { od -An -t u8 -N 8 "$work/mallocs" | tr -d ' '; }

# measure PID PORT MILLISECONDS: sets us_per_request, rate, p50, p99
measure() {
    local before after done
    before=$(cpu "$1")
    echo "run $2 64 $3 $work/cookies" >&3
    read -r done rate p50 p99 errors accepts <&5
    after=$(cpu "$1")
    [ "$errors" = 0 ] || { echo "$errors requests went wrong on port $2" >&2; exit 70; }
    us_per_request=$(awk "BEGIN { printf \"%.2f\", ($after - $before) / 1000 / $done }")
    requests=$done
}

echo "machine    $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) CPUs, Linux $(uname -r)"
echo "versions   $(haproxy -v | head -1 | cut -d' ' -f1-3), $(swift --version 2>/dev/null | head -1)"
echo "command    Tests/Benchmarks/balancer/run.sh $rounds   (64 connections, 1 KB answers, $seconds s a measurement)"
echo
echo "round   ours us/req   haproxy us/req   ratio   ours req/s   haproxy req/s   ours p50/p99 us   haproxy p50/p99 us"
measure "$ours" "$port_ours" 500
measure "$theirs" "$port_haproxy" 500
for round in $(seq "$rounds"); do
    for who in $([ $((round % 2)) = 1 ] && echo "ours theirs" || echo "theirs ours"); do
        if [ "$who" = ours ]; then
            mallocs_before=$(mallocs)
            measure "$ours" "$port_ours" $((seconds * 1000))
            mallocs_made=$(($(mallocs) - mallocs_before)) mallocs_for=$requests
            o=$us_per_request o_rate=$rate o_p="$p50/$p99"
        else
            measure "$theirs" "$port_haproxy" $((seconds * 1000))
            t=$us_per_request t_rate=$rate t_p="$p50/$p99"
        fi
    done
    ratio=$(awk "BEGIN { printf \"%.3f\", $o / $t }")
    echo "$ratio" >>"$work/ratios"
    printf '%5s   %11s   %14s   %5s   %10s   %13s   %15s   %18s\n' "$round" "$o" "$t" "$ratio" "$o_rate" "$t_rate" "$o_p" "$t_p"
done
median=$(sort -n "$work/ratios" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }')
echo
echo "median ratio of CPU per request   $median of HAProxy's   (goal: at most $goal)"
echo "allocations in the last round     $mallocs_made for $mallocs_for requests, 64 new connections among them"
awk "BEGIN { exit !($median > 0 && $median <= $goal) }"
