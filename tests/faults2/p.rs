//! Proxies on the way: the real binary through proxies of the tests' own, and what a client cannot see of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use octobundle::content::{ImageSource as _, Lookup};
use octobundle::failure::ErrorClass;
use octobundle::oci::Digest;
use octobundle::registry::{Limits, ProxyRules, ProxyTexts, Registry, RegistrySettings, TrustedCertificates};

use crate::client::{
    Kept, content, described, manifest, manifest_reply, part_of, pulled, pushed, registry, repository, settings, shown,
    tag, takes_uploads,
};
use crate::proxy::{Proxy, Setup};
use crate::scripted::{Reply, Scripted, Seen};
use crate::support::authority::Authority;
use crate::support::cli::{Output, Run, Site};
use crate::support::images::TestImage;
use crate::support::memory_registry::MemoryRegistry;
use crate::support::release;

const INPUT: i32 = 3;
const ACCESS: i32 = 4;
const NETWORK: i32 = 5;

/// A registry that no name leads to but `reg.test`, and a user who wants something from there.
struct Far {
    site: Site,
    registry: MemoryRegistry,
}

impl Far {
    fn new() -> Self {
        let (site, registry) = (Site::new(), MemoryRegistry::start());
        let image = TestImage::new("octoperf/agent:1").random_layer(1, 300_000);
        registry.add(&image);
        site.write("release.yaml", release::manifest(&["reg.test/octoperf/agent:1".to_owned()]));
        Self { site, registry }
    }

    fn address(&self) -> SocketAddr {
        self.registry.host().parse().unwrap()
    }

    fn pull(&self) -> Run {
        self.site.octobundle(["pull", "release.yaml", "-o", "release.tar", "--retry-for", "0"])
    }

    /// The bundle is there and whole.
    #[track_caller]
    fn assert_pulled(&self, output: Output) {
        output.assert_ok();
        self.site.octobundle(["verify", "release.tar"]).run().assert_ok();
        std::fs::remove_file(self.site.path("release.tar")).unwrap();
    }
}

#[test]
fn p_01_a_proxys_password_opens_it_for_http_and_https() {
    let (far, authority) = (Far::new(), Authority::new());
    far.site.write("ca.pem", authority.certificate());
    let end = Proxy::tls_end(&authority.server(&["reg.test"]), far.address());
    for (to, flags) in [(far.address(), ["--plain-http", "reg.test"]), (end.address(), ["--ca", "ca.pem"])] {
        let login = Some(("user", "p@ss:wörd"));
        let proxy = Proxy::start(&Setup { hosts: vec![("reg.test", to)], login, ..Setup::default() });
        let address = format!("http://user:p%40ss%3Aw%C3%B6rd@{}", proxy.host());
        far.assert_pulled(far.pull().args(flags).env("ALL_PROXY", &address).run());
        assert!(!proxy.asked().is_empty(), "nothing went another way");

        let wrong = format!("http://user:CANARY@{}", proxy.host());
        let failed = far.pull().args(flags).env("ALL_PROXY", &wrong).run().assert_code(ACCESS);
        assert!(failed.stderr.contains("HTTP 407") && failed.stderr.contains(&proxy.host()), "{}", failed.stderr);
        assert!(!failed.stderr.contains("CANARY"), "{}", failed.stderr);
    }
}

#[test]
fn p_01_a_proxy_that_takes_ntlm_alone_leads_to_a_relay() {
    let far = Far::new();
    let hosts = vec![("reg.test", far.address())];
    let setup = Setup { hosts, login: Some(("user", "x")), scheme: Some("NTLM"), ..Setup::default() };
    let proxy = Proxy::start(&setup);
    let failed = far.pull().env("HTTPS_PROXY", format!("http://{}", proxy.host())).run().assert_code(ACCESS);
    assert!(failed.stderr.contains("NTLM") && failed.stderr.contains("relay"), "{}", failed.stderr);
    assert_eq!(proxy.asked().len(), 1, "asking again would not help: {:?}", proxy.asked());
}

