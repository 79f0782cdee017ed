//! Guides: one page for each task beyond a single call. They are `docs/` of the repository, except [`questions`], which is made from
//! the document.

/// [program]: program
#[doc = include_str!("../docs/bulk.md")]
pub mod bulk {}

#[doc = include_str!("../docs/guarantees.md")]
pub mod guarantees {}

/// [profiles]: profiles
#[doc = include_str!("../docs/machines.md")]
pub mod machines {}

/// [program]: program
#[doc = include_str!("../docs/networks.md")]
pub mod networks {}

/// [machines]: machines
#[doc = include_str!("../docs/observability.md")]
pub mod observability {}

#[doc = include_str!("../docs/profiles.md")]
pub mod profiles {}

/// [bulk]: bulk
/// [profiles]: profiles
#[doc = include_str!("../docs/program.md")]
pub mod program {}

include!(concat!(env!("OUT_DIR"), "/questions.rs"));

#[doc = include_str!("../docs/testing.md")]
pub mod testing {}

#[cfg_attr(feature = "webhook", doc = "[webhooks]: webhooks")]
#[doc = include_str!("../docs/users.md")]
pub mod users {}

/// [guarantees]: guarantees
/// [observability]: observability
/// [program]: program
/// [testing]: testing
/// [users]: users
#[cfg(feature = "webhook")]
#[doc = include_str!("../docs/webhooks.md")]
pub mod webhooks {}
