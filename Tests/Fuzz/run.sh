#!/usr/bin/env bash
# Feeds the decoders of the core with so many inputs, made from the kept ones: run.sh [RUNS], by default a million.
# An input that traps is left as .build/crash-*: mend the decoder, and keep the input in corpus/.
set -euo pipefail
cd "$(dirname "$0")"
runs=${1:-1000000}
toolchain=$(dirname "$(dirname "$(realpath "$(command -v swift)")")")
runtime=$(find -L "$toolchain/lib/swift/clang/lib/linux" -name "libclang_rt.fuzzer_no_main-$(uname -m).a" -print -quit)
[ -n "$runtime" ] || { echo "fuzz: no libclang_rt.fuzzer_no_main in $toolchain" >&2; exit 78; }
# Of the sanitizer only the compiler is told: at the link it would bring a main of its own.
flags=(-c release -Xswiftc -enable-testing -Xswiftc -Xfrontend -Xswiftc -sanitize=fuzzer -Xlinker "$runtime" -Xlinker -lstdc++)
swift build "${flags[@]}" --product mesh-fuzz
fuzz=$(swift build "${flags[@]}" --show-bin-path)/mesh-fuzz
# What it finds worth keeping stays out of the tree.
mkdir -p .build/found
# Swift would print its own report of a trap and end before the input is kept.
export SWIFT_BACKTRACE=enable=no
exec "$fuzz" -runs="$runs" -max_len=4096 -timeout=10 -print_final_stats=1 -artifact_prefix=.build/ .build/found corpus
