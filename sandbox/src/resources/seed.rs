//! What the users of a seed have from the start: a line of `seeds!` for each kind.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attachments::SeedAttachment;
use super::identity::{SeedDocument, SeedIdentitySession};
use super::onboarding::SeedOnboarding;
use super::plant::Plant as _;
use crate::bank::Bank;
use crate::objects::inquiry::SeedInquiry;

macro_rules! seeds {
    ($($(#[$doc:meta])* $name:ident: $seed:ty,)*) => {
        /// What the user of a [`SeedProvision`](crate::SeedProvision) has from the start, oldest first. What is missing it does not have.
        #[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[non_exhaustive]
        pub struct SeedUser {
            $($(#[$doc])* #[serde(skip_serializing_if = "Vec::is_empty")] pub $name: Vec<$seed>,)*
        }

        impl SeedUser {
            pub(crate) fn is_empty(&self) -> bool {
                $(self.$name.is_empty())&&*
            }

            pub(crate) fn plant(&self, bank: &mut Bank, user: u64, now: Timestamp) -> Result<(), String> {
                $(for (index, wanted) in self.$name.iter().enumerate() {
                    let refused = |problem| format!("user.{}[{index}]: {problem}", stringify!($name));
                    wanted.plant(bank, user, now).map_err(refused)?;
                })*
                Ok(())
            }
        }
    };
}

seeds! {
    /// The files that it has uploaded.
    attachments: SeedAttachment,
    /// The documents that it has made of them.
    documents: SeedDocument,
    /// Its onboardings.
    onboardings: SeedOnboarding,
    /// The sessions in which it proves its identity.
    identity_sessions: SeedIdentitySession,
    /// What bunq asks of it.
    inquiries: SeedInquiry,
}
