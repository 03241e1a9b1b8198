//! H: what HTTP servers and those between say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use octobundle::content::{ImageSource as _, Lookup};
use octobundle::failure::ErrorClass;
use octobundle::oci::{Digest, MediaType};
use octobundle::progress::Arrival;
use octobundle::registry::{Registry, RegistrySettings};

use crate::kit::{
    Kept, NETWORK, PARTIAL, content, described, manifest, manifest_reply, part_of, pulled, pushed, range_of, registry,
    repository, settings, tag, takes_uploads, with_limits,
};
use crate::support::cli::Site;
use crate::support::images::{Sample as _, TestImage, TestIndex};
use crate::support::memory_registry::{Fault, MemoryRegistry, Options};
use crate::support::release::{Release, manifest as release_manifest};
use crate::support::scripted::{Reply, Scripted};
use crate::support::until;

#[tokio::test]
async fn h_01_every_status_that_passes_is_waited_out_for_every_request() {
    let layer = content(350_000);
    for status in [408, 425, 499, 500, 502, 503, 504, 522] {
        let source = MemoryRegistry::start();
        let image = TestImage::new("a/b:1").random_layer(1, 100_000);
        source.add(&image);
        source.fault(Fault::on("GET", "").times(2).answer(status));
        let at = repository(&source.host());
        let client = registry(settings());
        client.document(&at, &tag()).await.unwrap();
        source.fault(Fault::on("GET", "").times(2).answer(status));
        let blob = image.content().blobs.into_values().next().unwrap();
        assert_eq!(pulled(&client, &at, &described(&blob)).await.unwrap(), blob, "{status}");
        for method in ["POST", "PUT"] {
            source.fault(Fault::on(method, "").times(2).answer(status));
        }
        pushed(&client, &at, &layer).await.unwrap();
        assert_eq!(source.blob("a/b", &Digest::of(&layer).to_string()).unwrap(), layer, "{status}");
    }
}

#[tokio::test]
async fn h_02_an_upload_waits_as_long_as_it_is_asked_to() {
    let layer = content(350_000);
    let limited = AtomicBool::new(true);
    let server = Scripted::start(move |seen, _| match seen.method.as_str() {
        "PUT" if limited.swap(false, Ordering::SeqCst) => Reply::new(429).header("Retry-After", "1"),
        _ => takes_uploads(seen),
    })
    .await;
    pushed(&registry(settings()), &repository(&server.host()), &layer).await.unwrap();
    let seen = server.seen();
    let refused = seen.iter().position(|seen| seen.method == "PUT").unwrap();
    let early = seen[refused + 1..].iter().filter(|later| later.at - seen[refused].at < Duration::from_secs(1)).count();
    assert_eq!(early, 0, "{:?}", server.lines());
}

#[tokio::test]
async fn h_02_a_limit_without_or_with_a_senseless_time_is_met_with_pauses_of_our_own() {
    for stated in [None, Some("-5"), Some("soon"), Some("")] {
        let server = Scripted::start(move |_, before| match (before, stated) {
            (3.., _) => manifest_reply(),
            (_, Some(stated)) => Reply::new(429).header("Retry-After", stated),
            (_, None) => Reply::new(429),
        })
        .await;
        let settings = with_limits(|limits| limits.backoff_start = Duration::from_millis(100));
        registry(settings).document(&repository(&server.host()), &tag()).await.unwrap();
        let seen = server.seen();
        let pauses: Vec<_> = seen.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
        assert_eq!(pauses.len(), 3);
        // The most that a pause may be is the least of them here.
        assert!(pauses.iter().all(|pause| *pause >= Duration::from_millis(4)), "{stated:?}: {pauses:?}");
    }
}

#[tokio::test]
async fn h_03_a_limit_whose_lines_end_in_a_bare_line_feed_is_a_limit() {
    let limited = "HTTP/1.1 429 Too Many Requests\nRetry-After: 1\nContent-Length: 0\n\n";
    let server =
        Scripted::start(move |_, before| if before == 0 { Reply::raw(limited) } else { manifest_reply() }).await;
    registry(settings()).document(&repository(&server.host()), &tag()).await.unwrap();
    let seen = server.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(1), "{:?}", seen[1].at - seen[0].at);
}

