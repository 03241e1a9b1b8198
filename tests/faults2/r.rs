//! Habits of registries, each as its row of the table tells it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use octobundle::content::ImageSource as _;
use octobundle::failure::{ErrorClass, Failure};
use octobundle::progress::Arrival;
use octobundle::registry::{Limits, ProxyRules, ProxyTexts, Registry, RegistrySettings, TrustedCertificates};

use crate::client::{
    Kept, ask_for_token, content, described, error, own, pulled, pushed, put, registry, repository, settings, shown,
    tag, takes_uploads, token, with_login,
};
use crate::proxy::{Proxy, Setup};
use crate::scripted::{Reply, Scripted};
use crate::support::authority::Authority;
use crate::support::cli::Site;
use crate::support::images::{Sample as _, TestImage, TestIndex};
use crate::support::memory_registry::MemoryRegistry;
use crate::support::release::{self, Release};

/// Pushes a blob and a manifest to a registry that answers all with `reply`; what it says when that fails.
async fn refused(reply: Reply) -> Failure {
    let server = Scripted::start(move |_, _| reply.clone()).await;
    let (registry, at) = (registry(with_login()), repository(&server));
    let failure = pushed(&registry, &at, &content()).await.err().unwrap();
    let second = put(&registry, &at).await.err().unwrap();
    assert_eq!(shown(&failure).lines().last(), shown(&second).lines().last(), "both say what to do");
    failure
}

