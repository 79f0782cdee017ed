//! What the word at the cursor may become, and the form in which scripts read it.

use clap::Command;

/// What may follow `prefix`, which is the part of the word that is complete: `--env=`, `CREATED,`.
pub(super) struct Answer {
    pub(super) prefix: String,
    pub(super) kind: Kind,
}

/// Paths are left to the shell, which quotes them as it does elsewhere.
pub(super) enum Kind {
    Values(Vec<Candidate>),
    Files,
    Folders,
}

pub(super) struct Candidate {
    pub(super) value: String,
    /// Empty if there is none.
    pub(super) description: String,
}

impl Candidate {
    pub(super) fn new(value: impl Into<String>, description: impl ToString) -> Self {
        Self { value: value.into(), description: description.to_string() }
    }
}

impl<T: Into<String>> From<T> for Candidate {
    fn from(value: T) -> Self {
        Self::new(value, "")
    }
}

impl Answer {
    pub(super) fn new(prefix: &str, kind: Kind) -> Self {
        Self { prefix: prefix.to_owned(), kind }
    }

    pub(super) fn nothing() -> Self {
        Self::new("", Kind::Values(Vec::new()))
    }

    /// The candidates that begin with what is typed of them.
    pub(super) fn values<T: Into<Candidate>>(
        prefix: &str,
        typed: &str,
        candidates: impl IntoIterator<Item = T>,
    ) -> Self {
        let candidates = candidates.into_iter().map(Into::into);
        Self::new(prefix, Kind::Values(candidates.filter(|candidate| candidate.value.starts_with(typed)).collect()))
    }

    /// This answer, for a word that begins with `prefix`.
    pub(super) fn after(self, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() + &self.prefix, ..self }
    }

    /// The first line has the kind and the prefix; each further line has a value and, after a tab, its description. A script may be
    /// older than the program, so this form must not change.
    pub(super) fn to_text(&self) -> String {
        let (kind, candidates) = match &self.kind {
            Kind::Values(candidates) => ("values", &candidates[..]),
            Kind::Files => ("files", &[][..]),
            Kind::Folders => ("folders", &[][..]),
        };
        let mut text = format!("{kind} {}\n", self.prefix);
        for Candidate { value, description } in candidates {
            text += &format!("{value}\t{}\n", description.lines().next().unwrap_or_default());
        }
        text
    }
}

/// The commands below a command.
pub(super) fn commands(command: &Command) -> impl Iterator<Item = Candidate> {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.map(|command| Candidate::new(command.get_name(), command.get_about().cloned().unwrap_or_default()))
}
