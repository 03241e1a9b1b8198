//! Who may see a login, and who is believed to be whom: SEC-01 to SEC-23.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use octobundle::content::ImageSource as _;
use octobundle::failure::{ErrorClass, Failure};
use octobundle::oci::{Host, Repository};
use octobundle::progress::Silent;
use octobundle::registry::{
    AuthFile, AuthFiles, CredentialStore as _, Decision, ProxyRules, ProxyTexts, Registry, RegistrySettings, Secret,
    TrustedCertificates,
};
use proptest::prelude::*;
use url::Url;

use crate::client::{
    BASIC, ask_for_password, bearer, content, described, manifest_reply, own, part_of, pulled, pushed, put, registry,
    repository, settings, shown, tag, takes_uploads, token, with_login,
};
use crate::proxy::{Proxy, Setup};
use crate::raw::Raw;
use crate::scripted::{Reply, Scripted, Seen};
use crate::secrets::shows_secret;
use crate::support::authority::{Authority, Identity};
use crate::support::cli::Site;
use crate::support::images::{Sample as _, TestImage};
use crate::support::release::{self, Release};

/// One who takes everything and should be given nothing.
async fn thief() -> Scripted {
    Scripted::start(|seen, _| match seen.line().as_str() {
        "GET /token" | "POST /token" => token("T"),
        // Asking for the login must not help either.
        _ if seen.header("authorization").is_none() && seen.target.contains("ask") => ask_for_password(),
        _ => Reply::new(200).header("Content-Length-Hint", "0"),
    })
    .await
}

#[track_caller]
fn assert_got_nothing(thief: &Scripted, case: &str) {
    for seen in thief.seen() {
        let secret = seen.header("authorization").is_some() || shows_secret(format!("{seen:?}").as_bytes());
        assert!(!secret, "{case}: {seen:?}");
    }
}

/// The addresses under which a loopback server can be named.
fn names_of(server: &Scripted) -> Vec<String> {
    let port = server.address.port();
    vec![
        format!("http://127.0.0.1:{port}/x"),
        format!("//127.0.0.1:{port}/x"),
        format!("http://localhost:{port}/x"),
        format!("http://bob:CANARY-password@127.0.0.1:{port}/x"),
        format!("http://2130706433:{port}/x"),
        format!("http://0177.0.0.1:{port}/x"),
        format!("http://[::ffff:127.0.0.1]:{port}/x"),
        format!("http://127.0.0.1:{port}/ask"),
    ]
}

#[tokio::test]
async fn sec_01_no_redirect_of_any_request_takes_the_login_along() {
    let (thief, layer, registry) = (thief().await, content(), registry(with_login()));
    let mut asked = 0;
    for status in [301, 302, 303, 307, 308] {
        for target in names_of(&thief) {
            let location = target.clone();
            let server = Scripted::start(move |seen, _| match seen.header("authorization") {
                Some(BASIC) => Reply::new(status).header("Location", &location),
                _ => ask_for_password(),
            })
            .await;
            let at = repository(&server);
            // What comes of them is not the question.
            drop(registry.document(&at, &tag()).await);
            drop(registry.document_digest(&at, &tag()).await);
            drop(registry.has_blob(&at, &described(&layer)).await);
            drop(pulled(&registry, &at, &described(&layer[..0])).await);
            drop(put(&registry, &at).await);
            drop(pushed(&registry, &at, &layer).await);
            drop(registry.mount(&at, &format!("{}/c", server.host()).parse().unwrap(), &described(&layer)).await);
            assert!(server.seen().iter().any(|seen| seen.header("authorization") == Some(BASIC)), "it logs in");
            assert_got_nothing(&thief, &format!("{status} to {target}"));
            asked = thief.seen().len();
        }
    }
    assert!(asked > 100, "redirects are followed: {asked}");
}

#[tokio::test]
async fn sec_01_a_redirect_within_the_registry_keeps_the_login() {
    let server = Scripted::start(|seen, _| match (seen.target.as_str(), seen.header("authorization")) {
        ("/moved", Some(BASIC)) => manifest_reply(),
        (_, Some(BASIC)) => Reply::new(307).header("Location", "/moved"),
        _ => ask_for_password(),
    })
    .await;
    registry(with_login()).document(&repository(&server), &tag()).await.unwrap();
}

#[tokio::test]
async fn sec_02_the_login_does_not_come_back_with_a_redirect_that_returns() {
    let between = Arc::new(std::sync::Mutex::new(String::new()));
    let home = between.clone();
    let other = Scripted::start(move |_, _| Reply::new(302).header("Location", home.lock().unwrap().clone())).await;
    let away = other.url("/away");
    let server = Scripted::start(move |seen, _| match (seen.target.as_str(), seen.header("authorization")) {
        ("/back", _) => manifest_reply(),
        (_, Some(BASIC)) => Reply::new(302).header("Location", &away),
        _ => ask_for_password(),
    })
    .await;
    *between.lock().unwrap() = server.url("/back");
    registry(with_login()).document(&repository(&server), &tag()).await.unwrap();
    let back = server.seen().into_iter().find(|seen| seen.target == "/back").unwrap();
    assert_eq!(back.header("authorization"), None);
}

