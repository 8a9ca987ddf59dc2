#!/bin/sh
# Downloads MNIST: four compressed files from public mirrors, each checked before it takes its
# place. Without a network the examples draw digits of their own; see README.md.
set -u

usage() {
    cat <<'END'
usage: sh examples/get_mnist.sh [DIR]

Downloads the four files of MNIST (11 MB) to DIR/mnist. Without DIR the folder is $LORIKEET_DATA,
or ~/.cache/lorikeet if that is not set: the example programs find both. Any other folder is given
to them with --data DIR. Complete files that are there already are kept.
Needs curl or wget, gzip, and md5sum, md5 or openssl.
LORIKEET_MNIST_MIRRORS replaces the list of addresses that are tried, one after the other.
END
}

die() {
    echo "get_mnist: $*" >&2
    exit 1
}

case ${1-} in
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; exit 2 ;;
esac
[ $# -le 1 ] || { usage >&2; exit 2; }
[ -n "${1-}${LORIKEET_DATA-}${HOME-}" ] || die "no folder: give one, or set LORIKEET_DATA or HOME"
folder=${1:-${LORIKEET_DATA:-${HOME-}/.cache/lorikeet}}/mnist

mirrors=${LORIKEET_MNIST_MIRRORS:-"
    https://ossci-datasets.s3.amazonaws.com/mnist
    https://storage.googleapis.com/cvdf-datasets/mnist
    https://raw.githubusercontent.com/fgnt/mnist/master"}

has() { command -v "$1" >/dev/null 2>&1; }

if has curl; then
    fetch() { curl -fsSL --connect-timeout 20 --speed-limit 1000 --speed-time 60 -o "$2" "$1"; }
elif has wget; then
    fetch() {
        wget -nv -T 60 -t 1 -O "$2" "$1" 2>"$work/log" || { cat "$work/log" >&2; return 1; }
    }
else
    die "neither curl nor wget is here; install one of them (apt-get install curl)"
fi
if has md5sum; then
    md5() { md5sum | cut -d ' ' -f 1; }
elif has openssl; then
    md5() { openssl md5 | sed 's/.* //'; }
elif [ -x /sbin/md5 ]; then
    md5() { /sbin/md5 -q; }
else
    die "no md5sum and no openssl is here to check the files with;" \
        "install one of them (apt-get install coreutils)"
fi
has gzip || die "gzip is not here; install it (apt-get install gzip)"

# whole FILE MD5: the content is the right one. A file cut short is noticed too: its content has
# another sum.
whole() {
    [ -f "$1" ] || return 1
    case $1 in
        *.gz) [ "$(gzip -dc <"$1" 2>/dev/null | md5)" = "$2" ] ;;
        *) [ "$(md5 <"$1")" = "$2" ] ;;
    esac
}

mkdir -p "$folder" || die "cannot make the folder $folder"
work=$(mktemp -d "$folder/download.XXXXXX") || die "cannot write to $folder"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM

# get NAME MD5: downloads beside the place, checks, and moves: a reader never sees half a file.
get() {
    for file in "$folder/$1.gz" "$folder/$1"; do
        if whole "$file" "$2"; then
            echo "$file: already here"
            return 0
        fi
    done
    for mirror in $mirrors; do
        address=${mirror%/}/$1.gz
        rm -f "$work/$1.gz"
        if ! fetch "$address" "$work/$1.gz"; then
            echo "get_mnist: $address: not downloaded" >&2
        elif ! whole "$work/$1.gz" "$2"; then
            echo "get_mnist: $address: not what was expected (md5 differs)" >&2
        else
            # A damaged uncompressed file under the other name would be found first.
            rm -f "$folder/$1"
            mv "$work/$1.gz" "$folder/$1.gz" || die "cannot write to $folder"
            echo "$folder/$1.gz: downloaded"
            return 0
        fi
    done
    free=$(df -Pk "$folder" 2>/dev/null | awk 'NR == 2 { print int($4 / 1024) " MB free" }')
    die "$1.gz could not be downloaded from any mirror; is there a network," \
        "and room in $folder (${free:-unknown})?"
}

# The sums of the uncompressed files: mirrors compress them differently.
get train-images-idx3-ubyte 6bbc9ace898e44ae57da46a324031adb
get train-labels-idx1-ubyte a25bea736e30d166cdddb491f175f624
get t10k-images-idx3-ubyte 2646ac647ad5339dbf082846283269ea
get t10k-labels-idx1-ubyte 27ae3e4e09519cfbb04c329615203637
echo "MNIST is complete in $folder"
