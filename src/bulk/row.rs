//! A row of the input.

use std::pin::Pin;

use futures_util::stream::Stream;

use super::record::RowKey;
use crate::types::{CreateProvisionRequest, ProvisionId};

/// A row of the input.
#[derive(Debug, Clone)]
pub(super) enum Row {
    Close(ProvisionId),
    Create(Box<CreateProvisionRequest>),
}

impl Row {
    pub(super) fn key(&self) -> RowKey {
        match self {
            Self::Close(id) => RowKey::Provision(*id),
            Self::Create(new) => RowKey::User(*new.external_uuid()),
        }
    }
}

/// The input.
pub(super) type Rows = Pin<Box<dyn Stream<Item = Row> + Send>>;
