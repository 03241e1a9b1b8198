//! A registry that does what it likes: each test is a script of answers, and what the client made of it.

#[path = "support/scripted.rs"]
mod scripted;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use octobundle::content::{BlobContent, Fetched, ImageSink as _, ImageSource, Lookup, Unverified};
use octobundle::failure::{ErrorClass, Failure};
use octobundle::oci::{Descriptor, Digest, Hasher, MediaType, Repository};
use octobundle::progress::{Arrival, Event, Progress, Silent};
use octobundle::registry::{
    Credential, CredentialStore, Found, Limits, Mirror, ProxyRules, ProxyTexts, Registry, RegistrySettings, Secret,
};
use scripted::{Reply, Scripted, Seen};

const PASSWORD: &str = "CANARY-password";

/// Knows one login for every host.
struct OneLogin(Credential);

impl CredentialStore for OneLogin {
    fn lookup(&self, _: &Repository) -> Result<Option<Found>, Failure> {
        Ok(Some(Found { credential: self.0.clone(), origin: "the test".into() }))
    }
}

/// Keeps what is reported.
#[derive(Default)]
struct Kept(Mutex<Vec<Event>>);

impl Progress for Kept {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// Content in memory.
struct Memory(Bytes);

impl ImageSource for Memory {
    async fn document(&self, _: &Repository, _: &Lookup) -> Result<Fetched, Failure> {
        Err(Failure::new(ErrorClass::NotFound, "there are no documents in memory"))
    }

    async fn blob(&self, _: &Repository, _: &Descriptor, from: u64) -> Result<Unverified, Failure> {
        let rest = self.0.slice(usize::try_from(from).unwrap()..);
        let pieces: Vec<_> = rest.chunks(64 * 1024).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Ok(Unverified::new(futures_util::stream::iter(pieces)))
    }
}

/// Quick pauses, short patience.
fn settings() -> RegistrySettings {
    let limits = Limits {
        // Machines with little time to spare keep connections waiting.
        stall: Duration::from_secs(3),
        headers: Duration::from_secs(60),
        backoff_start: Duration::from_millis(1),
        backoff_most: Duration::from_millis(5),
        first_contact: Duration::from_millis(200),
        fresh_token_pause: Duration::from_millis(1),
        upload_part: 100_000,
        ..Limits::default()
    };
    RegistrySettings { limits, retry_for: Duration::from_secs(5), ..RegistrySettings::default() }
}

fn with_login() -> RegistrySettings {
    let credential = Credential::Basic { user: "bob".into(), password: Secret::new(PASSWORD) };
    RegistrySettings { credentials: Arc::new(OneLogin(credential)), ..settings() }
}

fn registry(settings: RegistrySettings) -> Registry {
    Registry::new(settings, Arc::new(Silent)).unwrap()
}

fn repository(server: &Scripted) -> Repository {
    format!("{}/a/b", server.host()).parse().unwrap()
}

fn tag() -> Lookup {
    Lookup::Tag("1".parse().unwrap())
}

fn manifest() -> Vec<u8> {
    let config = Digest::of(b"{}");
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[]}}"#,
        MediaType::OCI_MANIFEST
    )
    .into_bytes()
}

fn manifest_reply() -> Reply {
    Reply::new(200).header("Content-Type", MediaType::OCI_MANIFEST).body(manifest())
}

fn content() -> Vec<u8> {
    (0..350_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[..1].to_vec()).collect()
}

fn described(content: &[u8]) -> Descriptor {
    Descriptor::new("application/octet-stream", Digest::of(content), content.len() as u64)
}

/// A reply with the closed range that was asked for, as good servers do.
fn part_of(content: &[u8], seen: &Seen) -> Reply {
    let Some(range) = seen.header("range") else { return Reply::new(200).body(content) };
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().expect("ranges are closed"));
    let shown = format!("bytes {first}-{last}/{}", content.len());
    Reply::new(206).header("Content-Range", shown).body(&content[first..=last])
}

async fn pulled(registry: &Registry, at: &Repository, blob: &Descriptor) -> Result<Bytes, Failure> {
    registry.blob(at, blob, 0).await?.expecting(blob, Hasher::new()).collect().await
}

async fn pushed(registry: &Registry, at: &Repository, content: &[u8]) -> Result<Arrival, Failure> {
    let source = Arc::new(Memory(Bytes::copy_from_slice(content)));
    registry.put_blob(at, BlobContent::new(source, at.clone(), described(content), Arc::new(Silent))).await
}

fn bearer(server: &str) -> String {
    format!(r#"Bearer realm="{server}/token",service="reg""#)
}

fn token(text: &str) -> Reply {
    Reply::new(200).body(format!(r#"{{"token":"{text}","expires_in":300}}"#))
}

/// The server's own address, as it sees it.
fn own(seen: &Seen) -> String {
    format!("http://{}", seen.header("host").unwrap())
}

fn ask_for_token(seen: &Seen) -> Reply {
    Reply::new(401).header("WWW-Authenticate", bearer(&own(seen)))
}

/// What one request waits for until another has come so far.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    /// Needs a runtime with several threads.
    fn wait(&self) {
        tokio::task::block_in_place(|| {
            let most = Duration::from_secs(60);
            let (_open, waited) = self.1.wait_timeout_while(self.0.lock().unwrap(), most, |open| !*open).unwrap();
            assert!(!waited.timed_out(), "nobody came");
        });
    }
}

// Login

#[tokio::test]
async fn a_challenge_is_answered_with_a_token() {
    let server = Scripted::start(|seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", Some(basic)) if basic.starts_with("Basic ") => token("T"),
        (_, Some("Bearer T")) => manifest_reply(),
        _ => ask_for_token(seen),
    })
    .await;
    let fetched = registry(with_login()).document(&repository(&server), &tag()).await.unwrap();
    assert_eq!(fetched.document.raw(), &manifest()[..]);
    assert_eq!(server.lines(), ["GET /v2/a/b/manifests/1", "GET /token", "GET /v2/a/b/manifests/1"]);
    let asked = &server.seen()[1].target;
    assert!(asked.contains("service=reg") && asked.contains("scope=repository%3Aa%2Fb%3Apull"), "{asked}");
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_oauth2() {
    let server = Scripted::start(|seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("POST /token", None) => Reply::new(200).body(r#"{"access_token":"T"}"#),
        (_, Some("Bearer T")) => manifest_reply(),
        _ => ask_for_token(seen),
    })
    .await;
    let credential = Credential::IdentityToken(Secret::new("CANARY-refresh"));
    let settings = RegistrySettings { credentials: Arc::new(OneLogin(credential)), ..settings() };
    registry(settings).document(&repository(&server), &tag()).await.unwrap();
    let form = String::from_utf8(server.seen()[1].body.clone()).unwrap();
    assert!(form.contains("grant_type=refresh_token") && form.contains("refresh_token=CANARY-refresh"), "{form}");
}

#[tokio::test]
async fn a_08_many_cold_requests_fetch_one_token() {
    let server = Scripted::start(|seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", _) => token("T"),
        (_, Some("Bearer T")) => manifest_reply(),
        _ => ask_for_token(seen),
    })
    .await;
    let (registry, at) = (registry(settings()), repository(&server));
    let all = (0..32).map(|_| {
        let (registry, at) = (registry.clone(), at.clone());
        tokio::spawn(async move { registry.document(&at, &tag()).await.map(drop) })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
    assert_eq!(server.count("GET", "/token"), 1);
}

#[tokio::test]
async fn a_08_a_token_server_that_fails_is_not_stormed_by_all_who_wait() {
    let server = Scripted::start(|seen, _| match seen.line().as_str() {
        "GET /token" => Reply::new(403).body("no"),
        _ => ask_for_token(seen),
    })
    .await;
    let (registry, at) = (registry(settings()), repository(&server));
    registry.document(&at, &tag()).await.err().unwrap();
    let all: Vec<_> = (0..4)
        .map(|_| {
            let (registry, at) = (registry.clone(), at.clone());
            tokio::spawn(async move { registry.document(&at, &tag()).await.map(drop) })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap().err().unwrap().class(), ErrorClass::Access);
    }
    assert!(server.count("GET", "/token") <= 3, "{:?}", server.lines());
}

#[tokio::test]
async fn a_01_a_token_that_dies_during_a_download_is_renewed() {
    let layer = content();
    let bytes = layer.clone();
    let tokens = AtomicUsize::new(0);
    let server = Scripted::start(move |seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", _) => token(&format!("T{}", tokens.fetch_add(1, Ordering::SeqCst))),
        (_, Some("Bearer T0")) if seen.header("range").is_none() => part_of(&bytes, seen).cut_after(200_000),
        (_, Some("Bearer T1")) => part_of(&bytes, seen),
        _ => ask_for_token(seen),
    })
    .await;
    let blob = described(&layer);
    assert_eq!(pulled(&registry(settings()), &repository(&server), &blob).await.unwrap(), layer);
    assert_eq!(server.count("GET", "/token"), 2);
}

#[tokio::test]
async fn a_01_a_token_that_dies_before_an_upload_is_renewed() {
    let layer = content();
    let tokens = AtomicUsize::new(0);
    let server = Scripted::start(move |seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", _) => token(&format!("T{}", tokens.fetch_add(1, Ordering::SeqCst))),
        ("POST /v2/a/b/blobs/uploads/", Some(_)) => Reply::new(202).header("Location", "/u/1"),
        ("PUT /u/1", Some("Bearer T1")) => Reply::new(201),
        ("DELETE /u/1", _) => Reply::new(204),
        _ => ask_for_token(seen),
    })
    .await;
    assert_eq!(pushed(&registry(settings()), &repository(&server), &layer).await.unwrap(), Arrival::Moved);
    assert_eq!(server.count("GET", "/token"), 2);
}

#[tokio::test]
async fn a_06_a_wrong_password_is_sent_once() {
    let server = Scripted::start(|_, _| Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\"")).await;
    let registry = registry(with_login());
    let all: Vec<_> = (0..8)
        .map(|number| {
            let (registry, at) = (registry.clone(), format!("{}/a/b{number}", server.host()).parse().unwrap());
            tokio::spawn(async move { registry.document(&at, &tag()).await.map(drop) })
        })
        .collect();
    for one in all {
        let failure = one.await.unwrap().err().unwrap();
        assert_eq!(failure.class(), ErrorClass::Access);
        assert!(failure.to_string().contains("the test"), "{failure}");
        assert!(!format!("{failure:?} {:?}", failure.help()).contains("CANARY"));
    }
    assert_eq!(server.seen().iter().filter(|seen| seen.header("authorization").is_some()).count(), 1);
}

