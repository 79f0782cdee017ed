//! `bunq-partner`: provisions of users at bunq, at the terminal and in scripts. The crate's public interface and nothing
//! more.

// They panic where nobody reads any more.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
