//! What steps take: seconds of the clock, and of processors.

use std::fs;
use std::time::Instant;

/// How often a second has the unit of `/proc/self/stat`.
const TICKS: f64 = 100.0;

/// What this process and its children that have ended have taken so far, in seconds. What lies between two is a step.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    at: Instant,
    /// Linux alone tells without a dependency.
    cpu: Option<f64>,
}

impl Cost {
    pub(super) fn so_far() -> Self {
        Self { at: Instant::now(), cpu: fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu) }
    }

    /// Cargo becomes the program that it has built: the time that the build took is the program's.
    pub(super) fn before_the_build(self) -> Self {
        Self { cpu: self.cpu.map(|_| 0.0), ..self }
    }

    /// A line of the table.
    pub(super) fn line(self, name: &str, since: Self) -> String {
        let cpu = self.cpu.zip(since.cpu).map_or_else(|| "-".to_owned(), |(now, then)| format!("{:.1}", now - then));
        format!("{name:20}{cpu:>8}{:8.1}", (self.at - since.at).as_secs_f64())
    }
}

/// User and system time, of the process and of its children, follow the name of the program, which is in parentheses.
fn cpu(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(4).filter_map(|ticks| ticks.parse().ok()).collect();
    Some(ticks.iter().sum::<f64>() / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_children_counts() {
        test_timeout::start();
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 900 800 0 0 100 20 3000 400 20 0 1 0 8 9 10";
        assert_eq!(cpu(stat), Some(35.2));
        assert_eq!(cpu(""), None);
    }
}
