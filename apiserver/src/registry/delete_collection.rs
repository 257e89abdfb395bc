//! DELETE of a collection: a list whose objects are deleted one by one, each by its own rules.
use super::call::Call;
use super::delete::Asked;
use super::options::{DeleteOptions, ListOptions};
use super::{Registry, encode, list};
use crate::server::Response;
use crate::storage::Stored;
use futures::FutureExt;
use futures::future::join_all;
use knarr_api::status::Status;

/// Objects deleted at the same time.
const PARALLEL: usize = 16;

impl Registry {
    pub(super) async fn delete_collection(&self, call: &Call<'_>, body: &[u8]) -> Result<Response, Status> {
        let options = ListOptions::decode(&call.query, false)?;
        let delete = self.delete_options(call, body)?;
        let page = self.page(call, &options).await?;
        for chunk in page.objects.chunks(PARALLEL) {
            let deletions: Vec<_> =
                chunk.iter().map(|o| self.delete_listed(call, &delete, o).boxed()).collect();
            for outcome in join_all(deletions).await {
                outcome?;
            }
        }
        let transform = call.accepted.transform;
        encode::document(&list::list_value(call, &page.objects, &page.meta, transform)?, call.accepted)
    }

    /// Deletes one object of the list; one that is gone or was changed meanwhile is no fault.
    async fn delete_listed(
        &self,
        call: &Call<'_>,
        delete: &DeleteOptions,
        object: &Stored,
    ) -> Result<(), Status> {
        let one = Call {
            row: call.row,
            context: call.context,
            headers: call.headers,
            query: call.query.clone(),
            accepted: call.accepted,
            namespace: object.key.namespace(),
            name: object.key.name(),
            subresource: "",
        };
        match self.delete_object(&one, delete, Asked::InCollection).await {
            Err(status) if !matches!(status.code, 404 | 409) => Err(status),
            _ => Ok(()),
        }
    }
}
