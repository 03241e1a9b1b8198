//! `octobundle serve` and clients that mean harm, and operators who are tired.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};

use support::authority::Authority;
use support::images::{Sample as _, TestImage, random_bytes};
use support::real::need;
use support::release::Release;
use support::served::{Answer, Served};
use support::until;

const USAGE: i32 = 2;
const INPUT: i32 = 3;
const NETWORK: i32 = 5;
const NOT_FOUND: i32 = 6;
const LOCKED: i32 = 11;

/// A password by `htpasswd -B`.
const HASH: &str = "$2y$05$abcdefghijklmnopqrstuuDo4JAPXIzkLVNpLAXP8KVCvLXn8y6uq";

fn agent() -> TestImage {
    TestImage::new("octoperf/agent:1").random_layer(1, 40_000)
}

fn release() -> Release {
    let release = Release::of(&[&agent()]);
    release.bundle();
    release
}

/// Sends these bytes and nothing more; gives all that comes until the connection ends, in whatever way.
fn send(served: &Served, bytes: &[u8]) -> Vec<u8> {
    let mut stream = served.connect();
    // A server that has answered and closed may refuse the rest.
    stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write)).ok();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).ok();
    got
}

/// The statuses of all answers in these bytes.
#[track_caller]
fn statuses(mut got: &[u8]) -> Vec<u16> {
    let mut all = Vec::new();
    while !got.is_empty() {
        let (answer, rest) = Answer::first(got, "GET").expect("whole answers only");
        all.push(answer.status);
        got = rest;
    }
    all
}

/// It answers as ever, and nothing in it has failed in a way that nobody foresaw: the released program would have ended.
#[track_caller]
fn assert_well(served: &Served) {
    assert_eq!(served.get("/v2/octoperf/agent/manifests/1").status, 200);
    assert!(!served.stderr().contains("panicked"), "{}", served.stderr());
}

