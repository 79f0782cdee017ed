#!/usr/bin/env bash
# regress 0.12.0: a count around a counted group that captures, and whose alternatives overlap, is not kept. `^(?:(b|.){2}){0,2}$`
# takes at most four characters, and matches six. Without the capture it does not, as in ECMAScript (Node's RegExp says false to both).
#
# Seen: "capturing: true" and "not capturing: false".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'END'
[package]
name = "counts"
version = "0.1.0"
edition = "2021"

[dependencies]
regress = { version = "=0.12.0", default-features = false, features = ["std"] }
END
cat > "$folder/src/main.rs" <<'END'
fn main() {
    for (name, pattern) in [("capturing", "^(?:(b|.){2}){0,2}$"), ("not capturing", "^(?:(?:b|.){2}){0,2}$")] {
        println!("{name}: {}", regress::Regex::new(pattern).unwrap().find("ababab").is_some());
    }
}
END
seen=$(cargo run --quiet --manifest-path "$folder/Cargo.toml")
echo "$seen"
[ "$seen" = $'capturing: true\nnot capturing: false' ]