#[tokio::test]
async fn h_05_no_length_that_a_server_states_makes_us_hang_or_believe() {
    let layer = content(10_000);
    let body = layer.clone();
    for (length, sound) in [
        ("Content-Length: 10000\r\nContent-Length: 10000", true),
        ("Content-Length: 10000\r\nContent-Length: 9999", false),
        ("Content-Length: -1", false),
        ("Content-Length: 99999999999999999999999", false),
        ("Content-Length: ten", false),
        ("Content-Length: 9999", false),
        ("Content-Length: 10001", false),
    ] {
        let mut answer = format!("HTTP/1.1 200 OK\r\n{length}\r\nConnection: close\r\n\r\n").into_bytes();
        answer.extend_from_slice(&body);
        let server = Scripted::start(move |_, _| Reply::raw(answer.clone()).without_length()).await;
        let settings = RegistrySettings { retry_for: Duration::from_millis(300), ..settings() };
        let begun = Instant::now();
        let got = pulled(&registry(settings), &repository(&server.host()), &described(&layer)).await;
        assert!(begun.elapsed() < Duration::from_secs(60), "{length}: {:?}", begun.elapsed());
        match got {
            Ok(bytes) => assert!(sound && bytes == layer, "{length}"),
            Err(failure) => {
                assert!(!sound, "{length}: {failure}");
                let class = failure.class();
                assert!(matches!(class, ErrorClass::Integrity | ErrorClass::Network), "{length}: {failure}");
            }
        }
    }
}

#[tokio::test]
async fn h_06_a_body_that_only_claims_to_be_compressed_is_taken_as_it_is() {
    let layer = content(10_000);
    for coding in ["gzip", "x-gzip", "br"] {
        let bytes = layer.clone();
        let server = Scripted::start(move |seen, _| part_of(&bytes, seen).header("Content-Encoding", coding)).await;
        let got = pulled(&registry(settings()), &repository(&server.host()), &described(&layer)).await.unwrap();
        assert_eq!(got, layer, "nothing is decoded");
        assert_eq!(server.seen()[0].header("accept-encoding"), Some("identity"));
    }
}

#[tokio::test]
async fn h_06_a_blob_that_was_compressed_on_the_way_is_refused() {
    let layer = vec![b'x'; 10_000];
    let packed = packed(&layer);
    let framed = [format!("{:x}\r\n", packed.len()).as_bytes(), &packed, b"\r\n0\r\n\r\n"].concat();
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answers = [
        (
            Reply::new(200).header("Content-Encoding", "gzip").body(packed),
            "compressed (gzip), though it was asked not to",
        ),
        // Nobody knows its length before it is there.
        (Reply::raw([head.as_bytes(), &framed].concat()), ""),
    ];
    for (answer, said) in answers {
        let server = Scripted::start(move |_, _| answer.clone()).await;
        let settings = RegistrySettings { retry_for: Duration::from_millis(300), ..settings() };
        let failure = pulled(&registry(settings), &repository(&server.host()), &described(&layer)).await.err().unwrap();
        assert!(matches!(failure.class(), ErrorClass::Integrity | ErrorClass::Network), "{failure}");
        assert!(failure.to_string().contains(said), "{failure}");
    }
}

fn packed(plain: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, plain).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn h_06_a_document_that_was_compressed_on_the_way_is_unpacked_and_compared() {
    let (right, other) = (manifest(), b"{}".to_vec());
    for (sent, lookup, taken) in [
        (&right, tag(), true),
        (&right, Lookup::Digest(Digest::of(&right)), true),
        (&right, Lookup::Digest(Digest::of(&other)), false),
        (&vec![b' '; 5_000_000], tag(), false),
    ] {
        let body = packed(sent);
        let server = Scripted::start(move |_, _| {
            Reply::new(200)
                .header("Content-Type", MediaType::OCI_MANIFEST)
                .header("Content-Encoding", "gzip")
                .body(&body[..])
        })
        .await;
        let kept = Arc::new(Kept::default());
        let registry = Registry::new(settings(), kept.clone()).unwrap();
        let fetched = registry.document(&repository(&server.host()), &lookup).await;
        assert_eq!(fetched.as_ref().is_ok_and(|fetched| fetched.document.raw() == &right[..]), taken, "{lookup}");
        assert_eq!(fetched.is_ok(), taken);
        let said = |warning: &&String| warning.contains("compressed (gzip)");
        assert_eq!(kept.warnings().iter().filter(said).count(), usize::from(taken), "{:?}", kept.warnings());
    }
}

