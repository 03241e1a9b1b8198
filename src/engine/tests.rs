//! Engines as they answer: a socket that is scripted, and a `podman` that is a shell script.

use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::content::FilePart;
use crate::failure::{ErrorClass, Explain, Failure};
use crate::program::install;

const DOCKER_VERSION: &str = r#"{"Version":"20.10.24","Components":[{"Name":"Engine"}]}"#;
const PODMAN_VERSION: &str = r#"{"Version":"4.3.1","Components":[{"Name":"Podman Engine"}]}"#;

/// A request as it arrived.
#[derive(Debug, Clone)]
struct Seen {
    head: String,
    body: Vec<u8>,
}

/// An engine's socket with one prepared answer for every request line that contains a word.
struct FakeEngine {
    folder: TempDir,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

type Script = Vec<(&'static str, Vec<u8>)>;

impl FakeEngine {
    fn start(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("engine.sock")).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let script = Arc::new(script);
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(answer(connection, Arc::clone(&script), Arc::clone(&log)));
            }
        });
        Self { folder, seen, task }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    async fn engine(&self) -> Engine {
        let settings = EngineSettings { docker_host: Some(self.host()), ..EngineSettings::default() };
        Engine::find(EngineChoice::Docker, &settings).await.unwrap()
    }

    fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads one request and answers it; an answer that starts with `!early ` comes before the body is read.
async fn answer(mut connection: UnixStream, script: Arc<Script>, log: Arc<Mutex<Vec<Seen>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let line = head.lines().next().unwrap().to_owned();
    let answer = script.iter().find(|(word, _)| line.contains(word)).map_or(NOT_FOUND, |(_, answer)| answer);
    let early = answer.strip_prefix(b"!early ");
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    let mut body = Vec::new();
    if early.is_none() {
        let length = length.map_or(0, |length| length.parse().unwrap());
        (&mut connection).take(length).read_to_end(&mut body).await.unwrap();
    }
    log.lock().unwrap().push(Seen { head, body });
    // The client may have gone, which is its right.
    let _ = connection.write_all(early.unwrap_or(answer)).await;
    let _ = connection.shutdown().await;
    // As Go's servers do: closing with unread bytes could take the answer away from a client that still sends.
    let _ = tokio::io::copy(&mut connection, &mut tokio::io::sink()).await;
}

