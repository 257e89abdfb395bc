//! Who a request comes from, through the real HTTP server: issuers of tokens, webhooks, bootstrap and ServiceAccount
//! tokens, certificates; what is refused, and that nothing hangs.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used)]
#[path = "identity/access.rs"]
mod access;
#[path = "identity/attempts.rs"]
mod attempts;
#[path = "audit/audited.rs"]
mod audited;
#[path = "identity/certificates.rs"]
mod certificates;
#[path = "postgres/database.rs"]
mod database;
#[allow(dead_code, reason = "shared with other test programs")]
#[path = "server/harness.rs"]
mod harness;
#[path = "identity/issuer.rs"]
mod issuer;
#[path = "identity/jwt.rs"]
mod jwt;
#[allow(dead_code, reason = "shared with other test programs")]
#[path = "webhooks/remote.rs"]
mod remote;
#[path = "identity/reviews.rs"]
mod reviews;
#[path = "identity/tokens.rs"]
mod tokens;