#[tokio::test]
async fn h_07_a_part_in_many_pieces_leads_to_the_whole() {
    let layer = content(350_000);
    let bytes = layer.clone();
    let pieces = "--x\r\nContent-Range: bytes 120000-349999/350000\r\n\r\n";
    let server = Scripted::start(move |seen, before| match (before, range_of(seen)) {
        (0, _) => Reply::new(200).body(&bytes[..]).cut_after(120_000),
        (_, Some(_)) => Reply::new(206).header("Content-Type", "multipart/byteranges; boundary=x").body(pieces),
        (_, None) => Reply::new(200).body(&bytes[..]),
    })
    .await;
    assert_eq!(pulled(&registry(settings()), &repository(&server.host()), &described(&layer)).await.unwrap(), layer);
}

#[tokio::test]
async fn h_10_a_portal_in_the_place_of_everything_ends_as_a_network_problem() {
    let page = "<html><head><title>Guest network</title></head></html>";
    let server = Scripted::start(move |_, _| Reply::new(200).header("Content-Type", "text/html").body(page)).await;
    let site = Site::new();
    site.write("release.yaml", release_manifest(&[format!("{}/octoperf/agent:1", server.host())]));
    let run = site.octobundle(["pull", "release.yaml", "-o", "release.tar", "--retry-for", "0"]).spawn();
    let failed = tokio::task::spawn_blocking(|| run.wait()).await.unwrap().assert_code(NETWORK);
    assert!(failed.stderr.contains("`Guest network`") && failed.stderr.contains("help:"), "{}", failed.stderr);
    for left in ["release.tar", "release.tar.partial"] {
        assert!(!site.path(left).exists(), "nothing of it was kept: {left}");
    }
}

#[tokio::test]
async fn h_10_a_portal_in_the_place_of_the_token_server_is_named() {
    let page = "<html><head><title>Guest network</title></head></html>";
    let server = Scripted::start(move |seen, _| match seen.line().as_str() {
        "GET /token" => Reply::new(200).header("Content-Type", "text/html").body(page),
        _ => Reply::new(401)
            .header("WWW-Authenticate", format!(r#"Bearer realm="http://{}/token""#, seen.header("host").unwrap())),
    })
    .await;
    let settings = RegistrySettings { retry_for: Duration::ZERO, ..settings() };
    let failure = registry(settings).document(&repository(&server.host()), &tag()).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Network, "{failure}");
    assert!(failure.to_string().contains("`Guest network`"), "{failure}");
}

#[tokio::test]
async fn h_11_pages_of_proxies_and_firewalls_are_named_with_status_and_server() {
    for (status, class) in
        [(403, ErrorClass::Network), (407, ErrorClass::Access), (413, ErrorClass::Network), (502, ErrorClass::Network)]
    {
        let page = "<html><title>Request blocked</title></html>";
        let server = Scripted::start(move |_, _| {
            Reply::new(status).header("Server", "Wall/7").header("Content-Type", "text/html").body(page)
        })
        .await;
        let settings = RegistrySettings { retry_for: Duration::from_millis(50), ..settings() };
        let failure = pulled(&registry(settings), &repository(&server.host()), &described(b"x")).await.err().unwrap();
        let text = failure.to_string();
        assert_eq!(failure.class(), class, "{text}");
        assert!(text.contains(&status.to_string()) && text.contains(&server.host()), "{text}");
        assert!(failure.help().is_some(), "{text}");
        if status != 407 {
            assert!(text.contains("`Request blocked`") && text.contains("Wall/7"), "{text}");
        }
        assert!(!text.contains('<'), "{text}");
    }
}

#[tokio::test]
async fn h_13_the_document_says_what_it_is_when_the_header_does_not() {
    let plain = Reply::new(200).body(manifest());
    let typed = |kind: &str| plain.clone().header("Content-Type", kind);
    let upper = MediaType::OCI_MANIFEST.to_uppercase();
    let with_charset = format!("{}; charset=utf-8", MediaType::OCI_MANIFEST);
    for reply in [plain.clone(), typed("text/plain"), typed("application/json"), typed(&upper), typed(&with_charset)] {
        let shown = format!("{reply:?}").chars().take(120).collect::<String>();
        let server = Scripted::start(move |_, _| reply.clone()).await;
        let fetched = registry(settings()).document(&repository(&server.host()), &tag()).await;
        assert_eq!(fetched.expect(&shown).document.raw(), &manifest()[..]);
    }
    let server =
        Scripted::start(|_, _| Reply::new(200).header("Content-Type", MediaType::OCI_INDEX).body(manifest())).await;
    let failure = registry(settings()).document(&repository(&server.host()), &tag()).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Integrity, "what can be read in two ways is refused: {failure}");
}

