//! What each status of a provision means. Every decision about a status is made by its phase.

use super::ProvisionStatus;

/// The phases in the life of a provision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// bunq is creating the user.
    Setup,
    /// Nothing is in progress.
    Settled,
    /// bunq is replacing the credential.
    Reset,
    Closing,
    Closed,
    Failed,
    /// This version does not know the status.
    Unknown,
}

impl ProvisionStatus {
    /// The table: it is the only place that says what each status means.
    pub(crate) fn phase(&self) -> Phase {
        match self {
            Self::Created => Phase::Setup,
            Self::Active => Phase::Settled,
            Self::TokenResetRequested => Phase::Reset,
            Self::Cancelled => Phase::Closing,
            Self::Closed => Phase::Closed,
            Self::Failed => Phase::Failed,
            Self::Unknown(_) => Phase::Unknown,
        }
    }

    /// The statuses of these phases, in the order of the phases. bunq can filter a listing by each of them.
    pub(crate) fn of(phases: &[Phase]) -> Vec<Self> {
        let of = |phase| Self::KNOWN.iter().filter(move |status| status.phase() == phase);
        phases.iter().flat_map(|phase| of(*phase)).cloned().collect()
    }

    /// Whether the status is final: nothing follows `CLOSED` and `FAILED`.
    pub fn is_terminal(&self) -> bool {
        matches!(self.phase(), Phase::Closed | Phase::Failed)
    }

    /// Whether bunq is setting the provision up, replacing its credential or closing it: `CREATED`, `TOKEN_RESET_REQUESTED` and
    /// `CANCELLED`.
    pub fn is_in_progress(&self) -> bool {
        matches!(self.phase(), Phase::Setup | Phase::Reset | Phase::Closing)
    }

    /// Whether the provision is closing or closed: `CANCELLED` and `CLOSED`.
    pub fn is_closing_or_closed(&self) -> bool {
        matches!(self.phase(), Phase::Closing | Phase::Closed)
    }

    /// Whether the provision cannot be used any more: it is closing, closed or has failed.
    pub fn is_over(&self) -> bool {
        matches!(self.phase(), Phase::Closing | Phase::Closed | Phase::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_statuses() {
        test_timeout::start();
        for (status, means) in [
            ("CREATED", "in progress"),
            ("ACTIVE", ""),
            ("TOKEN_RESET_REQUESTED", "in progress"),
            ("CANCELLED", "in progress, closing or closed, over"),
            ("CLOSED", "terminal, closing or closed, over"),
            ("FAILED", "terminal, over"),
            ("PAUSED", ""),
        ] {
            let status = serde_json::from_str::<ProvisionStatus>(&format!("\"{status}\"")).unwrap();
            let names = [
                (status.is_terminal(), "terminal"),
                (status.is_in_progress(), "in progress"),
                (status.is_closing_or_closed(), "closing or closed"),
                (status.is_over(), "over"),
            ];
            let names: Vec<_> = names.into_iter().filter_map(|(is, name)| is.then_some(name)).collect();
            assert_eq!(names.join(", "), means, "{status}");
        }
    }

    #[test]
    fn a_status_that_is_not_known_is_not_asked_for() {
        test_timeout::start();
        assert_eq!(
            ProvisionStatus::of(&[Phase::Closed, Phase::Unknown, Phase::Setup]),
            [ProvisionStatus::Closed, ProvisionStatus::Created]
        );
    }
}