#[tokio::test]
async fn a_06_a_token_server_sees_a_wrong_password_once() {
    let server = Scripted::start(|seen, _| match seen.line().as_str() {
        "GET /token" => Reply::new(401).body("wrong"),
        _ => ask_for_token(seen),
    })
    .await;
    let registry = registry(with_login());
    let all: Vec<_> = (0..8)
        .map(|number| {
            let (registry, at) = (registry.clone(), format!("{}/a/b{number}", server.host()).parse().unwrap());
            tokio::spawn(async move { registry.document(&at, &tag()).await.map(drop) })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap().err().unwrap().class(), ErrorClass::Access);
    }
    assert_eq!(server.count("GET", "/token"), 1);
}

#[tokio::test]
async fn a_11_a_fresh_token_that_is_refused_gets_a_second_chance() {
    let tokens = AtomicUsize::new(0);
    let server = Scripted::start(move |seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", _) => token(&format!("T{}", tokens.fetch_add(1, Ordering::SeqCst))),
        (_, Some("Bearer T1")) => manifest_reply(),
        _ => ask_for_token(seen),
    })
    .await;
    let mut settings = settings();
    settings.limits.fresh_token_pause = Duration::from_millis(100);
    registry(settings).document(&repository(&server), &tag()).await.unwrap();
    let seen = server.seen();
    let tokens: Vec<_> = seen.iter().filter(|seen| seen.line() == "GET /token").map(|seen| seen.at).collect();
    assert!(tokens.len() == 2 && tokens[1] - tokens[0] >= Duration::from_millis(100), "{:?}", server.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_11_anothers_token_that_is_refused_does_not_use_up_the_second_chance() {
    let (tokens, taken) = (AtomicUsize::new(0), Gate::default());
    let server = Scripted::start(move |seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", _) => token(&format!("T{}", tokens.fetch_add(1, Ordering::SeqCst))),
        ("GET /v2/a/b/manifests/1", Some("Bearer T0")) => {
            taken.open();
            manifest_reply()
        }
        ("GET /v2/a/b/manifests/2", None) => {
            taken.wait();
            ask_for_token(seen)
        }
        (_, Some("Bearer T2")) => manifest_reply(),
        _ => ask_for_token(seen),
    })
    .await;
    let (registry, at) = (registry(settings()), repository(&server));
    let (one, two) = (tag(), Lookup::Tag("2".parse().unwrap()));
    let (one, two) = tokio::join!(registry.document(&at, &one), registry.document(&at, &two));
    one.unwrap();
    two.unwrap();
    assert_eq!(server.count("GET", "/token"), 3, "{:?}", server.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_08_a_late_refusal_of_an_old_token_does_not_discard_the_new_one() {
    let (tokens, arrived, renewed) = (AtomicUsize::new(0), Gate::default(), Gate::default());
    let server = Scripted::start(move |seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", _) => token(&format!("T{}", tokens.fetch_add(1, Ordering::SeqCst))),
        ("GET /v2/a/b/manifests/late", Some("Bearer T0")) => {
            arrived.open();
            renewed.wait();
            ask_for_token(seen)
        }
        ("GET /v2/a/b/manifests/early", Some("Bearer T0")) => {
            arrived.wait();
            ask_for_token(seen)
        }
        ("GET /v2/a/b/manifests/early", Some("Bearer T1")) => {
            renewed.open();
            manifest_reply()
        }
        (_, Some(_)) => manifest_reply(),
        _ => ask_for_token(seen),
    })
    .await;
    let (registry, at) = (registry(settings()), repository(&server));
    let [first, early, late] = ["first", "early", "late"].map(|tag| Lookup::Tag(tag.parse().unwrap()));
    registry.document(&at, &first).await.unwrap();
    let (early, late) = tokio::join!(registry.document(&at, &early), registry.document(&at, &late));
    early.unwrap();
    late.unwrap();
    assert_eq!(server.count("GET", "/token"), 2, "{:?}", server.lines());
}

#[tokio::test]
async fn a_private_image_without_a_login_says_where_to_log_in() {
    let server = Scripted::start(|seen, _| match seen.line().as_str() {
        "GET /token" => token("T"),
        _ => ask_for_token(seen),
    })
    .await;
    let failure = registry(settings()).document(&repository(&server), &tag()).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Access);
    assert!(failure.help().unwrap().contains(&format!("login {}", server.host())), "{:?}", failure.help());
    let (image, token) = ("GET /v2/a/b/manifests/1", "GET /token");
    assert_eq!(server.lines(), [image, token, image, token, image], "without a token, with one, with another");
}

#[tokio::test]
async fn a_registry_behind_another_path_names_its_own_repository() {
    let server = Scripted::start(|seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", _) if seen.target.contains("scope=repository%3Ab%3Apull") => token("right"),
        ("GET /token", _) => token("wrong"),
        (_, Some("Bearer right")) => manifest_reply(),
        _ => {
            let scope = r#",scope="repository:b:pull registry:catalog:*""#;
            Reply::new(401).header("WWW-Authenticate", bearer(&own(seen)) + scope)
        }
    })
    .await;
    let (registry, at) = (registry(settings()), repository(&server));
    registry.document(&at, &tag()).await.unwrap();
    registry.document(&at, &tag()).await.unwrap();
    assert_eq!(server.count("GET", "/token"), 1, "{:?}", server.lines());
    assert!(!server.seen()[1].target.contains("catalog"), "only repositories are asked for");
}

