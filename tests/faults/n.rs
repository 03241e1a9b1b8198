//! N: what networks do.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use octobundle::content::{ImageSource as _, Lookup};
use octobundle::failure::ErrorClass;
use octobundle::progress::Arrival;
use octobundle::registry::{RegistrySettings, TrustedCertificates};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::kit::{
    content, described, manifest, manifest_reply, part_of, pulled, pulled_counting, pushed, range_of, registry,
    repository, settings, tag, takes_uploads, with_limits,
};
use crate::support::authority::Authority;
use crate::support::cli::{Output, Run, binary};
use crate::support::images::{Sample as _, TestImage};
use crate::support::memory_registry::{Fault, MemoryRegistry, Options, Request};
use crate::support::release::Release;
use crate::support::scripted::{Reply, Scripted};
use crate::support::{real, until};

const MEBIBYTE: u32 = 1024 * 1024;

#[tokio::test]
async fn n_01_a_connection_that_is_reset_is_continued_where_it_ended() {
    let layer = content(2 * MEBIBYTE);
    let last = u64::try_from(layer.len()).unwrap() - 1;
    for cut in [0, 1, u64::from(MEBIBYTE), last] {
        let (bytes, read) = (layer.clone(), Arc::new(AtomicU64::new(0)));
        let counted = read.clone();
        let server = Scripted::start(move |seen, before| {
            let reply = part_of(&bytes, seen);
            if before == 0 { reply.reset_after(usize::try_from(cut).unwrap(), &counted, cut) } else { reply }
        })
        .await;
        let (registry, at) = (registry(settings()), repository(&server.host()));
        assert_eq!(pulled_counting(&registry, &at, &described(&layer), &read).await.unwrap(), layer, "{cut}");
        let ranges: Vec<_> = server.seen().iter().map(range_of).collect();
        let rest = (cut > 0).then(|| (usize::try_from(cut).unwrap(), layer.len() - 1));
        assert_eq!(ranges, [None, rest], "no byte came twice");
    }
}

#[tokio::test]
async fn n_01_an_upload_that_is_reset_is_continued_in_parts() {
    let layer = content(350_000);
    let digest = described(&layer).digest.to_string();
    for cut in [1, 200_000] {
        let server = MemoryRegistry::start();
        server.fault(Fault::on("PUT", "/blobs/uploads/").cut(cut));
        server.fault(Fault::on("PATCH", "/blobs/uploads/").after(1).cut(50_000));
        let arrival = pushed(&registry(settings()), &repository(&server.host()), &layer).await.unwrap();
        assert_eq!(arrival, Arrival::Moved);
        assert_eq!(server.blob("a/b", &digest).unwrap(), layer, "{cut}");
        // What came before a break is kept, of the whole as of a part.
        assert_eq!(server.blob_bytes_received(), 350_000, "{:?}", server.requests());
        assert_eq!(server.requests().iter().filter(|request| request.method == "POST").count(), 1, "one upload");
    }
}

#[tokio::test]
async fn n_03_a_body_without_a_length_that_is_cut_is_noticed_and_continued() {
    let layer = content(350_000);
    let bytes = layer.clone();
    let server = Scripted::start(move |seen, before| match before {
        0 => Reply::new(200).without_length().body(&bytes[..120_000]),
        _ => part_of(&bytes, seen),
    })
    .await;
    let (registry, at) = (registry(settings()), repository(&server.host()));
    assert_eq!(pulled(&registry, &at, &described(&layer)).await.unwrap(), layer);
    assert_eq!(server.seen().iter().map(range_of).collect::<Vec<_>>(), [None, Some((120_000, 349_999))]);
}

#[tokio::test]
async fn n_03_half_a_manifest_without_a_length_is_asked_for_again() {
    let half = || manifest_reply().body(&manifest()[..100]).without_length();
    for lookup in [tag(), Lookup::Digest(described(&manifest()).digest)] {
        let server = Scripted::start(move |_, before| if before == 0 { half() } else { manifest_reply() }).await;
        let registry = registry(settings());
        let fetched = registry.document(&repository(&server.host()), &lookup).await.unwrap();
        assert_eq!(fetched.document.raw(), &manifest()[..]);
        assert_eq!(server.seen().len(), 2);
    }
}

