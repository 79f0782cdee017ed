//! Provisions as a resource that can be waited for and subscribed to.

use super::condition::ProvisionCondition;
use crate::api::{Api, Response};
use crate::error::Error;
use crate::feed::{Readable, Resource};
use crate::operation::Operation;
use crate::types::{Cursor, ListProvisionsQuery, Page, PageSize, Phase, Provision, ProvisionId, ProvisionStatus};

impl Resource for Provision {
    type Condition = ProvisionCondition;

    fn is_terminal(&self) -> bool {
        self.status.is_terminal()
    }

    fn progress(&self) -> String {
        let step = self.sub_status.as_ref().map_or("no sub_status", |step| step.as_str());
        format!("{} with {step}", self.status)
    }
}

impl Readable for Provision {
    type Id = ProvisionId;
    type State = ProvisionStatus;

    const NAME: &'static str = "provision";
    const LIST: Option<&'static Operation> = Some(&Operation::LIST_PROVISIONS);
    const GET: &'static Operation = &Operation::GET_PROVISION;

    fn id(&self) -> ProvisionId {
        self.id
    }

    #[cfg(feature = "webhook")]
    fn updated(&self) -> Option<crate::types::Timestamp> {
        self.updated
    }

    /// bunq may not accept in a request a status that it uses in responses.
    fn state(&self) -> Option<ProvisionStatus> {
        (self.status.phase() != Phase::Unknown).then(|| self.status.clone())
    }

    fn states() -> Vec<ProvisionStatus> {
        ProvisionStatus::KNOWN.to_vec()
    }

    fn in_progress() -> Vec<ProvisionStatus> {
        ProvisionStatus::of(&[Phase::Setup, Phase::Reset, Phase::Closing])
    }

    async fn read(api: &Api, id: ProvisionId) -> Result<Self, Error> {
        api.get_provision(id).await.map(Response::into_inner)
    }

    async fn read_page(api: &Api, states: &[ProvisionStatus], cursor: Option<Cursor>) -> Result<Page<Self>, Error> {
        let query = ListProvisionsQuery { cursor, ..Default::default() }.status(states.to_vec()).count(PageSize::MAX);
        api.list_provisions(query).await.map(Response::into_inner)
    }
}
