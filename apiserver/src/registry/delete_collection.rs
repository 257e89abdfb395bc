//! DELETE of a collection: a list whose objects are deleted one by one, each by its own rules.
use super::call::Call;
use super::options::ListOptions;
use super::{Registry, encode, list};
use crate::server::Response;
use futures::stream::{self, StreamExt, TryStreamExt};
use knarr_api::status::Status;

/// Objects deleted at the same time.
const PARALLEL: usize = 16;

impl Registry {
    pub(super) async fn delete_collection(&self, call: &Call<'_>, body: &[u8]) -> Result<Response, Status> {
        let options = ListOptions::decode(&call.query, false)?;
        let delete = self.delete_options(call, body)?;
        let page = self.page(call, &options).await?;
        stream::iter(&page.objects)
            .map(|object| {
                let delete = delete.clone();
                async move {
                    let one = Call {
                        registry: self,
                        row: call.row,
                        context: call.context,
                        headers: call.headers,
                        query: call.query.clone(),
                        accepted: call.accepted,
                        namespace: object.key.namespace(),
                        name: object.key.name(),
                        subresource: "",
                    };
                    match self.delete_object(&one, &delete).await {
                        Err(status) if !matches!(status.code, 404 | 409) => Err(status),
                        _ => Ok(()),
                    }
                }
            })
            .buffer_unordered(PARALLEL)
            .try_collect::<()>()
            .await?;
        let transform = call.accepted.transform;
        encode::document(&list::list_value(call, &page.objects, &page.meta, transform)?, call.accepted)
    }
}
