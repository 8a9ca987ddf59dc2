# packages.sh - what a fresh Debian or Ubuntu lacks; read by examples/run.sh, tests/run.sh and
# examples/playground/run.sh, not run by itself.
#     need PACKAGE COMMAND…     PACKAGE is missing unless the command succeeds
#     want PACKAGE COMMAND…     the same, but what needs it can be left out
#     install_missing           says what is missing and installs it, as root or with sudo
missing=
wanted=

need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

want() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || wanted="$wanted $package"
}

has() {
    command -v "$1"
}

has_header() {
    echo "#include <$1>" | cc -E -
}

need_compiler() {
    need gcc has cc
    need libc6-dev has_header stdio.h
    need make has make
    need cmake has cmake
    need zlib1g-dev has_header zlib.h
    need libutf8proc-dev has_header utf8proc.h
    need libpng-dev has_header png.h
}

clang_runtime_for_wasm() { ls /usr/lib/llvm-14/lib/clang/*/lib/wasi; }

# for_wasm need, for_wasm want: the packages of the preset wasm
for_wasm() {
    $1 clang-14 has clang-14
    $1 lld-14 has wasm-ld-14
    $1 llvm-14 has llvm-ar-14
    $1 wasi-libc test -e /usr/include/wasm32-wasi/stdio.h
    $1 libclang-rt-14-dev-wasm32 clang_runtime_for_wasm
}

# cannot_install REASON
cannot_install() {
    if [ -n "$missing" ]; then
        echo "$0: $1please install what Debian calls$missing, then run this again" >&2
        exit 1
    fi
    echo "== doing without$wanted"
}

install_missing() {
    [ -n "$missing$wanted" ] || return 0
    sudo=
    has apt-get >/dev/null || { cannot_install ""; return 0; }
    if [ "$(id -u)" -ne 0 ]; then
        sudo=sudo
        has sudo >/dev/null || { cannot_install "not root, and there is no sudo: "; return 0; }
    fi
    echo "== installing$missing$wanted"
    apt="$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q"
    apt="$apt -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0"
    install="$apt install -qq -y --no-install-recommends"
    $apt update </dev/null ||
        echo "$0: the package lists could not be renewed; trying with the old ones" >&2
    if [ -n "$missing" ] && ! $install $missing </dev/null; then
        echo "$0: installing$missing failed, see above" >&2
        exit 1
    fi
    [ -z "$wanted" ] || $install $wanted </dev/null || echo "== doing without$wanted" >&2
}