#[test]
fn sec_78_what_could_hide_a_second_request_is_answered_once() {
    let release = release();
    let served = Served::start(&release.site, ["release.tar"]);
    let host = served.host();
    let hidden = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let length = hidden.len();
    for headers in [
        format!("Content-Length: {length}"),
        format!("Content-Length: 0\r\nContent-Length: {length}"),
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"),
        "Transfer-Encoding: chunked".into(),
        "Transfer-Encoding: identity".into(),
        "Transfer-Encoding: x, chunked".into(),
        "Content-Length: +0".into(),
        "Content-Length: 0, 0".into(),
        "Content-Length: 00".into(),
        "Content-Length: ".into(),
        "Content-Length: -1".into(),
        "Content-Length: 99999999999999999999999999".into(),
        "Expect: 100-continue\r\nContent-Length: 5".into(),
    ] {
        for method in ["GET", "HEAD"] {
            let text = format!("{method} /v2/ HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n\r\n{hidden}");
            let got = send(&served, text.as_bytes());
            let answers = String::from_utf8_lossy(&got).matches("HTTP/1.1 ").count();
            assert!(
                answers == 1 && got.starts_with(b"HTTP/1.1 400 "),
                "{method} {headers}: {:?}",
                String::from_utf8_lossy(&got)
            );
        }
    }
    for (text, expected) in [
        // Two whole requests, and one that is none behind them.
        (format!("{hidden}{hidden}nonsense\r\n\r\n"), vec![200, 200, 400]),
        // A line folded, a name with a blank, a second host: read differently by different programs.
        (format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nX: a\r\n b\r\n\r\n{hidden}"), vec![400]),
        (format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding : chunked\r\n\r\n{hidden}"), vec![400]),
        (format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n{hidden}"), vec![400]),
        // Another protocol.
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), vec![400]),
        (
            format!(
                "GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n"
            ),
            vec![200],
        ),
        (format!("GET http://{host}/v2/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"), vec![200]),
        (format!("GET http://evil.example/v2/ HTTP/1.1\r\nHost: {host}\r\n\r\n"), vec![421]),
        (format!("GET http://user@{host}/v2/ HTTP/1.1\r\nHost: {host}\r\n\r\n"), vec![421]),
        (
            "GET /v2/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /v2/ HTTP/1.0\r\n\r\nGET /v2/ HTTP/1.0\r\n\r\n"
                .into(),
            vec![200, 200],
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into(), vec![204]),
        ("CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), vec![400]),
        ("GET /v2/ HTTP/0.9\r\n\r\n".into(), vec![400]),
        ("\r\n\r\n".into(), vec![]),
    ] {
        let got = send(&served, text.as_bytes());
        assert_eq!(statuses(&got), expected, "{text:?}");
    }
    assert_well(&served);
}

#[test]
fn sec_38_no_bytes_that_a_client_sends_end_the_server() {
    let release = release();
    let served = Served::start(&release.site, ["release.tar"]);
    let digest = agent().content().root().digest.clone();
    let sound = format!(
        "GET /v2/octoperf/agent/blobs/{digest}?n=1&last=a&ns=docker.io HTTP/1.1\r\nHost: {}\r\nRange: bytes=0-1\r\n\
         If-None-Match: \"a\", W/\"b\"\r\nAuthorization: Basic YTpi\r\nConnection: close\r\n\r\n",
        served.host()
    );
    // Every byte of a sound request once made another, in three ways.
    for (place, noise) in random_bytes(5, sound.len()).into_iter().enumerate() {
        for other in [0xff, b'%', noise] {
            let mut bytes = sound.clone().into_bytes();
            bytes[place] = other;
            send(&served, &bytes);
        }
    }
    for seed in 0..40 {
        send(&served, &random_bytes(seed, 3_000));
    }
    let long = "9".repeat(15_000);
    for target in [
        format!("/v2/octoperf/agent/tags/list?n={long}"),
        format!("/v2/octoperf/agent/tags/list?last={long}"),
        "/v2/octoperf/agent/tags/list?n=18446744073709551615&last=%00%ff%FE".into(),
        "/v2/octoperf/agent/tags/list?n=18446744073709551616".into(),
        "/v2/_catalog?n=%F0%9F%A6%80&last=%F0%9F%A6%80".into(),
        format!("/v2/octoperf/agent/referrers/{digest}?artifactType=%00%0d%0aX-Injected:%201"),
        format!("/v2/octoperf/agent/manifests/1?ns={long}"),
        "/v2/octoperf/agent/manifests/1?ns=%0d%0aX-Injected:%201".into(),
        "/report/99999999999999999999".into(),
        "/?%00".into(),
        "/v2/%".into(),
    ] {
        let answer = served.ask("GET", &target, &[]);
        assert!(!answer.headers.contains_key("x-injected") && answer.status < 500, "{target:.60}: {}", answer.status);
    }
    for range in [
        "bytes=18446744073709551615-18446744073709551615",
        "bytes=-18446744073709551616",
        "bytes=0-18446744073709551615",
    ] {
        let blob = agent().content().blobs.keys().next().unwrap().clone();
        let answer = served.ask("GET", &format!("/v2/octoperf/agent/blobs/{blob}"), &[&format!("Range: {range}")]);
        assert!([206, 416].contains(&answer.status), "{range}: {}", answer.status);
    }
    assert_well(&served);
}

#[test]
fn sec_78_a_server_with_a_certificate_answers_nothing_but_tls() {
    let release = release();
    let pair = Authority::new().server(&["127.0.0.1"]);
    release.site.write("server.pem", pair.certificate);
    release.site.write("server.key", pair.key);
    let served = Served::start(&release.site, ["release.tar", "--cert", "server.pem", "--key", "server.key"]);
    let plain = send(&served, b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(statuses(&plain) == [400] && String::from_utf8_lossy(&plain).contains("https://"));
    // What begins as TLS and is none, or stops in the middle, is no answer and no end of the server.
    for seed in 0..20 {
        let garbage = [&[22, 3, 1, 2, 0][..], &random_bytes(seed, 600)].concat();
        let got = send(&served, &garbage);
        assert!(got.is_empty() || got[0] == 21, "at most an alert: {got:?}");
    }
    let half: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = served.connect();
            stream.write_all(&[22, 3, 1, 2]).unwrap();
            stream
        })
        .collect();
    let Some(skopeo) = need("skopeo") else { return };
    let from = format!("docker://{}/octoperf/agent:1", served.host());
    release.site.run(&skopeo, ["inspect", "--raw", "--tls-verify=false", &from]).run().assert_ok();
    drop(half);
    assert!(!served.stderr().contains("panicked"), "{}", served.stderr());
}

#[test]
fn a_hundred_times_the_limit_of_connections_leaves_the_server_well() {
    let release = release();
    let served =
        Served::start(&release.site, ["release.tar", "--max-connections", "20", "--max-connections-per-client", "15"]);
    for _ in 0..20 {
        let crowd: Vec<TcpStream> = (0..100).map(|_| served.connect()).collect();
        drop(crowd);
    }
    until("it answers", || {
        let got = send(
            &served,
            format!("GET /v2/ HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", served.host()).as_bytes(),
        );
        got.starts_with(b"HTTP/1.1 200 ")
    });
    assert_well(&served);
}

#[test]
fn what_a_tired_operator_types_is_told_with_the_next_step() {
    let release = release();
    let site = &release.site;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let (one, other) = (Authority::new().server(&["localhost"]), Authority::new().server(&["localhost"]));
    for (name, text) in [
        ("one.pem", one.certificate.as_str()),
        ("one.key", &one.key),
        ("other.key", &other.key),
        ("words.txt", "just words\n"),
        ("md5", "ann:$apr1$abcdefgh$abcdefghijklmnopqrstuv\n"),
        ("sha", "ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n"),
        ("plain", "ann:secret\n"),
        ("empty", ""),
        ("taken/key.pem", "not a key"),
        ("twice", &format!("ann:{HASH}\nann:{HASH}\n")),
    ] {
        site.write(name, text);
    }
    let free = "--listen 127.0.0.1:0";
    for (arguments, code, words) in [
        (format!("words.txt {free}"), None, &["words.txt"][..]),
        (format!("gone.tar {free}"), Some(NOT_FOUND), &["gone.tar"]),
        (
            format!("release.tar --listen {taken}"),
            Some(LOCKED),
            &["another program listens there", "--listen 127.0.0.1:5001"],
        ),
        ("release.tar --listen 192.0.2.1:5000".into(), Some(NETWORK), &["an address of this machine", "0.0.0.0:5000"]),
        ("release.tar --listen 127.0.0.1".into(), Some(NETWORK), &["name an address and a port"]),
        ("release.tar --listen 127.0.0.1:99999".into(), Some(NETWORK), &["name an address and a port"]),
        (format!("release.tar {free} --cert one.pem"), Some(USAGE), &["--key"]),
        (format!("release.tar {free} --cert one.pem --key other.key"), Some(INPUT), &["one.pem", "give PEM files"]),
        (format!("release.tar {free} --cert one.key --key one.pem"), Some(INPUT), &["it holds no certificate in PEM"]),
        (format!("release.tar {free} --cert words.txt --key one.key"), Some(INPUT), &["words.txt", "no certificate"]),
        (format!("release.tar {free} --htpasswd md5"), Some(INPUT), &["`md5` line 1", "htpasswd -B"]),
        (format!("release.tar {free} --htpasswd sha"), Some(INPUT), &["`sha` line 1", "not hashed by bcrypt"]),
        (format!("release.tar {free} --htpasswd plain"), Some(INPUT), &["`plain` line 1"]),
        (format!("release.tar {free} --htpasswd empty"), Some(INPUT), &["has no logins", "htpasswd -B"]),
        (format!("release.tar {free} --htpasswd gone"), Some(NOT_FOUND), &["gone", "check the path"]),
        (format!("release.tar {free} --name reg.site:5000"), Some(USAGE), &["leave the port out"]),
        (
            format!("release.tar {free} --self-signed --tls-folder tls --name node.01"),
            Some(USAGE),
            &["`node.01` cannot stand in a certificate", "--cert"],
        ),
        (
            format!("release.tar {free} --self-signed --tls-folder taken"),
            Some(INPUT),
            &["taken/key.pem", "--tls-folder"],
        ),
        (format!("release.tar {free} --htpasswd twice"), Some(INPUT), &["`twice` line 2", "has a line already"]),
        (format!("release.tar {free} --prefix Upper"), Some(USAGE), &["Upper"]),
        (format!("release.tar {free} --access-log gone/log"), None, &["gone/log", "may write"]),
        (
            format!("release.tar {free} --access-log ./release.tar"),
            Some(USAGE),
            &["release.tar", "--access-log access.log"],
        ),
        (format!("release.tar release.tar --base gone.tar {free}"), Some(NOT_FOUND), &["gone.tar"]),
        ("release.tar --systemd --access-log log".into(), Some(USAGE), &["journal"]),
    ] {
        let run = site.octobundle(["serve"]).args(arguments.split(' ')).run();
        assert!(
            run.code.is_some_and(|found| found != 0 && code.is_none_or(|code| code == found)),
            "{arguments}: {:?} {}",
            run.code,
            run.stderr
        );
        for word in words {
            assert!(run.stderr.contains(word), "{arguments}: no `{word}` in\n{}", run.stderr);
        }
        assert!(!run.stderr.contains("secret") && run.stdout.is_empty(), "{arguments}: {}", run.stderr);
    }
    // The same bundle twice is one registry.
    let twice = Served::start(site, ["release.tar", "release.tar"]);
    assert_eq!(twice.get("/v2/octoperf/agent/tags/list").json()["tags"], serde_json::json!(["1"]));
}

#[test]
fn a_certificate_that_has_ended_is_told_at_the_start() {
    let release = release();
    let key = rcgen::KeyPair::generate().unwrap();
    for (from, until, begins, ended) in
        [(2001, 2002, None, Some("2002-01-01")), (2090, 2091, Some("2090-01-01"), None), (2001, 2090, None, None)]
    {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        release.site.write("server.pem", params.self_signed(&key).unwrap().pem());
        release.site.write("server.key", key.serialize_pem());
        let served = Served::start(&release.site, ["release.tar", "--cert", "server.pem", "--key", "server.key"]);
        let told = &served.report["certificate"];
        assert_eq!((told["begins"].as_str(), told["ended"].as_str()), (begins, ended));
    }
}
