#!/bin/sh
# The CPU time of a clean release build, and the size of the program: of one with this crate, and of one without.
set -eu
cd "$(dirname "$0")"
for program in bare partner; do
    cp ../../Cargo.lock "$program/"
    cargo fetch --quiet --manifest-path "$program/Cargo.toml"
    rm -rf "../../target/build_cost/$program"
    # `times` prints the user and system time of the shell, and then of its children.
    sh -c 'cargo build --quiet --release --manifest-path "$1/Cargo.toml" --target-dir "$2" && times' \
        - "$program" "../../target/build_cost/$program" | tail -1 | sed "s/^/$program: CPU /"
    stat -c "$program: %s bytes" "../../target/build_cost/$program/release/$program"
done
