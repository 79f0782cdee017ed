//! What is wrong with an input: the line, the column and a rule. No text of the file is repeated: it is about people, and a wrong
//! column, or a missing header, may hold anything.

use std::fmt::Display;

use super::super::exit::Failure;

/// How many are said.
pub(super) const MAX_SAID: usize = 20;

/// What is wrong with a line.
#[derive(Debug)]
pub(super) struct Mistake {
    line: u64,
    /// The name of the column, if it is about one.
    column: &'static str,
    reason: String,
}

impl Mistake {
    pub(super) fn new(line: u64, column: &'static str, reason: impl Into<String>) -> Self {
        Self { line, column, reason: reason.into() }
    }

    fn said(&self) -> String {
        let Self { line, column, reason } = self;
        if column.is_empty() { format!("line {line}: {reason}") } else { format!("line {line}, {column}: {reason}") }
    }
}

/// What is wrong with a file, of which only the first mistakes are said.
#[derive(Default)]
pub(super) struct Mistakes {
    count: usize,
    said: Vec<String>,
}

impl Mistakes {
    pub(super) fn add(&mut self, mistake: &Mistake) {
        self.count += 1;
        if self.said.len() < MAX_SAID {
            self.said.push(mistake.said());
        }
    }

    /// Fails if there are any in the file with this name.
    pub(super) fn check(&self, name: impl Display) -> Result<(), Failure> {
        let more = match self.count - self.said.len() {
            _ if self.count == 0 => return Ok(()),
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        Err(Failure::usage(format!("{name}: {}{more}", self.said.join("; "))))
    }
}
