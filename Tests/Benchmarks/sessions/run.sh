#!/usr/bin/env bash
# What a session costs: reads beside Redis, commits that a second agent holds, memory, allocations.
#
#   Tests/Benchmarks/sessions/run.sh [--rounds N] [--json] [ROW ...]
#
# Rows, all but the last by default:
#   read-1, read-50     SESSION.READ of 10,000 sessions with one field of 100 bytes, by key, over 1 and 50 connections; Redis: GET of 10,000 values of 100 bytes
#   open-50             the same sessions by cookie
#   commit-1, commit-50 a commit that sets the field to 100 bytes that were never there before; acknowledged when the second agent holds it
#   memory              1,000,000 sessions with three fields of 20 bytes on one agent; then 40 more commits to each of 10,000 of them
#   allocations         calls of malloc for a read and for a commit
#   join-300000         a fourth agent comes to three with 300,000 sessions of 300 bytes, while 2,000 requests a second are made of the three
#   kills-200           five agents, one of which is killed, 200 times, while clients use sessions; takes a quarter of an hour and is run when it is named
#
# The last two are run by session-lab, which can do more: Docs/HACKING.md. The others: everything at Unix sockets, keys at random, closed loop.
# The agent that is asked, and Redis, on CPU 0; on CPU 1 the load and the second agent. CPU is what the kernel says a process ran (schedstat).
# Figures are medians of the rounds (default 5), a ratio is the median of each round's ratio, and rounds alternate who goes first: a noisy moment
# hits both or drops out. Fails when a goal is missed.
#
# SESSIONMESH_BENCH_SECONDS: length of a measurement, default 2. SESSIONMESH_BENCH_SESSIONS: how many `memory` makes. SESSIONMESH_BENCH_BIN: a folder with
# built programs, sessionmesh and session-lab, to skip building them.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=5 json=0 rows=()
while [ $# -gt 0 ]; do
    case $1 in
    --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' sessions/run.sh; exit 0 ;;
    --rounds) rounds=${2:?--rounds wants a number}; shift ;;
    --json) json=1 ;;
    read-1 | read-50 | open-50 | commit-1 | commit-50 | memory | allocations | join-300000 | kills-200) rows+=("$1") ;;
    *) echo "run.sh: no such row: $1; --help lists them" >&2; exit 64 ;;
    esac
    shift