#[tokio::test]
async fn sec_09_a_foreign_token_server_never_sees_the_login() {
    let thief = Scripted::start(|_, _| token("T")).await;
    let realm = thief.url("");
    let server = Scripted::start(move |_, _| Reply::new(401).header("WWW-Authenticate", bearer(&realm))).await;
    let failure = registry(with_login()).document(&repository(&server), &tag()).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Access);
    assert!(failure.help().unwrap().contains(&format!("--trust-realm {}", thief.host())), "{:?}", failure.help());
    assert_eq!(thief.seen().len(), 0);

    let mut trusting = with_login();
    trusting.trusted_realms.insert(thief.host().parse().unwrap());
    registry(trusting).document(&repository(&server), &tag()).await.err().unwrap();
    assert!(thief.count("GET", "/token") > 0, "a trusted one is asked");
}

#[tokio::test]
async fn sec_10_a_token_server_is_not_followed_elsewhere() {
    let thief = Scripted::start(|_, _| token("T")).await;
    let elsewhere = thief.url("/token");
    let server = Scripted::start(move |seen, _| match seen.line().as_str() {
        "GET /token" => Reply::new(307).header("Location", &elsewhere),
        _ => ask_for_token(seen),
    })
    .await;
    let failure = registry(with_login()).document(&repository(&server), &tag()).await.err().unwrap();
    assert!(failure.to_string().contains("asked directly or not at all"), "{failure}");
    assert_eq!(thief.seen().len(), 0);
}

// Answers

#[tokio::test]
async fn h_01_a_server_error_is_tried_again() {
    let server = Scripted::start(|_, before| if before < 3 { Reply::new(503) } else { manifest_reply() }).await;
    registry(settings()).document(&repository(&server), &tag()).await.unwrap();
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn h_02_retry_after_is_waited_for_to_the_second() {
    let limited = || Reply::new(429).header("Retry-After", "1");
    let server = Scripted::start(move |_, before| if before == 0 { limited() } else { manifest_reply() }).await;
    let kept = Arc::new(Kept::default());
    let registry = Registry::new(settings(), kept.clone()).unwrap();
    registry.document(&repository(&server), &tag()).await.unwrap();
    let seen = server.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(1), "{:?}", seen[1].at - seen[0].at);
    let told = kept.0.lock().unwrap().iter().any(|event| matches!(event, Event::Waiting { seconds: 1, .. }));
    assert!(told, "{:?}", kept.0.lock().unwrap());
}

#[tokio::test]
async fn h_02_a_pause_is_for_all_requests_to_the_host() {
    let limited = || Reply::new(429).header("Retry-After", "1");
    let server = Scripted::start(move |_, before| if before == 0 { limited() } else { manifest_reply() }).await;
    let kept = Arc::new(Kept::default());
    let (registry, at) = (Registry::new(settings(), kept.clone()).unwrap(), repository(&server));
    let ask = || {
        let (registry, at) = (registry.clone(), at.clone());
        tokio::spawn(async move { registry.document(&at, &tag()).await.map(drop) })
    };
    let first = ask();
    while kept.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    // The first has heard of the pause; the others have not asked yet.
    let others = [ask(), ask(), ask()];
    first.await.unwrap().unwrap();
    for other in others {
        other.await.unwrap().unwrap();
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 5);
    assert!(seen[1..].iter().all(|later| later.at - seen[0].at >= Duration::from_secs(1)));
}

#[tokio::test]
async fn h_02_who_waits_for_a_place_hears_of_a_pause_that_begins_meanwhile() {
    let limited = || Reply::new(429).header("Retry-After", "1");
    let server = Scripted::start(move |_, before| if before == 0 { limited() } else { manifest_reply() }).await;
    let (registry, at) = (registry(RegistrySettings { connections: 1, ..settings() }), repository(&server));
    let all = [(); 3].map(|()| {
        let (registry, at) = (registry.clone(), at.clone());
        tokio::spawn(async move { registry.document(&at, &tag()).await.map(drop) })
    });
    for one in all {
        one.await.unwrap().unwrap();
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen[1..].iter().all(|later| later.at - seen[0].at >= Duration::from_secs(1)));
}

#[tokio::test]
async fn h_02_come_back_in_0_seconds_is_no_invitation_to_storm() {
    let server = Scripted::start(|_, _| Reply::new(429).header("Retry-After", "0")).await;
    let settings = RegistrySettings { retry_for: Duration::from_millis(100), ..settings() };
    let failure = registry(settings).document(&repository(&server), &tag()).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::RateLimited);
    assert!(server.seen().len() <= 100, "{}", server.seen().len());
    assert!(!format!("{failure} {:?}", failure.help()).contains("0 s"), "{failure} {:?}", failure.help());
}

#[tokio::test]
async fn h_02_a_pause_of_hours_ends_the_run_with_the_time() {
    let server = Scripted::start(|_, _| Reply::new(429).header("Retry-After", "21600")).await;
    let failure = registry(settings()).document(&repository(&server), &tag()).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::RateLimited);
    assert!(failure.help().unwrap().contains("6 h 0 min"), "{:?}", failure.help());
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn h_10_a_portals_page_is_named_as_such() {
    let page = "<!DOCTYPE html><html><head><title>Please\n log in</title></head></html>";
    let server = Scripted::start(move |_, _| Reply::new(200).header("Content-Type", "text/html").body(page)).await;
    let (registry, at) = (registry(settings()), repository(&server));
    let failure = registry.document(&at, &tag()).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Network);
    assert!(failure.to_string().contains("`Please log in`"), "{failure}");
    let failure = pulled(&registry, &at, &described(&content())).await.err().unwrap();
    assert!(failure.to_string().contains("`Please log in`"), "{failure}");
}

#[tokio::test]
async fn h_11_a_proxys_413_page_names_the_knob() {
    let page = "<html><title>413 Request Entity Too Large</title></html>";
    let server = Scripted::start(move |seen, _| match seen.method.as_str() {
        "POST" => Reply::new(202).header("Location", "/u/1"),
        "PUT" | "PATCH" => Reply::new(413).header("Server", "nginx").header("Content-Type", "text/html").body(page),
        _ => Reply::new(204),
    })
    .await;
    let failure = pushed(&registry(settings()), &repository(&server), &content()).await.err().unwrap();
    assert!(failure.to_string().contains("nginx"), "{failure}");
    assert!(failure.help().unwrap().contains("client_max_body_size"), "{:?}", failure.help());
}

#[tokio::test]
async fn h_14_an_endless_error_text_is_cut() {
    let server = Scripted::start(|_, _| Reply::new(404).body(vec![b'x'; 10_000_000]).stating(1 << 40)).await;
    let begun = std::time::Instant::now();
    let failure = registry(settings()).document(&repository(&server), &tag()).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::NotFound);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(failure.to_string().len() < 1_000, "{}", failure.to_string().len());
}

#[tokio::test]
async fn a_manifest_beyond_four_mebibytes_is_refused() {
    let server = Scripted::start(|_, _| Reply::new(200).body(vec![b' '; 4 * 1024 * 1024 + 1])).await;
    let failure = registry(settings()).document(&repository(&server), &tag()).await.err().unwrap();
    assert!(failure.to_string().contains("4194304"), "{failure}");
}

#[tokio::test]
async fn sec_26_a_document_that_is_not_its_digest_is_refused_after_a_look_past_caches() {
    let server = Scripted::start(|_, _| manifest_reply()).await;
    let wanted = Lookup::Digest(Digest::of(b"another"));
    let failure = registry(settings()).document(&repository(&server), &wanted).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Integrity);
    let caching: Vec<_> = server.seen().iter().map(|seen| seen.header("cache-control").map(str::to_owned)).collect();
    assert_eq!(caching, [None, Some("no-cache".to_owned())]);
}

