//! Tokens of issuers: structured configuration and flags, mappings, keys that change, and whatever must be refused.
use crate::harness::{Server, eventually};
use crate::issuer::{SigningKey, TestIssuer, configuration, review, seconds, unsigned, who};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use knarr_api::Value;
use serde_json::json;
use std::net::Ipv4Addr;
use std::path::Path;
use tokio::net::TcpListener;

/// A server with a configuration file.
async fn server(directory: &Path, file: Value) -> Server {
    let path = directory.join("authentication.json");
    std::fs::write(&path, configuration(file)).unwrap();
    Server::start(directory, &["--authentication-config", path.to_str().unwrap()]).await
}

fn plain(issuer: &TestIssuer) -> Value {
    json!({"issuer": issuer.settings(&["knarr"]),
        "claimMappings": {"username": {"claim": "sub", "prefix": "p:"}, "groups": {"claim": "groups", "prefix": "g:"}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn several_issuers() {
    let directory = tempfile::tempdir().unwrap();
    let (rsa, ec) = (SigningKey::rsa("one"), SigningKey::ec("two"));
    let (first, second) = (TestIssuer::start(&[&rsa]).await, TestIssuer::start(&[&ec]).await);
    let expressive = json!({
        "issuer": second.settings(&["a", "b"]),
        "claimValidationRules": [
            {"claim": "tenant", "requiredValue": "t"},
            {"expression": "claims.exp - claims.iat <= 3600", "message": "lives too long"}],
        "claimMappings": {
            "username": {"expression": "claims.email_verified ? claims.email : 'unverified'"},
            "groups": {"expression": "claims.roles.split(',')"},
            "uid": {"claim": "sub"},
            "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"},
                {"key": "example.com/none", "valueExpression": "''"}]},
        "userValidationRules": [{"expression": "!user.groups.exists(g, g.startsWith('system:'))",
            "message": "groups of the system are not handed out"}]});
    let server = server(directory.path(), json!({"jwt": [plain(&first), expressive]})).await;
    let token = rsa.sign(&first.claims("knarr", json!({"groups": ["dev"]})));
    let expected = json!({"username": "p:ann", "groups": ["g:dev", "system:authenticated"]});
    assert_eq!(who(&server, &token).await, (201, expected));
    for algorithm in [Algorithm::RS512, Algorithm::PS256] {
        let token = rsa.sign_as(algorithm, None, &first.claims("knarr", json!({"groups": "one"})));
        let (code, user) = who(&server, &token).await;
        // The key is published for RS256 alone.
        assert_eq!((code, user), (401, Value::Null), "{algorithm:?}");
    }
    let token = rsa.sign_as(Algorithm::RS256, None, &first.claims("knarr", json!({"groups": "one"})));
    assert_eq!(who(&server, &token).await.1["groups"], json!(["g:one", "system:authenticated"]));
    let good = json!({"aud": ["x", "b"], "email": "ann@x.y", "email_verified": true, "roles": "r1,r2", "tenant": "t"});
    let claims = |more: Value| {
        let mut claims = second.claims("", good.clone());
        knarr_api::patch::merge::apply(&mut claims, more);
        ec.sign(&claims)
    };
    let (code, user) = who(&server, &claims(json!({}))).await;
    let expected = json!({"username": "ann@x.y", "uid": "ann", "groups": ["r1", "r2", "system:authenticated"],
        "extra": {"example.com/tenant": ["t"]}});
    assert_eq!((code, user), (201, expected));
    for bad in [
        json!({"tenant": "other"}),
        json!({"tenant": null}),
        json!({"roles": "system:masters"}),
        json!({"roles": null}),
        json!({"roles": 1}),
        json!({"exp": seconds() + 7200}),
        json!({"aud": ["knarr"]}),
    ] {
        assert_eq!(who(&server, &claims(bad.clone())).await.0, 401, "{bad}");
    }
    // Such tokens are good for this server's own audiences only.
    let (own, token) = ("https://kubernetes.default.svc.cluster.local", claims(json!({})));
    let answer = review(&server.admin(), &token, &[own, "other"]).await;
    assert_eq!((&answer["authenticated"], &answer["audiences"]), (&json!(true), &json!([own])));
    assert_eq!(review(&server.admin(), &token, &["other"]).await["authenticated"], Value::Null);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let (rsa, ec, stranger) = (SigningKey::rsa("one"), SigningKey::ec("two"), SigningKey::ec("two"));
    let issuer = TestIssuer::start(&[&rsa, &ec]).await;
    let server = server(directory.path(), json!({"jwt": [plain(&issuer)]})).await;
    let now = seconds();
    let good = issuer.claims("knarr", json!({}));
    assert_eq!(who(&server, &ec.sign(&good)).await.0, 201);
    assert_eq!(who(&server, &rsa.sign(&good)).await.0, 201);
    let hmac = |secret: &[u8]| {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("one".to_owned());
        jsonwebtoken::encode(&header, &good, &EncodingKey::from_secret(secret)).unwrap()
    };
    let public = rsa.public();
    let modulus = public["n"].as_str().unwrap();
    let mut tampered = ec.sign(&good);
    tampered.replace_range(tampered.len() - 6..tampered.len() - 1, "AAAAA");
    let [head, _, signature] =
        <[String; 3]>::try_from(ec.sign(&good).split('.').map(str::to_owned).collect::<Vec<_>>()).unwrap();
    let other_body = ec.sign(&issuer.claims("knarr", json!({"sub": "admin"})));
    let spliced = format!("{head}.{}.{signature}", other_body.split('.').nth(1).unwrap());
    let changed = |more: Value| ec.sign(&issuer.claims("knarr", more));
    let refused = [
        ("expired", changed(json!({"exp": now - 1}))),
        ("without expiry", changed(json!({"exp": null}))),
        ("not valid yet", changed(json!({"nbf": now + 3600}))),
        ("wrong audience", changed(json!({"aud": "other"}))),
        ("no audience", changed(json!({"aud": null}))),
        ("empty name", changed(json!({"sub": null}))),
        ("foreign issuer", changed(json!({"iss": "https://127.0.0.1:1"}))),
        ("another key under a known id", stranger.sign(&good)),
        ("unknown id", ec.sign_as(Algorithm::ES256, Some("three"), &good)),
        ("signature changed", tampered),
        ("signature of another token", spliced),
        ("algorithm none", unsigned(&json!({"alg": "none", "kid": "one"}), &good)),
        ("algorithm None", unsigned(&json!({"alg": "None", "typ": "JWT"}), &good)),
        ("empty signature", unsigned(&json!({"alg": "ES256", "kid": "two"}), &good)),
        ("public key as a secret, text", hmac(public.to_string().as_bytes())),
        ("public key as a secret, modulus", hmac(modulus.as_bytes())),
        ("an RSA key for an EC id", rsa.sign_as(Algorithm::RS256, Some("two"), &good)),
        ("no token", "abc".to_owned()),
        ("empty parts", "..".to_owned()),
    ];
    for (what, token) in refused {
        assert_eq!(who(&server, &token).await.0, 401, "{what}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_change() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (SigningKey::ec("old"), SigningKey::ec("new"));
    let issuer = TestIssuer::start(&[&old]).await;
    let server = server(directory.path(), json!({"jwt": [plain(&issuer)]})).await;
    assert!(issuer.remote.asked().is_empty(), "keys are fetched when they are needed");
    let claims = issuer.claims("knarr", json!({}));
    assert_eq!(who(&server, &old.sign(&claims)).await.0, 201);
    issuer.set_keys(&[&old, &new]);
    eventually(async || who(&server, &new.sign(&claims)).await.0 == 201).await;
    let asked = issuer.remote.asked().len();
    let strangers: Vec<String> =
        (0..50).map(|n| new.sign_as(Algorithm::ES256, Some(&format!("k{n}")), &claims)).collect();
    for token in &strangers {
        assert_eq!(who(&server, token).await.0, 401);
    }
    let more = issuer.remote.asked().len() - asked;
    assert!(more <= 10, "strangers' tokens made the server ask {more} times");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_that_do_not_answer() {
    let directory = tempfile::tempdir().unwrap();
    let key = SigningKey::ec("k");
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let issuer = TestIssuer::start(&[&key]).await;
    let urls = [
        format!("https://127.0.0.1:{}", silent.local_addr().unwrap().port()),
        "https://127.0.0.1:9".to_owned(),
        // It answers, but is another one.
        format!("{}/", issuer.url),
    ];
    let of = |url: &String| {
        json!({"issuer": {"url": url, "audiences": ["knarr"], "certificateAuthority": issuer.remote.authority.pem},
            "claimMappings": {"username": {"claim": "sub", "prefix": ""}}})
    };
    let server = server(directory.path(), json!({"jwt": urls.iter().map(of).collect::<Vec<_>>()})).await;
    for url in &urls {
        let token = key.sign(&issuer.claims("knarr", json!({"iss": url})));
        let answers = futures::future::join_all((0..5).map(|_| who(&server, &token))).await;
        assert!(answers.iter().all(|answer| answer.0 == 401), "{url}: {answers:?}");
    }
    assert_eq!(server.admin().get("/api/v1/namespaces").await.0, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let key = SigningKey::ec("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let open =
        json!({"anonymous": {"enabled": true, "conditions": [{"path": "/livez"}, {"path": "/readyz"}]}});
    let server = server(directory.path(), open.clone()).await;
    let anonymous = server.anonymous();
    assert_eq!(anonymous.get("/livez").await.0, 200);
    assert_eq!(anonymous.get("/healthz").await.0, 401);
    assert_eq!(anonymous.get("/livez/ping").await.0, 401);
    let token = key.sign(&issuer.claims("knarr", json!({})));
    assert_eq!(who(&server, &token).await.0, 401);
    let write = |text: &str| std::fs::write(directory.path().join("authentication.json"), text).unwrap();
    let mut both = open;
    both["jwt"] = json!([plain(&issuer)]);
    write(&configuration(both));
    eventually(async || who(&server, &token).await.0 == 201).await;
    write(&configuration(json!({"anonymous": {"enabled": false}})));
    eventually(async || anonymous.get("/livez").await.0 == 401).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_one_issuer() {
    let directory = tempfile::tempdir().unwrap();
    let (rsa, ec) = (SigningKey::rsa("r"), SigningKey::ec("e"));
    let issuer = TestIssuer::start(&[&rsa, &ec]).await;
    let authority = directory.path().join("issuer.crt");
    std::fs::write(&authority, &issuer.remote.authority.pem).unwrap();
    let flags = [
        "--oidc-issuer-url",
        &issuer.url,
        "--oidc-client-id=knarr",
        "--oidc-groups-claim=roles",
        "--oidc-groups-prefix=o:",
        "--oidc-required-claim=a=b",
        "--oidc-ca-file",
        authority.to_str().unwrap(),
    ];
    let server = Server::start(directory.path(), &flags).await;
    let claims = issuer.claims("knarr", json!({"a": "b", "roles": ["dev"]}));
    let expected =
        json!({"username": format!("{}#ann", issuer.url), "groups": ["o:dev", "system:authenticated"]});
    assert_eq!(who(&server, &rsa.sign(&claims)).await, (201, expected));
    // Only RS256 signs unless --oidc-signing-algs says otherwise.
    assert_eq!(who(&server, &ec.sign(&claims)).await.0, 401);
    assert_eq!(who(&server, &rsa.sign(&issuer.claims("knarr", json!({"a": "c"})))).await.0, 401);
    server.stop().await;
}
