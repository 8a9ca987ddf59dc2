#!/bin/sh
# Builds Lorikeet and measures it beside PyTorch and OpenBLAS, in turn on the same machine; writes
# a Markdown table.
#     sh tests/bench/run.sh [OUT.md]      9 to 13 minutes; without OUT.md the table is printed
# Nothing else should run meanwhile. From the environment:
#     ROUNDS=3          each side is run so many times, by turns
#     DATA=DIR          MNIST is in DIR/mnist; else the usual places, else rendered digits
#     KEEP=DIR          the JSON of every run is left in DIR
#     BEFORE='taskset -c 0,1'   stands in front of every measurement
#     BUILD=build/release       folder of the build
#     LORIKEET_KERNELS=avx2     the peers get no wider kernels either
#     KANN=DIR          kann's sources: its training steps stand beside ours
# PyTorch is the one of /usr/bin/python3. Both peers get OpenBLAS with OpenMP, which Debian has but
# does not install by itself (its default spins with as many threads again); it is downloaded into
# ~/.cache/lorikeet-bench.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/bench
out=${1-}
[ -z "$out" ] || : >"$out"
build=${BUILD:-$root/build/release}
cache=${HOME:-/tmp}/.cache/lorikeet-bench
python=/usr/bin/python3
[ -x "$python" ] || { echo "$0: python3 is not here, which writes the table" >&2; exit 1; }

echo "== building ($build)" >&2
cmake --preset release -S "$root" -B "$build" ${KANN:+-D KANN_DIR="$KANN"} >/dev/null
cmake --build "$build" -j "$(nproc)" >/dev/null

if [ -n "${KEEP-}" ]; then
    results=$KEEP
    mkdir -p "$results"
    rm -f "$results"/*.json
else
    results=$(mktemp -d)
    trap 'rm -rf "$results"' EXIT
fi

# OpenBLAS with OpenMP, installed or unpacked into the cache; nothing is installed.
find_openblas() {
    find "$cache/openblas" /usr/lib -path '*openblas-openmp/libopenblas.so.0' 2>/dev/null |
        head -n 1
}
if [ -z "$(find_openblas)" ] && command -v apt-get >/dev/null && command -v dpkg >/dev/null; then
    mkdir -p "$cache"
    (cd "$cache" && apt-get -q download libopenblas0-openmp &&
        dpkg -x libopenblas0-openmp_*.deb openblas) >&2 ||
        echo "$0: no OpenBLAS with OpenMP, the peers take what is installed" >&2
fi
openblas=$(find_openblas)
peer_path=${openblas%/*}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

# measure COMMAND…: after a moment, in which what ran before has come to its end
measure() {
    sleep 1
    ${BEFORE-} "$@" >&2
}
bench() { measure "$build/tests/bench/bench" "$@"; }
peer() { measure env LD_LIBRARY_PATH="$peer_path" "$@"; }
keep_pages=glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=8589934592
keep_pages=$keep_pages:glibc.malloc.top_pad=268435456

if [ "${LORIKEET_KERNELS-}" = avx2 ]; then
    export ATEN_CPU_CAPABILITY=avx2 DNNL_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell
fi

# Words of their own: a folder may have spaces in its name.
set -- ${DATA:+--data "$DATA"}
threads=$(nproc)
step_names='matmul* triad* omp_region conv* pool* LeNet W* op'
set -f # these patterns are for bench, not for the shell
round=1
while [ "$round" -le "${ROUNDS:-3}" ]; do
    echo "== round $round of ${ROUNDS:-3}" >&2
    # One thread, and whole programs, are measured in the first round only: their figures are not
    # compared with a peer's.
    if [ "$round" -eq 1 ]; then
        bench $step_names --threads 1 --reps 5 --json "$results/bench.one.json" "$@"
        bench 'digit9*' 'mnist*' --threads 1 --json "$results/bench.programs-one.json" "$@"
        bench 'digit9*' 'mnist*' --threads "$threads" --json "$results/bench.programs.json" "$@"
    fi
    bench $step_names --threads "$threads" --reps 5 --json "$results/bench.$round.json" "$@"
    [ ! -x "$build/tests/bench/blas_peer" ] ||
        peer "$build/tests/bench/blas_peer" --threads "$threads" --reps 5 \
            --json "$results/blas_peer.$round.json"
    ! "$python" -c 'import torch' 2>/dev/null ||
        peer env GLIBC_TUNABLES=$keep_pages "$python" "$here/torch_peer.py" --threads "$threads" \
            --reps 5 \
            --json "$results/torch_peer.$round.json" "$@"
    if [ -x "$build/tests/bench/kann_peer" ]; then
        peer env OMP_NUM_THREADS=1 "$build/tests/bench/kann_peer" --threads 1 --reps 5 \
            --json "$results/kann_peer.one.json"
        peer env OMP_NUM_THREADS=1 "$build/tests/bench/kann_peer" --threads "$threads" --reps 5 \
            --json "$results/kann_peer.$round.json"
    fi
    round=$((round + 1))
done

write_table() {
    "$python" "$here/table.py" "$results" "sh tests/bench/run.sh"
    [ ! -x "$build/tests/bench/sweep" ] || {
        printf '\n## Products of random shapes, the worst of them\n\n'
        ${BEFORE-} env LD_LIBRARY_PATH="$peer_path" "$build/tests/bench/sweep" \
            --threads "$threads" 2>&1 || : # the table has the shapes that are too slow
    }
}
if [ -n "$out" ]; then write_table >"$out"
else write_table
fi
