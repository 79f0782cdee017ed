//! `bunq-partner`: provisions of users at bunq, at the terminal and in scripts. The crate's public interface and nothing
//! more.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
