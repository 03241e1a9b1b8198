//! Answers without end and without measure: SEC-34 to SEC-38.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::client;
use crate::memory::measured;
use crate::raw::{Raw, flood};
use crate::scripted::{Reply, Scripted};
use crate::support::cli::Site;
use crate::support::images::{Sample as _, TestImage};
use crate::support::memory_registry::MemoryRegistry;
use crate::support::release::{self, Release};

/// More than any command may hold in memory; the bound of the table.
const MOST_MIB: u64 = 128;
const MOST_TIME: Duration = Duration::from_secs(5);
/// Stands for "without end": nobody should read so far.
const ENDLESS: u64 = 1 << 30;

type Answer = fn(&mut TcpStream) -> io::Result<()>;

/// A head with this status and a body that does not end.
fn endless_body(stream: &mut TcpStream, head: &str) -> io::Result<()> {
    write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n")?;
    flood(stream, b"{\"errors\":[{\"message\":\"x", ENDLESS)
}

fn many_headers(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
    (0..100_000).try_for_each(|number| write!(stream, "X-{number}: y\r\n"))?;
    stream.write_all(b"Content-Length: 0\r\n\r\n")
}

fn long_header(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ")?;
    flood(stream, b"y", 1 << 20)?;
    stream.write_all(b"\r\nContent-Length: 0\r\n\r\n")
}

/// All that a server can do to whoever reads its answer.
const EXCESSES: [(&str, Answer); 10] = [
    ("an endless document", |stream| endless_body(stream, "200 OK")),
    ("an endless chunked document", |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        flood(stream, b"40\r\n{\"a\":\"123456789012345678901234567890123456789012345678901234567\"\r\n", ENDLESS)
    }),
    ("an endless refusal", |stream| endless_body(stream, "404 Not Found")),
    ("an endless page", |stream| endless_body(stream, "403 Forbidden\r\nContent-Type: text/html")),
    ("an endless trouble", |stream| endless_body(stream, "500 Internal Server Error\r\nContent-Length: 1073741824")),
    ("an endless wish for a login", |stream| {
        endless_body(stream, "401 Unauthorized\r\nWWW-Authenticate: Basic realm=x")
    }),
    ("an endless redirect", |stream| endless_body(stream, "302 Found\r\nLocation: /again")),
    ("100000 headers", many_headers),
    ("a header of 1 MiB", long_header),
    ("an endless chunk extension", |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8;")?;
        flood(stream, b"x", ENDLESS)
    }),
];

#[test]
fn sec_34_no_answer_to_a_question_for_a_document_costs_memory_or_time() {
    let site = Site::new();
    for (case, answer) in EXCESSES {
        let server = Raw::start(move |_, stream| answer(stream));
        site.write("release.yaml", release::manifest(&[format!("{}/a/b:1", server.host())]));
        let run = measured(site.octobundle(["resolve", "release.yaml", "--retry-for", "0"]));
        assert!(matches!(run.output.code, Some(3..=6)), "{case}: {:?}", run.output);
        assert!(run.output.stderr.len() < 4_000, "{case}: {}", run.output.stderr.len());
        assert!(run.peak < MOST_MIB && run.worked < MOST_TIME, "{case}: {} MiB, {:?}", run.peak, run.worked);
        assert!(!server.heads().is_empty(), "{case}");
    }
}

