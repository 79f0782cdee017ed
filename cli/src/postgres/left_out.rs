//! A program without the feature `postgres`: it reaches no database.

use std::sync::Arc;

use bunq_partner::{ClientBuilder, ContextStore, Custody, Secret};

use super::super::examination::step::Check;
use super::super::exit::Failure;
use super::super::output::Record;
use super::super::settings::PostgresSettings;

/// There are none.
pub(crate) enum SharedStores {}

impl SharedStores {
    pub(crate) async fn connect(settings: &PostgresSettings) -> Result<(Self, Option<String>), Failure> {
        Err(left_out(&format!("a database is named ({})", settings.url.source)))
    }

    pub(crate) fn context(&self) -> Arc<dyn ContextStore> {
        match *self {}
    }

    pub(crate) fn custody(&self) -> Arc<dyn Custody> {
        match *self {}
    }

    pub(crate) async fn examine(&self) -> Vec<Check> {
        match *self {}
    }

    pub(crate) fn limit(&self, _: ClientBuilder) -> ClientBuilder {
        match *self {}
    }
}

pub(super) async fn migrate(_: Secret) -> Result<(i32, i32), Failure> {
    Err(left_out("a database cannot be migrated"))
}

pub(super) async fn status(_: Secret) -> Result<[(&'static str, Vec<Record>); 4], Failure> {
    Err(left_out("a database cannot be read"))
}

pub(super) async fn forget(_: Secret, _: &str) -> Result<(), Failure> {
    Err(left_out("a member cannot be forgotten"))
}

fn left_out(problem: &str) -> Failure {
    Failure::usage(format!("{problem}, and this program was built without the feature postgres"))
        .with_hint("`cargo install --path cli --features postgres` installs it with it")
}