#[test]
fn p_02_a_proxy_that_reads_tls_is_trusted_by_flag_or_variable_and_named_without() {
    let (far, authority) = (Far::new(), Authority::new());
    far.site.write("ca.pem", authority.certificate());
    let hosts = vec![("reg.test", far.address())];
    let proxy = Proxy::start(&Setup { hosts, reads_tls: Some(&authority), ..Setup::default() });
    let pull = || far.pull().env("HTTPS_PROXY", format!("http://{}", proxy.host()));
    far.assert_pulled(pull().args(["--ca", "ca.pem"]).run());
    far.assert_pulled(pull().env("SSL_CERT_FILE", far.site.path("ca.pem")).run());

    let failed = pull().run().assert_code(NETWORK);
    for said in ["`reg.test`", "octobundle tests", "--ca FILE", "SSL_CERT_FILE", "install it"] {
        assert!(failed.stderr.contains(said), "{said}: {}", failed.stderr);
    }
}

#[test]
fn p_03_a_host_that_is_excepted_is_not_asked_for_at_the_proxy() {
    let far = Far::new();
    let proxy = Proxy::start(&Setup { hosts: vec![("reg.test", far.address())], ..Setup::default() });
    let pull = |except: &str| {
        let run = far.pull().env("http_proxy", format!("http://{}", proxy.host())).env("NO_PROXY", except);
        run.args(["--plain-http", "reg.test"]).run()
    };
    for except in ["reg.test", ".test", "*.test", "other, reg.test:80", "*"] {
        // Nobody else knows the name.
        pull(except).assert_code(NETWORK);
        assert_eq!(proxy.asked().len(), 0, "{except}");
    }
    for except in ["eg.test", ".reg.test", "reg.test:443", "10.0.0.0/8"] {
        far.assert_pulled(pull(except));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p_04_an_answer_that_a_proxy_holds_back_is_waited_for() {
    let layer = content();
    let bytes = layer.clone();
    let server = Scripted::start(move |seen, _| {
        // Longer than a connection may stand still once bytes flow.
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(2_500)));
        part_of(&bytes, seen)
    })
    .await;
    let mut patient = settings();
    patient.limits.stall = Duration::from_secs(1);
    assert_eq!(pulled(&registry(patient), &repository(&server), &described(&layer)).await.unwrap(), layer);
    assert_eq!(server.seen().len(), 1, "nothing is asked for twice");

    let limits = Limits { headers: Duration::from_millis(100), ..settings().limits };
    let hasty = RegistrySettings { limits, retry_for: Duration::from_millis(200), ..settings() };
    let mute = Scripted::start(|_, _| Reply::mute()).await;
    let failure = registry(hasty).document(&repository(&mute), &tag()).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Network);
    assert!(failure.to_string().contains(&mute.host()) && failure.to_string().contains("manifest"), "{failure}");
}

#[tokio::test]
async fn p_05_a_proxy_that_cuts_all_transfers_at_one_mark_is_outlived() {
    let layer = content();
    let bytes = layer.clone();
    let server = Scripted::start(move |seen, _| part_of(&bytes, seen)).await;
    let proxy = Proxy::start(&Setup {
        hosts: vec![("reg.test", server.address)],
        cuts_after: Some(50_000),
        ..Setup::default()
    });
    let registry = registry(through(&proxy.host()));
    let at = "reg.test/a/b".parse().unwrap();
    assert_eq!(pulled(&registry, &at, &described(&layer)).await.unwrap(), layer);
    let begun: Vec<u64> = server
        .seen()
        .iter()
        .map(|seen| seen.header("range").map_or(0, |range| range[6..].split('-').next().unwrap().parse().unwrap()))
        .collect();
    assert!(begun.len() <= 9, "{begun:?}");
    assert!(begun.windows(2).all(|pair| pair[1] > pair[0] + 45_000), "nothing comes twice: {begun:?}");
}