const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 27\r\n\r\n{\"message\":\"no such image\"}";

fn ok(body: &str) -> Vec<u8> {
    status(200, body)
}

fn status(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn archive_of(folder: &Path, content: &[u8]) -> PathBuf {
    let path = folder.join("bundle.tar");
    std::fs::write(&path, content).unwrap();
    path
}

/// The first bytes of a file, open.
fn part(path: &Path, length: u64) -> [FilePart; 1] {
    [FilePart { path: path.to_owned(), file: Arc::new(std::fs::File::open(path).unwrap()), at: 0, length }]
}

fn name(text: &str) -> ImageRef {
    text.parse().unwrap()
}

#[tokio::test]
async fn docker_is_found_where_docker_host_says() {
    let fake = FakeEngine::start(vec![("/version", ok(DOCKER_VERSION))]);
    let engine = fake.engine().await;
    assert_eq!((engine.kind(), engine.version(), engine.place()), (EngineKind::Docker, "20.10.24", fake.host()));
}

#[tokio::test]
async fn podman_answering_in_dockers_place_is_called_podman() {
    let fake = FakeEngine::start(vec![("/version", ok(PODMAN_VERSION))]);
    assert_eq!(fake.engine().await.kind(), EngineKind::Podman);
}

#[tokio::test]
async fn the_engine_that_answers_is_taken_and_docker_is_asked_first() {
    let docker = FakeEngine::start(vec![("/version", ok(DOCKER_VERSION))]);
    let podman = FakeEngine::start(vec![("/version", ok(PODMAN_VERSION))]);
    let mut settings = EngineSettings {
        docker_sockets: vec![PathBuf::from("/nowhere/docker.sock"), docker.socket()],
        podman_sockets: vec![podman.socket()],
        ..EngineSettings::default()
    };
    assert_eq!(Engine::find(EngineChoice::Auto, &settings).await.unwrap().kind(), EngineKind::Docker);
    assert!(podman.requests().is_empty(), "nobody is asked after one has answered");
    assert_eq!(Engine::find(EngineChoice::Podman, &settings).await.unwrap().kind(), EngineKind::Podman);
    settings.docker_sockets.clear();
    assert_eq!(Engine::find(EngineChoice::Auto, &settings).await.unwrap().kind(), EngineKind::Podman);
}

#[tokio::test]
async fn where_no_engine_answers_every_place_is_named_with_its_reason() {
    let web = FakeEngine::start(vec![("/version", ok("<html>"))]);
    let empty = tempfile::tempdir().unwrap();
    let settings = EngineSettings {
        docker_sockets: vec![PathBuf::from("/nowhere/docker.sock")],
        podman_sockets: vec![web.socket()],
        path: Some(empty.path().into()),
        ..EngineSettings::default()
    };
    let failure = Failure::from(Engine::find(EngineChoice::Auto, &settings).await.unwrap_err());
    let text = failure.to_string();
    for part in ["unix:///nowhere/docker.sock (No such file", "is not an engine's", "no `podman` on PATH"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(failure.class(), ErrorClass::Network);
    assert!(failure.help().unwrap().contains("systemctl start docker"));
}

#[tokio::test]
async fn a_docker_host_that_cannot_be_spoken_to_is_said_and_not_passed_over() {
    let podman = FakeEngine::start(vec![("/version", ok(PODMAN_VERSION))]);
    let settings = EngineSettings {
        docker_host: Some("ssh://build.corp".into()),
        podman_sockets: vec![podman.socket()],
        ..EngineSettings::default()
    };
    let error = Engine::find(EngineChoice::Auto, &settings).await.unwrap_err();
    assert!(matches!(error, EngineError::Scheme { scheme: "ssh", .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Usage);
}

#[tokio::test]
async fn a_bundle_is_sent_whole_with_its_exact_length() {
    let fake = FakeEngine::start(vec![
        ("/version", ok(DOCKER_VERSION)),
        ("/images/load?quiet=1", ok("{\"stream\":\"Loaded image: octoperf/a:1\\n\"}")),
    ]);
    let engine = fake.engine().await;
    let content: Vec<u8> = (0..700_000_u32).map(|i| (i % 251) as u8).collect();
    let path = archive_of(fake.folder.path(), &[&content[..], b"not to be sent"].concat());
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let archive = Archive { name: &path, parts: &part(&path, content.len() as u64) };
    let loaded = engine.load(archive, move |bytes| heard.lock().unwrap().push(bytes)).await.unwrap();
    assert_eq!(loaded, ["octoperf/a:1"]);
    let request = fake.requests().pop().unwrap();
    assert!(request.head.starts_with("POST /images/load?quiet=1 "), "{}", request.head);
    assert!(request.head.contains("content-length: 700000\r\n"), "{}", request.head);
    assert!(!request.head.to_lowercase().contains("transfer-encoding"), "{}", request.head);
    assert!(request.body == content, "the bytes of the file, and no more");
    let told = told.lock().unwrap();
    assert!(told.windows(2).all(|pair| pair[0] < pair[1]) && told.len() >= 3, "{told:?}");
    assert_eq!(told.last(), Some(&700_000));
}

#[tokio::test]
async fn what_the_engine_says_against_a_bundle_is_an_error_though_its_status_is_200() {
    let cases = [
        ("{\"stream\":\"x\"}{\"error\":\"write /a: no space left on device\"}", ErrorClass::Disk, "system df"),
        (
            "{\"errorDetail\":{\"message\":\"invalid tar\"},\"error\":\"invalid tar\"}",
            ErrorClass::Other,
            "octobundle verify",
        ),
    ];
    for (said, class, step) in cases {
        let fake = FakeEngine::start(vec![("/version", ok(DOCKER_VERSION)), ("/load", ok(said))]);
        let path = archive_of(fake.folder.path(), b"tar");
        let error =
            fake.engine().await.load(Archive { name: &path, parts: &part(&path, 3) }, |_| ()).await.unwrap_err();
        assert!(matches!(error, EngineError::Load { .. }), "{error}");
        assert_eq!(error.class(), class, "{error}");
        assert!(error.help().unwrap().contains(step), "{error}");
    }
}

#[tokio::test]
async fn an_engine_that_says_no_before_it_has_everything_is_heard() {
    let refusal = [b"!early ", &status(500, "{\"message\":\"no space left on device\"}")[..]].concat();
    let fake = FakeEngine::start(vec![("/version", ok(DOCKER_VERSION)), ("/load", refusal)]);
    let engine = fake.engine().await;
    let path = archive_of(fake.folder.path(), &vec![0; 8 << 20]);
    let error = engine.load(Archive { name: &path, parts: &part(&path, 8 << 20) }, |_| ()).await.unwrap_err();
    assert!(matches!(&error, EngineError::Load { message, .. } if message == "no space left on device"), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Disk);
}

#[tokio::test]
async fn a_bundle_that_shrinks_is_named() {
    let fake = FakeEngine::start(vec![("/version", ok(DOCKER_VERSION)), ("/load", ok(""))]);
    let engine = fake.engine().await;
    let path = archive_of(fake.folder.path(), b"short");
    let error = engine.load(Archive { name: &path, parts: &part(&path, 6) }, |_| ()).await.unwrap_err();
    assert!(Failure::from(error).to_string().contains("ends after 5 bytes, at least 6 were expected"));
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let endless = format!("{{\"Id\":\"{}\",\"x\":\"{}\"}}", Digest::of(b"x"), "x".repeat(answer::MAX_ANSWER));
    let fake = FakeEngine::start(vec![("/version", ok(DOCKER_VERSION)), ("/json", ok(&endless))]);
    let image = name("a:1");
    let error = fake.engine().await.image_id(ImageKey::Name(&image)).await.unwrap_err();
    assert!(matches!(error, EngineError::Answer { .. }), "{error}");
}

#[tokio::test]
async fn an_image_is_asked_for_by_name_or_id() {
    let id = Digest::of(b"config");
    let fake = FakeEngine::start(vec![
        ("/version", ok(DOCKER_VERSION)),
        ("/images/reg.corp:5000/octoperf/a:1/json ", ok(&format!("{{\"Id\":\"{id}\"}}"))),
        ("/images/sha256:", ok(&format!("{{\"Id\":\"{id}\"}}"))),
        ("/broken:1/json", status(500, "{\"message\":\"boom\"}")),
    ]);
    let engine = fake.engine().await;
    assert_eq!(engine.image_id(ImageKey::Name(&name("reg.corp:5000/octoperf/a:1"))).await.unwrap(), Some(id));
    assert_eq!(engine.image_id(ImageKey::Id(&id)).await.unwrap(), Some(id));
    assert_eq!(engine.image_id(ImageKey::Name(&name("reg.corp/missing:1"))).await.unwrap(), None);
    let error = engine.image_id(ImageKey::Name(&name("reg.corp/broken:1"))).await.unwrap_err();
    assert!(error.to_string().contains("status 500: boom"), "{error}");
}

#[tokio::test]
async fn an_image_gets_its_private_name() {
    let fake = FakeEngine::start(vec![("/version", ok(DOCKER_VERSION)), ("/tag?", status(201, ""))]);
    let engine = fake.engine().await;
    let (old, new) = (name("octoperf/a:1"), name("reg.corp:5000/tools/octoperf/a:1"));
    engine.tag(ImageKey::Name(&old), &new).await.unwrap();
    let request = fake.requests().pop().unwrap();
    let line = "POST /images/docker.io/octoperf/a:1/tag?repo=reg.corp%3A5000%2Ftools%2Foctoperf%2Fa&tag=1 ";
    assert!(request.head.starts_with(line), "{}", request.head);
    let pinned = name(&format!("reg.corp/a@{}", Digest::of(b"x")));
    let error = engine.tag(ImageKey::Name(&old), &pinned).await.unwrap_err();
    assert!(matches!(error, EngineError::NoTag { .. }), "{error}");
}

#[tokio::test]
async fn an_engine_may_be_reached_over_plain_tcp() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("tcp://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut start = [0; 13];
        connection.read_exact(&mut start).await.unwrap();
        connection.write_all(&ok(DOCKER_VERSION)).await.unwrap();
        start
    });
    let settings = EngineSettings { docker_host: Some(host.clone()), ..EngineSettings::default() };
    let engine = Engine::find(EngineChoice::Docker, &settings).await.unwrap();
    assert_eq!((engine.place(), server.await.unwrap()), (host, *b"GET /version "));
}

/// A folder with a `podman` that notes its arguments and then does what `script` says.
fn fake_podman(script: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("podman");
    let text = format!(
        "#!/bin/sh\necho \"$*\" >> '{}'\ncase \"$*\" in\n'version --format {{{{.Client.Version}}}}') echo 4.3.1;;\n{script}\nesac\n",
        folder.path().join("log").display()
    );
    install(&path, &text);
    folder
}

async fn by_command(podman: &TempDir) -> Engine {
    let settings = EngineSettings { path: Some(podman.path().into()), ..EngineSettings::default() };
    Engine::find(EngineChoice::Podman, &settings).await.unwrap()
}

fn last_arguments(podman: &TempDir) -> String {
    let log = std::fs::read_to_string(podman.path().join("log")).unwrap();
    log.lines().last().unwrap().to_owned()
}

#[tokio::test]
async fn podman_is_used_by_its_command_where_no_socket_answers() {
    let podman = fake_podman("load*) echo 'Loaded image: docker.io/octoperf/a:1';;");
    let engine = by_command(&podman).await;
    assert_eq!((engine.kind(), engine.version()), (EngineKind::Podman, "4.3.1"));
    assert_eq!(engine.place(), podman.path().join("podman").display().to_string());
    let path = archive_of(podman.path(), b"tar");
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let archive = Archive { name: &path, parts: &part(&path, 3) };
    let loaded = engine.load(archive, move |bytes| heard.lock().unwrap().push(bytes)).await.unwrap();
    assert_eq!(loaded, ["docker.io/octoperf/a:1"]);
    assert_eq!(last_arguments(&podman), format!("load --quiet -i {}", path.display()));
    assert_eq!(*told.lock().unwrap(), [3]);
}

#[tokio::test]
async fn podman_gets_a_file_with_a_colon_in_its_name_too() {
    let podman = fake_podman("'load --quiet -i /dev/stdin') echo \"Loaded image: $(cat)\";;");
    let path = podman.path().join("bundle:9.2.0.tar");
    std::fs::write(&path, "content").unwrap();
    let loaded = by_command(&podman).await.load(Archive { name: &path, parts: &part(&path, 7) }, |_| ()).await.unwrap();
    assert_eq!(loaded, ["content"]);
}

#[tokio::test]
async fn a_podman_command_that_fails_is_quoted() {
    let podman = fake_podman("load*|tag*|'image exists'*) echo 'Error: no space left on device' >&2; exit 125;;");
    let engine = by_command(&podman).await;
    let path = archive_of(podman.path(), b"tar");
    let error = engine.load(Archive { name: &path, parts: &part(&path, 3) }, |_| ()).await.unwrap_err();
    assert!(matches!(error, EngineError::Load { .. }) && error.class() == ErrorClass::Disk, "{error}");
    let image = name("octoperf/a:1");
    for error in [
        engine.tag(ImageKey::Name(&image), &image).await.unwrap_err(),
        engine.image_id(ImageKey::Name(&image)).await.unwrap_err(),
    ] {
        assert!(matches!(&error, EngineError::Command { message, .. } if message.contains("no space left")), "{error}");
    }
}

#[tokio::test]
async fn volumes_reach_every_engine_as_one_archive() {
    let podman = fake_podman("'load --quiet') echo \"Loaded image: $(cat)\";;");
    let (first, second) = (podman.path().join("x.tar.001"), podman.path().join("x.tar.002"));
    std::fs::write(&first, "con").unwrap();
    std::fs::write(&second, "tent").unwrap();
    let parts = [part(&first, 3), part(&second, 4)].concat();
    let archive = Archive { name: Path::new("x.tar"), parts: &parts };
    assert_eq!(by_command(&podman).await.load(archive, |_| ()).await.unwrap(), ["content"]);

    let fake = FakeEngine::start(vec![("/version", ok(DOCKER_VERSION)), ("/load", ok("{\"stream\":\"\"}"))]);
    fake.engine().await.load(archive, |_| ()).await.unwrap();
    assert_eq!(fake.requests().pop().unwrap().body, b"content");
}

#[tokio::test]
async fn a_podman_command_that_ends_before_it_has_read_everything_is_quoted() {
    let podman = fake_podman("'load --quiet') echo 'Error: no space left on device' >&2; exit 125;;");
    let path = archive_of(podman.path(), &vec![0; 8 << 20]);
    let parts = [part(&path, 4 << 20), part(&path, 4 << 20)].concat();
    let archive = Archive { name: &path, parts: &parts };
    let error = by_command(&podman).await.load(archive, |_| ()).await.unwrap_err();
    assert!(matches!(error, EngineError::Load { .. }) && error.class() == ErrorClass::Disk, "{error}");
}

#[tokio::test]
async fn podmans_command_tells_ids_and_gives_names() {
    let id = Digest::of(b"config");
    let podman = fake_podman(&format!(
        "'image exists docker.io/octoperf/a:1') ;;\n'image exists '*) exit 1;;\n'image inspect'*) echo {};;\ntag*) ;;",
        id.hex()
    ));
    let engine = by_command(&podman).await;
    let image = name("octoperf/a:1");
    assert_eq!(engine.image_id(ImageKey::Name(&image)).await.unwrap(), Some(id));
    assert_eq!(last_arguments(&podman), "image inspect --format {{.Id}} docker.io/octoperf/a:1");
    assert_eq!(engine.image_id(ImageKey::Name(&name("octoperf/b:1"))).await.unwrap(), None);
    let pinned = name(&format!("reg.corp/tools/octoperf/a:1@{id}"));
    engine.tag(ImageKey::Name(&image), &pinned).await.unwrap();
    assert_eq!(last_arguments(&podman), "tag docker.io/octoperf/a:1 reg.corp/tools/octoperf/a:1");
}

#[tokio::test]
async fn a_podman_of_the_current_folder_is_not_run() {
    let (near, podman, plain) = (fake_podman(""), fake_podman(""), tempfile::tempdir().unwrap());
    std::fs::write(plain.path().join("podman"), "not a program").unwrap();
    let here = std::env::current_dir().unwrap();
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = up.join(near.path().strip_prefix("/").unwrap());
    assert!(relative.join("podman").exists());
    let path = std::env::join_paths([Path::new(""), &relative, plain.path(), podman.path()]).unwrap();
    let settings = EngineSettings { path: Some(path), ..EngineSettings::default() };
    let engine = Engine::find(EngineChoice::Podman, &settings).await.unwrap();
    assert_eq!(engine.place(), podman.path().join("podman").display().to_string());
}

#[tokio::test]
async fn a_podman_that_talks_without_end_is_heard_out_but_not_kept() {
    let podman = fake_podman("load*) head -c 6000000 /dev/zero; echo 'Loaded image: a:1' >&2;;");
    let path = archive_of(podman.path(), b"tar");
    let loaded = by_command(&podman).await.load(Archive { name: &path, parts: &part(&path, 3) }, |_| ()).await.unwrap();
    assert_eq!(loaded, ["a:1"]);
}

#[tokio::test]
async fn what_an_engine_saves_is_kept_whole() {
    let id = Digest::of(b"config");
    let content: String = "an archive ".repeat(100_000);
    let fake = FakeEngine::start(vec![
        ("/version", ok(DOCKER_VERSION)),
        ("/images/sha256:", ok(&content)),
        ("/broken:1/get", status(500, "{\"message\":\"boom\"}")),
    ]);
    let podman = fake_podman(&format!(
        "'save --quiet --format oci-archive --uncompressed {id}') echo kept;;\nsave*) echo 'Error: boom' >&2; exit 125;;"
    ));
    for (engine, expected) in [(fake.engine().await, content.as_str()), (by_command(&podman).await, "kept\n")] {
        let file = tempfile::NamedTempFile::new().unwrap();
        engine.save(ImageKey::Id(&id), file.as_file()).await.unwrap();
        assert!(std::fs::read(file.path()).unwrap() == expected.as_bytes(), "{}", engine.place());
        let error = engine.save(ImageKey::Name(&name("broken:1")), file.as_file()).await.unwrap_err();
        assert!(error.to_string().contains("boom"), "{error}");
    }
    let read_only = std::fs::File::open(podman.path().join("log")).unwrap();
    let error = fake.engine().await.save(ImageKey::Id(&id), &read_only).await.unwrap_err();
    assert!(matches!(error, EngineError::Keep { .. }) && error.class() == ErrorClass::Disk, "{error}");
}

#[tokio::test]
async fn an_archive_that_breaks_off_is_an_error() {
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec();
    let fake = FakeEngine::start(vec![("/version", ok(DOCKER_VERSION)), ("/get", cut)]);
    let file = tempfile::tempfile().unwrap();
    let error = fake.engine().await.save(ImageKey::Id(&Digest::of(b"x")), &file).await.unwrap_err();
    assert!(matches!(error, EngineError::Unreachable { .. }), "{error}");
}
