//! The objects that clients make, which are saved with the state: a type for each kind, and its line in `tables!`.

pub(crate) mod attachment;
pub(crate) mod credential_ip;
pub(crate) mod identity;
pub(crate) mod inquiry;
pub(crate) mod notifications;
pub(crate) mod oauth;
pub(crate) mod onboarding;
pub(crate) mod table;

use serde::{Deserialize, Serialize};

use self::attachment::Attachment;
use self::credential_ip::CredentialIp;
use self::identity::{Document, IdentitySession};
use self::inquiry::Inquiry;
use self::notifications::{Failure, Filter, PinnedChain};
use self::oauth::{OauthCallbackUrl, OauthClient};
use self::onboarding::{Onboarding, UserFacts};
use self::table::{SavedTable, Table};

macro_rules! tables {
    ($($name:ident: $object:ty,)*) => {
        /// The objects of every kind.
        #[derive(Debug, Default, Deserialize)]
        #[serde(from = "SavedTables")]
        pub(crate) struct Tables {
            $(pub(crate) $name: Table<$object>,)*
        }

        /// The objects as they are saved. A kind that is missing, as in the state of an older version, has none.
        #[derive(Debug, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub(crate) struct SavedTables {
            $(#[serde(skip_serializing_if = "SavedTable::is_empty")] $name: SavedTable<$object>,)*
        }

        impl Tables {
            /// All objects, as they are saved.
            pub(crate) fn whole(&self) -> SavedTables {
                SavedTables { $($name: self.$name.whole(),)* }
            }

            /// What has changed since this was called before.
            pub(crate) fn take_changes(&mut self) -> SavedTables {
                SavedTables { $($name: self.$name.take_changes(),)* }
            }

            /// Adds what was saved, in the place of what was there of the same objects.
            pub(crate) fn apply(&mut self, saved: SavedTables) {
                $(self.$name.apply(saved.$name);)*
            }
        }

        impl SavedTables {
            pub(crate) fn is_empty(&self) -> bool {
                $(self.$name.is_empty())&&*
            }
        }
    };
}

tables! {
    attachments: Attachment,
    credential_ips: CredentialIp,
    oauth_clients: OauthClient,
    oauth_callback_urls: OauthCallbackUrl,
    onboardings: Onboarding,
    user_facts: UserFacts,
    notification_filters: Filter,
    notification_failures: Failure,
    pinned_chains: PinnedChain,
    identity_sessions: IdentitySession,
    documents: Document,
    inquiries: Inquiry,
}

impl From<SavedTables> for Tables {
    fn from(saved: SavedTables) -> Self {
        let mut tables = Self::default();
        tables.apply(saved);
        tables
    }
}
