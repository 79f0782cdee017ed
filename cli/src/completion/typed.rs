//! The words of a command line that is unfinished or not accepted, as clap reads them.

use clap::{Arg, Command};

/// What is typed before the word at the cursor.
pub(super) struct Typed<'a> {
    pub(super) program: &'a Command,
    /// The command that is named last.
    pub(super) command: &'a Command,
    /// The option whose value is the next word.
    pub(super) option: Option<&'a Arg>,
    /// After `--`, nothing is an option.
    pub(super) is_escaped: bool,
    positionals: usize,
    values: Vec<(&'a Arg, &'a str)>,
}

impl<'a> Typed<'a> {
    pub(super) fn new(program: &'a Command, words: &'a [String]) -> Self {
        let start =
            Self { program, command: program, option: None, is_escaped: false, positionals: 0, values: Vec::new() };
        words.iter().fold(start, |typed, word| typed.with(word))
    }

    fn with(mut self, word: &'a str) -> Self {
        // clap takes no value that looks like an option.
        let is_option = word.starts_with('-') && word != "-";
        if let Some(option) = self.option.take().filter(|_| !is_option) {
            self.values.push((option, word));
        } else if self.is_escaped || !is_option {
            match self.command.find_subcommand(word).filter(|_| !self.is_escaped) {
                Some(command) => (self.command, self.positionals) = (command, 0),
                None => {
                    self.values.extend(self.positional().map(|positional| (positional, word)));
                    self.positionals += 1;
                }
            }
        } else if word == "--" {
            self.is_escaped = true;
        } else if let Some((option, value)) = self.option_in(word) {
            match value {
                Some(at) => self.values.push((option, &word[at..])),
                None => self.option = Some(option).filter(|option| !option.is_require_equals_set()),
            }
        }
        self
    }

    /// The positional argument that the next word is a value of. The last one may take several.
    pub(super) fn positional(&self) -> Option<&'a Arg> {
        let has_several = |arg: &&Arg| arg.get_num_args().is_some_and(|count| count.max_values() > 1);
        let mut positionals = self.command.get_positionals();
        positionals.nth(self.positionals).or_else(|| self.command.get_positionals().last().filter(has_several))
    }

    /// The option with a value that a word names, and where in the word its value begins, if it is there.
    pub(super) fn option_in(&self, word: &str) -> Option<(&'a Arg, Option<usize>)> {
        let mut options = self.command.get_arguments().filter(|arg| arg.get_action().takes_values());
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let option = options.find(|option| option.get_long() == Some(name))?;
            return Some((option, value.map(|value| word.len() - value.len())));
        }
        let options: Vec<_> = options.collect();
        let (at, option) = word.char_indices().skip(1).find_map(|(at, short)| {
            let option = options.iter().find(|option| option.get_short() == Some(short))?;
            Some((at + short.len_utf8(), *option))
        })?;
        let value = &word[at..];
        let start = word.len() - value.strip_prefix('=').unwrap_or(value).len();
        Some((option, (!value.is_empty()).then_some(start)))
    }

    /// The values that the argument with this id has so far.
    pub(super) fn values(&self, id: &str) -> impl Iterator<Item = &'a str> {
        self.values.iter().filter(move |(arg, _)| arg.get_id() == id).map(|(_, value)| *value)
    }
}
