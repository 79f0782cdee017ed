//! What is requested of many provisions, and in one row.

use std::pin::Pin;

use futures_util::stream::Stream;

use crate::operation::Operation;
use crate::types::{CreateProvisionRequest, ProvisionId};

/// What is done with each row of a [`Bulk`](crate::Bulk) operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BulkOperation {
    /// Provisions are closed.
    Close,
    /// Users are created.
    Create,
}

impl BulkOperation {
    /// The operation that is called for each row.
    pub fn operation(self) -> &'static Operation {
        match self {
            Self::Close => &Operation::UPDATE_PROVISION,
            Self::Create => &Operation::CREATE_PROVISION,
        }
    }

    /// The bulk operation that calls the operation with this `operationId`, if there is one.
    pub fn by_operation_id(id: &str) -> Option<Self> {
        [Self::Close, Self::Create].into_iter().find(|known| known.operation().id == id)
    }
}

/// What is requested in one row.
#[derive(Debug, Clone)]
pub enum BulkRequest {
    /// Close this provision.
    Close(ProvisionId),
    /// Create this user.
    Create(Box<CreateProvisionRequest>),
}

impl BulkRequest {
    /// The bulk operation that it belongs to.
    pub fn operation(&self) -> BulkOperation {
        match self {
            Self::Close(_) => BulkOperation::Close,
            Self::Create(_) => BulkOperation::Create,
        }
    }
}

/// The input.
pub(super) type Requests = Pin<Box<dyn Stream<Item = BulkRequest> + Send>>;
