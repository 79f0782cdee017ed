#!/usr/bin/env bash
# csv 1.4.0: the position of a record is where the one before it ends, not where it begins. So `line` is smaller than the line of the
# record after empty lines, and wherever lines end with CRLF or CR.
#
# Seen: the second record is in line 2, and after two empty lines in line 4; `line` says 2 and 2 with LF, 1 and 1 with CRLF and CR.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'END'
[package]
name = "lines"
edition = "2021"

[dependencies]
csv = "=1.4.0"
END
cat > "$folder/src/main.rs" <<'END'
fn main() {
    for end in ["\n", "\r\n", "\r"] {
        let lines = ["a\nb\n", "a\n\n\nb\n"].map(|text| {
            let text = text.replace('\n', end);
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
            let second = reader.records().nth(1).unwrap().unwrap();
            second.position().unwrap().line()
        });
        println!("{end:?}: {} and {}", lines[0], lines[1]);
    }
}
END
seen=$(cargo run --quiet --manifest-path "$folder/Cargo.toml")
echo "$seen"
[ "$seen" = '"\n": 2 and 2
"\r\n": 1 and 1
"\r": 1 and 1' ]
