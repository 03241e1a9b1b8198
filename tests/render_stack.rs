//! `octobundle render infra`, run for real: docker-compose starts the server from stand-ins of its parts, and a real
//! haproxy answers for all of them on one port.

mod support;

use std::path::Path;

use support::cli::{Output, Site};
use support::images::Sample;
use support::real::{Docker, need};
use support::release::Release;
use support::stand_in::{stand_in_haproxy, stand_in_part};
use support::until;

const TARGET: &str = "reg.corp:5000/tools";
const PORT: u16 = 8443;
/// The version of Elasticsearch asks for more open files than a test's machine may give away.
const LESS: &str = "services: {elasticsearch: {ulimits: {nofile: 1024}}}\n";

/// A part by its image, with what it should be reached by.
struct Part {
    image: &'static str,
    port: u16,
    paths: &'static [&'static str],
}

const PARTS: [Part; 4] = [
    Part { image: "octoperf/enterprise-edition:16.2.1", port: 8090, paths: &["", "uix/", "uis/"] },
    Part { image: "octoperf/octoperf-ui:16.2.1", port: 80, paths: &["", "ui/", "ui/a/"] },
    Part { image: "octoperf/enterprise-documentation:16.2.1", port: 8081, paths: &["", "doc/"] },
    Part { image: "library/elasticsearch:8.19.17", port: 9200, paths: &[""] },
];

struct Stack {
    release: Release,
    docker: Docker,
}

impl Stack {
    fn new() -> Option<Self> {
        let mut images = vec![stand_in_part("octoperf/docker-agent:9.0.0", 1, &[])?];
        for part in &PARTS {
            images.push(stand_in_part(part.image, part.port, part.paths)?);
        }
        images.push(stand_in_haproxy("library/haproxy:alpine")?);
        let docker = Docker::apart()?;
        let release = Release::of(&images.iter().map(|image| image as &dyn Sample).collect::<Vec<_>>());
        release.bundle();
        let load = release.site.octobundle(["load", "release.tar", "--engine", "docker", "--quiet"]);
        load.env("DOCKER_HOST", docker.host()).run().assert_ok();
        // No registry is in reach: what a push would have named is named here.
        for (place, image) in images.iter().enumerate().skip(1) {
            let private = format!("{TARGET}/{}", image.name());
            docker.run(&["tag", release.name(place), &private]);
        }
        Some(Self { release, docker })
    }

    fn site(&self) -> &Site {
        &self.release.site
    }

    fn make(&self, target: &str) -> Output {
        let make = need("make").expect("it was found before");
        let compose = "COMPOSE=docker-compose -f docker-compose.yml -f docker-compose.override.yml -f less.yml";
        let run = self.site().run(Path::new("/usr/bin/env"), ["-C", "server"]).arg(make);
        // This machine may allow fewer maps, which no stand-in needs.
        run.args([compose, "MAP_COUNT=1", target]).env("DOCKER_HOST", self.docker.host()).run()
    }

    /// What is answered at a path of the one port; none while nobody answers.
    fn at(&self, path: &str) -> Option<String> {
        let curl = need("curl").expect("it was found before");
        let url = format!("http://127.0.0.1:{PORT}{path}");
        let output = self.docker.inside(&curl, &["--silent", "--fail", "--location", "--max-time", "10", &url]);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[test]
fn the_server_starts_behind_one_port_from_images_of_the_private_registry() {
    let (Some(_), Some(_), Some(_)) = (need("docker-compose"), need("make"), need("curl")) else { return };
    let Some(stack) = Stack::new() else { return };
    let render = stack.site().octobundle(["render", "infra", "release.tar", "--registry", TARGET, "--out", "server"]);
    let ports = ["--port", "octoperf-ui=80", "--port", "enterprise-documentation=8081"];
    let extra = "EXTRA=a 'b' \"c\" $HOME ${d} $$ %h \\ # é";
    let about = ["--server-url", "https://octoperf.corp", "--data-path", "/home/octoperf/data", "-e", extra];
    render.args(ports).args(about).args(["--published-port", &PORT.to_string()]).run().assert_ok();
    stack.site().write("server/less.yml", LESS);

    stack.make("serve").assert_ok();
    // The balancer looks for a part again until it is there.
    for (path, part) in [
        ("/", "octoperf/enterprise-edition:16.2.1"),
        ("/uix/", "octoperf/enterprise-edition:16.2.1"),
        ("/ui/", "octoperf/octoperf-ui:16.2.1"),
        ("/ui", "octoperf/octoperf-ui:16.2.1"),
        ("/ui/a/", "octoperf/octoperf-ui:16.2.1"),
        ("/doc/", "octoperf/enterprise-documentation:16.2.1"),
    ] {
        until(&format!("{path} is answered by {part}"), || stack.at(path).as_deref() == Some(part));
    }
    // One port for all, and what was asked for inside.
    let containers = stack.docker.run(&["ps", "--format", "{{.Image}} {{.Ports}}"]);
    let published: Vec<&str> = containers.lines().filter(|line| line.contains("->")).collect();
    assert!(published.len() == 1 && published[0].starts_with(&format!("{TARGET}/library/haproxy")), "{containers}");
    assert_eq!(containers.lines().count(), PARTS.len() + 1, "{containers}");
    assert!(containers.lines().all(|line| line.starts_with(TARGET)), "{containers}");
    let backend = stack.docker.run(&["ps", "--quiet", "--filter", "name=enterprise-edition"]);
    let environment = stack.docker.run(&["inspect", "--format", "{{json .Config.Env}}", backend.trim()]);
    let environment: Vec<String> = serde_json::from_str(&environment).expect("it is JSON");
    for wanted in
        [extra, "server.hostname=octoperf.corp", "server.scheme=https", "elasticsearch.hostname=elasticsearch"]
    {
        assert!(environment.iter().any(|variable| variable == wanted), "{wanted}: {environment:?}");
    }

    // Stopped it is started again; taken away, its data stays.
    stack.make("stop").assert_ok();
    assert_eq!(stack.docker.run(&["ps", "--quiet"]), "");
    stack.make("serve").assert_ok();
    until("it is up again", || stack.at("/").is_some());
    stack.make("clean").assert_ok();
    assert_eq!(stack.docker.run(&["ps", "--all", "--quiet"]), "");
    let volumes = stack.docker.run(&["volume", "ls", "--quiet"]);
    assert!(volumes.contains("octoperf-data") && volumes.contains("elasticsearch-data"), "{volumes}");
}