#[tokio::test]
async fn h_15_broken_chunks_are_refused_and_soon() {
    let layer = content(10_000);
    let flood = format!("2710;{}\r\n", "x".repeat(64 * 1024));
    let endless = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-A: b\r\n".repeat(100_000));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for answer in [
        format!("{chunked}zz\r\nnonsense\r\n"),
        format!("{chunked}-1\r\nnonsense\r\n"),
        format!("{chunked}ffffffffffffffffff\r\nnonsense\r\n"),
        format!("{chunked}3\r\nabcXX\r\n0\r\n\r\n"),
        format!("{chunked}{flood}"),
        endless,
    ] {
        let shown: String = answer.chars().take(80).collect();
        let server = Scripted::start(move |_, _| Reply::raw(answer.clone()).without_length()).await;
        let settings = RegistrySettings { retry_for: Duration::from_millis(500), ..settings() };
        let begun = Instant::now();
        let failure =
            pulled(&registry(settings), &repository(&server.host()), &described(&layer)).await.expect_err(&shown);
        assert!(matches!(failure.class(), ErrorClass::Network | ErrorClass::Integrity), "{shown}: {failure}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{shown}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn h_15_sound_chunks_are_as_good_as_a_length() {
    let layer = content(10_000);
    let framed = [b"2710;name=\"value\"\r\n", &layer[..], b"\r\n0\r\nTrailer: x\r\n\r\n"].concat();
    let answer = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &framed[..]].concat();
    let server = Scripted::start(move |_, _| Reply::raw(answer.clone())).await;
    assert_eq!(pulled(&registry(settings()), &repository(&server.host()), &described(&layer)).await.unwrap(), layer);
}

#[tokio::test]
async fn h_16_uploads_do_not_hang_on_100_continue() {
    let layer = content(350_000);
    for interim in ["", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"] {
        let created = format!("{interim}HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        let server = Scripted::start(move |seen, _| match seen.method.as_str() {
            // As servers do that cannot keep to an expectation.
            _ if seen.header("expect").is_some() => Reply::new(417),
            "PUT" => Reply::raw(created.clone()),
            _ => takes_uploads(seen),
        })
        .await;
        let arrival = pushed(&registry(settings()), &repository(&server.host()), &layer).await.unwrap();
        assert_eq!(arrival, Arrival::Moved);
        assert_eq!(server.count("PUT", ""), 1, "{interim}");
    }
}

fn slow(bytes_per_second: u64) -> Options {
    Options { bytes_per_second: Some(bytes_per_second), ..Options::default() }
}

#[test]
fn h_17_a_tag_that_moves_during_the_run_does_not_mix_two_images() {
    let image = TestImage::new("octoperf/agent:1").random_layer(1, 400_000);
    let release = Release::served_by(slow(400_000), &[&image]);
    let run = release.pull("release.tar").spawn();
    until("a layer is on its way", || release.registry.blob_bytes_sent() > 50_000);
    release.registry.add(&TestImage::new("octoperf/agent:1").random_layer(2, 400_000));
    run.wait().assert_ok();
    release.site.octobundle(["verify", "release.tar"]).run().assert_ok();
    let inspected = release.site.octobundle(["inspect", "release.tar", "--json"]).run().assert_ok().stdout;
    assert!(inspected.contains(&image.content().root().digest), "{inspected}");
}

