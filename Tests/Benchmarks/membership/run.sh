#!/usr/bin/env bash
# Agents of ours beside serf: how fast they notice, and what they cost, in scenarios that run alike with both.
#
#   Tests/Benchmarks/membership/run.sh [--rounds N] [--full] [--only ours|serf] [--json] [SCENARIO ...]
#
# A scenario is a kind and a number of members from 3 to 120, such as kill-10 or idle-100. Kinds: kill, stop, pause, loss, starve, flap, leave, join,
# burst, replace, duplicate, heal, idle, junk, hostile. Without any, all of the goals' table run, which takes about an hour; --full takes the goals' own times (ten minutes of loss, five of a partition) instead of shorter ones.
#
# Everything runs in namespaces of its own (network, processes, mounts), on 127.0.0.x or, where packets are to be dropped, in a network namespace for
# each member. Nothing can be left behind: when the lab's first process ends, the kernel ends all others. Making namespaces needs root.
#
# SESSIONMESH_BENCH_BIN: a folder with built programs, sessionmesh and membership-lab, to skip building.
set -euo pipefail
cd "$(dirname "$0")/.."

case " $* " in *" --help "*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' membership/run.sh; exit 0 ;; esac
[ "$(id -u)" = 0 ] || { echo "the lab makes network namespaces, which needs root: run it with sudo" >&2; exit 77; }
for tool in serf ip iptables unshare; do
    command -v $tool >/dev/null || { echo "$tool is not installed: run .ci/setup bench" >&2; exit 69; }
done

if [ -n "${SESSIONMESH_BENCH_BIN:-}" ]; then
    bin=$SESSIONMESH_BENCH_BIN
else
    for product in membership-lab sessionmesh; do swift build -c release --package-path ../.. --product $product >&2; done
    bin=$(swift build -c release --package-path ../.. --show-bin-path)
fi

work=$(mktemp -d)
# The control groups are the one thing that outlives a lab that was killed.
finish() {
    rm -rf "$work"
    for group in /sys/fs/cgroup{/cpu,}/membership-lab-"$(basename "$work")"-*; do
        [ ! -d "$group" ] || rmdir "$group" 2>/dev/null || true
    done
}
trap finish EXIT

"$bin/membership-lab" --sessionmesh "$bin/sessionmesh" --directory "$work" "$@"