#[test]
fn sec_34_no_answer_of_a_token_server_does_either() {
    let site = Site::new();
    for (case, answer) in EXCESSES {
        let server = Raw::start(move |head, stream| {
            if head.starts_with("GET /token") {
                return answer(stream);
            }
            let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
            write!(
                stream,
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://{host}/token\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        });
        site.write("release.yaml", release::manifest(&[format!("{}/a/b:1", server.host())]));
        let run = measured(site.octobundle(["resolve", "release.yaml", "--retry-for", "0"]));
        assert!(matches!(run.output.code, Some(3..=6)), "{case}: {:?}", run.output);
        assert!(run.peak < MOST_MIB && run.worked < MOST_TIME, "{case}: {} MiB, {:?}", run.peak, run.worked);
        assert!(server.heads().iter().any(|head| head.starts_with("GET /token")), "{case}");
    }
}

#[test]
fn sec_34_no_answer_to_a_push_or_for_a_blob_does_either() {
    let image = TestImage::new("octoperf/agent:1").random_layer(1, 100_000);
    let release = Release::of(&[&image]);
    release.bundle();
    let manifest = image.content().root().clone();
    for (case, answer) in EXCESSES {
        let server = Raw::start(move |_, stream| answer(stream));
        let registry = server.host();
        let run =
            measured(release.site.octobundle(["push", "release.tar", "--registry", &registry, "--retry-for", "0"]));
        assert!(run.output.code.is_some_and(|code| code != 0), "{case}: {:?}", run.output);
        assert!(run.peak < MOST_MIB && run.worked < MOST_TIME, "{case}: {} MiB, {:?}", run.peak, run.worked);

        // The document is sound, its parts are not.
        let (bytes, kind) = (manifest.bytes.clone(), manifest.media_type.clone());
        let server = Raw::start(move |head, stream| {
            if !head.contains("/manifests/") {
                return answer(stream);
            }
            let length = bytes.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            )?;
            stream.write_all(&bytes)
        });
        release.site.write("other.yaml", release::manifest(&[format!("{}/a/b:1", server.host())]));
        let run = measured(release.site.octobundle(["pull", "other.yaml", "-o", "other.tar", "--retry-for", "0"]));
        assert!(run.output.code.is_some_and(|code| code != 0), "{case}: {:?}", run.output);
        assert!(run.peak < MOST_MIB && run.worked < MOST_TIME, "{case}: {} MiB, {:?}", run.peak, run.worked);
    }
}

#[test]
fn sec_35_nothing_is_listed_and_no_link_is_followed() {
    let image = TestImage::new("octoperf/agent:1").layer(b"agent");
    let release = Release::of(&[&image]);
    let private = MemoryRegistry::start();
    release.resolve().run().assert_ok();
    release.bundle();
    for _ in 0..2 {
        release.site.octobundle(["push", "release.tar", "--registry", &private.host()]).run().assert_ok();
    }
    for request in release.registry.requests().iter().chain(&private.requests()) {
        let listing = ["/tags/list", "/_catalog", "/referrers/"].iter().any(|part| request.path.contains(part));
        assert!(!listing, "{request:?}");
    }
    // A page that is never the last, and one that is elsewhere.
    let other = MemoryRegistry::start();
    let link = format!("<{}/v2/a/b/manifests/2>; rel=\"next\"", other.url());
    let content = image.content();
    let server = Raw::start(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap_or_default().replace("%3A", ":");
        let name = path.rsplit('/').next().unwrap_or_default();
        let body = content.blobs.get(name).unwrap_or(&content.root().bytes);
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nLink: {link}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body)
    });
    release.site.write("other.yaml", release::manifest(&[format!("{}/a/b:1", server.host())]));
    release.site.octobundle(["pull", "other.yaml", "-o", "other.tar"]).run().assert_ok();
    assert_eq!((server.heads().len(), other.requests().len()), (3, 0), "{:?}", server.heads());
}

#[test]
fn sec_36_what_refers_to_an_image_is_neither_asked_for_nor_brought() {
    let image = TestImage::new("octoperf/agent:1").layer(b"agent");
    let release = Release::of(&[&image]);
    let subject = image.content().root().digest.clone();
    // As registries without the referrers API keep it: a tag made of the digest.
    let fallback = subject.replace(':', "-");
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"mediaType":"x","digest":"{subject}","size":1}}]}}"#
    );
    release.registry.replace_manifest(
        "octoperf/agent",
        &fallback,
        "application/vnd.oci.image.index.v1+json",
        index.as_bytes(),
    );
    release.pull("release.tar").args(["--platform", "all"]).run().assert_ok();
    assert!(release.registry.requests().iter().all(|request| !request.path.contains(&fallback)));
}