/// Settings for a server on this machine that does speak TLS.
fn over_tls(host: &str, authority: &Authority, settings: RegistrySettings) -> RegistrySettings {
    let pem = authority.certificate().into_bytes();
    let mut settings =
        RegistrySettings { trusted: vec![TrustedCertificates { origin: "ca.pem".into(), pem }], ..settings };
    settings.https.insert(host.parse().unwrap());
    settings
}

#[tokio::test]
async fn sec_03_a_redirect_out_of_tls_or_http_is_refused_by_name() {
    let (thief, authority) = (thief().await, Authority::new());
    let targets = [
        (thief.url("/x"), "plain http"),
        ("file:///etc/passwd".into(), "neither http nor https"),
        ("ftp://127.0.0.1/x".into(), "neither http nor https"),
        ("data:text/plain,x".into(), "neither http nor https"),
        ("unix:///run/docker.sock".into(), "neither http nor https"),
        ("https://".into(), "no address"),
    ];
    for (target, why) in targets {
        let location = target.clone();
        let server = Scripted::start(move |_, _| Reply::new(302).header("Location", &location)).await;
        let end = Proxy::tls_end(&authority.server(&["127.0.0.1"]), server.address);
        let registry = registry(over_tls(&end.host(), &authority, settings()));
        let at = format!("{}/a/b", end.host()).parse().unwrap();
        let failure = registry.document(&at, &tag()).await.err().unwrap();
        assert_eq!(failure.class(), ErrorClass::Network);
        assert!(shown(&failure).contains("not followed") && shown(&failure).contains(why), "{target}: {failure}");
        assert_eq!((server.seen().len(), thief.seen().len()), (1, 0), "{target}");
    }
}

