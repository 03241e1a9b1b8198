//! What messages may hold: SEC-57, SEC-60 and SEC-61.

use crate::memory::measured;
use crate::proxy::{Proxy, Setup};
use crate::scripted::{Reply, Scripted, Seen};
use crate::secrets::{CANARY, found_in, shows_secret};
use crate::support::cli::{Run, Site};
use crate::support::images::{Sample as _, TestImage};
use crate::support::memory_registry::{Access, MemoryRegistry, Options};
use crate::support::release::{self, Release};

/// What a terminal would obey, in each place where a server's words can stand.
const HOSTILE: &str = "a\u{1b}]52;c;x\u{7}b\u{1b}[2Jc\u{9b}d\u{202e}e\u{200b}f";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sec_57_no_word_of_a_server_moves_a_terminal() {
    let json = |status: u16| {
        let errors = serde_json::json!({ "errors": [{ "code": HOSTILE, "message": HOSTILE }] });
        Reply::new(status).body(errors.to_string())
    };
    let page = |status: u16| {
        Reply::new(status)
            .header("Server", "x\u{1b}[31m")
            .header("Content-Type", "text/html")
            .body(format!("<title>{HOSTILE}</title>"))
    };
    let kind = format!(r#"{{"mediaType":"{}","config":{{}}}}"#, HOSTILE.escape_unicode());
    let replies = [
        json(404),
        json(403),
        json(400),
        json(500),
        page(200),
        page(403),
        page(502),
        Reply::new(404).body(HOSTILE),
        Reply::new(401).header("WWW-Authenticate", format!("Digest realm=\"{HOSTILE}\"")),
        Reply::new(401).header("WWW-Authenticate", "Bearer realm=\"http://x\u{7f}\""),
        Reply::new(302).header("Location", format!("ftp://x/{HOSTILE}")),
        Reply::new(200).body(kind),
        Reply::new(200).body(format!("{{\"{}\":1,\"{}\":2}}", "\\u001b[2J", "\\u001b[2J")),
    ];
    let site = Site::new();
    for reply in replies {
        let case = format!("{reply:?}");
        let server = Scripted::start(move |_, _| reply.clone()).await;
        site.write("release.yaml", release::manifest(&[format!("{}/a/b:1", server.host())]));
        let failed = site.octobundle(["resolve", "release.yaml", "--retry-for", "0", "-vvv", "--color", "never"]).run();
        assert_ne!(failed.code, Some(0), "{case}");
        let harmful = |c: char| c != '\n' && (c.is_control() || ('\u{200b}'..='\u{202e}').contains(&c));
        assert!(!failed.stderr.chars().chain(failed.stdout.chars()).any(harmful), "{case}: {:?}", failed.stderr);
    }
}

/// `bob` and a planted password.
const LOGIN: &str = "Basic Ym9iOkNBTkFSWQ==";

/// Planted in the folder of a user, where they belong.
fn plant(site: &Site, host: &str) {
    let login = format!(r#"{{"auths":{{"{host}":{{"auth":"Ym9iOkNBTkFSWQ=="}}}}}}"#);
    for file in [".docker/config.json", ".config/containers/auth.json"] {
        site.write(file, &login);
    }
}

/// The command with all secrets that an environment can hold, told to say all it knows.
fn talkative(run: Run, proxy: &Proxy) -> Run {
    run.arg("-vvv")
        .env("RUST_LOG", "trace")
        .env("HTTPS_PROXY", format!("http://user:CANARY-proxy@{}", proxy.host()))
        .env("HTTP_PROXY", format!("http://user:CANARY-proxy@{}", proxy.host()))
        .env("DOCKER_AUTH_CONFIG", r#"{"auths":{"other.test":{"auth":"Q0FOQVJZOkNBTkFSWQ=="}}}"#)
}

#[track_caller]
fn assert_silent(site: &Site, run: Run, case: &str) -> Option<i32> {
    let ended = measured(run);
    let output = &ended.output;
    for text in [&output.stdout, &output.stderr, &ended.command_line] {
        assert!(!shows_secret(text.as_bytes()), "{case}: {text}");
    }
    let found = found_in(&site.path(""), &[".docker/config.json", "containers/auth.json", "broken.json"]);
    assert!(found.is_empty(), "{case}: {found:?}");
    output.code
}

/// A case and its answer.
type Told = (&'static str, fn(&Seen) -> Reply);

/// Answers that hold secrets, or say again what they were told.
fn telling() -> Vec<Told> {
    fn echo(seen: &Seen) -> String {
        format!(
            "you sent Authorization: {:?} to {}",
            seen.header("authorization").unwrap_or("Bearer CANARY-told"),
            seen.line()
        )
    }
    let signed = |_: &Seen| Reply::new(307).header("Location", "http://127.0.0.1:1/x?X-Amz-Signature=CANARY");
    vec![
        ("401", |_| Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\"")),
        ("401 in words", |seen| Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\"").body(echo(seen))),
        ("403 in words", |seen| Reply::new(403).body(echo(seen))),
        ("404 in words", |seen| Reply::new(404).body(echo(seen))),
        ("400 in words", |seen| Reply::new(400).body(echo(seen))),
        ("500 in words", |seen| Reply::new(500).body(echo(seen))),
        ("429 in words", |seen| Reply::new(429).header("Retry-After", "9999").body(echo(seen))),
        ("a page", |seen| {
            Reply::new(403).header("Content-Type", "text/html").body(format!("<title>{}</title>", echo(seen)))
        }),
        ("a signed address that is dead", signed),
        ("a signed address over ftp", |_| Reply::new(302).header("Location", "ftp://u:CANARY@x/x?sig=CANARY")),
        ("a login in the address", |_| Reply::new(302).header("Location", "http://u:CANARY@127.0.0.1:1/x")),
        ("a loop with a signature", |_| Reply::new(302).header("Location", "/x?sig=CANARY")),
        ("a fragment", |_| Reply::new(302).header("Location", "http://127.0.0.1:1/#CANARY")),
        ("an upload elsewhere", |_| Reply::new(202).header("Location", "http://127.0.0.1:1/u?_state=CANARY")),
        ("a token server elsewhere", |_| {
            Reply::new(401).header("WWW-Authenticate", "Bearer realm=\"http://127.0.0.1:1/token?key=CANARY\"")
        }),
        ("a token server with a login", |_| {
            Reply::new(401).header("WWW-Authenticate", "Bearer realm=\"http://u:CANARY@127.0.0.1:1/token\"")
        }),
        ("a lost answer", |_| Reply::lost()),
        ("a cookie", |_| Reply::new(404).header("Set-Cookie", "session=CANARY")),
        ("a cut answer", |_| Reply::new(200).body(vec![b'x'; 100]).cut_after(10)),
        ("a proxy's refusal", |_| Reply::new(407).header("Proxy-Authenticate", "Basic realm=\"x\"")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_60_no_secret_is_told_on_any_way_to_fail() {
    let release = Release::of(&[&TestImage::new("octoperf/agent:1").layer(b"agent")]);
    release.bundle();
    let site = &release.site;
    let proxy = Proxy::start(&Setup { login: Some(("user", "other")), ..Setup::default() });
    let (mut failed, mut logged_in) = (0, 0);
    for (case, answer) in telling() {
        let server = Scripted::start(move |seen, _| answer(seen)).await;
        plant(site, &server.host());
        site.write("other.yaml", release::manifest(&[format!("{}/a/b:1", server.host())]));
        let host = server.host();
        let resolve = ["resolve", "other.yaml", "--retry-for", "0"].map(str::to_owned);
        let push = ["push", "release.tar", "--registry", &host, "--retry-for", "0"].map(str::to_owned);
        for arguments in [resolve.to_vec(), push.to_vec()] {
            let shown = format!("{case}: {}", arguments[0]);
            let code = assert_silent(site, talkative(site.octobundle(&arguments), &proxy), &shown);
            assert_ne!(code, Some(0), "{shown}");
            failed += 1;
        }
        logged_in += server.seen().iter().filter(|seen| seen.header("authorization") == Some(LOGIN)).count();
    }
    assert!(logged_in > 1, "the login is used");
    // A proxy that refuses, is gone, or is misspelt; login files that are damaged.
    site.write("far.yaml", release::manifest(&["reg.test/a/b:1".to_owned()]));
    let far = || talkative(site.octobundle(["resolve", "far.yaml", "--retry-for", "0"]), &proxy);
    site.write("broken.json", "{\"auths\":{\"reg.test\":{\"auth\":\"CANARY");
    let ways = [
        ("refused", far()),
        ("gone", far().env("HTTPS_PROXY", "http://user:CANARY@127.0.0.1:1")),
        ("misspelt", far().env("HTTPS_PROXY", "htp://user:CANARY@127.0.0.1:1")),
        ("no address", far().env("HTTPS_PROXY", "http://user:CANARY@:x")),
        ("a script", far().env("HTTPS_PROXY", "http://user:CANARY@wpad/x.pac")),
        ("damaged login file", far().env("REGISTRY_AUTH_FILE", site.path("broken.json"))),
        ("damaged login text", far().env("DOCKER_AUTH_CONFIG", "{\"auths\":{\"reg.test\":{\"auth\":\"CANARY")),
    ];
    for (case, run) in ways {
        assert_ne!(assert_silent(site, run, case), Some(0), "{case}");
        failed += 1;
    }
    assert!(failed >= 30, "{failed}");
}

#[test]
fn sec_60_no_secret_is_told_by_a_command_that_succeeds() {
    let image = TestImage::new("octoperf/agent:1").random_layer(1, 100_000);
    let access = Access::Bearer { login: Some(("bob".into(), CANARY.into())), uses: 2 };
    let store = MemoryRegistry::start();
    store.add(&image);
    let options = Options { access, redirect_blobs_to: Some(store.url()), ..Options::default() };
    let release = Release::served_by(options, &[&image]);
    let proxy = Proxy::start(&Setup::default());
    let site = &release.site;
    plant(site, &release.registry.host());
    let private = MemoryRegistry::start();
    let target = private.host();
    for arguments in [
        vec!["releases"],
        vec!["resolve", "release.yaml", "--lock", "lock.json"],
        vec!["pull", "release.yaml", "-o", "release.tar"],
        vec!["inspect", "release.tar"],
        vec!["verify", "release.tar"],
        vec!["push", "release.tar", "--registry", &target, "--dry-run"],
        vec!["push", "release.tar", "--registry", &target],
        vec!["schema"],
    ] {
        let code = assert_silent(site, talkative(site.octobundle(&arguments), &proxy), arguments[0]);
        assert_eq!(code, Some(0), "{arguments:?}");
    }
    let held = image.content().blobs;
    assert!(held.keys().all(|digest| private.blob("octoperf/agent", digest).is_some()));
    assert!(shows_secret(CANARY.as_bytes()) && !found_in(&site.path(""), &["nothing"]).is_empty(), "the search finds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sec_61_addresses_are_shown_without_what_follows_the_question_mark() {
    let site = Site::new();
    let store = Scripted::start(|_, _| Reply::new(403)).await;
    let target = store.url("/bucket/blob");
    let server = Scripted::start(move |_, _| {
        Reply::new(307).header("Location", format!("{target}?X-Amz-Signature=CANARY&se=x"))
    })
    .await;
    site.write("release.yaml", release::manifest(&[format!("{}/a/b:1", server.host())]));
    let failed = site.octobundle(["resolve", "release.yaml", "--retry-for", "0", "-vvv"]).run().assert_code(5);
    assert!(failed.stderr.contains(&store.host()) && !failed.stderr.contains("Amz"), "{}", failed.stderr);

    let refusing =
        Scripted::start(|_, _| Reply::new(302).header("Location", "ftp://u:CANARY@cdn.test/blob?sig=CANARY#CANARY"))
            .await;
    site.write("release.yaml", release::manifest(&[format!("{}/a/b:1", refusing.host())]));
    let failed = site.octobundle(["resolve", "release.yaml", "--retry-for", "0", "-vvv"]).run().assert_code(5);
    assert!(failed.stderr.contains("`ftp://cdn.test/blob`") && !failed.stderr.contains(CANARY), "{}", failed.stderr);
}
