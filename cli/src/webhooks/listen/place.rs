//! The path on which calls are taken: that of the URL which bunq calls, or one made at random.

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::path::Path;

use aws_lc_rs::rand;
use bunq_partner::reqwest::Url;
use bunq_partner::text::url_without_path;
use bunq_partner::{ErrorKind, Secret};

use super::super::super::exit::Failure;
use super::super::super::invocation::Invocation;
use super::super::target;

/// 128 bits.
const RANDOM_LEN: usize = 16;

/// A folder, and the secret segment that follows it.
pub(super) struct Place {
    pub(super) folder: String,
    pub(super) segment: Secret,
    /// Nobody else knows it.
    is_new: bool,
}

impl Place {
    /// Takes the path of the URL, or makes one if a person can be shown it.
    pub(super) async fn find(invocation: &Invocation, file: Option<&Path>) -> Result<Self, Failure> {
        if let Some(target) = target::given(invocation, file).await? {
            let url: Url =
                target.as_str().parse().map_err(|_| Failure::usage("the URL that bunq calls cannot be parsed"))?;
            let (folder, segment) = url.path().rsplit_once('/').unwrap_or_default();
            return Ok(Self { folder: format!("{folder}/"), segment: segment.into(), is_new: false });
        }
        if !io::stderr().is_terminal() {
            return Err(target::missing());
        }
        let mut bytes = [0; RANDOM_LEN];
        rand::fill(&mut bytes)
            .map_err(|_| Failure::of_kind(ErrorKind::Internal, "this machine has no random numbers"))?;
        let segment: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { folder: "/".to_owned(), segment: segment.into(), is_new: true })
    }

    /// Says where calls are taken. A path that was made here is shown this once.
    pub(super) fn tell(&self, invocation: &Invocation, scheme: &str, address: SocketAddr) {
        let url = format!("{scheme}://{address}{}{}", self.folder, self.segment.expose());
        invocation.tell("listening", &if self.is_new { url } else { url_without_path(&url) });
        if self.is_new {
            invocation.note(
                "the path is a secret, and is not shown again: keep the URL, with the host that bunq calls, in a file",
            );
        }
    }
}
