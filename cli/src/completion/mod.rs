//! `completions`: the scripts of shells, and the answers to what they ask.
//!
//! In bash, zsh and fish the script asks the program, which reads only its own definition of the command line, and for `--profile` the
//! file of profiles. clap_complete offers two ways, and neither works here. In bash, its scripts complete nothing after the first word,
//! because of the hyphen in the name, and they know no value that depends on another. Its engine is unstable, takes the `sandbox` of
//! `--env sandbox` for the command, and in bash does not see that `--env=production` is one word (`findings/`). The other shells get
//! its scripts: commands and options.

mod answer;
mod computed;
mod typed;

use std::ffi::OsString;

use clap::builder::PossibleValue;
use clap::{Arg, Command, CommandFactory as _, ValueHint};
use clap_complete::Shell;

use self::answer::{Answer, Candidate, Kind, commands};
use self::computed::COMPUTED;
use self::typed::Typed;
use super::arguments::CommandLine;

/// The script of a shell.
pub(super) fn script(shell: Shell) -> Vec<u8> {
    match shell {
        Shell::Bash => include_bytes!("script.bash").to_vec(),
        Shell::Fish => include_bytes!("script.fish").to_vec(),
        Shell::Zsh => include_bytes!("script.zsh").to_vec(),
        other => {
            let mut script = Vec::new();
            clap_complete::generate(other, &mut CommandLine::command(), "bunq-partner", &mut script);
            script
        }
    }
}

/// What is typed after the name of the program, up to the cursor, if a script asks: `completions SHELL -- WORD...`.
pub(super) fn question(arguments: impl IntoIterator<Item = OsString>) -> Option<Vec<String>> {
    let mut words = arguments.into_iter().skip(1).map(|word| word.to_string_lossy().into_owned());
    let is_question = words.next()? == "completions" && words.nth(1)? == "--";
    is_question.then(|| words.collect())
}

/// What the last of the words may become, for a script.
pub(super) fn answer(words: &[String]) -> String {
    let mut program = CommandLine::command();
    program.build();
    complete(&program, words).to_text()
}

/// The value that was typed last for an option, also on a command line that clap refuses.
pub(super) fn typed_value(words: &[String], option: &str) -> Option<String> {
    let mut program = CommandLine::command();
    program.build();
    Typed::new(&program, words).values(option).last().map(str::to_owned)
}

fn complete(program: &Command, words: &[String]) -> Answer {
    let Some((word, before)) = words.split_last() else { return Answer::nothing() };
    let typed = Typed::new(program, before);
    if let Some(option) = typed.option {
        return value(&typed, option, word);
    }
    if word.starts_with('-') && !typed.is_escaped {
        return match typed.option_in(word) {
            Some((option, Some(at))) => value(&typed, option, &word[at..]).after(&word[..at]),
            _ => Answer::values("", word, options(typed.command)),
        };
    }
    match typed.positional() {
        Some(positional) => value(&typed, positional, word),
        None => Answer::values("", word, commands(typed.command)),
    }
}

fn options(command: &Command) -> impl Iterator<Item = Candidate> {
    command.get_arguments().filter(|option| !option.is_hide_set()).flat_map(|option| {
        let long = option.get_long().map(|name| format!("--{name}"));
        let names = long.into_iter().chain(option.get_short().map(|name| format!("-{name}")));
        names.map(|name| Candidate::new(name, option.get_help().cloned().unwrap_or_default()))
    })
}

fn value(typed: &Typed<'_>, arg: &Arg, word: &str) -> Answer {
    if let Some((_, complete)) = COMPUTED.iter().find(|(id, _)| arg.get_id() == id) {
        return complete(typed, word);
    }
    match arg.get_value_hint() {
        ValueHint::FilePath | ValueHint::AnyPath => return Answer::new("", Kind::Files),
        ValueHint::DirPath => return Answer::new("", Kind::Folders),
        _ => {}
    }
    let at = arg.get_value_delimiter().and_then(|delimiter| Some(word.rfind(delimiter)? + delimiter.len_utf8()));
    let (listed, word) = word.split_at(at.unwrap_or_default());
    let is_candidate = |value: &PossibleValue| {
        let is_listed = arg.get_value_delimiter().is_some_and(|delimiter| {
            listed.split(delimiter).any(|listed| value.matches(listed, arg.is_ignore_case_set()))
        });
        let start = value.get_name().get(..word.len()).unwrap_or_default();
        let is_start = start == word || arg.is_ignore_case_set() && start.eq_ignore_ascii_case(word);
        is_start && !is_listed && !value.is_hide_set()
    };
    let values = arg
        .get_possible_values()
        .into_iter()
        .filter(is_candidate)
        .map(|value| Candidate::new(value.get_name(), value.get_help().cloned().unwrap_or_default()));
    Answer::new(listed, Kind::Values(values.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arguments with values, each with the name of its command.
    fn arguments() -> Vec<(String, Arg)> {
        let mut program = CommandLine::command();
        program.build();
        let mut commands = vec![&program];
        let mut arguments = Vec::new();
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands());
            let with_values = command.get_arguments().filter(|arg| arg.get_action().takes_values());
            arguments.extend(with_values.map(|arg| (command.get_name().to_owned(), arg.clone())));
        }
        arguments
    }

    #[test]
    fn it_is_known_how_each_value_is_completed() {
        test_timeout::start();
        let arguments = arguments();
        for (command, arg) in &arguments {
            let is_computed = COMPUTED.iter().any(|(id, _)| arg.get_id() == id);
            let has_hint = arg.get_value_hint() != ValueHint::Unknown;
            assert!(
                is_computed || has_hint || !arg.get_possible_values().is_empty(),
                "{command}, {}: give it a parser with possible values, `value_hint = ValueHint::FilePath` or `DirPath`, or \
                 `value_hint = ValueHint::Other` if there is nothing to complete",
                arg.get_id()
            );
        }
        for (id, _) in COMPUTED {
            assert!(arguments.iter().any(|(_, arg)| arg.get_id() == id), "no argument is called {id}");
        }
    }

    #[test]
    fn folders_are_completed_where_a_folder_is_wanted() {
        test_timeout::start();
        let is_folder = |arg: &Arg| arg.get_value_names().is_some_and(|names| names == ["FOLDER"]);
        let folders: Vec<_> = arguments().into_iter().filter(|(_, arg)| is_folder(arg)).collect();
        assert!(folders.iter().all(|(_, arg)| arg.get_value_hint() == ValueHint::DirPath) && folders.len() > 1);
    }
}