#[tokio::test]
async fn h_12_the_digest_header_does_not_matter() {
    for header in [None, Some(Digest::of(b"another").to_string())] {
        let server = Scripted::start(move |_, _| match &header {
            Some(digest) => manifest_reply().header("Docker-Content-Digest", digest),
            None => manifest_reply(),
        })
        .await;
        let wanted = Lookup::Digest(Digest::of(&manifest()));
        registry(settings()).document(&repository(&server), &wanted).await.unwrap();
    }
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_the_host_itself_when_it_does_not_have_it() {
    let mirror = Scripted::start(|seen, _| match seen.line().as_str() {
        "GET /v2/hub/a/b/manifests/1" => manifest_reply(),
        _ => Reply::new(404),
    })
    .await;
    let origin = Scripted::start(|_, _| manifest_reply()).await;
    let at = repository(&origin);
    let from = Mirror { from: at.host.clone(), to: mirror.host().parse().unwrap(), prefix: "hub".into() };
    let registry = registry(RegistrySettings { mirrors: vec![from], ..settings() });
    let fetched = registry.document(&at, &tag()).await.unwrap();
    assert_eq!(fetched.answered_by.to_string(), format!("{}/hub/a/b", mirror.host()));
    assert_eq!(origin.seen().len(), 0);
    let fetched = registry.document(&at, &Lookup::Tag("2".parse().unwrap())).await.unwrap();
    assert_eq!(fetched.answered_by, at);
    assert!(fetched.insecure, "plain http can be changed on the way");
}

#[tokio::test]
async fn a_mirror_that_does_not_work_is_tried_once() {
    let mirror = Scripted::start(|_, _| Reply::new(500)).await;
    let origin = Scripted::start(|_, _| manifest_reply()).await;
    let at = repository(&origin);
    let from = Mirror { from: at.host.clone(), to: mirror.host().parse().unwrap(), prefix: String::new() };
    let kept = Arc::new(Kept::default());
    let settings = RegistrySettings { mirrors: vec![from], retry_for: Duration::from_millis(50), ..settings() };
    let registry = Registry::new(settings, kept.clone()).unwrap();
    registry.document(&at, &tag()).await.unwrap();
    let asked = mirror.seen().len();
    registry.document(&at, &tag()).await.unwrap();
    assert_eq!(mirror.seen().len(), asked);
    let warnings = kept.0.lock().unwrap().iter().filter(|event| matches!(event, Event::Warning(_))).count();
    assert_eq!(warnings, 1);
}

#[tokio::test]
async fn h_04_a_mirror_whose_bytes_are_wrong_is_passed_by_the_next_time() {
    let layer = content();
    let bytes = layer.clone();
    let mirror = Scripted::start(|_, _| Reply::new(200).body(vec![0; 350_000])).await;
    let origin = Scripted::start(move |seen, _| part_of(&bytes, seen)).await;
    let at = repository(&origin);
    let from = Mirror { from: at.host.clone(), to: mirror.host().parse().unwrap(), prefix: String::new() };
    let with_mirror = |from: Mirror| registry(RegistrySettings { mirrors: vec![from], ..settings() });
    let registry = with_mirror(from.clone());
    let failure = pulled(&registry, &at, &described(&layer)).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Integrity, "{failure}");
    assert_eq!(pulled(&registry, &at, &described(&layer)).await.unwrap(), layer);
    assert_eq!((mirror.seen().len(), origin.seen().len()), (1, 1));
    // Where nobody else has it, the mirror is asked once more, past its caches.
    let empty = Scripted::start(|_, _| Reply::new(404)).await;
    let at = repository(&empty);
    let registry = with_mirror(Mirror { from: at.host.clone(), ..from });
    for _ in 0..2 {
        let failure = pulled(&registry, &at, &described(&layer)).await.err().unwrap();
        assert_eq!(failure.class(), ErrorClass::Integrity, "{failure}");
    }
    assert_eq!(mirror.seen().last().unwrap().header("cache-control"), Some("no-cache"));
}

#[tokio::test]
async fn h_15_what_is_no_http_is_named_soon() {
    for garbage in [
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096]).await;
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, garbage.as_bytes()).await;
            }
        });
        let settings = RegistrySettings { retry_for: Duration::from_secs(600), ..settings() };
        let failure = registry(settings).document(&format!("{host}/a/b").parse().unwrap(), &tag()).await.err().unwrap();
        assert!(failure.to_string().contains("no sound HTTP"), "{garbage:?} {failure}");
    }
}

#[tokio::test]
async fn sec_60_no_secret_is_in_any_message() {
    let echo = |seen: &Seen| Reply::new(400).body(format!("you sent {:?}", seen.header("authorization")));
    let server = Scripted::start(move |seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", Some(_)) => token("CANARY-token"),
        (_, Some("Bearer CANARY-token")) => match seen.method.as_str() {
            "POST" => Reply::new(202).header("Location", "http://evil.corp/u?_state=CANARY-state"),
            "HEAD" => Reply::new(302).header("Location", "ftp://user:CANARY@cdn/x?sig=CANARY"),
            _ => echo(seen),
        },
        _ => ask_for_token(seen),
    })
    .await;
    let kept = Arc::new(Kept::default());
    let (registry, at) = (Registry::new(with_login(), kept.clone()).unwrap(), repository(&server));
    let kind = MediaType::from(MediaType::OCI_MANIFEST);
    let failures = [
        pushed(&registry, &at, &content()).await.err().unwrap(),
        registry.has_blob(&at, &described(b"x")).await.err().unwrap(),
        registry.put_document(&at, &tag(), &kind, &manifest()).await.err().unwrap(),
    ];
    for failure in failures {
        let shown = format!("{failure} {failure:?} {:?}", failure.help());
        assert!(!shown.contains("CANARY"), "{shown}");
    }
    assert!(!format!("{:?}", kept.0.lock().unwrap()).contains("CANARY"));
}

#[tokio::test]
async fn sec_61_a_signed_address_that_cannot_be_reached_keeps_its_signature() {
    let gone = Scripted::start(|_, _| Reply::new(200)).await.url("/blob?X-Signature=CANARY");
    let server = Scripted::start(move |_, _| Reply::new(307).header("Location", &gone)).await;
    let kept = Arc::new(Kept::default());
    let registry = Registry::new(settings(), kept.clone()).unwrap();
    let failure = pulled(&registry, &repository(&server), &described(&content())).await.err().unwrap();
    assert!(failure.to_string().contains("no connection to"), "{failure}");
    assert!(!format!("{failure} {failure:?} {:?}", kept.0.lock().unwrap()).contains("CANARY"), "{failure}");
}

// Redirects

#[tokio::test]
async fn sec_01_a_redirect_to_another_host_goes_without_the_login() {
    for status in [301, 302, 303, 307, 308] {
        let layer = content();
        let bytes = layer.clone();
        let store = Scripted::start(move |seen, _| part_of(&bytes, seen)).await;
        let target = store.url("/signed?X-Signature=CANARY");
        let server = Scripted::start(move |seen, _| match seen.header("authorization") {
            None => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
            Some(_) => Reply::new(status).header("Location", &target),
        })
        .await;
        let blob = described(&layer);
        assert_eq!(pulled(&registry(with_login()), &repository(&server), &blob).await.unwrap(), layer);
        let seen = store.seen();
        assert_eq!(seen.len(), 1, "{status}");
        assert!(seen[0].header("authorization").is_none(), "{:?}", seen[0]);
    }
}

#[tokio::test]
async fn sec_01_see_other_is_no_place_to_send_to() {
    let server = Scripted::start(|seen, _| match (seen.method.as_str(), seen.target.as_str()) {
        ("GET" | "HEAD", "/there") => manifest_reply(),
        (_, "/there") => Reply::new(201),
        _ => Reply::new(303).header("Location", "/there"),
    })
    .await;
    let (registry, at) = (registry(settings()), repository(&server));
    registry.document(&at, &tag()).await.unwrap();
    let kind = MediaType::from(MediaType::OCI_MANIFEST);
    let failure = registry.put_document(&at, &tag(), &kind, &manifest()).await.err().unwrap();
    assert!(failure.to_string().contains("303"), "{failure}");
    pushed(&registry, &at, &content()).await.err().unwrap();
    assert_eq!(server.seen().iter().filter(|seen| seen.target == "/there").count(), 1, "{:?}", server.lines());
}