done
[ ${#rows[@]} -gt 0 ] || rows=(read-1 read-50 open-50 commit-1 commit-50 memory allocations join-300000)
seconds=${SESSIONMESH_BENCH_SECONDS:-2}
sessions=${SESSIONMESH_BENCH_SESSIONS:-1000000}
for tool in redis-server gcc taskset; do
    command -v $tool >/dev/null || { echo "$tool is not installed: run .ci/setup bench" >&2; exit 69; }
done

if [ -n "${SESSIONMESH_BENCH_BIN:-}" ]; then
    bin=$SESSIONMESH_BENCH_BIN
else
    for product in sessionmesh session-lab; do swift build -c release --package-path ../.. --product $product >&2; done
    bin=$(swift build -c release --package-path ../.. --show-bin-path)
fi

work=$(mktemp -d)
export XDG_RUNTIME_DIR=$work
pids=()
finish() {
    stop_all
    rm -rf "$work"
}
stop_all() {
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    pids=()
}
trap finish EXIT

gcc -O2 -o "$work/session-load" sessions/Load/main.c
gcc -O2 -shared -fPIC -o "$work/libMallocCount.so" balancer/MallocCount/MallocCount.c
two=0
[ "$(nproc)" -gt 1 ] && two=1

# ---- servers

# await TEXT FILE: until the file of an agent's events, whose process is `pid`, has it
await() {
    for _ in $(seq 300); do
        grep -q "$1" "$2" 2>/dev/null && return
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/log" >&2
    echo "no $1 in $2" >&2
    exit 70
}

agent_count=0 preload=
# start_agent CPU [SEED]: an agent, with the library `preload` names; sets pid, socket, address, admin
start_agent() {
    agent_count=$((agent_count + 1))
    local name=n$agent_count
    socket=$work/$name.sock
    env ${preload:+LD_PRELOAD="$preload" MALLOC_COUNT_FILE="$work/$name.mallocs"} taskset -c "$1" "$bin/sessionmesh" agent --name "$name" --bind 127.0.0.1:0 ${2:+--seed "$2"} --key-file "$work/key" --client "unix:$socket" \
        --admin 127.0.0.1:0 --idle-timeout 24h --events json --log-level error >"$work/$name.events" 2>>"$work/log" &
    pid=$!
    pids+=("$pid")
    await '"ready"' "$work/$name.events"
    address=$(sed -n 's/.*"ready".*"address":"\([^"]*\)".*/\1/p' "$work/$name.events")
    admin=$(sed -n 's/.*"ready".*"admin":"[^"]*:\([0-9]*\)".*/\1/p' "$work/$name.events")
}

# metric PORT NAME: its sum over all labels; nothing when there is none
metric() {
    exec 9<>"/dev/tcp/127.0.0.1/$1"
    printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&9
    awk -v name="sessionmesh_$2" 'index($1, name) == 1 { sum += $2; found = 1 } END { if (found) printf "%.0f", sum }' <&9
    exec 9>&- 9<&-
}

# start_mesh: two agents, each slot held by both; sets mesh_pid and mesh_admin (arrays) and socket, of the first
start_mesh() {
    local first
    start_agent 0
    first=$socket mesh_pid=("$pid") mesh_admin=("$admin")
    start_agent $two "$address"
    mesh_pid+=("$pid") mesh_admin+=("$admin") socket=$first
    for _ in $(seq 300); do
        if [ "$(grep -l '"serving"' "$work"/n$((agent_count - 1)).events "$work"/n$agent_count.events | wc -l)" = 2 ] &&
            [ "$(metric "${mesh_admin[0]}" under_replicated_slots)$(metric "${mesh_admin[1]}" under_replicated_slots)" = 00 ]; then return; fi
        sleep 0.1
    done
    echo "the two agents did not come to hold every slot twice" >&2
    exit 70
}

start_redis() {
    redis_socket=$work/redis.sock
    taskset -c 0 redis-server --port 0 --unixsocket "$redis_socket" --save "" --appendonly no >"$work/redis.log" & redis_pid=$!
    pids+=("$redis_pid")
    for _ in $(seq 100); do [ -S "$redis_socket" ] && return; sleep 0.05; done
    cat "$work/redis.log" >&2
    exit 70
}

# ---- load

# request WORD...: as it goes over the wire
request() {
    printf '*%d\r\n' $#
    for word; do printf '$%d\r\n%s\r\n' ${#word} "$word"; done
}
some() { printf "%0$1d" 0 | tr 0 '@'; } # so many bytes, the first 32 of which are drawn anew each time; below that they stay as they are

load() { taskset -c $two "$work/session-load" "$@"; }
cpu() { cat /proc/"$1"/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum }'; }
mallocs() { od -An -t u8 -N 8 "$work/n$1.mallocs" | tr -d ' '; }
resident() { awk '/^VmRSS/ { print $2 * 1024 }' /proc/"$1"/status; }

# measure ROW WHO SOCKET REQUESTS CONNECTIONS PID...: adds a line to ROW.WHO: rate, p50, p99, p99.9, the load's CPU, and us of CPU a request for each PID
measure() {
    local row=$1 who=$2 at=$3 requests=$4 connections=$5 before=() done rate p50 p99 p999 errors busy line
    shift 5
    for pid; do before+=("$(cpu "$pid")"); done
    load "$at" "$requests" connections "$connections" milliseconds $((seconds * 1000)) >"$work/answer"
    read -r done rate p50 p99 p999 errors busy <"$work/answer"
    [ "$errors" = 0 ] || { echo "$errors requests of $row went wrong" >&2; exit 70; }
    line="$rate $p50 $p99 $p999 $busy"
    for pid; do
        line+=" $(awk "BEGIN { printf \"%.3f\", ($(cpu "$pid") - ${before[0]}) / 1000 / $done }")"
        before=("${before[@]:1}")
    done
    echo "$line" >>"$work/$row.$who"
    printf '%-6s %-10s %-6s %9s req/s   p50 %4s  p99 %5s  p99.9 %5s us   CPU %s us   load %s %%\n' "$round" "$row" "$who" "$rate" "$p50" "$p99" "$p999" \
        "$(cut -d' ' -f6- <<<"$line" | sed 's/ / + /')" "$busy" >&2
}

# ---- figures

median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
# column FILE N: the median of a column
column() { awk -v n="$2" '{ print $n }' "$work/$1" | median; }
# ratio ROW N: the median of the rounds' ratios of ours to Redis' in a column
ratio() { paste -d' ' <(awk -v n="$2" '{ print $n }' "$work/$1.ours") <(awk -v n="$2" '{ print $n }' "$work/$1.redis") | awk '{ print $1 / $2 }' | median; }
# record ROW FIGURE UNIT GOAL OURS [REDIS RATIO]. GOAL: <=N or >=N, of the ratio when there is an x behind it, or - for none
record() {
    local verdict=- compared=$5
    [[ $4 != *x ]] || compared=$7
    if [ "$4" != - ]; then
        awk "BEGIN { exit !($compared ${4:0:2} $(tr -d '<>=x' <<<"$4")) }" && verdict=met || { verdict=MISSED; missed=1; }
    fi
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$5" "${6:--}" "${7:--}" $verdict >>"$work/records"
}

has() { [[ " ${rows[*]} " == *" $1 "* ]]; }
has_any() { for row; do has "$row" && return 0; done; return 1; }

"$bin/sessionmesh" keygen >"$work/key"
chmod 600 "$work/key"
: >"$work/records"
round=- missed=0

if has_any read-1 read-50 open-50 commit-1 commit-50; then
    start_mesh
    start_redis
    request SESSION.COMMIT '*' "$(some 32)" SET data "$(some 100)" >"$work/create"
    load "$socket" "$work/create" connections 8 requests 10000 save "$work" >/dev/null
    awk 'BEGIN {
        for (i = 0; i < 100; i++) value = value "x"
        for (i = 10000; i < 20000; i++) {
            printf "*3\r\n$3\r\nSET\r\n$9\r\nkey:%d\r\n$100\r\n%s\r\n", i, value > "'"$work/set"'"
            printf "*2\r\n$3\r\nGET\r\n$9\r\nkey:%d\r\n", i > "'"$work/get"'"
        }
    }'
    load "$redis_socket" "$work/set" requests 10000 >/dev/null
    # Both warm, and no figure of this is kept.
    load "$socket" "$work/read" connections 50 milliseconds 500 >/dev/null
    load "$redis_socket" "$work/get" connections 50 milliseconds 500 >/dev/null
    suspicions=$(($(metric "${mesh_admin[0]}" suspicions_total) + $(metric "${mesh_admin[1]}" suspicions_total)))
    for round in $(seq "$rounds"); do
        for row in read-1 read-50; do
            has $row || continue
            for who in $([ $((round % 2)) = 1 ] && echo "ours redis" || echo "redis ours"); do
                if [ $who = ours ]; then measure $row ours "$socket" "$work/read" "${row#*-}" "${mesh_pid[0]}"
                else measure $row redis "$redis_socket" "$work/get" "${row#*-}" "$redis_pid"; fi
            done
        done
        ! has open-50 || measure open-50 ours "$socket" "$work/open" 50 "${mesh_pid[0]}"
        for row in commit-1 commit-50; do
            ! has $row || measure $row ours "$socket" "$work/commit" "${row#*-}" "${mesh_pid[@]}"
        done
    done
    suspicions=$(($(metric "${mesh_admin[0]}" suspicions_total) + $(metric "${mesh_admin[1]}" suspicions_total) - suspicions))
    stop_all

    for row in read-1 read-50; do
        has $row || continue
        [ $row = read-1 ] && goal='<=50' || goal=-
        record $row p50 us "$goal" "$(column $row.ours 2)" "$(column $row.redis 2)" "$(ratio $row 2)"
        record $row p99 us - "$(column $row.ours 3)" "$(column $row.redis 3)" "$(ratio $row 3)"
        [ $row = read-50 ] && goal='>=0.8x' || goal=-
        record $row 'requests a second' '' "$goal" "$(column $row.ours 1)" "$(column $row.redis 1)" "$(ratio $row 1)"
        record $row 'CPU a request' us - "$(column $row.ours 6)" "$(column $row.redis 6)" "$(ratio $row 6)"
    done
    if has open-50; then
        record open-50 'requests a second' '' - "$(column open-50.ours 1)"
        record open-50 'CPU a request' us - "$(column open-50.ours 6)"
    fi
    for row in commit-1 commit-50; do
        has $row || continue
        [ $row = commit-1 ] && goal='<=120' || goal=-
        record $row p50 us "$goal" "$(column $row.ours 2)"
        record $row p99 us - "$(column $row.ours 3)"
        [ $row = commit-50 ] && goal='>=30000' || goal=-
        record $row 'commits a second' '' "$goal" "$(column $row.ours 1)"
        record $row 'CPU a commit, primary' us - "$(column $row.ours 6)"
        record $row 'CPU a commit, backup' us - "$(column $row.ours 7)"
    done
    record 'all of it' 'suspicions' '' '<=0' "$suspicions"
fi

if has memory; then
    # Names of 5 bytes, values of 20.
    content=$((3 * (5 + 20)))
    start_agent 0
    mkdir "$work/small"
    request SESSION.COMMIT '*' "$(some 32)" SET alpha "$(some 20)" SET delta "$(some 20)" SET gamma "$(some 20)" >"$work/create-small"
    await '"serving"' "$work/n$agent_count.events"
    empty=$(resident "$pid")
    read -r done rate _ < <(load "$socket" "$work/create-small" depth 64 requests "$sessions" save "$work/small" save-max $((sessions / 100)))
    held=$(resident "$pid")
    load "$socket" "$work/small/commit" depth 64 requests $((sessions / 100 * 40)) >/dev/null
    changed=$(resident "$pid")
    stop_all
    record memory "resident, $sessions sessions" MB '<=1000' $((held / 1000000))
    record memory 'a session less content' B '<=600' $(((held - empty) / sessions - content))
    record memory 'the same, 40 commits more to 1 %' B '<=600' $(((changed - empty) / sessions - content))
    record memory 'sessions made a second' '' - "$rate"
fi

if has allocations; then
    preload=$work/libMallocCount.so
    start_mesh
    mkdir "$work/counted"
    request SESSION.COMMIT '*' "$(some 32)" SET data "$(some 100)" >"$work/create"
    load "$socket" "$work/create" connections 8 requests 10000 save "$work/counted" >/dev/null
    for what in read commit; do
        # Buffers and tables grow at first.
        load "$socket" "$work/counted/$what" connections 50 requests 10000 >/dev/null
        primary=$(mallocs $((agent_count - 1))) backup=$(mallocs $agent_count)
        load "$socket" "$work/counted/$what" connections 50 requests 100000 >/dev/null
        record allocations "a $what, primary" '' - "$(awk "BEGIN { print ($(mallocs $((agent_count - 1))) - $primary) / 100000 }")"
        record allocations "a $what, backup" '' - "$(awk "BEGIN { print ($(mallocs $agent_count) - $backup) / 100000 }")"
    done
    stop_all
fi

# lab ARGUMENT...: what session-lab says of that, as JSON, in $work/lab; a goal that is missed is no reason to stop
lab() {
    local code=0
    "$bin/session-lab" "$@" --sessionmesh "$bin/sessionmesh" --directory "$work/lab.d" --json >"$work/lab" || code=$?
    [ $code -le 1 ] || exit 70
}
said() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p" "$work/lab"; } # nothing for what never came

if has join-300000; then
    lab join
    never=999999
    record join-300000 'the fourth has all that is its' s '<=20' "$(said joinSeconds | grep . || echo $never)"
    record join-300000 'requests that failed' '' '<=0' "$(said failed)"
    record join-300000 'p99, none comes' ms - "$(said idleP99Milliseconds)"
    record join-300000 'p99, one comes' ms - "$(said joinP99Milliseconds)"
    record join-300000 'the one through the other' '' '<=5' "$(said ratio | grep . || echo $never)"
fi

if has kills-200; then
    lab --kills 200
    record kills-200 'kills' '' '>=200' "$(said crash)"
    record kills-200 'changes two nodes held' '' - "$(said acknowledged)"
    record kills-200 'of them lost' '' '<=0' "$(said lost)"
    record kills-200 'promises broken' '' '<=0' "$(said brokenCount)"
    record kills-200 'whole again, at most' s - "$(said wholeSecondsMax)"
fi

about="$(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) CPUs, Linux $(uname -r)"
versions="Redis $(redis-server --version | sed 's/.* v=\([^ ]*\).*/\1/'), $(swift --version 2>/dev/null | grep -o 'Swift version [^ ]*')"
call="Tests/Benchmarks/sessions/run.sh --rounds $rounds ${rows[*]}"
awk -F'\t' -v json=$json -v about="$about" -v versions="$versions" -v call="$call" -v date="$(date -u +%F)" '
    function digits(value) { value += 0; return value >= 100 ? sprintf("%.0f", value) : value == int(value) ? value "" : sprintf("%.2f", value) }
    function text(value, unit) { return value == "-" ? "-" : digits(value) (unit == "" ? "" : " " unit) }
    function target(goal, unit) {
        if (goal == "-") return ""
        return substr(goal, 1, 2) " " (goal ~ /x$/ ? "Redis x " (substr(goal, 3) + 0) : text(substr(goal, 3), unit))
    }
    function number(value) { return value == "-" ? "null" : value }
    BEGIN {
        if (json) printf "{\"date\":\"%s\",\"machine\":\"%s\",\"versions\":\"%s\",\"command\":\"%s\",\"rows\":[", date, about, versions, call
        else {
            printf "machine    %s\nversions   %s\ncommand    %s\ndate       %s\n\n", about, versions, call, date
            printf "%-12s %-32s %14s %12s %12s %7s\n", "row", "figure", "goal", "ours", "redis", "ratio"
        }
    }
    {
        if (json) {
            printf "%s{\"row\":\"%s\",\"figure\":\"%s\",\"unit\":\"%s\",\"goal\":%s,\"ours\":%s,\"redis\":%s,\"ratio\":%s,\"met\":%s}", (NR > 1 ? "," : ""), $1, $2, $3,
                ($4 == "-" ? "null" : "\"" $4 "\""), number($5), number($6), number($7), ($8 == "-" ? "null" : $8 == "met" ? "true" : "false")
        } else {
            line = sprintf("%-12s %-32s %14s %12s %12s %7s  %s", ($1 == last ? "" : $1), $2, target($4, $3), text($5, $3), text($6, $3), \
                ($7 == "-" ? "" : sprintf("%.2f", $7)), ($8 == "-" ? "" : $8))
            sub(/ +$/, "", line)
            print line
            last = $1
        }
    }
    END { if (json) print "]}" }' "$work/records"
[ $missed = 0 ]