#[tokio::test]
async fn p_05_after_two_cuts_at_one_mark_pieces_below_it_are_asked_for() {
    const MARK: u64 = 1_500_000;
    let layer: Vec<u8> = (0..8_000_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    for reads_tls in [false, true] {
        let (bytes, authority) = (layer.clone(), Authority::new());
        let server = Scripted::start(move |seen, _| part_of(&bytes, seen)).await;
        let proxy = Proxy::start(&Setup {
            hosts: vec![("reg.test", server.address)],
            // TLS has bytes of its own.
            cuts_after: Some(MARK),
            reads_tls: reads_tls.then_some(&authority),
            ..Setup::default()
        });
        let mut settings = through(&proxy.host());
        if reads_tls {
            settings.plain_http.clear();
            let pem = authority.certificate().into_bytes();
            settings.trusted.push(TrustedCertificates { origin: "own.pem".into(), pem });
        }
        let kept = Arc::new(Kept::default());
        let registry = Registry::new(settings, kept.clone()).unwrap();
        let blob = described(&layer);
        assert!(pulled(&registry, &"reg.test/a/b".parse().unwrap(), &blob).await.unwrap() == layer);
        let asked: Vec<(u64, u64)> = server.seen().iter().map(|seen| range_of(seen, blob.size)).collect();
        assert_eq!(kept.text().matches("Waiting").count(), 2, "two are cut and no more: {asked:?}");
        let pieces = &asked[2..];
        assert!(pieces.iter().all(|(first, last)| last - first < MARK), "{asked:?}");
        let follow = pieces.windows(2).all(|pair| pair[1].0 == pair[0].1 + 1);
        assert!(follow && pieces.last().unwrap().1 == blob.size - 1, "{asked:?}");
    }
}

/// The first and the last byte that were asked for.
fn range_of(seen: &Seen, size: u64) -> (u64, u64) {
    let Some(range) = seen.header("range") else { return (0, size - 1) };
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    (first.parse().unwrap(), last.parse().unwrap())
}

/// Settings that send all through a plain HTTP proxy.
fn through(proxy: &str) -> RegistrySettings {
    let address = format!("http://{proxy}");
    let texts = ProxyTexts { all: Some(&address), ..ProxyTexts::default() };
    let mut settings = RegistrySettings { proxy: ProxyRules::new(texts).unwrap(), ..settings() };
    settings.plain_http.insert("reg.test".parse().unwrap());
    settings
}

#[tokio::test]
async fn p_06_a_not_found_from_a_proxys_cache_is_asked_for_again_past_it() {
    let layer = content();
    let bytes = layer.clone();
    let proxy = Scripted::start(move |seen, _| match seen.header("cache-control") {
        None => Reply::new(404).header("Age", "7200").header("X-Cache", "HIT from proxy"),
        Some(_) if seen.target.contains("/manifests/") => manifest_reply(),
        Some(_) => part_of(&bytes, seen),
    })
    .await;
    let (registry, at) = (registry(through(&proxy.host())), "reg.test/a/b".parse().unwrap());
    registry.document(&at, &tag()).await.unwrap();
    assert_eq!(pulled(&registry, &at, &described(&layer)).await.unwrap(), layer);
    assert_eq!(proxy.seen().len(), 4);
}

#[tokio::test]
async fn p_06_what_is_not_there_past_the_cache_is_not_there() {
    let proxy = Scripted::start(|_, _| Reply::new(404)).await;
    let (proxied, at) = (registry(through(&proxy.host())), "reg.test/a/b".parse().unwrap());
    let failure = proxied.document(&at, &tag()).await.err().unwrap();
    assert_eq!((failure.class(), proxy.seen().len()), (ErrorClass::NotFound, 2));
    // Without a proxy nobody keeps answers, and one question is enough.
    let failure = registry(settings()).document(&repository(&proxy), &tag()).await.err().unwrap();
    assert_eq!((failure.class(), proxy.seen().len()), (ErrorClass::NotFound, 3));
}

#[tokio::test]
async fn p_06_a_manifest_that_stays_stale_names_a_cache() {
    let proxy = Scripted::start(|_, _| manifest_reply().header("Age", "7200")).await;
    let wanted = Lookup::Digest(Digest::of(b"another"));
    let failure =
        registry(through(&proxy.host())).document(&"reg.test/a/b".parse().unwrap(), &wanted).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Integrity);
    assert!(shown(&failure).contains("cache"), "{}", shown(&failure));
}

