# packages.sh - what a fresh Debian or Ubuntu lacks; read by examples/run.sh and tests/run.sh, not run by itself.
#     need PACKAGE COMMAND…     PACKAGE is missing unless the command succeeds
#     install_missing           says what is missing and installs it, as root or with sudo
missing=

need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
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
    need libjansson-dev has_header jansson.h
}

install_missing() {
    [ -n "$missing" ] || return 0
    sudo=
    if ! has apt-get >/dev/null; then
        echo "$0: please install what Debian calls$missing, then run this again" >&2
        exit 1
    elif [ "$(id -u)" -ne 0 ]; then
        sudo=sudo
        if ! has sudo >/dev/null; then
            echo "$0: not root, and there is no sudo: please install$missing, then run this again" >&2
            exit 1
        fi
    fi
    echo "== installing$missing"
    apt="$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0"
    $apt update </dev/null || echo "$0: the package lists could not be renewed; trying with the old ones" >&2
    $apt install -qq -y --no-install-recommends $missing </dev/null && return 0
    echo "$0: installing$missing failed, see above" >&2
    exit 1
}