/// Each answer leads to an error of this class whose next step holds these words.
async fn assert_steps(cases: impl IntoIterator<Item = (Reply, ErrorClass, &'static str)>) {
    for (reply, class, step) in cases {
        let failure = refused(reply).await;
        assert_eq!(failure.class(), class, "{}", shown(&failure));
        let help = failure.help().unwrap_or_default();
        assert!(help.contains(step), "{step}: {}", shown(&failure));
    }
}

#[tokio::test]
async fn r_01_harbors_refusals_come_with_what_to_do() {
    let denied = |said: &str| error(403, "DENIED", said);
    assert_steps([
        (error(404, "NOT_FOUND", "project tools not found"), ErrorClass::NotFound, "create the project"),
        (denied("can not push artifact to a proxy project: hub"), ErrorClass::Access, "proxy-cache"),
        (
            denied("adding 1.0 GiB of storage resource, which when updated to current usage of 9.5 GiB will exceed the configured upper limit of 10.0 GiB."),
            ErrorClass::Access,
            "quota",
        ),
        (
            error(412, "PRECONDITION", "Failed to process request due to 'tools/agent:1' configured as immutable."),
            ErrorClass::Network,
            "immutable",
        ),
        (
            error(412, "PROJECTPOLICYVIOLATION", "The image is not signed by cosign."),
            ErrorClass::Network,
            "signed",
        ),
    ])
    .await;
}

#[tokio::test]
async fn r_01_a_robot_that_lacks_its_dollar_sign_is_thought_of() {
    let said = "unauthorized to access repository: tools/agent, action: push: unauthorized to access repository: tools/agent, action: push";
    let server = Scripted::start(move |seen, _| match seen.line().as_str() {
        "GET /token" => token("T"),
        _ => error(401, "UNAUTHORIZED", said)
            .header("WWW-Authenticate", format!(r#"Bearer realm="{}/token",service="harbor-registry""#, own(seen))),
    })
    .await;
    let failure = pushed(&registry(with_login()), &repository(&server), &content()).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Access);
    assert!(shown(&failure).contains("single quotes") && shown(&failure).contains("project"), "{}", shown(&failure));
}

#[tokio::test]
async fn r_02_nexus_says_how_it_wants_to_be_addressed() {
    let page = Reply::new(404)
        .header("Server", "Nexus/3.83.0-08 (COMMUNITY)")
        .header("Content-Type", "text/html")
        .body("<!DOCTYPE html><html><head><title>404 - Sonatype Nexus Repository</title></head></html>");
    assert_steps([
        (page, ErrorClass::Network, "at a port or at a name of the repository's own"),
        (
            error(400, "UNKNOWN", "Repository does not allow updating assets: docker-hosted"),
            ErrorClass::Network,
            "redeploy",
        ),
        (
            error(403, "DENIED", "Deploying to groups is a PRO-licensed feature."),
            ErrorClass::Access,
            "push into a hosted repository, with `--registry 127.0.0.1:",
        ),
    ])
    .await;
}

#[tokio::test]
async fn r_03_artifactorys_virtual_repositories_want_a_default() {
    let said = r#"{"errors":[{"status":405,"message":"No default deployment repository is configured for virtual repository 'docker'"}]}"#;
    assert_steps([(Reply::new(405).body(said), ErrorClass::Network, "default deployment repository")]).await;
}

#[tokio::test]
async fn r_04_gitlabs_one_word_is_explained() {
    let server = Scripted::start(|seen, _| {
        if seen.line() == "GET /token" {
            return token("T");
        }
        let scope = r#"scope="repository:group/project/a/b/c:pull,push""#;
        let challenge = format!(r#"Bearer realm="{}/token",service="container_registry",{scope}"#, own(seen));
        let refused = seen.header("authorization").is_some();
        let challenge = if refused { challenge + r#",error="insufficient_scope""# } else { challenge };
        error(401, "UNAUTHORIZED", "authentication required").header("WWW-Authenticate", challenge)
    })
    .await;
    let at = format!("{}/group/project/a/b/c", server.host()).parse().unwrap();
    let failure = put(&registry(with_login()), &at).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Access);
    for said in ["insufficient_scope", "GROUP/PROJECT", "at most two parts", "login itself was taken"] {
        assert!(shown(&failure).contains(said), "{said}: {}", shown(&failure));
    }
}

#[tokio::test]
async fn r_05_ecrs_missing_repository_old_password_and_immutable_tag_are_named() {
    assert_steps([
        (
            error(404, "NAME_UNKNOWN", "The repository with name 'tools/agent' does not exist in the registry with id '123456789012'"),
            ErrorClass::NotFound,
            "aws ecr create-repository",
        ),
        (
            error(403, "DENIED", "Your authorization token has expired. Reauthenticate and try again."),
            ErrorClass::Access,
            "aws ecr get-login-password | octobundle login --username AWS --password-stdin 127.0.0.1:",
        ),
        (
            error(400, "TAG_INVALID", "The image tag '1' already exists in the 'agent' repository and cannot be overwritten because the tag is immutable."),
            ErrorClass::Network,
            "tag immutability",
        ),
    ])
    .await;
}

#[tokio::test]
async fn r_05_ecrs_limit_on_manifests_slows_down_and_does_not_fail() {
    let asked = AtomicUsize::new(0);
    let server = Scripted::start(move |_, _| match asked.fetch_add(1, Ordering::SeqCst) {
        0..3 => error(429, "TOOMANYREQUESTS", "Rate exceeded"),
        _ => Reply::new(201),
    })
    .await;
    put(&registry(settings()), &repository(&server)).await.unwrap();
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_06_ghcr_gets_a_blob_in_one_request_and_time_to_store_it() {
    let layer = content();
    let server = Scripted::start(|seen, _| {
        if seen.method == "PUT" {
            // Ten seconds there; here more than twice the time that a connection may stand still. Others go on meanwhile.
            tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(2_500)));
        }
        takes_uploads(seen, "/u/1")
    })
    .await;
    let mut settings = settings();
    settings.limits.stall = Duration::from_secs(1);
    assert_eq!(pushed(&registry(settings), &repository(&server), &layer).await.unwrap(), Arrival::Moved);
    assert_eq!(server.lines(), ["POST /v2/a/b/blobs/uploads/", "PUT /u/1"]);
}

#[tokio::test]
async fn r_06_and_07_who_damages_or_refuses_parts_is_sent_the_whole_again_and_no_part() {
    for host in ["ghcr.io", "eu.gcr.io", "europe-docker.pkg.dev"] {
        let (layer, puts) = (content(), AtomicUsize::new(0));
        let proxy = Scripted::start(move |seen, _| match seen.method.as_str() {
            "PUT" if puts.fetch_add(1, Ordering::SeqCst) < 3 => Reply::lost(),
            _ => takes_uploads(seen, "/u/1"),
        })
        .await;
        let address = format!("http://{}", proxy.host());
        let texts = ProxyTexts { all: Some(&address), ..ProxyTexts::default() };
        let mut settings = RegistrySettings { proxy: ProxyRules::new(texts).unwrap(), ..settings() };
        settings.plain_http.insert(host.parse().unwrap());
        let at = format!("{host}/a/b").parse().unwrap();
        pushed(&registry(settings), &at, &layer).await.unwrap();
        assert_eq!((proxy.count("PUT", ""), proxy.count("PATCH", "")), (4, 0), "{host}");
    }
}

#[tokio::test]
async fn r_07_gar_which_knows_no_parts_gets_the_whole() {
    let layer = content();
    let server = Scripted::start(|seen, _| match seen.method.as_str() {
        "PATCH" => error(501, "UNSUPPORTED", "chunked uploads are not supported"),
        _ => takes_uploads(seen, "/u/1"),
    })
    .await;
    pushed(&registry(settings()), &repository(&server), &layer).await.unwrap();
    let put = server.seen().into_iter().find(|seen| seen.method == "PUT").unwrap();
    assert_eq!((put.header("content-length"), put.body == layer), (Some("350000"), true));
}

#[tokio::test]
async fn r_08_acrs_413_and_its_moody_416_are_outlived() {
    let layer = content();
    let (stored, moods) = (Arc::new(Mutex::new(Vec::new())), AtomicUsize::new(0));
    let server = Scripted::start({
        let stored = stored.clone();
        move |seen, _| {
            let mut stored = stored.lock().unwrap();
            let standing = |stored: &Vec<u8>| format!("0-{}", stored.len().saturating_sub(1));
            match (seen.method.as_str(), seen.body.len()) {
                ("POST", _) => Reply::new(202).header("Location", "/u/1"),
                ("DELETE", _) => Reply::new(204),
                ("PUT", 0) => Reply::new(201),
                ("PUT", _) => error(413, "SIZE_INVALID", "the request is too large"),
                ("PATCH", _) if moods.fetch_add(1, Ordering::SeqCst) % 2 == 1 => {
                    error(416, "RANGE_INVALID", "out of order")
                }
                ("PATCH", _) => {
                    stored.extend_from_slice(&seen.body);
                    Reply::new(202).header("Location", "/u/1").header("Range", standing(&stored))
                }
                ("GET", _) => Reply::new(204).header("Location", "/u/1").header("Range", standing(&stored)),
                _ => Reply::new(404),
            }
        }
    })
    .await;
    pushed(&registry(settings()), &repository(&server), &layer).await.unwrap();
    assert_eq!(*stored.lock().unwrap(), layer);
}

#[tokio::test]
async fn r_09_and_12_images_of_unknown_form_lead_to_a_simpler_pull() {
    assert_steps([
        (
            error(415, "MANIFEST_INVALID", "manifest schema version not supported"),
            ErrorClass::Network,
            "FEATURE_GENERAL_OCI_SUPPORT",
        ),
        (error(400, "MANIFEST_INVALID", "manifest invalid"), ErrorClass::Network, "--platform linux/amd64"),
    ])
    .await;
}

#[tokio::test]
async fn r_12_registries_without_manifest_lists_lead_to_one_platform() {
    let said = "unsupported manifest media type application/vnd.docker.distribution.manifest.list.v2+json";
    assert_steps([(error(400, "UNKNOWN", said), ErrorClass::Network, "--platform linux/amd64")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn r_10_docker_hub_is_asked_at_its_own_name_and_its_limit_is_told() {
    let hub = Scripted::start(|_, _| {
        let said = "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit";
        error(429, "TOOMANYREQUESTS", said).header("Retry-After", "21600")
    })
    .await;
    let (site, authority) = (Site::new(), Authority::new());
    let hosts = vec![("registry-1.docker.io", hub.address)];
    let proxy = Proxy::start(&Setup { hosts, reads_tls: Some(&authority), ..Setup::default() });
    site.write("ca.pem", authority.certificate());
    site.write("release.yaml", release::manifest(&["redis:7".to_owned()]));
    let run = site.octobundle(["resolve", "release.yaml", "--ca", "ca.pem"]);
    let limited = run.env("HTTPS_PROXY", format!("http://{}", proxy.host())).run().assert_code(12);
    assert!(proxy.asked().iter().all(|asked| asked.target == "registry-1.docker.io:443"), "{:?}", proxy.asked());
    assert_eq!(hub.lines(), ["GET /v2/library/redis/manifests/7"]);
    for said in ["pull rate limit", "6 h 0 min", "run the same command again"] {
        assert!(limited.stderr.contains(said), "{said}: {}", limited.stderr);
    }
}

#[test]
fn r_11_nobody_is_asked_for_referrers() {
    let image = TestImage::new("octoperf/agent:1").layer(b"agent");
    let release = Release::of(&[&TestIndex::new("octoperf/agent:1").image(image).attested()]);
    release.pull("release.tar").args(["--platform", "all"]).run().assert_ok();
    let private = MemoryRegistry::start();
    release.site.octobundle(["push", "release.tar", "--registry", &private.host()]).run().assert_ok();
    for registry in [&release.registry, &private] {
        let strange: Vec<String> = registry
            .requests()
            .iter()
            .filter(|request| !(request.path.contains("/manifests/") || request.path.contains("/blobs/")))
            .map(|request| request.path.clone())
            .collect();
        assert_eq!(strange, Vec::<String>::new());
    }
}

/// A registry that says that it has every blob until a manifest needs them.
async fn forgetful(sizes: BTreeMap<String, u64>, forgives: bool) -> Scripted {
    let arrived = Mutex::new(std::collections::BTreeSet::new());
    Scripted::start(move |seen, _| {
        let mut arrived = arrived.lock().unwrap();
        let target = seen.target.replace("%3A", ":");
        let digest = || sizes.keys().find(|digest| target.contains(*digest)).unwrap().clone();
        match seen.method.as_str() {
            "HEAD" if target.contains("/blobs/") => Reply::new(200).stating(sizes[&digest()]),
            "HEAD" => error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            "POST" => Reply::new(202).header("Location", "/u/1"),
            "PUT" if target.contains("/manifests/") && (arrived.len() < sizes.len() || !forgives) => {
                error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")
            }
            "PUT" if target.contains("/manifests/") => Reply::new(201),
            "PUT" => {
                arrived.insert(digest());
                Reply::new(201)
            }
            _ => Reply::new(404),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_15_parts_that_a_registry_only_said_to_have_are_sent_once_more() {
    let image = TestImage::new("octoperf/agent:1").random_layer(1, 200_000).layer(b"agent");
    let sizes: BTreeMap<_, _> =
        image.content().blobs.into_iter().map(|(digest, bytes)| (digest, bytes.len() as u64)).collect();
    let release = Release::of(&[&image]);
    release.bundle();
    for (forgives, code) in [(true, 0), (false, 5)] {
        let private = forgetful(sizes.clone(), forgives).await;
        let run = release.site.octobundle(["push", "release.tar", "--registry", &private.host()]);
        let output = run.run().assert_code(code);
        assert_eq!(private.count("PUT", "/u/1"), sizes.len(), "each part goes up once: {:?}", private.lines());
        assert_eq!(private.count("PUT", "/manifests/"), 2);
        assert!(output.stderr.contains("they are sent again"), "{}", output.stderr);
    }
}

#[tokio::test]
async fn r_16_a_mount_that_is_answered_oddly_is_no_failure() {
    let answers = [
        Reply::new(405),
        Reply::new(500),
        Reply::new(400),
        Reply::new(404),
        error(403, "DENIED", "no"),
        Reply::new(202),
    ];
    for reply in answers {
        let shape = format!("{reply:?}");
        let server = Scripted::start(move |_, _| reply.clone()).await;
        let from = format!("{}/c/d", server.host()).parse().unwrap();
        let mounted = registry(settings()).mount(&repository(&server), &from, &described(b"x")).await;
        assert!(!mounted.unwrap_or_else(|failure| panic!("{shape}: {failure}")), "{shape}");
        assert!(server.seen().len() <= 2, "{:?}", server.lines());
    }
}

#[tokio::test]
async fn r_18_a_session_that_is_lost_between_parts_costs_its_own_bytes_only_once() {
    let layer = content();
    let (sessions, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let server = Scripted::start(move |seen, _| match (seen.method.as_str(), seen.body.len()) {
        ("POST", _) => Reply::new(202).header("Location", format!("/u/{}", sessions.fetch_add(1, Ordering::SeqCst))),
        ("DELETE", _) => Reply::new(204),
        ("PUT", 0) => Reply::new(201),
        ("PUT", _) => Reply::new(413),
        // The second session is forgotten after its first part.
        ("PATCH", _) if seen.target.starts_with("/u/1") && lost.fetch_add(1, Ordering::SeqCst) > 0 => {
            error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        }
        ("PATCH", _) => {
            let range = seen.header("content-range").unwrap().replace("bytes=", "");
            let end = range.split('-').nth(1).unwrap().to_owned();
            Reply::new(202).header("Location", seen.target.clone()).header("Range", format!("0-{end}"))
        }
        _ => error(404, "BLOB_UNKNOWN", "blob unknown"),
    })
    .await;
    pushed(&registry(settings()), &repository(&server), &layer).await.unwrap();
    let third: u64 = server
        .seen()
        .iter()
        .filter(|seen| seen.method == "PATCH" && seen.target.starts_with("/u/2"))
        .map(|seen| seen.body.len() as u64)
        .sum();
    assert_eq!((third, server.count("POST", "")), (350_000, 3), "{:?}", server.lines());
}

#[tokio::test]
async fn r_20_upload_addresses_that_forget_tls_or_the_port_are_repaired_and_told_once() {
    let authority = Authority::new();
    for location in ["http://127.0.0.1/u/1", "https://127.0.0.1/u/1?_state=CANARY", "//127.0.0.1/u/1", "/u/1", "1"] {
        let server = Scripted::start(move |seen, _| takes_uploads(seen, location)).await;
        let end = Proxy::tls_end(&authority.server(&["127.0.0.1"]), server.address);
        let pem = authority.certificate().into_bytes();
        let mut settings =
            RegistrySettings { trusted: vec![TrustedCertificates { origin: "ca.pem".into(), pem }], ..settings() };
        settings.https.insert(end.host().parse().unwrap());
        let kept = Arc::new(Kept::default());
        let registry = Registry::new(settings, kept.clone()).unwrap();
        let at = format!("{}/a/b", end.host()).parse().unwrap();
        for _ in 0..2 {
            pushed(&registry, &at, &content()).await.unwrap_or_else(|failure| panic!("{location}: {failure}"));
        }
        let told = kept.text();
        assert_eq!(
            told.matches("X-Forwarded-Proto").count(),
            usize::from(location.contains("127")),
            "{location}: {told}"
        );
        assert!(!told.contains("CANARY"), "{told}");
    }
}

#[tokio::test]
async fn r_13_a_registry_whose_blob_is_short_is_not_believed_when_it_is_read_either() {
    let layer = content();
    let short = layer[..100_000].to_vec();
    let server = Scripted::start(move |_, _| Reply::new(200).body(&short[..])).await;
    let failure = pulled(&registry(settings()), &repository(&server), &described(&layer)).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Integrity);
    assert!(failure.to_string().contains("100000") && failure.to_string().contains("350000"), "{failure}");
}

#[tokio::test]
async fn r_17_a_registry_without_head_for_manifests_is_pulled_from() {
    let server = Scripted::start(|seen, _| match (seen.method.as_str(), seen.header("authorization")) {
        ("HEAD", _) => Reply::new(405),
        ("GET", None) if seen.target.starts_with("/v2/") => ask_for_token(seen),
        ("GET", None) => token("T"),
        _ => crate::client::manifest_reply(),
    })
    .await;
    let limits = Limits::default();
    let registry = registry(RegistrySettings { limits, ..settings() });
    let found = registry.document(&repository(&server), &tag()).await.unwrap();
    assert_eq!(found.document.raw(), &crate::client::manifest()[..]);
    assert!(registry.document_digest(&repository(&server), &tag()).await.unwrap().is_some());
}
