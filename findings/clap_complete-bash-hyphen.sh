#!/usr/bin/env bash
# clap_complete 4.6.11: the bash completion of a program whose name has a hyphen completes its subcommands, and nothing after
# them. The script enters the state `my__program__subcmd__close`, and looks for options in `my__subcmd__program__subcmd__close`.
# A name without a hyphen is completed at both levels.
#
# Seen: "close" and "" for my-program, "close" and "--wait" for program.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'END'
[package]
name = "completion"
edition = "2021"

[dependencies]
clap = { version = "=4.6.9", default-features = false, features = ["std", "string"] }
clap_complete = "=4.6.11"
END
cat > "$folder/src/main.rs" <<'END'
use clap::{Arg, ArgAction, Command};

fn main() {
    let name = std::env::args().nth(1).unwrap();
    let close = Command::new("close").arg(Arg::new("wait").long("wait").action(ArgAction::SetTrue));
    let mut program = Command::new(name.clone()).subcommand(close);
    clap_complete::generate(clap_complete::Shell::Bash, &mut program, name, &mut std::io::stdout());
}
END
cargo build --quiet --manifest-path "$folder/Cargo.toml"

# complete PROGRAM FUNCTION WORD...: the completions of the last word.
complete_words() {
    local program=$1 function=$2
    shift 2
    bash -c 'source "$0"; COMP_WORDS=("${@:2}"); COMP_CWORD=$(($# - 2))
        "$1" "$2" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"; echo "${COMPREPLY[*]:-}"' \
        "$folder/$program.bash" "$function" "$program" "$@"
}

for program in my-program program; do
    "$folder/target/debug/completion" "$program" > "$folder/$program.bash"
done
hyphen="$(complete_words my-program _my__program cl)|$(complete_words my-program _my__program close --w)"
plain="$(complete_words program _program cl)|$(complete_words program _program close --w)"
echo "my-program: $hyphen"
echo "program: $plain"
[ "$hyphen" = "close|" ] && [ "$plain" = "close|--wait" ]