#[test]
fn h_18_what_is_deleted_during_the_run_costs_only_its_image() {
    let images = ["agent", "jmeter"]
        .map(|name| TestImage::new(&format!("octoperf/{name}:1")).random_layer(name.len() as u64, 300_000));
    let release = Release::served_by(slow(300_000), &[&images[0], &images[1]]);
    let layers = images
        .each_ref()
        .map(|image| image.content().blobs.into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0);
    let begun = |layer: &String| {
        release.registry.requests().iter().any(|seen| seen.path.ends_with(layer) && seen.bytes_sent > 10_000)
    };
    let run = release.pull("release.tar").args(["--jobs", "1"]).spawn();
    until("a layer is on its way", || layers.iter().any(begun));
    let gone = usize::from(begun(&layers[0]));
    release.registry.remove_blob(&layers[gone]);
    let part = run.wait().assert_code(PARTIAL);
    assert!(part.stderr.contains(images[gone].name()) && part.stderr.contains(&layers[gone]), "{}", part.stderr);
    release.registry.add(&images[gone]);
    release.pull("release.tar").run().assert_ok();
    release.site.octobundle(["verify", "release.tar"]).run().assert_ok();
}

#[test]
fn h_18_a_platforms_manifest_that_is_gone_is_named_with_its_image() {
    let index = TestIndex::new("octoperf/agent:1").image(TestImage::new("x:1").layer(b"one"));
    let release = Release::of(&[&index, &TestImage::new("octoperf/jmeter:1").layer(b"two")]);
    let child = index.content().documents[0].digest.clone();
    release.registry.fault(Fault::on("GET", &child).times(u32::MAX).answer(404));
    let failed = release.pull("release.tar").run();
    assert!(failed.stderr.contains("octoperf/agent") && failed.stderr.contains(&child), "{}", failed.stderr);
    assert_ne!(failed.code, Some(0));
}

#[tokio::test]
async fn h_19_what_a_server_sends_behind_an_answer_belongs_to_no_answer() {
    let layer = content(350_000);
    let bytes = layer.clone();
    let server = Scripted::start(move |seen, _| {
        let reply = if seen.target.contains("/manifests/") { manifest_reply() } else { part_of(&bytes, seen) };
        reply.then("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
    })
    .await;
    let (registry, at) = (registry(settings()), repository(&server.host()));
    for _ in 0..5 {
        assert_eq!(registry.document(&at, &tag()).await.unwrap().document.raw(), &manifest()[..]);
        assert_eq!(pulled(&registry, &at, &described(&layer)).await.unwrap(), layer);
    }
}

#[tokio::test]
async fn h_20_what_a_registry_warns_of_is_passed_on_once() {
    let server = Scripted::start(|_, _| {
        manifest_reply()
            .header("Warning", "299 - \"this registry moves to \\\"new.corp\\\"\"")
            .header("Warning", "199 - \"a cache's own business\"")
    })
    .await;
    let kept = Arc::new(Kept::default());
    let (registry, at) = (Registry::new(settings(), kept.clone()).unwrap(), repository(&server.host()));
    for _ in 0..3 {
        registry.document(&at, &tag()).await.unwrap();
    }
    let warnings = kept.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(&server.host()) && warnings[0].contains("moves to \"new.corp\""), "{warnings:?}");
}

#[tokio::test]
async fn h_20_a_registry_that_warns_of_everything_is_cut_short() {
    let count = AtomicUsize::new(0);
    let server = Scripted::start(move |_, _| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        manifest_reply().header("Warning", format!("299 - \"{number} {}\"", "x".repeat(5_000)))
    })
    .await;
    let kept = Arc::new(Kept::default());
    let (registry, at) = (Registry::new(settings(), kept.clone()).unwrap(), repository(&server.host()));
    for _ in 0..30 {
        registry.document(&at, &tag()).await.unwrap();
    }
    let warnings = kept.warnings();
    assert!(warnings.len() <= 10, "{}", warnings.len());
    assert!(warnings.iter().all(|text| text.len() < 500), "{warnings:?}");
}