#[tokio::test]
async fn p_07_a_proxy_that_lets_no_head_pass_costs_an_upload_and_no_more() {
    let page = || Reply::new(403).header("Content-Type", "text/html").body("<html><title>Method blocked</title>");
    for refusal in [Reply::new(405), Reply::new(403), page(), Reply::new(400), Reply::new(501)] {
        let server = Scripted::start(move |seen, _| match seen.method.as_str() {
            "HEAD" => refusal.clone(),
            "GET" => manifest_reply(),
            _ => takes_uploads(seen, "/u/1"),
        })
        .await;
        let (registry, at, layer) = (registry(settings()), repository(&server), content());
        let digest = registry.document_digest(&at, &tag()).await.unwrap();
        assert_eq!(digest, Some(Digest::of(&manifest())), "{:?}", server.lines());
        assert!(!registry.has_blob(&at, &described(&layer)).await.unwrap());
        pushed(&registry, &at, &layer).await.unwrap();
        assert_eq!(server.count("PATCH", ""), 0, "two methods are enough for an upload");
    }
}

#[tokio::test]
async fn p_07_a_proxy_that_refuses_ranges_gives_the_whole() {
    for refusal in [403, 400, 416, 501] {
        let layer = content();
        let bytes = layer.clone();
        let server = Scripted::start(move |seen, before| match (before, seen.header("range")) {
            (0, None) => Reply::new(200).body(&bytes[..]).cut_after(120_000),
            (_, Some(_)) => Reply::new(refusal),
            (_, None) => Reply::new(200).body(&bytes[..]),
        })
        .await;
        let got = pulled(&registry(settings()), &repository(&server), &described(&layer)).await;
        assert_eq!(got.unwrap_or_else(|failure| panic!("{refusal}: {failure}")), layer);
    }
}

#[tokio::test]
async fn p_07_what_we_call_ourselves_can_be_set() {
    let server = Scripted::start(|seen, _| match seen.header("user-agent") {
        Some("curl/8.0") => manifest_reply(),
        _ => Reply::new(403),
    })
    .await;
    let named = RegistrySettings { user_agent: "curl/8.0".into(), ..settings() };
    registry(named).document(&repository(&server), &tag()).await.unwrap();
}

#[test]
fn p_08_socks_is_spoken_and_names_are_resolved_where_they_are_asked_to_be() {
    let far = Far::new();
    let hosts = vec![("reg.test", far.address()), ("10.1.2.3", far.address())];
    let proxy = Proxy::socks(&Setup { hosts, ..Setup::default() });
    let pull = |scheme: &str| {
        let run = far.pull().env("ALL_PROXY", format!("{scheme}://{}", proxy.host()));
        run.args(["--plain-http", "reg.test", "--plain-http", "10.1.2.3"]).run()
    };
    far.assert_pulled(pull("socks5h"));
    assert!(proxy.asked().iter().all(|asked| asked.target == "reg.test:80"), "{:?}", proxy.asked());

    // Here nobody knows the name.
    let before = proxy.asked().len();
    let failed = pull("socks5").assert_code(NETWORK);
    assert!(failed.stderr.contains("reg.test"), "{}", failed.stderr);
    assert_eq!(proxy.asked().len(), before);
    far.site.write("release.yaml", release::manifest(&["10.1.2.3/octoperf/agent:1".to_owned()]));
    far.assert_pulled(pull("socks5"));
}

#[test]
fn p_08_a_socks_proxy_gets_its_login() {
    let far = Far::new();
    let login = Some(("user", "CANARY-socks"));
    let proxy = Proxy::socks(&Setup { hosts: vec![("reg.test", far.address())], login, ..Setup::default() });
    let pull = |login: &str| {
        let run = far.pull().env("ALL_PROXY", format!("socks5h://{login}{}", proxy.host()));
        run.args(["--plain-http", "reg.test", "-vvv"]).run()
    };
    far.assert_pulled(pull("user:CANARY-socks@"));
    for wrong in ["", "user:CANARY-other@"] {
        let failed = pull(wrong).assert_code(NETWORK);
        assert!(failed.stderr.contains(&proxy.host()) && !failed.stderr.contains("CANARY"), "{}", failed.stderr);
    }
}

