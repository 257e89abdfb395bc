//! `/metrics`: the names and labels that dashboards and alerts for the original look for.
use crate::harness::{Server, eventually};
use http::Method;
use http_body_util::BodyExt;
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread")]
async fn names_of_the_original() {
    let directory = tempfile::tempdir().expect("directory");
    let flags = ["--runtime-config=storage.k8s.io/v1beta1=true"];
    let server = Server::start(directory.path(), &flags).await;
    let admin = server.admin();
    let map = json!({"metadata": {"name": "a"}});
    admin.create(&format!("{MAPS}?fieldValidation=Strict"), &map).await;
    assert_eq!(admin.get(MAPS).await.0, 200);
    let review = json!({"spec": {"audiences": []}});
    let account = "/api/v1/namespaces/default/serviceaccounts";
    admin.create(account, &json!({"metadata": {"name": "robot"}})).await;
    let token = admin.create(&format!("{account}/robot/token"), &review).await;
    let bearer = format!("Bearer {}", token["status"]["token"].as_str().expect("a token"));
    let robot = server.anonymous().raw(Method::GET, "/api/v1/nodes", &[("authorization", &bearer)], "").await;
    assert_eq!(robot.status(), 403);
    assert_eq!(server.user("reader", &["system:monitoring"]).get("/metrics/slis").await.0, 200);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "robot",
        "containers": [{"name": "c", "image": "i"}]}});
    admin.create("/api/v1/namespaces/default/pods", &pod).await;
    admin.get("/apis/storage.k8s.io/v1beta1/volumeattributesclasses").await;
    let mut watch = admin.open(Method::GET, &format!("{MAPS}?watch=1"), "").await;
    watch.body_mut().frame().await.expect("an event").expect("no error");
    let acting = [("impersonate-user", "system:serviceaccount:kube-system:x")];
    assert_eq!(admin.raw(Method::GET, "/metrics", &acting, "").await.status(), 403);
    let stranger = tokio::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, server.port)).await;
    drop(stranger.expect("a connection"));
    let text = async || {
        let reply = admin.raw(Method::GET, "/metrics", &[], "").await;
        String::from_utf8(reply.into_body().to_vec()).expect("text")
    };
    let of_maps = |verb: &str| {
        format!(
            "component=\"apiserver\",group=\"\",resource=\"configmaps\",scope=\"namespace\",subresource=\"\",verb=\"{verb}\",version=\"v1\""
        )
    };
    let lines = [
        format!("apiserver_longrunning_requests{{{}}} 1", of_maps("WATCH")),
        format!("apiserver_response_sizes_count{{{}}} 1", of_maps("LIST")),
        "apiserver_requested_deprecated_apis{group=\"storage.k8s.io\",removed_release=\"".to_owned(),
        "apiserver_request_duration_seconds_bucket{le=\"0.005\",component=\"apiserver\",dry_run=\"\"".to_owned(),
        "apiserver_request_sli_duration_seconds_bucket{le=\"0.05\",component=\"apiserver\",dry_run=\"\"".to_owned(),
        "apiserver_request_total{code=\"201\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"configmaps\"".to_owned(),
        "apiserver_current_inflight_requests{request_kind=\"mutating\"}".to_owned(),
        "apiserver_resource_objects{group=\"\",resource=\"configmaps\"}".to_owned(),
        "apiserver_storage_objects{resource=\"leases.coordination.k8s.io\"}".to_owned(),
        "apiserver_storage_size_bytes{storage_cluster_id=\"etcd-0\"}".to_owned(),
        "etcd_request_duration_seconds_count{group=\"\",operation=\"create\",resource=\"configmaps\"} ".to_owned(),
        "etcd_requests_total{group=\"\",operation=\"create\",resource=\"configmaps\"} ".to_owned(),
        "apiserver_flowcontrol_current_executing_seats".to_owned(),
        "apiserver_flowcontrol_dispatched_requests_total".to_owned(),
        "apiserver_watch_events_total{group=\"\",version=\"v1\",resource=\"configmaps\"} 1".to_owned(),
        "apiserver_watch_events_sizes_count{group=\"\",version=\"v1\",resource=\"configmaps\"} 1".to_owned(),
        "apiserver_impersonation_attempts_total{mode=\"serviceaccount\",decision=\"allowed\"} 1".to_owned(),
        "apiserver_impersonation_authorization_attempts_total{mode=\"serviceaccount\",decision=\"allowed\"} 2".to_owned(),
        "apiserver_impersonation_authorization_attempts_duration_seconds_count{mode=\"serviceaccount\"".to_owned(),
        "apiserver_tls_handshake_errors_total 1".to_owned(),
        "apiserver_cel_compilation_duration_seconds_count ".to_owned(),
        "apiserver_cel_evaluation_duration_seconds_count ".to_owned(),
        "apiserver_client_certificate_expiration_seconds_count ".to_owned(),
        "apiserver_cache_list_returned_objects_total{group=\"\",resource=\"configmaps\"} ".to_owned(),
        "apiserver_init_events_total{group=\"\",resource=\"configmaps\"} ".to_owned(),
        "apiserver_request_body_size_bytes_count{group=\"\",resource=\"configmaps\",verb=\"create\"} ".to_owned(),
        "field_validation_request_duration_seconds_count{field_validation=\"Strict\"} 1".to_owned(),
        "apiserver_request_filter_duration_seconds_count{filter=\"authentication\"} ".to_owned(),
        "apiserver_authorization_decisions_total{decision=\"allowed\",name=\"rbac\",type=\"RBAC\"} ".to_owned(),
        "serviceaccount_valid_tokens_total 1".to_owned(),
        "serviceaccount_stale_tokens_total 0".to_owned(),
        "pod_security_evaluations_total{decision=\"allow\",mode=\"enforce\",policy_level=\"privileged\",policy_version=\"latest\",request_operation=\"create\",resource=\"pod\"".to_owned(),
        "kubernetes_build_info{build_date=\"".to_owned(),
        "process_max_fds ".to_owned(),
        "kubernetes_feature_enabled".to_owned(),
        "process_start_time_seconds".to_owned(),
    ];
    for line in lines {
        eventually(async || text().await.lines().any(|known| known.starts_with(&line))).await;
    }
    let size = text().await;
    let size = size
        .lines()
        .find_map(|line| line.strip_prefix("apiserver_storage_size_bytes{storage_cluster_id=\"etcd-0\"} "));
    assert!(size.and_then(|size| size.parse::<f64>().ok()).is_some_and(|size| size > 4096.0), "{size:?}");
    drop(watch);
    let none = format!("apiserver_longrunning_requests{{{}}} 0", of_maps("WATCH"));
    eventually(async || text().await.contains(&none)).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_for_people() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &["--event-ttl=7m"]).await;
    let admin = server.admin();
    let get = async |path: &str, accept: &str| {
        let reply = admin.raw(Method::GET, path, &[("accept", accept)], "").await;
        (reply.status().as_u16(), String::from_utf8_lossy(reply.body()).into_owned())
    };
    let (code, text) = get("/statusz", "*/*").await;
    assert!(code == 200 && text.starts_with("\nkube-apiserver statusz\n"), "{code} {text}");
    let (code, text) = get("/flagz", "application/json;v=v1beta1;g=config.k8s.io;as=Flagz").await;
    let flags: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &flags["flags"]["event-ttl"]), (200, &json!("7m")));
    assert_eq!(
        (&flags["flags"]["storage"], &flags["flags"]["bind-address"]),
        (&json!("CLASSIFIED"), &json!("127.0.0.1"))
    );
    assert_eq!(get("/flagz", "application/json").await.0, 406);
    let monitor = server.user("m", &["system:monitoring"]);
    for path in ["/statusz", "/flagz"] {
        assert_eq!(monitor.get(path).await.0, 200, "{path}");
        assert_eq!(server.user("u", &[]).get(path).await.0, 403, "{path}");
    }
    server.stop().await;
}