#[tokio::test]
async fn n_04_a_server_that_takes_the_request_and_says_nothing_is_named_with_what_was_asked() {
    let server = Scripted::start(|_, _| Reply::mute()).await;
    let mut settings = with_limits(|limits| limits.headers = Duration::from_millis(100));
    settings.retry_for = Duration::from_millis(300);
    let (registry, at, blob) = (registry(settings), repository(&server.host()), described(b"x"));
    let failure = pulled(&registry, &at, &blob).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Network);
    let text = failure.to_string();
    assert!(text.contains(&server.host()) && text.contains(&blob.digest.to_string()), "{text}");
    assert!(server.seen().len() > 1, "it was asked again");
}

#[tokio::test]
async fn n_04_a_silence_that_takes_all_the_time_allowed_is_the_last() {
    let server = Scripted::start(|_, _| Reply::mute()).await;
    let mut settings = with_limits(|limits| limits.headers = Duration::from_secs(1));
    settings.retry_for = Duration::from_millis(500);
    let (registry, at, blob) = (registry(settings), repository(&server.host()), described(b"x"));
    let failure = pulled(&registry, &at, &blob).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Network);
    assert_eq!(server.seen().len(), 1, "the time was over when the first request was given up");
}

#[tokio::test]
async fn n_05_a_manifest_that_drips_is_asked_for_on_other_connections_and_then_believed() {
    let server = Scripted::start(|_, _| manifest_reply().trickle(8, Duration::from_millis(20))).await;
    let settings = with_limits(|limits| {
        limits.stall = Duration::from_secs(30);
        limits.slow_window = Duration::from_millis(60);
        limits.slow_bytes = 100_000;
    });
    let (registry, at) = (registry(settings), repository(&server.host()));
    let fetched = registry.document(&at, &tag()).await.unwrap();
    assert_eq!(fetched.document.raw(), &manifest()[..]);
    assert_eq!(server.seen().len(), 4);
}

/// A registry whose first `PUT` is never read beyond its headers.
async fn that_stops_reading() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = lines.clone();
    let puts = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer_uploads(stream, kept.clone(), puts.clone()));
        }
    });
    (host, lines)
}

async fn answer_uploads(mut stream: TcpStream, lines: Arc<Mutex<Vec<String>>>, puts: Arc<AtomicUsize>) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let head = read_head(&mut stream, &mut read).await?;
        let line = head.lines().next()?.to_owned();
        lines.lock().unwrap().push(line.clone());
        let answer = match line.split(' ').next()? {
            "POST" => "202 Accepted\r\nLocation: /u/1",
            "PUT" if puts.fetch_add(1, Ordering::SeqCst) == 0 => {
                std::future::pending::<()>().await;
                return None;
            }
            "PUT" => {
                let length = head.to_lowercase().split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
                while read.len() < length {
                    more(&mut stream, &mut read).await?;
                }
                read.clear();
                "201 Created"
            }
            "DELETE" => "200 OK",
            _ => "404 Not Found",
        };
        let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn read_head(stream: &mut (impl tokio::io::AsyncRead + Unpin), read: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            let head = std::mem::replace(read, rest);
            return String::from_utf8(head).ok();
        }
        more(stream, read).await?;
    }
}

async fn more(stream: &mut (impl tokio::io::AsyncRead + Unpin), read: &mut Vec<u8>) -> Option<()> {
    stream.read_buf(read).await.ok().filter(|bytes| *bytes > 0).map(drop)
}