#[test]
fn p_08_a_proxy_is_spoken_to_over_tls() {
    let (far, authority) = (Far::new(), Authority::new());
    far.site.write("ca.pem", authority.certificate());
    let end = Proxy::tls_end(&authority.server(&["reg.test"]), far.address());
    for (to, flags) in [(far.address(), &["--plain-http", "reg.test"][..]), (end.address(), &[])] {
        let login = Some(("user", "CANARY-proxy"));
        let inside = Proxy::start(&Setup { hosts: vec![("reg.test", to)], login, ..Setup::default() });
        let proxy = Proxy::tls_end(&authority.server(&["127.0.0.1"]), inside.address());
        let pull = || far.pull().args(flags).env("ALL_PROXY", format!("https://user:CANARY-proxy@{}", proxy.host()));
        far.assert_pulled(pull().args(["--ca", "ca.pem"]).run());
        assert!(!inside.asked().is_empty(), "nothing went another way");
        let failed = pull().run().assert_code(NETWORK);
        assert!(!failed.stderr.contains("CANARY"), "{}", failed.stderr);
    }
}

#[test]
fn sec_23_a_proxy_is_checked_on_the_way_to_a_registry_that_is_not() {
    let (far, of_proxy) = (Far::new(), Authority::new());
    far.site.write("proxy-ca.pem", of_proxy.certificate());
    let end = Proxy::tls_end(&Authority::new().server(&["reg.test"]), far.address());
    let login = Some(("user", "CANARY-proxy"));
    let inside = Proxy::start(&Setup { hosts: vec![("reg.test", end.address())], login, ..Setup::default() });
    let proxy = Proxy::tls_end(&of_proxy.server(&["127.0.0.1"]), inside.address());
    let pull = || {
        let run = far.pull().args(["--insecure-tls", "reg.test"]);
        run.env("ALL_PROXY", format!("https://user:CANARY-proxy@{}", proxy.host()))
    };
    let failed = pull().run().assert_code(NETWORK);
    assert!(inside.asked().is_empty(), "nobody was shown the password");
    let said = format!("the certificate of `{}` is signed by", proxy.host());
    assert!(failed.stderr.contains(&said) && !failed.stderr.contains("CANARY"), "{}", failed.stderr);
    far.assert_pulled(pull().args(["--ca", "proxy-ca.pem"]).run());
}

#[test]
fn p_08_the_address_of_a_pac_file_is_no_proxy() {
    let far = Far::new();
    for address in ["http://wpad.corp/proxy.pac", "http://wpad/wpad.dat", "file:///etc/proxy.pac"] {
        let failed = far.pull().env("HTTPS_PROXY", address).run().assert_code(INPUT);
        assert!(failed.stderr.contains("PAC"), "{}", failed.stderr);
    }
}

#[tokio::test]
async fn p_09_a_scanners_page_is_followed_by_the_file() {
    let layer = content();
    let (bytes, pages) = (layer.clone(), AtomicUsize::new(0));
    let page = || Reply::new(200).header("Content-Type", "text/html").body("<html><title>Being scanned</title></html>");
    let server = Scripted::start(move |seen, _| {
        // Two pages before each of the two.
        if pages.fetch_add(1, Ordering::SeqCst) % 3 < 2 {
            page()
        } else if seen.target.contains("/manifests/") {
            manifest_reply()
        } else {
            part_of(&bytes, seen)
        }
    })
    .await;
    let (registry, at) = (registry(settings()), repository(&server));
    registry.document(&at, &tag()).await.unwrap();
    assert_eq!(pulled(&registry, &at, &described(&layer)).await.unwrap(), layer);
    assert_eq!(server.seen().len(), 6);
}
