#!/usr/bin/env bash
# Hostile bytes for the protocol core: rust/fuzz/run.sh [frames|handshake|assembly|all] [SECONDS, 60 unless given].
#
# libFuzzer with the coverage instrumentation that a stable compiler has; no nightly toolchain, no cargo-fuzz. What is
# found lies in rust/fuzz/artifacts/TARGET; "rust/fuzz/run.sh TARGET FILE" plays it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

targets=(frames handshake assembly)
chosen=${1:-all}
argument=${2:-60}
case " ${targets[*]} all " in
    *" $chosen "*) ;;
    *) echo "no target \"$chosen\": there are ${targets[*]}, and all" >&2; exit 2 ;;
esac
[ "$chosen" = all ] || targets=("$chosen")
if [ "$chosen" = all ] && [ -f "$argument" ]; then
    echo "a file is played to one target: $0 TARGET FILE" >&2
    exit 2
fi
command -v c++ >/dev/null || { echo "libFuzzer needs a C++ compiler: install g++ or clang++" >&2; exit 2; }

case "$argument" in
    *[!0-9]*) [ -f "$argument" ] || { echo "\"$argument\" is neither a number of seconds nor a file" >&2; exit 2; } ;;
esac
file=$([ -f "$argument" ] && realpath "$argument" || true)

export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
# An explicit target keeps the instrumentation out of build scripts.
triple=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --target "$triple" --bins

failed=0
for target in "${targets[@]}"; do
    program=target/$triple/release/$target
    mkdir -p "corpus/$target" "artifacts/$target"
    if [ -n "$file" ]; then
        "$program" "$file" || failed=1
        continue
    fi
    printf '==> %s, %s s\n' "$target" "$argument"
    # 512 MiB is the bound on growth; an input that takes 10 s is a hang.
    "$program" "corpus/$target" "seeds/$target" -max_total_time="$argument" -artifact_prefix="artifacts/$target/" \
        -max_len=65536 -timeout=10 -rss_limit_mb=512 -malloc_limit_mb=64 -print_final_stats=1 -verbosity=0 || failed=1
done
exit $failed