#[tokio::test]
async fn n_04_an_upload_that_nobody_takes_is_begun_again() {
    // More than the buffers of both ends together.
    let layer = content(32 * MEBIBYTE);
    let (host, lines) = that_stops_reading().await;
    let mut settings = settings();
    (settings.limits.upload_part, settings.limits.least_part) = (u64::MAX, u64::MAX);
    let begun = Instant::now();
    assert_eq!(pushed(&registry(settings), &repository(&host), &layer).await.unwrap(), Arrival::Moved);
    let puts = lines.lock().unwrap().iter().filter(|line| line.starts_with("PUT")).count();
    assert_eq!(puts, 2, "{:?}", lines.lock().unwrap());
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn n_04_a_part_whose_answer_never_comes_is_asked_about_soon() {
    let layer = content(350_000);
    let arrived = AtomicUsize::new(0);
    let server = Scripted::start(move |seen, _| {
        let standing = |bytes: usize| format!("0-{}", bytes.saturating_sub(1));
        match seen.method.as_str() {
            "PATCH" => match arrived.fetch_add(seen.body.len(), Ordering::SeqCst) {
                0 => Reply::mute(),
                before => {
                    let range = standing(before + seen.body.len());
                    Reply::new(202).header("Location", "/u/1").header("Range", range)
                }
            },
            "GET" => Reply::new(204).header("Range", standing(arrived.load(Ordering::SeqCst))),
            "PUT" if !seen.body.is_empty() => Reply::new(413),
            _ => takes_uploads(seen),
        }
    })
    .await;
    // Time to store a blob is for blobs; of this part a thin line may hold all for 12 s.
    let mut settings = with_limits(|limits| limits.headers = Duration::from_secs(120));
    settings.retry_for = Duration::from_secs(60);
    let begun = Instant::now();
    assert_eq!(pushed(&registry(settings), &repository(&server.host()), &layer).await.unwrap(), Arrival::Moved);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let parts: usize = server.seen().iter().filter(|seen| seen.method == "PATCH").map(|seen| seen.body.len()).sum();
    assert_eq!(parts, layer.len(), "what had arrived is not sent again");
}

#[tokio::test]
async fn h_01_an_error_at_the_last_request_of_an_upload_sends_no_part_again() {
    let layer = content(350_000);
    let (arrived, closed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let server = Scripted::start(move |seen, _| {
        let with_range = |reply: Reply, bytes: usize| reply.header("Range", format!("0-{}", bytes.saturating_sub(1)));
        match seen.method.as_str() {
            "PATCH" => {
                let bytes = arrived.fetch_add(seen.body.len(), Ordering::SeqCst) + seen.body.len();
                with_range(Reply::new(202).header("Location", "/u/1"), bytes)
            }
            "GET" => with_range(Reply::new(204), arrived.load(Ordering::SeqCst)),
            "PUT" if !seen.body.is_empty() => Reply::new(413),
            "PUT" if closed.fetch_add(1, Ordering::SeqCst) < 2 => Reply::new(502),
            _ => takes_uploads(seen),
        }
    })
    .await;
    assert_eq!(pushed(&registry(settings()), &repository(&server.host()), &layer).await.unwrap(), Arrival::Moved);
    let parts: usize = server.seen().iter().filter(|seen| seen.method == "PATCH").map(|seen| seen.body.len()).sum();
    assert_eq!(parts, layer.len(), "the parts are sent once");
}

#[tokio::test]
async fn n_05_a_trickle_is_replaced_three_times_and_then_believed() {
    let layer = content(20_000);
    let bytes = layer.clone();
    let server = Scripted::start(move |seen, _| part_of(&bytes, seen).trickle(50, Duration::from_millis(5))).await;
    let settings = with_limits(|limits| {
        limits.slow_window = Duration::from_millis(60);
        limits.slow_bytes = 100_000;
    });
    let (registry, at) = (registry(settings), repository(&server.host()));
    assert_eq!(pulled(&registry, &at, &described(&layer)).await.unwrap(), layer);
    let starts: Vec<_> = server.seen().iter().map(|seen| range_of(seen).map_or(0, |range| range.0)).collect();
    assert_eq!(starts.len(), 4, "{starts:?}");
    assert!(starts.is_sorted_by(|earlier, later| earlier < later), "each goes on where the last ended: {starts:?}");
}

/// The command on a machine whose `/etc/hosts` is `hosts` of the release's folder, without any name server.
fn with_hosts(release: &Release, arguments: &[&str]) -> Run {
    release.site.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
    let script = "mount --bind hosts /etc/hosts && mount --bind resolv.conf /etc/resolv.conf && exec \"$@\" 2>messages";
    release
        .site
        .run(Path::new("unshare"), ["--mount", "sh", "-c", script, "sh"])
        .arg(binary())
        .args(arguments)
        .arg("--plain-http")
        .arg(named(release))
}

/// The release's registry by name.
fn named(release: &Release) -> String {
    release.registry.host().replace("127.0.0.1", "registry.test")
}

/// A small release that calls its registry by name. `None` where name resolution cannot be staged.
fn release_by_name() -> Option<Release> {
    if !real::need_root("a name resolution of the test's own") {
        return None;
    }
    real::need("unshare")?;
    let release = Release::of(&[&TestImage::new("octoperf/agent:1").layer(b"small")]);
    let text = String::from_utf8(release.site.read("release.yaml")).unwrap();
    release.site.write("release.yaml", text.replace(&release.registry.host(), &named(&release)));
    Some(release)
}

#[test]
fn n_06_a_name_that_is_found_a_little_later_is_waited_for() {
    let Some(release) = release_by_name() else { return };
    release.site.write("hosts", "127.0.0.1 localhost\n");
    let run = with_hosts(&release, &["pull", "release.yaml", "-o", "release.tar", "-v"]).spawn();
    let messages = release.site.path("messages");
    until("the name is missed", || fs::read_to_string(&messages).is_ok_and(|text| text.contains("resolve")));
    // In its place, since a new file would not be seen through the mount.
    release.site.write("hosts", "127.0.0.1 registry.test\n");
    run.wait().assert_ok();
    let text = fs::read_to_string(&messages).unwrap();
    assert!(text.contains("registry.test"), "{text}");
}

#[test]
fn n_06_a_name_that_is_not_found_is_named_with_what_to_check() {
    let Some(release) = release_by_name() else { return };
    release.site.write("hosts", "127.0.0.1 localhost\n");
    with_hosts(&release, &["resolve", "release.yaml", "--retry-for", "0"]).run().assert_code(crate::kit::NETWORK);
    let text = fs::read_to_string(release.site.path("messages")).unwrap();
    assert!(text.contains("the name of `registry.test") && text.contains("HTTPS_PROXY"), "{text}");
}

#[test]
fn n_06_of_two_addresses_the_living_one_is_used() {
    let Some(release) = release_by_name() else { return };
    for hosts in
        ["127.0.0.2 registry.test\n127.0.0.1 registry.test\n", "127.0.0.1 registry.test\n127.0.0.2 registry.test\n"]
    {
        release.site.write("hosts", hosts);
        with_hosts(&release, &["resolve", "release.yaml", "--retry-for", "0"]).run().assert_ok();
    }
}

#[tokio::test]
async fn n_07_an_address_that_swallows_everything_costs_less_than_a_second() {
    let Some(release) = release_by_name() else { return };
    release.site.write("hosts", "::1 registry.test\n127.0.0.1 registry.test\n");
    let address = format!("[::1]:{}", release.registry.host().split(':').nth(1).unwrap()).parse().unwrap();
    let socket = TcpSocket::new_v6().unwrap();
    if socket.bind(address).is_err() {
        real::skipped("this machine has no IPv6");
        return;
    }
    // A listener that takes nobody in: once its queue is full, it does not even answer.
    let _listener = socket.listen(0).unwrap();
    let mut queued = Vec::new();
    while let Ok(connected) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        queued.push(connected.unwrap());
    }
    let begun = Instant::now();
    let run = with_hosts(&release, &["resolve", "release.yaml", "--retry-for", "0"]).spawn();
    tokio::task::spawn_blocking(|| run.wait()).await.unwrap().assert_ok();
    // One connection; the rest is room for a busy machine. Waiting for the address would take 30 s.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// What a TLS server does with its connections.
#[derive(Clone, Copy)]
enum Habit {
    /// The first connection ends when its first bytes have come.
    CutInHandshake,
    /// Bodies end with the connection, without TLS's own goodbye.
    NoGoodbye,
    /// The first body does not even come whole.
    NoGoodbyeAndCut,
}

/// A registry behind TLS with one blob. Gives its address and notes what protocol was agreed upon.
async fn behind_tls(habit: Habit, blob: Vec<u8>) -> (String, RegistrySettings, Arc<Mutex<Vec<Option<Vec<u8>>>>>) {
    let authority = Authority::new();
    let identity = authority.server(&["127.0.0.1"]);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let agreed = Arc::new(Mutex::new(Vec::new()));
    let noted = agreed.clone();
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            if matches!((habit, number), (Habit::CutInHandshake, 0)) {
                let _ = stream.read(&mut [0; 100]).await;
                continue;
            }
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            noted.lock().unwrap().push(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec));
            let Some(head) = read_head(&mut stream, &mut Vec::new()).await else { continue };
            let from = head.split("bytes=").nth(1).and_then(|range| range.split('-').next()?.parse().ok()).unwrap_or(0);
            let end = if matches!((habit, number), (Habit::NoGoodbyeAndCut, 0)) { blob.len() / 2 } else { blob.len() };
            let first_line = if from == 0 {
                "HTTP/1.1 200 OK".to_owned()
            } else {
                format!("HTTP/1.1 206 Partial\r\nContent-Range: bytes {from}-{}/{}", blob.len() - 1, blob.len())
            };
            let _ = stream.write_all(format!("{first_line}\r\n\r\n").as_bytes()).await;
            let _ = stream.write_all(&blob[from..end]).await;
            let _ = stream.flush().await;
            // Not `shutdown`, which would say goodbye.
            let _ = tokio::io::AsyncWriteExt::shutdown(stream.get_mut().0).await;
        }
    });
    let trusted = vec![TrustedCertificates { origin: "own.pem".into(), pem: authority.certificate().into_bytes() }];
    let mut settings = RegistrySettings { trusted, ..settings() };
    settings.https.insert(host.parse().unwrap());
    (host, settings, agreed)
}

