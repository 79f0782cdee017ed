//! What is done in bulk.

use crate::operation::Operation;

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

    /// What is done in bulk with the operation that has this `operationId`; `None` if nothing is.
    pub fn by_operation_id(id: &str) -> Option<Self> {
        [Self::Close, Self::Create].into_iter().find(|known| known.operation().id == id)
    }
}
