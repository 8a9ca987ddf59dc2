#!/bin/sh
# The programs of examples/models on small data, with few steps: they end well, their losses fall,
# their own checks hold, and a wrong option is one line. Real data: tests/parity/test_lenet.sh.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"
unset LORIKEET_DATA
export HOME="$work" # no data: digits are rendered, sentences made up
cd "$work" || exit 1

# run PROGRAM OPTION…
run() {
    program=$1
    shift
    "$LORIKEET_BUILD_DIR/examples/$program" "$@" >printed 2>line
    status=$?
    cat printed line
    return $status
}

# falls PROGRAM OPTION…: of the numbers printed behind "loss" or "->", the last is below 0.9 of the
# first. A line ---- begins a new training. ("test loss" does not count.)
falls() {
    run "$@" || return
    awk 'function end() { if (n) { trainings++; if (last >= 0.9 * first) exit 1 } n = 0 }
         /^----/ { end() }
         { for (i = 1; i < NF; i++)
               if (($i == "loss" && $(i - 1) != "test" || $i == "->") && $(i + 1) ~ /^[0-9.]+$/) {
                   last = $(i + 1)
                   if (!n++) first = last
               } }
         END { end(); if (!trainings) exit 1 }' printed
}

# passes COUNT: so many checks of the program itself held, and no other was made.
passes() {
    cat printed
    [ "$(grep -c '^PASS' printed)" -eq "$1" ] && ! grep '^FAIL' printed
}

# refuses STATUS PROGRAM OPTION…: ends with this status and one line on stderr.
refuses() {
    expected=$1
    shift
    run "$@"
    [ "$status" -eq "$expected" ] && [ "$(wc -l <line)" -eq 1 ]
}

# begins FILE BYTES: the file begins with these bytes, as od -t u1 writes them.
begins() { [ "$(od -A n -t u1 -N "$(echo "$2" | wc -w)" "$1" | tr -s ' ')" = " $2" ]; }

# ---- trainings

check "cnn_mnist learns" falls cnn_mnist --limit 40 --epochs 2 --json results.json
check "cnn_mnist writes results" grep -q '"losses": *\[' results.json
check "lstm_sentiment learns" falls lstm_sentiment --rows 320 --epochs 3 --hidden 16
check "char_gpt learns two texts" falls char_gpt --steps 30 --length 40
check "and writes three times" [ "$(grep -c '^----.*write' printed)" -eq 3 ]
check "lora_image learns, and LoRA again" \
    falls lora_image --limit 20 --epochs 2 --lr 5e-3 --json lora.json
check "and LoRA can be switched off, and helps" passes 2
check "lora_image writes results" grep -q '"lora_accuracy": *\[' lora.json
check "regression learns" falls regression
check "and its weights are right" passes 2
check "two_tapes learns" falls two_tapes --steps 100
check "and its nets are equal" passes 1

# ---- pictures

# A build without libpng says so before it trains.
png_or_reason() {
    if run vae_mnist --limit 1 --epochs 1 --picture samples.png; then
        begins samples.png "137 80 78 71 13 10 26 10"
    else
        grep libpng line && ! grep epoch printed
    fi
}

check "vae_mnist learns" falls vae_mnist --limit 20 --epochs 2 --picture samples.pgm
check "and draws digits" begins samples.pgm "80 53 10 50 56 48 32 50 56 48" # P5, 280 280
check "vae_mnist writes a PNG" png_or_reason

# ---- wrong options

for program in cnn_mnist lstm_sentiment char_gpt lora_image regression two_tapes vae_mnist; do
    check "$program --nonsense" refuses 2 $program --nonsense
    check "$program --lr -1" refuses 2 $program --lr -1
done
for program in cnn_mnist lstm_sentiment lora_image vae_mnist; do
    check "$program --data without data" refuses 1 $program --data "$work/none"
done
check "a text that is not there" refuses 1 char_gpt --text "$work/none"
echo short >short
check "a text that is too short" refuses 1 char_gpt --text short
check "a folder for the picture" refuses 1 vae_mnist --picture "$work" --limit 1 --epochs 1
tally