#[test]
fn sec_37_no_manifest_costs_memory_or_time() {
    let site = Site::new();
    let head = "schema: octobundle/v1\nrelease: r\ntitle: T\nimages:\n  - image: a/b:1\n";
    let bomb = (0..9).fold("a: &a [x, x]\n".to_owned(), |bomb, level| {
        let (name, below) = (char::from(b'b' + level), char::from(b'a' + level));
        format!("{bomb}{name}: &{name} [{}]\n", vec![format!("*{below}"); 10].join(", "))
    });
    let cases = [
        ("bomb", bomb, "anchors"),
        ("deep", "[".repeat(900_000), "deep"),
        ("deep maps", "{a: ".repeat(200_000), "deep"),
        ("10 MiB", format!("{head}#{}", "x".repeat(10 << 20)), "at most 1048576"),
        ("twice", format!("{head}title: U\n"), "title"),
        ("tab", head.replace("  - ", "\t- "), "tab"),
        ("merge", head.replace("  - image: a/b:1", "  - <<: {image: a/b:1}"), "merge"),
        ("tag", head.replace("a/b:1", "!!str a/b:1"), "tags"),
        ("python", head.replace("a/b:1", "!!python/object/apply:os.system [id]"), "tags"),
        ("very long list", format!("{head}{}", "  - image: a/b:1\n".repeat(10_000)), "a/b:1"),
    ];
    for (case, text, why) in cases {
        site.write("release.yaml", text);
        let run = measured(site.octobundle(["resolve", "release.yaml", "--retry-for", "0"]));
        assert_eq!(run.output.code, Some(3), "{case}: {:.2000}", run.output.stderr);
        assert!(run.output.stderr.contains(why), "{case}: {:.2000}", run.output.stderr);
        assert!(run.peak < 64 && run.worked < MOST_TIME, "{case}: {} MiB, {:?}", run.peak, run.worked);
    }
    // A number stays what was typed.
    site.write("release.yaml", format!("{head}    role: 1.10\n"));
    let run = site.octobundle(["resolve", "release.yaml", "--retry-for", "0"]).run();
    assert!(!run.stderr.contains("1.1`"), "{}", run.stderr);
}

#[cfg(unix)]
#[test]
fn sec_38_a_fault_of_the_program_is_never_taken_for_success() {
    let profile = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let release = profile.split("[profile.release]").nth(1).unwrap().split("\n[").next().unwrap();
    assert!(release.contains("panic = \"abort\""), "{release}");

    // An abort in the middle of a run, as a shell sees it.
    let server = Raw::start(|_, _| {
        std::thread::sleep(Duration::from_secs(20));
        Ok(())
    });
    let site = Site::new();
    site.write("release.yaml", release::manifest(&[format!("{}/a/b:1", server.host())]));
    let binary = crate::support::cli::binary();
    let script = format!(
        "'{}' pull release.yaml -o release.tar & child=$!; read go; kill -ABRT $child; wait $child; echo code=$?",
        binary.display()
    );
    let run = site.run("/bin/sh".as_ref(), ["-c", &script]);
    // The shell reads only once the server was asked.
    let output = {
        let running = std::thread::spawn(move || run.input("go\n").run());
        running.join().unwrap()
    };
    assert!(output.stdout.contains("code=134"), "{output:?}");
    assert!(!site.path("release.tar").exists());
}

#[tokio::test]
async fn sec_35_a_list_of_empty_pages_is_given_up() {
    let server = Scripted::start(|_, page| {
        let reply = Reply::new(200).body(if page % 2 == 0 { r#"{"repositories":[]}"# } else { "{}" });
        // So that a client without a limit is found out.
        if page < 3_000 { reply.header("Link", format!("</v2/_catalog?last={page}>; rel=\"next\"")) } else { reply }
    })
    .await;
    let host = client::repository(&server).host;
    let failure = client::registry(client::settings()).repositories(&host).await.expect_err("it does not end");
    assert!(failure.to_string().contains("the list of repositories"), "{failure}");
    assert_eq!(server.seen().len(), 1_000);
}

#[tokio::test]
async fn sec_35_a_list_that_does_not_end_or_leads_elsewhere_is_given_up() {
    type Next = fn(usize) -> String;
    let cases: [(&str, Next); 3] = [
        ("a page that is followed by itself", |_| "</v2/_catalog?last=a>; rel=\"next\"".into()),
        ("pages without number", |page| format!("</v2/_catalog?last={page}>; rel=\"next\"")),
        ("a page of another server", |_| "<http://127.0.0.2:1/v2/_catalog>; rel=\"next\"".into()),
    ];
    for (case, next) in cases {
        let server = Scripted::start(move |_, page| {
            let names: Vec<String> = (0..1000).map(|name| format!("a/{page}-{name}")).collect();
            let body = serde_json::json!({ "repositories": names }).to_string();
            Reply::new(200).header("Link", next(page)).body(body)
        })
        .await;
        let host = client::repository(&server).host;
        let failure = client::registry(client::settings()).repositories(&host).await.expect_err(case);
        assert!(failure.to_string().contains("the list of repositories"), "{case}: {failure}");
        assert!(server.seen().len() <= 101, "{case}: {} requests", server.seen().len());
    }
}
