//! Paths that can be read in two ways: what is authorized is what is done.
use crate::harness::Server;
use crate::raw::Raw;
use http::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn confusion_opens_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    for space in ["open", "closed"] {
        admin.create("/api/v1/namespaces", &json!({"metadata": {"name": space}})).await;
    }
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"k": "guarded"}});
    admin.create("/api/v1/namespaces/closed/secrets", &secret).await;
    let rule = json!({"apiGroups": [""], "resources": ["*"], "verbs": ["*"]});
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/open";
    admin.create(&format!("{roles}/roles"), &json!({"metadata": {"name": "all"}, "rules": [rule]})).await;
    let binding = json!({"metadata": {"name": "ann"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "all"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}]});
    admin.create(&format!("{roles}/rolebindings"), &binding).await;
    let ann = server.user("ann", &[]);
    crate::harness::eventually(async || ann.get("/api/v1/namespaces/open/secrets").await.0 == 200).await;
    for path in [
        "/api/v1/namespaces/closed/secrets/s",
        "/api/v1/namespaces/open/../closed/secrets/s",
        "/api/v1/namespaces/open/%2e%2e/closed/secrets/s",
        "/api/v1/namespaces/open%2f..%2fclosed/secrets/s",
        "/api/v1/namespaces/open/secrets/..%2f..%2fclosed%2fsecrets%2fs",
        "/api/v1/namespaces/open/secrets/%2e%2e/%2e%2e/closed/secrets/s",
        "/api/v1/namespaces/open/secrets/..",
        "/api/v1/namespaces/open/secrets/.",
        "/api/v1/namespaces/open//secrets/../../closed/secrets/s",
        "/api/v1//namespaces/closed/secrets/s",
        "/api//v1/namespaces/closed/secrets/s",
        "//api/v1/namespaces/closed/secrets/s",
        "/api/v1/namespaces//closed/secrets/s",
        "/api/v1/namespaces/closed//secrets/s",
        "/api/v1/namespaces/closed/secrets//s",
        "/api/v1/namespaces/closed/secrets/s/",
        "/version/../api/v1/namespaces/closed/secrets/s",
        "/healthz/../api/v1/namespaces/closed/secrets/s",
        "/api/v1/namespaces/open/pods/..%2f..%2fclosed/proxy",
        "/api/v1/namespaces/open/secrets/s%00",
        "/api/v1/namespaces/open%00/secrets/s",
        "/api/v1/namespaces/clos%65d/secrets/s",
        "/api/v1/watch/namespaces/closed/secrets/s",
        "/API/v1/namespaces/closed/secrets/s",
        "/api/v1/namespaces/closed/secrets?fieldSelector=metadata.name%3Ds",
        "/api/v1/secrets?namespace=open",
        "/api/v1/namespaces/open;x=/../closed/secrets/s",
        "/api/v1/namespaces/open\\..\\closed/secrets/s",
    ] {
        for method in [Method::GET, Method::DELETE] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let identity = server.authority.user("ann", &[]);
            let mut raw = Raw::open(&server, Some(identity), &[]).await;
            raw.send(&request).await;
            let answer = String::from_utf8_lossy(&raw.rest().await).into_owned();
            let code = answer.get(9..12).unwrap_or_default().to_owned();
            assert!(matches!(&*code, "400" | "403" | "404" | "405"), "{method} {path}: {answer}");
            assert!(!answer.contains("Z3VhcmRlZA"), "{path}: {answer}");
        }
    }
    assert_eq!(admin.get("/api/v1/namespaces/closed/secrets/s").await.0, 200);
    // A path that is open to anybody is so by its own name alone.
    let nobody = server.anonymous();
    for path in
        ["/healthz/..", "/healthz//", "/livez/../metrics", "//healthz/../metrics", "/metrics%2f..%2fhealthz"]
    {
        let code = nobody.get(path).await.0;
        assert!(matches!(code, 401 | 403 | 404), "{path}: {code}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_paths_of_the_mighty() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let maps = "/api/v1/namespaces/default/configmaps";
    admin.create(maps, &json!({"metadata": {"name": "a"}})).await;
    for (path, code) in [
        (format!("{maps}/a"), 200),
        (format!("{maps}/%61"), 200),
        (format!("{maps}/.."), 400),
        (format!("{maps}/."), 400),
        (format!("{maps}/%2e%2e"), 400),
        (format!("{maps}/a%2fb"), 404),
        (format!("{maps}/a%25"), 400),
        (format!("{maps}/a%zz"), 400),
        (format!("{maps}/a%"), 400),
        (format!("{maps}/%ff"), 404),
        ("/api/v1//namespaces/default/configmaps/a".to_owned(), 404),
        ("//api/v1/namespaces/default/configmaps/a".to_owned(), 404),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(Raw::admin(&server).await.codes(request).await, [code], "{path}");
    }
    server.stop().await;
}