#[tokio::test]
async fn sec_04_addresses_of_absurd_length_or_form_end_in_an_error() {
    let long = format!("/{}", "a".repeat(20_000));
    let huge = format!("/{}", "a".repeat(1 << 20));
    for location in
        [long.into_bytes(), huge.into_bytes(), b"http://[".to_vec(), b"\xff\xfe://x".to_vec(), b"http://a b/".to_vec()]
    {
        let case = location.len();
        let server = Raw::start(move |_, stream| {
            use std::io::Write as _;
            stream.write_all(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\nLocation: ")?;
            stream.write_all(&location)?;
            stream.write_all(b"\r\n\r\n")
        });
        let at = format!("{}/a/b", server.host()).parse().unwrap();
        let failure = registry(settings()).document(&at, &tag()).await.err().unwrap();
        assert_eq!(failure.class(), ErrorClass::Network, "{case}: {failure}");
        assert!(failure.to_string().len() < 2_000, "{case}");
    }
}

#[tokio::test]
async fn sec_05_whoever_is_redirected_to_sees_no_more_than_plain_headers() {
    let layer = content();
    let bytes = layer.clone();
    let store = Scripted::start(move |seen, before| {
        let reply = part_of(&bytes, seen);
        if before == 0 { reply.cut_after(100_000) } else { reply }
    })
    .await;
    let target = store.url("/signed");
    let server = Scripted::start(move |seen, _| match seen.header("authorization") {
        Some(BASIC) => Reply::new(307).header("Location", &target),
        _ => ask_for_password(),
    })
    .await;
    pulled(&registry(with_login()), &repository(&server), &described(&layer)).await.unwrap();
    for seen in store.seen() {
        for (name, _) in &seen.headers {
            let plain = ["accept", "accept-encoding", "cache-control", "host", "range", "user-agent"];
            assert!(plain.contains(&name.to_ascii_lowercase().as_str()), "{name} in {seen:?}");
        }
    }
}

#[tokio::test]
async fn sec_06_cookies_are_not_kept() {
    let server = Scripted::start(|seen, _| {
        let reply = match (seen.target.as_str(), seen.header("authorization")) {
            ("/moved", _) => manifest_reply(),
            (_, Some(BASIC)) => Reply::new(307).header("Location", "/moved"),
            _ => ask_for_password(),
        };
        reply.header("Set-Cookie", "session=CANARY; Path=/")
    })
    .await;
    let registry = registry(with_login());
    for _ in 0..2 {
        registry.document(&repository(&server), &tag()).await.unwrap();
    }
    assert!(server.seen().iter().all(|seen| seen.header("cookie").is_none()), "{:?}", server.seen());
}

/// A release whose image has a layer that is kept at `address`.
fn with_foreign_layer(address: &str) -> (Release, String) {
    let image = TestImage::new("octoperf/agent:1").layer(b"agent");
    let release = Release::of(&[&image]);
    let mut manifest = image.content().root().json();
    manifest["layers"][0]["urls"] = serde_json::json!([address]);
    let layer = manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
    let kind = manifest["mediaType"].as_str().unwrap().to_owned();
    let bytes = serde_json::to_vec(&manifest).unwrap();
    release.registry.replace_manifest("octoperf/agent", "1", &kind, &bytes);
    (release, layer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sec_07_a_layer_that_is_kept_elsewhere_is_named_and_not_fetched() {
    let thief = thief().await;
    let (release, layer) = with_foreign_layer(&thief.url("/layer?sig=x"));
    for run in [release.resolve(), release.pull("release.tar")] {
        let failed = run.run().assert_code(3);
        assert!(failed.stderr.contains(&layer) && failed.stderr.contains(&thief.host()), "{}", failed.stderr);
    }
    assert_eq!(thief.seen().len(), 0);
}

#[test]
fn sec_08_no_address_in_a_manifest_is_ever_asked() {
    // There is no flag that fetches foreign layers; metadata services and files stay unread under every name.
    for address in
        ["http://169.254.169.254/latest/meta-data", "http://[fe80::1]/", "file:///etc/passwd", "https://127.0.0.1/"]
    {
        let (release, _) = with_foreign_layer(address);
        let run = release.pull("release.tar");
        let failed = run.run().assert_code(3);
        assert!(failed.stderr.contains("foreign layer"), "{}", failed.stderr);
        assert!(!release.site.path("release.tar").exists());
        assert_eq!(release.registry.blob_bytes_sent(), 0);
    }
    Site::new().octobundle(["pull", "x", "-o", "y", "--foreign-layers", "fetch"]).run().assert_code(2);
}

#[tokio::test]
async fn sec_09_no_spelling_of_a_foreign_token_server_gets_the_login() {
    let (thief, registry) = (thief().await, registry(with_login()));
    let port = thief.address.port();
    let mut realms: Vec<String> =
        names_of(&thief).iter().map(|name| name.replace("/x", "/token").replace("/ask", "/token")).collect();
    realms.extend(
        [
            "http://0.0.0.0:PORT/token",
            "http://[::]:PORT/token",
            "http://127.1:PORT/token",
            "http://0x7f.0.0.1:PORT/token",
            "http://0x7f000001:PORT/token",
            "http://127.0.0.1.:PORT/token",
            "http://LOCALHOST:PORT/token",
            "http://localhost.:PORT/token",
            "http://127。0。0。1:PORT/token",
            "http://１２７.0.0.1:PORT/token",
            "http:\\\\127.0.0.1:PORT\\token",
            "http:127.0.0.1:PORT/token",
            "http:///127.0.0.1:PORT/token",
            "http://OWN@127.0.0.1:PORT/token",
            "http://127.0.0.1:PORT/token#OWN",
            "http://127.0.0.1:PORT/token?x=OWN",
            "HTTP://127.0.0.1:PORT/token",
            " http://127.0.0.1:PORT/token",
            "http://127.0.0.1:PORT/to ken",
            "http://127.0.0.1:PORT/token\t",
            "//127.0.0.1:PORT/token",
            "127.0.0.1:PORT/token",
            "token",
            "",
            "http://",
            "http://:PORT/token",
            "http://127.0.0.1:0/token",
            "http://127.0.0.1:99999/token",
            "http://[fe80::1%25lo]:PORT/token",
            "http://169.254.169.254/token",
            "http://[::ffff:169.254.169.254]/token",
            "file:///etc/passwd",
            "ftp://127.0.0.1:PORT/token",
            "gopher://127.0.0.1:PORT/token",
            "javascript:alert(1)",
        ]
        .map(|realm| realm.replace("PORT", &port.to_string())),
    );
    realms.push(format!("http://127.0.0.1:{port}/{}", "a".repeat(10_000)));
    assert!(realms.len() > 40);
    for realm in realms {
        let asked = realm.clone();
        let server = Scripted::start(move |seen, _| {
            let realm = asked.replace("OWN", seen.header("host").unwrap());
            // Not all of these are text that a header takes as it is; the wire takes any byte.
            Reply::new(401).header("WWW-Authenticate", format!(r#"Bearer realm="{realm}",service="reg""#))
        })
        .await;
        let failure = registry.document(&repository(&server), &tag()).await.err().unwrap();
        assert!(matches!(failure.class(), ErrorClass::Access | ErrorClass::Network), "{realm}: {failure}");
        assert_got_nothing(&thief, &realm);
        assert!(server.seen().iter().all(|seen| seen.header("authorization").is_none()), "{realm}");
    }
    assert_eq!(thief.seen().len(), 0, "with a login, not even an anonymous request is made: {:?}", thief.lines());
}

#[tokio::test]
async fn sec_09_a_token_server_of_the_registry_itself_gets_it_on_private_addresses_too() {
    let server = Scripted::start(|seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /service/token", Some(BASIC)) => token("T"),
        (_, Some("Bearer T")) => manifest_reply(),
        _ => Reply::new(401)
            .header("WWW-Authenticate", format!(r#"Bearer realm="{}/service/token",service="harbor""#, own(seen))),
    })
    .await;
    let proxy = Proxy::start(&Setup { hosts: vec![("10.1.2.3", server.address)], ..Setup::default() });
    let mut settings = RegistrySettings { proxy: through(&proxy.host()), ..with_login() };
    settings.plain_http.insert("10.1.2.3".parse().unwrap());
    registry(settings).document(&"10.1.2.3/a/b".parse().unwrap(), &tag()).await.unwrap();
}

#[tokio::test]
async fn sec_09_no_token_for_a_registry_over_tls_is_asked_for_in_plain_http() {
    let (thief, authority) = (thief().await, Authority::new());
    let challenge = bearer(&thief.url(""));
    let server = Scripted::start(move |_, _| Reply::new(401).header("WWW-Authenticate", &challenge)).await;
    let end = Proxy::tls_end(&authority.server(&["127.0.0.1"]), server.address);
    for given in [settings(), with_login()] {
        let client = registry(over_tls(&end.host(), &authority, given));
        let failure = client.document(&format!("{}/a/b", end.host()).parse().unwrap(), &tag()).await.err().unwrap();
        assert_eq!(failure.class(), ErrorClass::Access, "{failure}");
        assert!(shown(&failure).contains("plain http"), "{failure}");
    }
    assert_eq!(thief.seen().len(), 0, "not even as nobody");
}

fn through(proxy: &str) -> ProxyRules {
    let address = format!("http://user:CANARY-proxy@{proxy}");
    ProxyRules::new(ProxyTexts { all: Some(&address), ..ProxyTexts::default() }).unwrap()
}

#[tokio::test]
async fn sec_10_no_kind_of_redirect_leads_away_from_a_token_server() {
    let (thief, registry) = (thief().await, registry(with_login()));
    for status in [301, 302, 303, 307, 308] {
        for target in names_of(&thief) {
            let location = target.clone();
            let server = Scripted::start(move |seen, _| match seen.line().as_str() {
                "GET /token" => Reply::new(status).header("Location", &location),
                _ => Reply::new(401).header("WWW-Authenticate", bearer(&own(seen))),
            })
            .await;
            let failure = registry.document(&repository(&server), &tag()).await.err().unwrap();
            assert_eq!(failure.class(), ErrorClass::Network, "{failure}");
        }
    }
    assert_eq!(thief.seen().len(), 0);
}

#[tokio::test]
async fn sec_11_a_registry_cannot_make_the_rights_that_are_asked_for_grow() {
    let server = Scripted::start(|seen, before| {
        if seen.line() == "GET /token" {
            return token("T");
        }
        let scope = format!("repository:{before}/a:pull repository:{before}/b:pull");
        Reply::new(401).header("WWW-Authenticate", format!(r#"{},scope="{scope}""#, bearer(&own(seen))))
    })
    .await;
    let registry = registry(settings());
    for _ in 0..8 {
        registry.document(&repository(&server), &tag()).await.err().unwrap();
    }
    let asked = server.seen().into_iter().filter(|seen| seen.line() == "GET /token");
    let most = asked.map(|seen| seen.target.matches("scope=").count()).max().unwrap();
    assert_eq!(most, 1 + 8, "our own and as many as honest registries could want");
}

#[tokio::test]
async fn sec_11_a_token_is_for_the_registry_that_it_was_made_for() {
    let tokens =
        Scripted::start(|seen, _| token(if seen.target.contains("service=one") { "ONE" } else { "TWO" })).await;
    let realm = tokens.url("/token");
    let of = |service: &'static str| {
        let challenge = format!(r#"Bearer realm="{realm}",service="{service}""#);
        Scripted::start(move |seen, _| match seen.header("authorization") {
            Some(_) => manifest_reply(),
            None => Reply::new(401).header("WWW-Authenticate", &challenge),
        })
    };
    let (one, two) = (of("one").await, of("two").await);
    let registry = registry(settings());
    for _ in 0..2 {
        registry.document(&repository(&one), &tag()).await.unwrap();
        registry.document(&repository(&two), &tag()).await.unwrap();
    }
    let given = |server: &Scripted| -> Vec<String> {
        server.seen().iter().filter_map(|seen| seen.header("authorization").map(str::to_owned)).collect()
    };
    assert_eq!(given(&one), ["Bearer ONE", "Bearer ONE"]);
    assert_eq!(given(&two), ["Bearer TWO", "Bearer TWO"]);
}

#[tokio::test]
async fn sec_13_no_answer_to_any_step_of_an_upload_sends_bytes_elsewhere() {
    let (thief, layer, registry) = (thief().await, content(), registry(with_login()));
    for target in names_of(&thief) {
        for step in ["POST", "PUT", "PATCH", "GET"] {
            let location = target.clone();
            let server = Scripted::start(move |seen, _| {
                if seen.header("authorization") != Some(BASIC) {
                    return ask_for_password();
                }
                let next = if seen.method == step { location.as_str() } else { "/u/1" };
                match (seen.method.as_str(), seen.body.len()) {
                    ("PUT", 0) => Reply::new(201),
                    ("PUT", _) if step == "PUT" => Reply::new(307).header("Location", next),
                    ("PUT", _) => Reply::new(413),
                    ("PATCH", _) if step == "GET" => Reply::new(416),
                    ("PATCH", sent) => {
                        Reply::new(202).header("Location", next).header("Range", format!("0-{}", sent - 1))
                    }
                    ("GET", _) => Reply::new(204).header("Location", next).header("Range", "0-0"),
                    _ => takes_uploads(seen, next),
                }
            })
            .await;
            let at = repository(&server);
            let failure = pushed(&registry, &at, &layer).await.err().unwrap();
            assert!(shown(&failure).contains("not done"), "{step} {target}: {failure}");
            let from = format!("{}/c", server.host()).parse().unwrap();
            assert!(!registry.mount(&at, &from, &described(&layer)).await.unwrap());
        }
    }
    assert_eq!(thief.seen().len(), 0);
}

#[tokio::test]
async fn sec_13_a_document_that_is_redirected_to_another_server_goes_no_further() {
    // Takes everything, so that whoever followed would think all is well.
    let thief = Scripted::start(|_, _| Reply::new(201)).await;
    for status in [301, 302, 307, 308] {
        for target in names_of(&thief) {
            let location = target.clone();
            let server = Scripted::start(move |_, _| Reply::new(status).header("Location", &location)).await;
            let failure = put(&registry(settings()), &repository(&server)).await.err().unwrap();
            assert_eq!(failure.class(), ErrorClass::Network, "{status} {target}: {failure}");
        }
    }
    assert_eq!(thief.seen().len(), 0);
}

#[tokio::test]
async fn sec_13_an_upload_that_is_redirected_to_another_server_goes_no_further() {
    // Says that uploads are taken, and asks whoever sends bytes for the login.
    let thief = Scripted::start(|seen, _| match seen.method.as_str() {
        "POST" | "GET" => Reply::new(202).header("Location", "/u/1").header("Range", "0-0"),
        _ => ask_for_password(),
    })
    .await;
    let (layer, registry) = (content(), registry(with_login()));
    for status in [301, 302, 303, 307, 308] {
        for target in names_of(&thief) {
            for step in ["POST", "GET"] {
                let location = target.clone();
                let server = Scripted::start(move |seen, _| {
                    if seen.header("authorization") != Some(BASIC) {
                        return ask_for_password();
                    }
                    match seen.method.as_str() {
                        method if method == step => Reply::new(status).header("Location", &location),
                        "PUT" => Reply::new(413),
                        "PATCH" => Reply::new(416),
                        _ => takes_uploads(seen, "/u/1"),
                    }
                })
                .await;
                let at = repository(&server);
                let failure = pushed(&registry, &at, &layer).await.err().unwrap();
                assert_eq!(failure.class(), ErrorClass::Network, "{status} {step} {target}: {failure}");
                let from = format!("{}/c", server.host()).parse().unwrap();
                drop(registry.mount(&at, &from, &described(&layer)).await);
                drop(registry.try_upload(&at).await);
            }
        }
    }
    let asked = thief.seen();
    assert!(asked.len() > 20, "redirects of questions are followed: {}", asked.len());
    for seen in asked {
        let harmless = seen.body.is_empty() && seen.method == "GET";
        assert!(harmless && seen.header("authorization").is_none(), "{seen:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn sec_14_a_helper_that_answers_for_another_server_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Scripted::start(|_, _| ask_for_password()).await;
    let other = r#"{"ServerURL":"https://other.corp","Username":"bob","Secret":"CANARY-password"}"#;
    for (script, why) in [
        (format!("echo '{other}'"), "another server"),
        ("echo CANARY-garbage".into(), "not the JSON"),
        ("printf '{\"Username\":\"bob\"'; exec 1>&-".into(), "not the JSON"),
        ("head -c 3000000 /dev/zero".into(), "failed for"),
        ("echo CANARY; exit 3".into(), "failed for"),
    ] {
        crate::secrets::helper(folder.path(), "odd", &script);
        // Another registry's login stands right beside.
        let json = format!(
            r#"{{"credHelpers":{{"{}":"odd"}},"auths":{{"other.corp":{{"username":"bob","password":"CANARY-password"}}}}}}"#,
            server.host()
        );
        let files = vec![AuthFile::Text { name: "the file".into(), json: Secret::new(json) }];
        let store = Arc::new(AuthFiles::new(files, vec![folder.path().to_owned()]));
        let registry = registry(RegistrySettings { credentials: store, ..settings() });
        let failure = registry.document(&repository(&server), &tag()).await.err().unwrap();
        let told = shown(&failure);
        assert!(told.contains(why) && told.contains("docker-credential-odd get") && !told.contains("CANARY"), "{told}");
    }
    assert!(server.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

#[cfg(unix)]
#[test]
fn sec_15_helpers_are_not_looked_for_in_folders_that_depend_on_where_we_are() {
    let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let answer = r#"echo '{"Username":"bob","Secret":"pw"}'"#;
    crate::secrets::helper(folder.path(), "near", answer);
    let relative = folder.path().strip_prefix(std::env::current_dir().unwrap()).unwrap().to_owned();
    assert!(relative.is_relative() && relative.join("docker-credential-near").exists());
    let find = |folders: Vec<PathBuf>, name: &str| {
        let json = format!(r#"{{"credsStore":"{name}"}}"#);
        let files = vec![AuthFile::Text { name: "the file".into(), json: Secret::new(json) }];
        AuthFiles::new(files, folders).lookup(&"reg.corp/a".parse().unwrap()).map(|found| found.is_some())
    };
    assert!(find(vec![folder.path().to_owned()], "near").unwrap());
    for folders in [vec![relative], vec![".".into()], vec!["".into()], vec![]] {
        assert!(find(folders.clone(), "near").is_err(), "{folders:?}");
    }
    for name in ["../near", "/bin/sh", "near;x", "near\n", "a b", "néar"] {
        assert!(find(vec![folder.path().to_owned()], &name.escape_default().to_string()).is_err(), "{name:?}");
    }
}

#[cfg(unix)]
#[test]
fn sec_16_only_plain_names_of_hosts_reach_a_helper() {
    for host in [
        "reg.corp\n",
        "reg\r.corp",
        "reg corp",
        "reg.corp\0",
        "bob@reg.corp",
        "reg.corp\u{7f}",
        "\treg.corp",
        "reg.corp\u{202e}",
        "rég.corp",
    ] {
        assert!(host.parse::<Host>().is_err(), "{host:?}");
        assert!(format!("{host}/a/b").parse::<Repository>().is_err(), "{host:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let heard = folder.path().join("heard");
    crate::secrets::helper(
        folder.path(),
        "ear",
        &format!("cat > '{}'; echo credentials not found in native keychain; exit 1", heard.display()),
    );
    let files = vec![AuthFile::Text { name: "the file".into(), json: Secret::new(r#"{"credsStore":"ear"}"#) }];
    let store = AuthFiles::new(files, vec![folder.path().to_owned()]);
    assert!(store.lookup(&"REG.corp:5000/a/b".parse().unwrap()).unwrap().is_none());
    assert_eq!(std::fs::read_to_string(heard).unwrap(), "reg.corp:5000");
}

#[tokio::test]
async fn sec_18_a_proxys_login_is_seen_by_the_proxy_alone() {
    let (thief, authority) = (thief().await, Authority::new());
    let target = thief.url("/x");
    let plain = Scripted::start(move |seen, _| match seen.target.as_str() {
        "/v2/a/b/manifests/1" => Reply::new(307).header("Location", &target),
        _ => manifest_reply(),
    })
    .await;
    let tls = Scripted::start(|_, _| manifest_reply()).await;
    let end = Proxy::tls_end(&authority.server(&["tls.test"]), tls.address);
    let hosts = vec![("plain.test", plain.address), ("tls.test", end.address())];
    let proxy = Proxy::start(&Setup { hosts, login: Some(("user", "CANARY-proxy")), ..Setup::default() });
    let mut settings = over_tls("tls.test", &authority, with_login());
    settings.proxy = through(&proxy.host());
    settings.plain_http.insert("plain.test".parse().unwrap());
    let registry = registry(settings);
    registry.document(&"tls.test/a/b".parse().unwrap(), &tag()).await.unwrap();
    // The redirect leads to this machine, which is reached without the proxy.
    drop(registry.document(&"plain.test/a/b".parse().unwrap(), &tag()).await);
    assert_eq!((tls.seen().len(), thief.seen().len()), (1, 1));
    for seen in tls.seen().into_iter().chain(thief.seen()).chain(plain.seen()) {
        assert!(seen.header("proxy-authorization").is_none(), "{seen:?}");
    }
    assert!(proxy.asked().iter().all(|asked| asked.head.to_ascii_lowercase().contains("proxy-authorization: basic ")));
}

/// Whether `url` is reached without the proxy when `exempt` is the list of exceptions.
fn is_direct(exempt: &str, url: &str) -> bool {
    let texts = ProxyTexts { all: Some("http://proxy:3128"), no_proxy: Some(exempt), ..ProxyTexts::default() };
    matches!(ProxyRules::new(texts).unwrap().for_url(&Url::parse(url).unwrap()), Decision::Direct(_))
}

proptest! {
    #[test]
    fn sec_19_an_exception_is_for_a_name_and_what_is_below_it(
        name in "[a-z]{1,5}(\\.[a-z]{1,5}){0,2}",
        before in "[a-z]{1,4}",
        dotted in any::<bool>(),
        after in prop::option::of("[a-z]{1,4}"),
    ) {
        let host = format!("{before}{}{name}{}", if dotted { "." } else { "" }, after.as_ref().map_or(String::new(), |after| format!(".{after}")));
        let below = dotted && after.is_none();
        // A number at the end would be an address; `localhost` never goes through a proxy.
        prop_assume!(!host.ends_with("localhost"));
        let ends = host == name || host.ends_with(&format!(".{name}"));
        prop_assert_eq!(is_direct(&name, &format!("https://{host}/")), ends);
        prop_assert_eq!(is_direct(&format!(".{name}"), &format!("https://{host}/")), host.ends_with(&format!(".{name}")));
        let (starred, with_port) = (format!("x,*.{name}"), format!("https://{host}:5000/"));
        prop_assert!(!below || is_direct(&starred, &with_port));
        let plain = format!("http://{name}/");
        prop_assert!(is_direct(&name.to_uppercase(), &plain));
    }

    #[test]
    fn sec_19_a_network_is_its_addresses_and_no_others(network in any::<u32>(), bits in 1_u32..=32, address in any::<u32>(), flip in 0_u32..32) {
        for address in [address, network ^ (1 << flip)] {
            let four = std::net::Ipv4Addr::from(address);
            prop_assume!(!four.is_loopback());
            let inside = (network ^ address) >> (32 - bits) == 0;
            let list = format!("{}/{bits}", std::net::Ipv4Addr::from(network));
            prop_assert_eq!(is_direct(&list, &format!("https://{four}/")), inside, "{} {}", list, four);
            prop_assert_eq!(is_direct(&list, &format!("https://[{}]/", four.to_ipv6_mapped())), inside);
        }
    }
}

#[test]
fn sec_20_under_cgi_the_upper_case_variable_is_anyones_and_ignored() {
    let site = Site::new();
    let proxy = Proxy::start(&Setup::default());
    site.write("release.yaml", release::manifest(&["reg.test/a/b:1".to_owned()]));
    let resolve = || {
        let run = site.octobundle(["resolve", "release.yaml", "--retry-for", "0", "--plain-http", "reg.test"]);
        run.env("HTTP_PROXY", format!("http://{}", proxy.host()))
    };
    resolve().env("REQUEST_METHOD", "GET").run().assert_code(5);
    assert_eq!(proxy.asked().len(), 0);
    resolve().run().assert_code(5);
    assert_ne!(proxy.asked().len(), 0);
}

#[test]
fn sec_21_tls_that_fails_never_becomes_plain_http() {
    let garbage = Raw::greeting(b"220 something else\r\n");
    let plain = crate::support::memory_registry::MemoryRegistry::start();
    let site = Site::new();
    for host in ["reg.test", "reg.test:5000", "10.0.0.1", "192.168.1.1:80", "reg.test:80"] {
        site.write("release.yaml", release::manifest(&[format!("{host}/a/b:1")]));
        for server in [garbage.address, plain.host().parse::<SocketAddr>().unwrap()] {
            let name = host.split(':').next().unwrap();
            let proxy = Proxy::start(&Setup { hosts: vec![(name, server)], ..Setup::default() });
            let run = site.octobundle(["resolve", "release.yaml", "--retry-for", "0"]);
            let failed = run.env("ALL_PROXY", format!("http://{}", proxy.host())).run().assert_code(5);
            let asked = proxy.asked();
            assert!(!asked.is_empty() && asked.iter().all(|asked| asked.method == "CONNECT"), "{host}: {asked:?}");
            assert!(failed.stderr.contains(name), "{}", failed.stderr);
        }
    }
    assert_eq!(plain.requests().len(), 0);
}

/// A registry and its token server, of which one has a certificate that is not acceptable.
async fn with_identity(registry: &Identity, tokens: &Identity) -> (Scripted, [Proxy; 2]) {
    let realm = Arc::new(std::sync::Mutex::new(String::new()));
    let named = realm.clone();
    let server = Scripted::start(move |seen: &Seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", _) => token("T"),
        (_, None) if !seen.target.contains("/open") => {
            Reply::new(401).header("WWW-Authenticate", bearer(&named.lock().unwrap()))
        }
        ("GET /v2/open/b/blobs/elsewhere", _) => Reply::new(404),
        _ => manifest_reply(),
    })
    .await;
    let ends = [Proxy::tls_end(registry, server.address), Proxy::tls_end(tokens, server.address)];
    *realm.lock().unwrap() = format!("https://{}", ends[1].host());
    (server, ends)
}

#[tokio::test]
async fn sec_22_a_bad_certificate_is_refused_by_every_client() {
    let (trusted, unknown) = (Authority::new(), Authority::new());
    let good = trusted.server(&["127.0.0.1"]);
    let layer = content();
    for (bad, why) in
        [(unknown.server(&["127.0.0.1"]), "the certificate of"), (trusted.server(&["other.test"]), "not valid for")]
    {
        let (server, [end, tokens]) = with_identity(&bad, &good).await;
        let mut given = over_tls(&end.host(), &trusted, with_login());
        given.trusted_realms.insert(tokens.host().parse().unwrap());
        let client = Registry::new(given.clone(), Arc::new(Silent)).unwrap();
        let at = format!("{}/a/b", end.host()).parse().unwrap();
        let failures: Vec<Failure> = vec![
            client.document(&at, &tag()).await.map(drop).unwrap_err(),
            client.document_digest(&at, &tag()).await.map(drop).unwrap_err(),
            pulled(&client, &at, &described(&layer)).await.unwrap_err(),
            client.has_blob(&at, &described(&layer)).await.unwrap_err(),
            pushed(&client, &at, &layer).await.unwrap_err(),
            put(&client, &at).await.unwrap_err(),
        ];
        assert_eq!(server.seen().len(), 0, "nothing was said to it");

        // The registry is good, its token server is not; and one that redirects there.
        let (server, [end, tokens]) = with_identity(&good, &bad).await;
        let mut given = over_tls(&end.host(), &trusted, with_login());
        given.trusted_realms.insert(tokens.host().parse().unwrap());
        let at = format!("{}/a/b", end.host()).parse().unwrap();
        let by_tokens = registry(given).document(&at, &tag()).await.map(drop).unwrap_err();
        assert_eq!(server.count("GET", "/token"), 0);
        let away = format!("https://{}/x", tokens.host());
        let redirecting = Scripted::start(move |_, _| Reply::new(307).header("Location", &away)).await;
        let by_redirect = registry(over_tls("127.0.0.1:1", &trusted, settings()));
        let by_redirect = pulled(&by_redirect, &repository(&redirecting), &described(&layer)).await.unwrap_err();
        for failure in failures.into_iter().chain([by_tokens, by_redirect]) {
            assert_eq!(failure.class(), ErrorClass::Network);
            assert!(failure.to_string().contains(why), "{why}: {failure}");
        }
    }
}

#[test]
fn sec_23_an_unchecked_certificate_is_warned_about_and_written_down() {
    let release = Release::of(&[&TestImage::new("octoperf/agent:1").layer(b"agent")]);
    let end = Proxy::tls_end(&Authority::new().server(&["other.test"]), release.registry.host().parse().unwrap());
    release.site.write("release.yaml", release::manifest(&[format!("{}/octoperf/agent:1", end.host())]));
    let run = || release.resolve().args(["--insecure-tls", &end.host(), "--json"]);
    for _ in 0..2 {
        let resolved = run().run().assert_ok();
        assert!(resolved.stdout.contains("\"insecure\": true"), "{}", resolved.stdout);
    }
    let told = release.resolve().args(["--insecure-tls", &end.host()]).run().assert_ok();
    assert!(told.stderr.contains("is not checked"), "{}", told.stderr);
}

#[tokio::test]
async fn sec_12_challenges_of_random_bytes_lead_nowhere() {
    let thief = thief().await;
    let realm = thief.url("/token");
    let server = Scripted::start(move |_, before| {
        let mut challenge = format!(r#"Bearer realm="{realm}",service="reg",scope="repository:a/b:pull""#).into_bytes();
        let random = crate::support::images::random_bytes(before as u64, 24);
        for pair in random.chunks(8) {
            let at = usize::from(pair[0]) * 256 + usize::from(pair[1]);
            let length = challenge.len();
            match pair[2] % 3 {
                0 => challenge[at % length] = b" \",=\\;:Bb\x7f"[usize::from(pair[3]) % 10],
                1 => challenge.insert(at % length, b"\",= \\"[usize::from(pair[3]) % 5]),
                _ => drop(challenge.remove(at % length)),
            }
        }
        Reply::new(401).header("WWW-Authenticate", String::from_utf8_lossy(&challenge))
    })
    .await;
    let registry = registry(with_login());
    for number in 0..300 {
        let at = format!("{}/a/b{number}", server.host()).parse().unwrap();
        let failure = registry.document(&at, &tag()).await.err().unwrap();
        assert!(matches!(failure.class(), ErrorClass::Access | ErrorClass::Network), "{failure}");
    }
    assert_eq!(thief.seen().len(), 0);
    let allowed = |seen: &Seen| seen.header("authorization").is_none_or(|given| given == BASIC);
    assert!(server.seen().iter().all(allowed));
}
