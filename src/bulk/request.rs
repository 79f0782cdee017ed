//! What is asked for in one row.

use std::pin::Pin;

use futures_util::stream::Stream;
use jiff::Timestamp;

use super::operation::BulkOperation;
use super::record::{RowKey, RowRecord, RowState};
use crate::types::{CreateProvisionRequest, ProvisionId};

/// What is asked for in one row.
#[derive(Debug, Clone)]
pub enum BulkRequest {
    /// This provision is to be closed.
    Close(ProvisionId),
    /// This user is to be created.
    Create(Box<CreateProvisionRequest>),
}

impl BulkRequest {
    /// The operation that it is a row of.
    pub fn operation(&self) -> BulkOperation {
        match self {
            Self::Close(_) => BulkOperation::Close,
            Self::Create(_) => BulkOperation::Create,
        }
    }

    pub(super) fn key(&self) -> RowKey {
        match self {
            Self::Close(id) => RowKey::new("id", id),
            Self::Create(new) => RowKey::new("external_uuid", new.external_uuid()),
        }
    }

    /// The record of the row when its request is about to be sent.
    pub(super) fn sent(&self, row: u64) -> RowRecord {
        let id = match self {
            Self::Close(id) => Some(*id),
            Self::Create(_) => None,
        };
        RowRecord {
            row,
            at: Timestamp::now(),
            state: RowState::Sent,
            key: self.key(),
            id,
            created: None,
            response_id: None,
            error_kind: None,
            status: None,
            in_doubt: false,
            error: None,
        }
    }
}

/// The input.
pub(super) type Requests = Pin<Box<dyn Stream<Item = BulkRequest> + Send>>;
