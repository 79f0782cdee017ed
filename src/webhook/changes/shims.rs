use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::feed::{Feed, Resource};

pub(crate) struct HearingGuard;
pub(crate) struct Hearing;
impl Hearing {
    pub(super) fn begin(&self, _: Duration) -> HearingGuard {
        HearingGuard
    }
}
pub(super) trait FeedShim<R> {
    fn hear(&self, id: R::Id) -> impl Future<Output = Result<Arc<R>, Error>> + Send + 'static
    where
        R: Resource;
    fn hearing(&self) -> Hearing {
        Hearing
    }
}
impl<R: Resource> FeedShim<R> for Feed<R> {
    fn hear(&self, id: R::Id) -> impl Future<Output = Result<Arc<R>, Error>> + Send + 'static {
        let nudged = self.nudge(id);
        async move { nudged.await.map(Arc::new) }
    }
}
