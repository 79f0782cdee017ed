#!/usr/bin/env bash
# clap_complete 4.6.11, feature unstable-dynamic: two things for which the program has a completion of its own.
# A word that is the name of a command is taken for it, also where it is the value of an option: after `--env sandbox`, the options
# and commands are those of the command `sandbox`. And bash ends words at `=`, so that its script sees `--env`, `=` and `p`.
#
# Seen: "close" for `my-program --env other clo` and "" for `my-program --env sandbox clo`; "production" for `--env p` and "" for
# `--env=p`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'END'
[package]
name = "my-program"
edition = "2021"

[dependencies]
clap = { version = "=4.6.9", default-features = false, features = ["std", "string"] }
clap_complete = { version = "=4.6.11", features = ["unstable-dynamic"] }
END
cat > "$folder/src/main.rs" <<'END'
use clap::{Arg, Command};

fn main() {
    let program = || {
        let env = Arg::new("env").long("env").value_parser(["sandbox", "production", "other"]);
        Command::new("my-program").arg(env).subcommand(Command::new("close")).subcommand(Command::new("sandbox"))
    };
    clap_complete::CompleteEnv::with_factory(program).complete();
}
END
cargo build --quiet --manifest-path "$folder/Cargo.toml"
export PATH="$folder/target/debug:$PATH"

# complete_words WORD...: the completions of the last word, in the words of bash, which ends one at `=`.
complete_words() {
    bash -c 'source <(COMPLETE=bash my-program); COMP_WORDS=(my-program "$@"); COMP_CWORD=$#
        _clap_complete_my_program my-program "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[*]:-}"' bash "$@"
}

command=$(complete_words --env other clo)
value=$(complete_words --env sandbox clo)
spaced=$(complete_words --env p)
equals=$(complete_words --env = p)
echo "after --env other: $command"
echo "after --env sandbox: $value"
echo "--env p: $spaced"
echo "--env=p: $equals"
[ "$command|$value|$spaced|$equals" = "close||production|" ]
