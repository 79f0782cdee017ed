//! The outcome as a table: one row for each language, one column for each step.

use std::fmt;

use anyhow::Result;

/// The last column: the outcome of the whole row, which can also fail between two steps.
const ALL: &str = "all";

/// The steps that a row has done, in order. Nothing runs after a failure.
pub(super) struct Row {
    name: &'static str,
    done: Vec<(&'static str, bool)>,
    is_ok: bool,
}

impl Row {
    /// Makes a row from the steps that `steps` does. If it fails, its error is printed at once.
    pub(super) fn of(name: &'static str, steps: impl FnOnce(&mut Self) -> Result<()>) -> Self {
        let mut row = Self { name, done: Vec::new(), is_ok: true };
        if let Err(error) = steps(&mut row) {
            eprintln!("{name}: {error:#}");
            row.is_ok = false;
        }
        row
    }

    pub(super) fn step<T>(&mut self, name: &'static str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        let result = step();
        self.done.push((name, result.is_ok()));
        result.map_err(|error| error.context(name))
    }

    fn cell(&self, column: &str) -> &'static str {
        match self.done.iter().find(|(step, _)| *step == column) {
            Some((_, true)) => "ok",
            Some((_, false)) => "failed",
            None => "-",
        }
    }
}

pub(super) struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Row>,
}

impl Table {
    pub(super) fn new(columns: Vec<&'static str>, rows: impl IntoIterator<Item = Row>) -> Self {
        Self { columns, rows: rows.into_iter().collect() }
    }

    pub(super) fn is_ok(&self) -> bool {
        self.rows.iter().all(|row| row.is_ok)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
        let width = |column: &str| column.len().max("failed".len());
        write!(f, "{:first$}", "")?;
        for column in self.columns.iter().chain([&ALL]) {
            write!(f, "  {column:0$}", width(column))?;
        }
        for row in &self.rows {
            write!(f, "\n{:first$}", row.name)?;
            for column in &self.columns {
                write!(f, "  {:1$}", row.cell(column), width(column))?;
            }
            write!(f, "  {}", if row.is_ok { "ok" } else { "failed" })?;
        }
        Ok(())
    }
}
