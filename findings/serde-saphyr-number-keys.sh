#!/usr/bin/env bash
# serde-saphyr 2.1.1: it refuses a mapping with the same key twice, but not if one key is a number and the other a text with the same
# digits. Read as serde_json::Value, whose keys are texts, the second value replaces the first without a word.
#
# Seen: an error for two keys '200', and {"200":"second"} for 200 and '200'.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'END'
[package]
name = "keys"
edition = "2021"

[dependencies]
serde-saphyr = { version = "=2.1.1", default-features = false, features = ["deserialize"] }
serde_json = "=1.0.154"
END
cat > "$folder/src/main.rs" <<'END'
fn main() {
    for text in ["'200': first\n'200': second\n", "200: first\n'200': second\n"] {
        match serde_saphyr::from_str::<serde_json::Value>(text) {
            Ok(value) => println!("{value}"),
            Err(_) => println!("refused"),
        }
    }
}
END
seen=$(cargo run --quiet --manifest-path "$folder/Cargo.toml")
echo "$seen"
[ "$seen" = $'refused\n{"200":"second"}' ]
