//! `serve` with clients that take their time, and with little patience, so that nobody has to wait for a minute.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use octobundle::bundle::{Bundle, BundlePlace};
use octobundle::plan::{SourceHost, Target};
use octobundle::serve::{Bundles, Limits, LogTarget, Notices, Patience, Server, Settings, Stop};
use support::images::{Sample as _, TestImage};
use support::release::Release;
use support::until;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(3600);

/// A server in this process.
struct Own {
    address: SocketAddr,
    stop: Stop,
    run: Option<std::thread::JoinHandle<()>>,
    release: Release,
}

impl Own {
    fn start(patience: Patience) -> Self {
        let release = Release::of(&[&image()]);
        release.bundle();
        let place = BundlePlace::from(release.site.path("release.tar"));
        let bundle = Bundle::open(place.clone()).unwrap();
        let target = Target::parse("localhost:5000", SourceHost::Drop).unwrap();
        let settings = Settings {
            limits: Limits::default(),
            patience,
            verify: false,
            hosts: Vec::new(),
            identity: None,
            htpasswd: None,
            log: LogTarget::Off,
            drain: SHORT,
            report: |_, _| Ok("a report".to_owned()),
            notices: Notices::new().0,
        };
        let bundles = Bundles { offered: vec![(place, bundle)], bases: Vec::new() };
        let server = Server::new(bundles, &target, settings).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, told) = Stop::new();
        let run = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(server.run(vec![listener], told)).unwrap();
        });
        Self { address, stop, run: Some(run), release }
    }

    fn ask(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    fn connections(&self) -> String {
        let mut stream = self.ask("GET /metrics HTTP/1.0\r\n\r\n");
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.lines().find_map(|line| line.strip_prefix("octobundle_connections ")).expect("it is a metric").to_owned()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.stop.stop();
        self.run.take().expect("it is joined once").join().expect("the server does not panic");
    }
}

/// More than sockets hold.
fn image() -> TestImage {
    TestImage::new("octoperf/large:1").random_layer(9, 24 << 20)
}

fn large() -> String {
    let content = image().content();
    let (digest, _) = content.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).expect("it has blobs");
    format!("GET /v2/octoperf/large/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[test]
fn sec_72_who_sends_no_whole_head_is_let_go() {
    let own = Own::start(Patience { head: SHORT, idle: LONG, stall: LONG });
    for begun in ["", "G", "GET /v2/ HTTP/1.1\r\nHost: a\r\n"] {
        let mut stream = own.ask(begun);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{begun:?}");
    }
    // The head of a second request too.
    let mut stream = own.ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /h");
    let mut got = String::new();
    stream.read_to_string(&mut got).unwrap();
    assert!(got.ends_with("ok\n"), "{got}");
}

#[test]
fn sec_72_who_asks_for_nothing_more_is_let_go() {
    let own = Own::start(Patience { head: LONG, idle: SHORT, stall: LONG });
    let mut stream = own.ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut got = String::new();
    stream.read_to_string(&mut got).unwrap();
    assert!(got.ends_with("ok\n") && got.contains("keep-alive"), "{got}");
}

#[test]
fn sec_72_who_takes_nothing_of_an_answer_is_cut() {
    let own = Own::start(Patience { head: LONG, idle: LONG, stall: SHORT });
    let deaf = own.ask(&large());
    until("the answer is cut", || own.connections() == "1");
    drop(deaf);
    assert!(own.release.site.path("release.tar").exists());
}

#[test]
fn a_stop_waits_no_longer_than_it_may() {
    let own = Own::start(Patience { head: LONG, idle: LONG, stall: LONG });
    let mut deaf = own.ask(&large());
    deaf.read_exact(&mut [0; 100]).unwrap();
    // Dropping it stops it and waits for its end.
    drop(own);
}

#[test]
fn without_a_list_of_hosts_every_name_is_right() {
    let own = Own::start(Patience { head: LONG, idle: LONG, stall: LONG });
    for host in ["reg_site:5000", "", "a b", "-", "[::1", "reg.site:99999"] {
        let mut stream = own.ask(&format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        let mut got = String::new();
        stream.read_to_string(&mut got).unwrap();
        assert!(got.starts_with("HTTP/1.1 200 "), "{host:?}: {got}");
    }
}
