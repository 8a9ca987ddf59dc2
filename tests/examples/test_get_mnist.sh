#!/bin/sh
# test_get_mnist.sh - examples/get_mnist.sh without a network: curl and md5sum are replaced by
# scripts. The "curl" copies from a folder that plays the mirror; a file's "sum" is its own text,
# so that four small files pass for MNIST.
. "$LORIKEET_SOURCE_DIR/tests/check.sh"

script=$LORIKEET_SOURCE_DIR/examples/get_mnist.sh
mirror=$work/mirror
place=$work/data/mnist
mkdir "$work/bin" "$mirror"

cat >"$work/bin/curl" <<'END'
#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
        -o) output=$2; shift ;;
        mirror:*) address=$1 ;;
    esac
    shift
done
echo "$address" >>"$ADDRESSES"
cp "$MIRROR/${address##*/}" "$output"
END
printf '#!/bin/sh\ncat\n' >"$work/bin/md5sum"
chmod +x "$work/bin/curl" "$work/bin/md5sum"

# The names and sums are the script's own.
sed -n 's/^get \(.* .*\)/\1/p' "$script" >"$work/files"
must "the script asks for four files" test "$(grep -c . "$work/files")" -eq 4
while read -r name sum; do echo "$sum" | gzip >"$mirror/$name.gz"; done <"$work/files"

get() { # get ARGUMENT…: runs the script; output and errors in $work/said
    PATH=$work/bin:$PATH MIRROR=$mirror ADDRESSES=$work/addresses \
        LORIKEET_MNIST_MIRRORS="mirror:/one/ mirror:/two" \
        sh "$script" "$@" >"$work/said" 2>&1
}
fails() { # fails CODE ARGUMENT…
    code=$1
    shift
    get "$@"
    status=$?
    cat "$work/said"
    [ $status -eq "$code" ]
}
said() { grep -F -- "$1" "$work/said" || { cat "$work/said"; false; }; }
complete() {
    [ "$(ls -A "$place")" = "$(sort "$work/files" | sed 's/ .*/.gz/')" ]
}
empty() { [ -z "$(ls -A "$place")" ]; }

check "--help is no error" get --help
check "--help explains" said "usage: sh examples/get_mnist.sh [DIR]"
check "two folders are an error" fails 2 a b
check "an unknown option is an error" fails 2 --force

check "it downloads" get "$work/data"
check "it names what it made" said "$place/train-images-idx3-ubyte.gz: downloaded"
check "four files and nothing else are there" complete
check "the first mirror was asked" test "$(grep -c mirror:/one/ "$work/addresses")" -eq 4
check "and was enough" test "$(grep -c mirror:/two/ "$work/addresses")" -eq 0

echo changed >"$work/addresses"
check "whole files are kept" get "$work/data"
check "it says so" said "$place/t10k-labels-idx1-ubyte.gz: already here"
check "nothing was downloaded" test "$(cat "$work/addresses")" = changed

# A file cut short is downloaded again; an uncompressed one that is whole is kept.
printf '\037\213\010' >"$place/t10k-labels-idx1-ubyte.gz"
gzip -d "$place/train-labels-idx1-ubyte.gz"
check "a damaged file is replaced" get "$work/data"
check "only that one" test "$(grep -c downloaded "$work/said")" -eq 1
check "the uncompressed one is kept" said "$place/train-labels-idx1-ubyte: already here"
check "the new one is whole" gzip -t "$place/t10k-labels-idx1-ubyte.gz"
echo damaged >"$place/train-labels-idx1-ubyte"
check "a damaged uncompressed one is replaced" get "$work/data"
check "by the compressed one alone" complete

# LORIKEET_DATA and HOME.
LORIKEET_DATA=$work/variable get
check "LORIKEET_DATA is the folder" test -f "$work/variable/mnist/train-images-idx3-ubyte.gz"
(unset LORIKEET_DATA; HOME=$work/home get)
check "else ~/.cache/lorikeet" \
    test -f "$work/home/.cache/lorikeet/mnist/train-images-idx3-ubyte.gz"
(unset LORIKEET_DATA HOME; get)
check "else it is an error" said "get_mnist: no folder"

# A page in the place of a file, then nothing at all: an error, and no file under MNIST's names.
rm -rf "$work/data"
echo '<html>moved</html>' >"$mirror/train-images-idx3-ubyte.gz"
check "a wrong file is an error" fails 1 "$work/data"
check "both mirrors were tried" said \
    "mirror:/two/train-images-idx3-ubyte.gz: not what was expected (md5 differs)"
check "it is not left behind" empty
rm "$mirror"/*
check "no network is an error" fails 1 "$work/data"
check "it is said" said \
    "train-images-idx3-ubyte.gz could not be downloaded from any mirror; is there a network"
check "nothing is left behind" empty

echo file >"$work/file"
check "a file for a folder is an error" fails 1 "$work/file"
check "it is named" said "cannot make the folder $work/file/mnist"

# Without the tools: a PATH that holds the shell alone.
mkdir "$work/poor"
ln -s "$(command -v sh)" "$work/poor/sh"
PATH=$work/poor sh "$script" "$work/data" >"$work/said" 2>&1
check "curl and wget are missing" said "get_mnist: neither curl nor wget is here"
ln -s "$work/bin/curl" "$work/poor/curl"
PATH=$work/poor sh "$script" "$work/data" >"$work/said" 2>&1
check "md5sum is missing" grep -E "no md5sum and no openssl|gzip is not here" "$work/said"

tally