#[tokio::test]
async fn n_08_a_cut_in_the_handshake_or_without_goodbye_is_no_end() {
    let layer = content(350_000);
    for (habit, connections) in [(Habit::CutInHandshake, 1), (Habit::NoGoodbye, 1), (Habit::NoGoodbyeAndCut, 2)] {
        let (host, settings, agreed) = behind_tls(habit, layer.clone()).await;
        let got = pulled(&registry(settings), &repository(&host), &described(&layer)).await.unwrap();
        assert_eq!(got, layer);
        assert_eq!(agreed.lock().unwrap().len(), connections);
    }
}

#[tokio::test]
async fn n_09_a_server_that_prefers_http_2_is_spoken_to_in_http_1() {
    let layer = content(10_000);
    let (host, settings, agreed) = behind_tls(Habit::NoGoodbye, layer.clone()).await;
    pulled(&registry(settings), &repository(&host), &described(&layer)).await.unwrap();
    assert!(!agreed.lock().unwrap().contains(&Some(b"h2".to_vec())), "{:?}", agreed.lock().unwrap());
}

#[tokio::test]
async fn n_09_a_server_that_closes_after_each_answer_is_asked_on_new_connections() {
    let server = Scripted::start(|_, _| manifest_reply().header("Connection", "close").without_length()).await;
    let (registry, at) = (registry(settings()), repository(&server.host()));
    for _ in 0..5 {
        registry.document(&at, &tag()).await.unwrap();
    }
    assert_eq!(server.seen().len(), 5);
}

