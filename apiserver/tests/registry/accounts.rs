//! Pods run as ServiceAccounts that a controller makes.
use super::harness::Server;
use knarr_apiserver::admission::{Chain, service_account::ServiceAccount};
use knarr_apiserver::registry::Settings;
use knarr_apiserver::storage::Options;
use serde_json::json;

/// In a namespace that was just made, pods come before the controller has made the account.
#[tokio::test]
async fn the_default_account_is_waited_for() {
    let chain = |objects| Chain::new(vec![std::sync::Arc::new(ServiceAccount { objects })]);
    let server = Server::start_admitting(Options::default(), Settings::default(), chain).await;
    let pod = |name: &str, account: &str| {
        let containers = json!([{"name": "c", "image": "i"}]);
        json!({"metadata": {"name": name}, "spec": {"serviceAccountName": account, "containers": containers}})
    };
    let pods = "/api/v1/namespaces/default/pods";
    let refused = server.post(pods, &pod("b", "other")).await.expect(403);
    let cause = r#"error looking up service account default/other: serviceaccount "other" not found"#;
    assert_eq!(refused["message"], format!(r#"pods "b" is forbidden: {cause}"#));
    let early = pod("a", "");
    let account = json!({"metadata": {"name": "default"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let (pod, _) = tokio::join!(server.post(pods, &early), server.post(accounts, &account));
    assert_eq!(pod.expect(201)["spec"]["serviceAccountName"], "default");
}
