//! Match conditions of webhooks.
use crate::admission::{MAPS, MUTATING, VALIDATING, map};
use crate::harness::Server;
use crate::remote::{Remote, answered, configuration};
use http::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_called_when_all_conditions_hold() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let remote = Remote::start(|asked| answered(asked, json!({}))).await;
    let conditions = json!({"matchConditions": [
        {"name": "named", "expression": "object.metadata.name.startsWith('c')"},
        {"name": "not-me", "expression": "!request.userInfo.groups.exists(g, g == 'nobody')"},
        {"name": "may", "expression": "authorizer.requestResource.check('create').allowed()"}]});
    let webhook = remote.webhook("a.example.com", conditions);
    for (kind, path) in
        [("MutatingWebhookConfiguration", MUTATING), ("ValidatingWebhookConfiguration", VALIDATING)]
    {
        admin.create(path, &configuration(kind, "w", vec![webhook.clone()])).await;
    }
    admin.create(MAPS, &map("other")).await;
    assert_eq!(remote.asked().len(), 0);
    admin.create(MAPS, &map("called")).await;
    assert_eq!(remote.asked().len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_that_fail_follow_the_failure_policy() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let remote = Remote::start(|asked| answered(asked, json!({}))).await;
    let condition = |policy: &str, expression: &str| {
        let conditions = json!([{"name": "c", "expression": expression}]);
        let webhook =
            remote.webhook("a.example.com", json!({"failurePolicy": policy, "matchConditions": conditions}));
        configuration("ValidatingWebhookConfiguration", "w", vec![webhook])
    };
    // What cannot be known to be a bool before it is evaluated is none.
    for wrong in ["object.metadata.name", "object."] {
        let (code, status) = admin.post(VALIDATING, &condition("Fail", wrong)).await;
        assert_eq!(code, 422, "{status}");
    }
    admin.create(VALIDATING, &condition("Fail", "object.metadata.nope == ''")).await;
    let (code, status) = admin.post(MAPS, &map("a")).await;
    assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")), "{status}");
    let (code, _) = admin.send(Method::DELETE, &format!("{VALIDATING}/w"), "").await;
    assert_eq!(code, 200);
    admin.create(VALIDATING, &condition("Ignore", "object.nope == 1")).await;
    admin.create(MAPS, &map("b")).await;
    admin.send(Method::DELETE, &format!("{VALIDATING}/w"), "").await;
    admin.create(VALIDATING, &condition("Fail", "object.nope == 1")).await;
    let (code, status) = admin.post(MAPS, &map("c")).await;
    assert_eq!(code, 403, "{status}");
    let message =
        "configmaps \"c\" is forbidden: expression 'object.nope == 1' resulted in error: no such key: nope";
    assert_eq!(status["message"], message);
    assert_eq!(remote.asked().len(), 0);
    server.stop().await;
}