#[tokio::test]
async fn n_10_an_upload_whose_answer_never_comes_is_looked_for_before_it_is_sent_again() {
    let layer = content(350_000);
    let server = Scripted::start(|seen, _| match seen.method.as_str() {
        "PUT" => Reply::mute(),
        "HEAD" => Reply::new(200).stating(350_000),
        _ => takes_uploads(seen),
    })
    .await;
    let settings = with_limits(|limits| limits.headers = Duration::from_secs(2));
    let begun = Instant::now();
    assert_eq!(pushed(&registry(settings), &repository(&server.host()), &layer).await.unwrap(), Arrival::Moved);
    assert_eq!((server.count("PUT", ""), server.count("HEAD", "")), (1, 1));
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn n_11_when_small_answers_come_and_large_ones_never_the_packet_size_is_named() {
    let server = Scripted::start(|seen, _| match seen.line().as_str() {
        "GET /v2/a/b/manifests/1" => manifest_reply(),
        _ => Reply::new(200).body(content(350_000)).silent_after(0),
    })
    .await;
    let mut settings = with_limits(|limits| limits.stall = Duration::from_millis(50));
    settings.retry_for = Duration::from_millis(300);
    let (registry, at) = (registry(settings), repository(&server.host()));
    registry.document(&at, &tag()).await.unwrap();
    let failure = pulled(&registry, &at, &described(&content(350_000))).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Network);
    let help = failure.help().unwrap();
    assert!(help.contains("MTU") && help.contains("VPN"), "{help}");
}