#[tokio::test]
async fn answers_that_no_registry_gives_name_who_can_mend_them() {
    let told = |header: &'static str| move || Reply::new(401).header("WWW-Authenticate", header);
    let cases: [Box<dyn Fn() -> Reply + Send + Sync>; 6] = [
        Box::new(|| Reply::new(307)),
        Box::new(|| Reply::new(300).header("Location", "/x")),
        Box::new(|| Reply::new(204)),
        Box::new(|| Reply::new(401)),
        Box::new(told("Negotiate, NTLM")),
        Box::new(told(r#"Bearer realm="/token""#)),
    ];
    for answer in cases {
        let server = Scripted::start(move |_, _| answer()).await;
        let failure = registry(settings()).document(&repository(&server), &tag()).await.err().unwrap();
        assert!(failure.help().is_some_and(|help| help.contains("whoever runs it")), "{failure}");
        assert_eq!(server.seen().len(), 1, "{failure}");
    }
}

#[tokio::test]
async fn h_08_a_signed_address_that_expired_is_asked_for_again() {
    let layer = content();
    let bytes = layer.clone();
    let store = Scripted::start(move |seen, _| match (seen.target.as_str(), seen.header("range")) {
        ("/signed?try=0", None) => part_of(&bytes, seen).cut_after(150_000),
        ("/signed?try=2", Some(_)) => part_of(&bytes, seen),
        _ => Reply::new(403).body("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"),
    })
    .await;
    let target = store.url("/signed");
    let server =
        Scripted::start(move |_, before| Reply::new(307).header("Location", format!("{target}?try={before}"))).await;
    assert_eq!(pulled(&registry(settings()), &repository(&server), &described(&layer)).await.unwrap(), layer);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn h_08_a_store_that_always_refuses_is_named_without_its_signature() {
    let store = Scripted::start(|_, _| Reply::new(403)).await;
    let target = store.url("/signed?X-Signature=CANARY");
    let server = Scripted::start(move |_, _| Reply::new(307).header("Location", &target)).await;
    let failure = pulled(&registry(settings()), &repository(&server), &described(&content())).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Network, "it is no login problem");
    let shown = format!("{failure} {:?}", failure.help());
    assert!(shown.contains(&store.host()) && !shown.contains("CANARY"), "{shown}");
}

#[tokio::test]
async fn h_09_a_redirect_loop_ends() {
    let server = Scripted::start(|_, _| Reply::new(302).header("Location", "/again")).await;
    let failure = registry(settings()).document(&repository(&server), &tag()).await.err().unwrap();
    assert!(failure.to_string().contains("too often"), "{failure}");
    assert_eq!(server.seen().len(), 11);
}

// Blobs

#[tokio::test]
async fn n_01_a_body_that_is_cut_is_resumed_where_it_ended() {
    let layer = content();
    let bytes = layer.clone();
    let cuts = [0, 1, 100_000, layer.len() - 1];
    let server = Scripted::start(move |seen, before| {
        let reply = part_of(&bytes, seen);
        cuts.get(before).map_or_else(|| reply.clone(), |cut| reply.clone().cut_after(*cut))
    })
    .await;
    assert_eq!(pulled(&registry(settings()), &repository(&server), &described(&layer)).await.unwrap(), layer);
    let ranges: Vec<_> = server.seen().iter().map(|seen| seen.header("range").map(str::to_owned)).collect();
    let end = layer.len() - 1;
    assert_eq!(ranges, [None, None, Some(format!("bytes=1-{end}")), Some(format!("bytes=100001-{end}"))]);
}

#[tokio::test]
async fn n_04_a_connection_that_falls_silent_is_replaced() {
    let layer = content();
    let bytes = layer.clone();
    let server = Scripted::start(move |seen, before| {
        let reply = part_of(&bytes, seen);
        if before == 0 { reply.silent_after(120_000) } else { reply }
    })
    .await;
    let begun = std::time::Instant::now();
    assert_eq!(pulled(&registry(settings()), &repository(&server), &described(&layer)).await.unwrap(), layer);
    assert_eq!(server.seen().len(), 2);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn n_12_a_blob_that_never_gets_on_is_given_up_in_time() {
    let layer = content();
    let bytes = layer.clone();
    let server = Scripted::start(move |seen, before| {
        let reply = part_of(&bytes, seen);
        if before == 0 { reply.cut_after(100) } else { reply.cut_after(0) }
    })
    .await;
    let settings = RegistrySettings { retry_for: Duration::from_millis(100), ..settings() };
    let failure = pulled(&registry(settings), &repository(&server), &described(&layer)).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Network);
    assert!(failure.to_string().contains(&server.host()), "{failure}");
}

#[tokio::test]
async fn h_07_a_server_that_ignores_ranges_is_read_from_its_start() {
    let layer = content();
    let bytes = layer.clone();
    let server = Scripted::start(move |_, before| {
        let reply = Reply::new(200).body(&bytes[..]);
        if before == 0 { reply.cut_after(120_000) } else { reply }
    })
    .await;
    assert_eq!(pulled(&registry(settings()), &repository(&server), &described(&layer)).await.unwrap(), layer);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn h_07_a_part_at_another_place_is_discarded() {
    let layer = content();
    for wrong in ["bytes 0-349999/350000", "bytes 5-349999/350000", "bytes 120000-349999/350001", "nonsense"] {
        let bytes = layer.clone();
        let server = Scripted::start(move |seen, before| match (before, seen.header("range")) {
            (0, _) => Reply::new(200).body(&bytes[..]).cut_after(120_000),
            (_, Some(_)) => Reply::new(206).header("Content-Range", wrong).body(vec![0; 230_000]),
            (_, None) => Reply::new(200).body(&bytes[..]),
        })
        .await;
        assert_eq!(
            pulled(&registry(settings()), &repository(&server), &described(&layer)).await.unwrap(),
            layer,
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn h_07_a_416_leads_to_the_whole() {
    let layer = content();
    let bytes = layer.clone();
    let server = Scripted::start(move |seen, before| match (before, seen.header("range")) {
        (0, _) => Reply::new(200).body(&bytes[..]).cut_after(120_000),
        (_, Some(_)) => Reply::new(416),
        (_, None) => Reply::new(200).body(&bytes[..]),
    })
    .await;
    assert_eq!(pulled(&registry(settings()), &repository(&server), &described(&layer)).await.unwrap(), layer);
}

#[tokio::test]
async fn h_05_another_length_than_promised_is_refused_before_it_is_read() {
    let layer = content();
    for length in [layer.len() - 1, layer.len() + 1] {
        let server = Scripted::start(move |_, _| Reply::new(200).body(vec![0; length])).await;
        let failure = pulled(&registry(settings()), &repository(&server), &described(&layer)).await.err().unwrap();
        assert_eq!(failure.class(), ErrorClass::Integrity, "{failure}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn h_05_bytes_beyond_the_promised_ones_are_refused_where_no_length_is_stated() {
    let layer = content();
    let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let longer = [&layer[..], b"!"].concat();
    for (chunks, whole) in [
        (chunk(&layer), true),
        (chunk(&longer), false),
        ([chunk(&layer), chunk(b"!")].concat(), false),
        ([chunk(&layer[..9]), chunk(&longer[9..])].concat(), false),
    ] {
        let answer = [head.clone(), chunks, chunk(b"")].concat();
        let server = Scripted::start(move |_, _| Reply::raw(answer.clone())).await;
        match pulled(&registry(settings()), &repository(&server), &described(&layer)).await {
            Ok(bytes) => assert!(whole && bytes == layer),
            Err(failure) => assert!(!whole && failure.class() == ErrorClass::Integrity, "{failure}"),
        }
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn h_05_a_blob_that_is_compressed_on_the_way_is_called_so_where_no_length_is_stated() {
    let layer = content();
    let longer = [&layer[..], &layer[..40_000]].concat();
    // As long as the blob, it was packed before it came to the server, and only the server says it that way.
    for (sent, whole) in [(&layer[..9_000], false), (&longer, false), (&layer, true)] {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n";
        let chunk = [format!("{:x}\r\n", sent.len()).as_bytes(), sent, b"\r\n0\r\n\r\n"].concat();
        let answer = [&head[..], &chunk].concat();
        let server = Scripted::start(move |_, _| Reply::raw(answer.clone())).await;
        match pulled(&registry(settings()), &repository(&server), &described(&layer)).await {
            Ok(bytes) => assert!(whole && bytes == layer),
            Err(failure) => assert!(!whole && failure.to_string().contains("compressed (gzip)"), "{failure}"),
        }
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn h_04_other_bytes_are_refused_and_asked_for_past_caches_the_next_time() {
    let layer = content();
    let server = Scripted::start(move |_, _| Reply::new(200).body(vec![0; 350_000])).await;
    let (registry, at) = (registry(settings()), repository(&server));
    for _ in 0..2 {
        let failure = pulled(&registry, &at, &described(&layer)).await.err().unwrap();
        assert_eq!(failure.class(), ErrorClass::Integrity, "{failure}");
    }
    let caching: Vec<_> = server.seen().iter().map(|seen| seen.header("cache-control").map(str::to_owned)).collect();
    assert_eq!(caching, [None, Some("no-cache".to_owned())]);
    assert!(server.seen().iter().all(|seen| seen.header("accept-encoding") == Some("identity")));
}

/// How exact the limit is, `throttle` and `body` of the library test on a clock that they move.
#[tokio::test]
async fn a_rate_limit_holds_for_downloads_and_uploads_together() {
    let layer = content();
    let bytes = layer.clone();
    let server = Scripted::start(move |seen, _| match seen.method.as_str() {
        "GET" => part_of(&bytes, seen),
        _ => takes_uploads(seen, "/u/1"),
    })
    .await;
    let (registry, at) = (registry(RegistrySettings { limit_rate: Some(700_000), ..settings() }), repository(&server));
    let begun = std::time::Instant::now();
    pulled(&registry, &at, &described(&layer)).await.unwrap();
    let down = begun.elapsed();
    pushed(&registry, &at, &layer).await.unwrap();
    assert!(down >= Duration::from_millis(450), "350 kB at 700 kB/s took {down:?}");
    let both = begun.elapsed();
    assert!(both >= Duration::from_millis(900), "350 kB down and 350 kB up at 700 kB/s took {both:?}");
}

// Uploads

/// Answers the requests of a plain upload.
fn takes_uploads(seen: &Seen, location: &str) -> Reply {
    match seen.method.as_str() {
        "POST" => Reply::new(202).header("Location", location),
        "PUT" => Reply::new(201),
        "DELETE" => Reply::new(204),
        _ => Reply::new(404),
    }
}

#[tokio::test]
async fn r_19_a_place_that_no_blob_has_is_an_error() {
    let layer = content();
    for range in ["0-350000", "0-18446744073709551614", "0-18446744073709551615"] {
        let server = Scripted::start(move |seen, _| match seen.method.as_str() {
            "PUT" => Reply::new(413),
            "PATCH" => Reply::new(202).header("Location", "/u/1").header("Range", range),
            _ => takes_uploads(seen, "/u/1"),
        })
        .await;
        let failure = pushed(&registry(settings()), &repository(&server), &layer).await.err().unwrap();
        assert!(failure.to_string().contains("more bytes than were sent"), "{range}: {failure}");
    }
}

#[tokio::test]
async fn sec_13_upload_addresses_may_be_relative_and_lose_their_port() {
    let layer = content();
    for location in ["/u/1?_state=s", "1?_state=s", "http://127.0.0.1/u/1?_state=s"] {
        let server = Scripted::start(move |seen, _| takes_uploads(seen, location)).await;
        pushed(&registry(settings()), &repository(&server), &layer).await.unwrap();
        let put = server.seen().into_iter().find(|seen| seen.method == "PUT").unwrap();
        assert_eq!(put.body, layer, "{location}");
        assert_eq!(put.header("content-length"), Some("350000"));
        assert!(put.target.contains("_state=s&digest=sha256%3A"), "{}", put.target);
    }
}

#[tokio::test]
async fn sec_13_an_upload_does_not_go_to_another_host() {
    let thief = Scripted::start(|_, _| Reply::new(201)).await;
    for location in [thief.url("/u/1"), "http://evil.corp/u/1".into()] {
        let server = Scripted::start(move |seen, _| takes_uploads(seen, &location)).await;
        let failure = pushed(&registry(with_login()), &repository(&server), &content()).await.err().unwrap();
        assert_eq!(failure.class(), ErrorClass::Network);
        assert!(failure.to_string().contains("/u/1"), "{failure}");
        assert_eq!(server.count("PUT", ""), 0);
    }
    assert_eq!(thief.seen().len(), 0);
}

#[tokio::test]
async fn an_upload_that_is_too_large_for_a_proxy_goes_in_parts() {
    let layer = content();
    let stored = Arc::new(Mutex::new(Vec::new()));
    let server = Scripted::start({
        let stored = stored.clone();
        move |seen, _| match (seen.method.as_str(), seen.body.len()) {
            ("POST", _) => Reply::new(202).header("Location", "/u/1"),
            ("DELETE", _) => Reply::new(204),
            ("PUT", 0) => Reply::new(201),
            ("PUT", _) => Reply::new(413),
            ("PATCH", _) => {
                let mut stored = stored.lock().unwrap();
                stored.extend_from_slice(&seen.body);
                Reply::new(202).header("Location", "/u/1").header("Range", format!("0-{}", stored.len() - 1))
            }
            _ => Reply::new(404),
        }
    })
    .await;
    pushed(&registry(settings()), &repository(&server), &layer).await.unwrap();
    assert_eq!(*stored.lock().unwrap(), layer);
    let ranges: Vec<_> =
        server.seen().iter().filter_map(|seen| seen.header("content-range").map(str::to_owned)).collect();
    assert_eq!(ranges, ["0-99999", "100000-199999", "200000-299999", "300000-349999"]);
    assert_eq!(server.count("DELETE", "/u/1"), 1, "the first session was given back");
}

#[tokio::test]
async fn r_19_parts_are_as_large_as_the_registry_wants_and_go_on_where_it_stands() {
    let layer = content();
    let stored = Arc::new(Mutex::new(Vec::new()));
    let server = Scripted::start({
        let stored = stored.clone();
        move |seen, before| {
            let mut stored = stored.lock().unwrap();
            let standing = |stored: &Vec<u8>| format!("0-{}", stored.len().saturating_sub(1));
            match (seen.method.as_str(), seen.body.len()) {
                ("POST", _) => Reply::new(202).header("Location", "/u/1").header("OCI-Chunk-Min-Length", "150000"),
                ("DELETE", _) => Reply::new(204),
                ("PUT", 0) => Reply::new(201),
                ("PUT", _) => Reply::new(413),
                // The first part arrives in half, and its answer is lost.
                ("PATCH", _) if stored.is_empty() => {
                    stored.extend_from_slice(&seen.body[..70_000]);
                    Reply::lost()
                }
                ("PATCH", _) => {
                    assert!(
                        seen.header("content-range").unwrap().starts_with(&format!("{}-", stored.len())),
                        "{before}"
                    );
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
    let lengths: Vec<_> =
        server.seen().iter().filter(|seen| seen.method == "PATCH").map(|seen| seen.body.len()).collect();
    assert_eq!(lengths, [150_000, 150_000, 130_000]);
}

#[tokio::test]
async fn n_01_an_upload_that_breaks_goes_on_in_parts() {
    let layer = content();
    let stored = Arc::new(Mutex::new(Vec::new()));
    let server = Scripted::start({
        let stored = stored.clone();
        move |seen, _| match (seen.method.as_str(), seen.body.len()) {
            ("PUT", 0) => Reply::new(201),
            ("PUT", _) => Reply::lost(),
            ("PATCH", _) => {
                stored.lock().unwrap().extend_from_slice(&seen.body);
                Reply::new(202).header("Location", "/u/1")
            }
            _ => takes_uploads(seen, "/u/1"),
        }
    })
    .await;
    pushed(&registry(settings()), &repository(&server), &layer).await.unwrap();
    assert_eq!(*stored.lock().unwrap(), layer);
}

#[tokio::test]
async fn r_19_what_a_broken_request_left_behind_is_given_up_when_time_is_over() {
    let server = Scripted::start(|seen, _| match seen.method.as_str() {
        "PUT" => Reply::lost(),
        _ => takes_uploads(seen, "/u/1"),
    })
    .await;
    let registry = registry(RegistrySettings { retry_for: Duration::ZERO, ..settings() });
    pushed(&registry, &repository(&server), &content()).await.err().unwrap();
    assert_eq!((server.count("GET", "/u/1"), server.count("DELETE", "/u/1")), (0, 1), "{:?}", server.lines());
}

#[tokio::test]
async fn r_19_a_registry_that_cannot_be_asked_where_an_upload_stands_gets_another_one_in_parts() {
    for status in [403, 404, 405] {
        let stored = Arc::new(Mutex::new(Vec::new()));
        let server = Scripted::start({
            let stored = stored.clone();
            move |seen, _| match (seen.method.as_str(), seen.body.len()) {
                ("PUT", length) if length > 0 => Reply::lost(),
                ("GET", _) => Reply::new(status),
                _ => takes_parts(seen, &stored),
            }
        })
        .await;
        pushed(&registry(settings()), &repository(&server), &content()).await.unwrap();
        assert_eq!(*stored.lock().unwrap(), content());
        assert_eq!(
            (server.count("POST", ""), server.count("DELETE", "/u/1")),
            (2, 1),
            "{status}: {:?}",
            server.lines()
        );
    }
}

/// Takes the parts of one blob after the other, each as `stored` so far; other requests as they come.
fn takes_parts(seen: &Seen, stored: &Mutex<Vec<u8>>) -> Reply {
    let mut stored = stored.lock().unwrap();
    match (seen.method.as_str(), seen.body.len()) {
        ("POST", _) => {
            stored.clear();
            Reply::new(202).header("Location", "/u/1")
        }
        ("PATCH", _) => {
            stored.extend_from_slice(&seen.body);
            Reply::new(202).header("Location", "/u/1").header("Range", format!("0-{}", stored.len() - 1))
        }
        ("PUT", length) if length > 0 => {
            stored.extend_from_slice(&seen.body);
            Reply::new(201)
        }
        _ => takes_uploads(seen, "/u/1"),
    }
}

/// Other content of the same length.
fn other_content() -> Vec<u8> {
    content().into_iter().map(|byte| byte ^ 1).collect()
}

#[tokio::test]
async fn n_01_what_one_upload_learns_of_a_host_the_next_ones_know() {
    for trouble in [Reply::lost as fn() -> Reply, || Reply::new(413), || Reply::new(504)] {
        let stored = Arc::new(Mutex::new(Vec::new()));
        let server = Scripted::start({
            let stored = stored.clone();
            move |seen, _| match seen.method.as_str() {
                "PUT" if !seen.body.is_empty() => trouble(),
                _ => takes_parts(seen, &stored),
            }
        })
        .await;
        let registry = registry(settings());
        for layer in [content(), other_content()] {
            pushed(&registry, &repository(&server), &layer).await.unwrap();
            assert_eq!(*stored.lock().unwrap(), layer);
        }
        let whole = server.seen().iter().filter(|seen| seen.method == "PUT" && !seen.body.is_empty()).count();
        assert_eq!(whole, 1, "the second blob went in parts at once: {:?}", server.lines());
    }
}

#[tokio::test]
async fn parts_shrink_until_a_proxy_takes_them() {
    let stored = Arc::new(Mutex::new(Vec::new()));
    let server = Scripted::start({
        let stored = stored.clone();
        move |seen, _| if seen.body.len() > 30_000 { Reply::new(413) } else { takes_parts(seen, &stored) }
    })
    .await;
    let mut settings = settings();
    settings.limits.least_part = 10_000;
    pushed(&registry(settings.clone()), &repository(&server), &content()).await.unwrap();
    assert_eq!(*stored.lock().unwrap(), content());
    let sizes: std::collections::BTreeSet<usize> =
        server.seen().iter().filter(|seen| seen.method == "PATCH").map(|seen| seen.body.len()).collect();
    assert_eq!(sizes, std::collections::BTreeSet::from([25_000, 50_000, 100_000]));
    settings.limits.least_part = 40_000;
    let failure = pushed(&registry(settings), &repository(&server), &content()).await.err().unwrap();
    assert!(failure.to_string().contains("413"), "{failure}");
}

#[tokio::test]
async fn r_18_a_registry_that_forgets_what_broke_gets_the_whole() {
    let (stored, puts) = (Arc::new(Mutex::new(Vec::new())), AtomicUsize::new(0));
    let server = Scripted::start({
        let stored = stored.clone();
        move |seen, _| match (seen.method.as_str(), seen.body.len()) {
            ("PATCH", _) => Reply::lost(),
            ("GET", _) => Reply::new(404),
            ("PUT", _) if puts.fetch_add(1, Ordering::SeqCst) == 0 => Reply::lost(),
            _ => takes_parts(seen, &stored),
        }
    })
    .await;
    pushed(&registry(settings()), &repository(&server), &content()).await.unwrap();
    assert_eq!(*stored.lock().unwrap(), content());
    assert_eq!((server.count("PUT", ""), server.count("PATCH", "")), (2, 1), "{:?}", server.lines());
}

#[tokio::test]
async fn r_18_uploads_may_be_lost_as_long_as_there_is_time() {
    let puts = AtomicUsize::new(0);
    let server = Scripted::start(move |seen, _| match seen.method.as_str() {
        "PUT" if (1..8).contains(&puts.fetch_add(1, Ordering::SeqCst)) => Reply::new(404),
        _ => takes_uploads(seen, "/u/1"),
    })
    .await;
    let registry = registry(settings());
    pushed(&registry, &repository(&server), &content()).await.unwrap();
    pushed(&registry, &repository(&server), &other_content()).await.unwrap();
    assert_eq!(server.count("PUT", ""), 9);
}

#[tokio::test]
async fn r_18_an_address_that_leads_nowhere_is_not_tried_for_ever() {
    let server = Scripted::start(|seen, _| match seen.method.as_str() {
        "PUT" => Reply::new(404),
        _ => takes_uploads(seen, "/u/1"),
    })
    .await;
    let failure = pushed(&registry(settings()), &repository(&server), &content()).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::NotFound);
    assert_eq!(server.count("PUT", ""), 4);
}

#[tokio::test]
async fn r_07_a_registry_that_takes_no_parts_gets_the_whole_again() {
    let puts = AtomicUsize::new(0);
    let server = Scripted::start(move |seen, _| match seen.method.as_str() {
        "PUT" if puts.fetch_add(1, Ordering::SeqCst) == 0 => Reply::lost(),
        "PATCH" => Reply::new(405),
        _ => takes_uploads(seen, "/u/1"),
    })
    .await;
    pushed(&registry(settings()), &repository(&server), &content()).await.unwrap();
    assert_eq!((server.count("PUT", ""), server.count("PATCH", "")), (2, 1));
}

#[tokio::test]
async fn r_14_a_lost_answer_is_settled_by_asking_for_the_blob() {
    let layer = content();
    let server = Scripted::start(|seen, _| match seen.method.as_str() {
        "POST" => Reply::new(202).header("Location", "/u/1"),
        "PUT" => Reply::lost(),
        "HEAD" => Reply::new(200).stating(350_000),
        _ => Reply::new(404),
    })
    .await;
    assert_eq!(pushed(&registry(settings()), &repository(&server), &layer).await.unwrap(), Arrival::Moved);
    assert_eq!(server.count("PUT", ""), 1);
}

#[tokio::test]
async fn r_18_a_lost_session_leads_to_a_new_one() {
    let puts = AtomicUsize::new(0);
    let server = Scripted::start(move |seen, _| match seen.method.as_str() {
        "PUT" if puts.fetch_add(1, Ordering::SeqCst) == 0 => Reply::new(404),
        _ => takes_uploads(seen, "/u/1"),
    })
    .await;
    pushed(&registry(settings()), &repository(&server), &content()).await.unwrap();
    assert_eq!(server.count("POST", ""), 2);
}

#[tokio::test]
async fn sec_50_content_that_is_not_what_was_promised_never_arrives_whole() {
    let server = Scripted::start(|seen, _| takes_uploads(seen, "/u/1")).await;
    let (registry, at) = (registry(settings()), repository(&server));
    let source = Arc::new(Memory(vec![0; 350_000].into()));
    let promised = described(&content());
    let failure =
        registry.put_blob(&at, BlobContent::new(source, at.clone(), promised, Arc::new(Silent))).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Integrity, "{failure}");
    assert_eq!(server.count("PUT", ""), 0, "no whole request arrived");
    assert_eq!(server.count("DELETE", "/u/1"), 1, "the session was given back");
}

#[tokio::test]
async fn an_empty_blob_is_sent_too() {
    let server = Scripted::start(|seen, _| takes_uploads(seen, "/u/1")).await;
    pushed(&registry(settings()), &repository(&server), b"").await.unwrap();
    assert_eq!(server.seen()[1].header("content-length"), Some("0"));
}

#[tokio::test]
async fn r_16_a_mount_is_believed_when_the_blob_is_there() {
    let blob = described(&content());
    let from = |server: &Scripted| format!("{}/c/d", server.host()).parse::<Repository>().unwrap();
    for (there, mounted) in [(200, true), (404, false)] {
        let server = Scripted::start(move |seen, _| match seen.method.as_str() {
            "POST" => Reply::new(201),
            _ => Reply::new(there).stating(350_000),
        })
        .await;
        let (registry, at) = (registry(settings()), repository(&server));
        assert_eq!(registry.mount(&at, &from(&server), &blob).await.unwrap(), mounted, "{there}");
        assert!(server.seen()[0].target.contains("from=c%2Fd"), "{}", server.seen()[0].target);
    }
}

#[tokio::test]
async fn r_16_a_mount_that_becomes_an_upload_is_given_back() {
    let blob = described(&content());
    let server = Scripted::start(|seen, _| takes_uploads(seen, "/u/1")).await;
    let (registry, at) = (registry(settings()), repository(&server));
    let from = format!("{}/c/d", server.host()).parse().unwrap();
    assert!(!registry.mount(&at, &from, &blob).await.unwrap());
    assert_eq!(server.count("DELETE", "/u/1"), 1);
}

#[tokio::test]
async fn a_10_a_mount_that_is_not_allowed_is_no_failure() {
    let server = Scripted::start(|seen, _| match (seen.line().as_str(), seen.target.matches("scope=").count()) {
        ("GET /token", 2) => Reply::new(403),
        ("GET /token", _) => token("T"),
        _ => ask_for_token(seen),
    })
    .await;
    let from = format!("{}/c/d", server.host()).parse().unwrap();
    assert!(!registry(settings()).mount(&repository(&server), &from, &described(b"x")).await.unwrap());
}

#[tokio::test]
async fn r_13_a_blob_of_another_length_counts_as_absent() {
    let blob = described(&content());
    for (length, there) in [(350_000, true), (10, false)] {
        let server = Scripted::start(move |_, _| Reply::new(200).stating(length)).await;
        assert_eq!(registry(settings()).has_blob(&repository(&server), &blob).await.unwrap(), there);
    }
}

#[tokio::test]
async fn r_17_a_server_without_head_is_asked_by_get() {
    let server =
        Scripted::start(|seen, _| if seen.method == "HEAD" { Reply::new(405) } else { manifest_reply() }).await;
    let digest = registry(settings()).document_digest(&repository(&server), &tag()).await.unwrap();
    assert_eq!(digest, Some(Digest::of(&manifest())));
    let server = Scripted::start(|_, _| Reply::new(404)).await;
    assert_eq!(registry(settings()).document_digest(&repository(&server), &tag()).await.unwrap(), None);
}

#[tokio::test]
async fn a_document_that_the_registry_calls_otherwise_is_an_integrity_error() {
    let other = Digest::of(b"another").to_string();
    let server = Scripted::start(move |_, _| Reply::new(201).header("Docker-Content-Digest", &other)).await;
    let kind = MediaType::from(MediaType::OCI_MANIFEST);
    let put = registry(settings()).put_document(&repository(&server), &tag(), &kind, &manifest()).await;
    assert_eq!(put.err().unwrap().class(), ErrorClass::Integrity);
    assert_eq!(server.seen()[0].header("content-type"), Some(MediaType::OCI_MANIFEST));
    assert_eq!(server.seen()[0].body, manifest());
}

// Ways

fn proxied(proxy: &Scripted, login: &str) -> RegistrySettings {
    let address = format!("http://{login}{}", proxy.host());
    let texts = ProxyTexts { all: Some(&address), no_proxy: Some("direct.test"), ..ProxyTexts::default() };
    let mut settings = RegistrySettings { proxy: ProxyRules::new(texts).unwrap(), ..settings() };
    settings.plain_http.insert("reg.test".parse().unwrap());
    settings
}

#[tokio::test]
async fn p_01_the_proxys_login_goes_to_the_proxy() {
    let proxy = Scripted::start(|_, _| manifest_reply()).await;
    let at = "reg.test/a/b".parse().unwrap();
    registry(proxied(&proxy, "user:CANARY-proxy@")).document(&at, &tag()).await.unwrap();
    let seen = &proxy.seen()[0];
    assert_eq!(seen.target, "http://reg.test/v2/a/b/manifests/1");
    assert!(seen.header("proxy-authorization").unwrap().starts_with("Basic "));
    assert!(seen.header("authorization").is_none());
}

#[tokio::test]
async fn p_01_a_proxy_that_wants_a_login_is_named() {
    let proxy = Scripted::start(|_, _| Reply::new(407).header("Proxy-Authenticate", "Basic realm=x")).await;
    for at in ["reg.test/a/b", "tls.test/a/b"] {
        let failure = registry(proxied(&proxy, "")).document(&at.parse().unwrap(), &tag()).await.err().unwrap();
        assert_eq!(failure.class(), ErrorClass::Access, "{failure}");
        assert!(failure.to_string().contains("HTTP 407") && failure.to_string().contains(&proxy.host()), "{failure}");
    }
}

#[tokio::test]
async fn a_proxy_that_makes_no_connection_is_named() {
    let proxy = Scripted::start(|_, _| Reply::new(502)).await;
    let failure = registry(proxied(&proxy, "")).document(&"tls.test/a/b".parse().unwrap(), &tag()).await.err().unwrap();
    let shown = failure.to_string();
    assert!(shown.contains(&format!("{} makes no connection to `tls.test`", proxy.url(""))), "{shown}");
    assert!(proxy.seen().iter().all(|seen| seen.target == "tls.test:443" && seen.method == "CONNECT"));
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_named_soon() {
    let gone = Scripted::start(|_, _| Reply::new(200)).await.host();
    let at = format!("{gone}/a/b").parse().unwrap();
    let begun = std::time::Instant::now();
    let failure = registry(settings()).document(&at, &tag()).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Network);
    assert!(failure.to_string().contains(&format!("no connection to `{gone}`")), "{failure}");
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn tls_to_a_port_without_tls_names_the_flag() {
    let server = Scripted::start(|_, _| Reply::new(200)).await;
    let mut settings = settings();
    settings.https.insert(server.host().parse().unwrap());
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = plain.local_addr().unwrap().to_string();
    settings.https.insert(host.parse().unwrap());
    let answering = tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let failure = registry(settings).document(&format!("{host}/a/b").parse().unwrap(), &tag()).await.err().unwrap();
    answering.await.unwrap();
    assert!(failure.help().unwrap().contains(&format!("--plain-http {host}")), "{failure} {:?}", failure.help());
}