/// Bytes of an image's largest layer, and its digest.
fn largest_layer(image: &TestImage) -> (String, Vec<u8>) {
    image.content().blobs.into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap()
}

#[test]
fn n_12_a_line_that_is_down_is_waited_for_and_left_within_a_second() {
    let image = TestImage::new("octoperf/agent:1").random_layer(1, 1_600_000).layer(b"small");
    let release = Release::of(&[&image]);
    let (digest, bytes) = largest_layer(&image);
    release.registry.fault(Fault::on("GET", &digest).cut(1_200_000));
    release.registry.fault(Fault::on("GET", &digest).times(u32::MAX).cut(0));
    let tries =
        |release: &Release| release.registry.requests().iter().filter(|seen| seen.path.ends_with(&digest)).count();
    let run = release.pull("release.tar").spawn();
    until("it was asked for again", || tries(&release) >= 3);
    let begun = Instant::now();
    run.interrupt();
    let stopped: Output = run.wait().assert_code(130);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(stopped.stderr.contains("the same command continues"), "{}", stopped.stderr);
    release.registry.heal();
    release.registry.forget_requests();
    release.pull("release.tar").run().assert_ok();
    let requests: Vec<Request> = release.registry.requests();
    let asked: Vec<_> = requests.iter().filter(|seen| seen.path.ends_with(&digest)).collect();
    assert_eq!(asked.len(), 1);
    let range = asked[0].range().expect("only the rest is asked for");
    assert!(range.ends_with(&format!("-{}", bytes.len() - 1)), "{range}");
    release.site.octobundle(["verify", "release.tar"]).run().assert_ok();
}

#[test]
fn n_13_a_thin_and_distant_line_is_no_broken_one() {
    let line = Options { bytes_per_second: Some(8_000), latency: Duration::from_millis(300), ..Options::default() };
    let image = TestImage::new("octoperf/agent:1").random_layer(1, 20_000);
    let release = Release::served_by(line, &[&image]);
    release.pull("release.tar").run().assert_ok();
    for digest in image.content().blobs.keys() {
        let asked = release.registry.requests().iter().filter(|seen| seen.path.ends_with(digest)).count();
        assert_eq!(asked, 1, "{digest}");
    }
}

#[tokio::test]
async fn n_13_hours_at_64_kilobits_are_no_stall() {
    // A minute of the real limits is 60 ms here, so this takes fifty of them.
    let layer = content(24_000);
    let bytes = layer.clone();
    let server = Scripted::start(move |seen, _| part_of(&bytes, seen).trickle(80, Duration::from_millis(10))).await;
    let settings = with_limits(|limits| {
        limits.slow_window = Duration::from_millis(60);
        // At the same ratio to the line as the real limit to 64 kbit/s: an eighth.
        limits.slow_bytes = 60;
    });
    let (registry, at) = (registry(settings), repository(&server.host()));
    assert_eq!(pulled(&registry, &at, &described(&layer)).await.unwrap(), layer);
    assert_eq!(server.seen().len(), 1);
}
