//! Who pulls from `octobundle serve`: the engines and tools as distributions ship them.

mod support;

use support::authority::Authority;
use support::images::{Content, Sample, TestImage, TestIndex, digest};
use support::real::{Containerd, Docker, Podman, need};
use support::release::{Release, manifest};
use support::served::Served;

fn samples() -> Vec<Box<dyn Sample>> {
    let base = TestImage::new("octoperf/docker-agent:13.0.0").random_layer(1, 2_000_000);
    let agent = base.clone().docker().layer(b"agent");
    let jmeter = base.named("octoperf/jmeter:5.6.3").random_layer(2, 90_000);
    let proxy = TestImage::new("octoperf/proxy:1.27").layer(b"proxy");
    let other = proxy.clone().platform("linux/arm64").layer(b"for another processor");
    let index = TestIndex::new("octoperf/proxy:1.27").image(proxy).image(other).attested();
    vec![Box::new(agent), Box::new(jmeter), Box::new(index)]
}

fn release() -> (Release, Vec<Content>) {
    let samples = samples();
    let release = Release::of(&samples.iter().map(|sample| &**sample).collect::<Vec<_>>());
    release.pull("release.tar").args(["--platform", "all", "--quiet"]).run().assert_ok();
    let contents = samples.iter().map(|sample| sample.content()).collect();
    (release, contents)
}

#[test]
fn s_03_octobundle_itself_pulls_every_byte() {
    let (release, contents) = release();
    let served = Served::start(&release.site, ["release.tar"]);
    let names: Vec<String> = contents.iter().map(|content| format!("{}/{}", served.host(), content.name())).collect();
    release.site.write("again.yaml", manifest(&names));
    release.site.octobundle(["pull", "again.yaml", "--platform", "all", "-o", "again.tar"]).run().assert_ok();
    let lock = |file: &str| release.site.octobundle(["inspect", file, "--json"]).run().assert_ok().json();
    let digests = |file: &str| -> Vec<String> {
        let report = lock(file);
        report["images"].as_array().unwrap().iter().map(|image| image["digest"].to_string()).collect()
    };
    assert_eq!(digests("again.tar"), digests("release.tar"));
    release.site.octobundle(["verify", "again.tar"]).run().assert_ok();
}

#[test]
fn s_03_docker_pulls_every_image_by_tag_and_by_digest() {
    let Some(docker) = Docker::start() else { return };
    let (release, contents) = release();
    let served = Served::start(&release.site, ["release.tar"]);
    for content in &contents {
        let name = format!("{}/{}", served.host(), content.name());
        let printed = docker.run(&["pull", &name]);
        assert!(printed.contains(&content.root().digest), "{printed}");
        let by_digest = format!("{}/{}@{}", served.host(), content.repository, content.root().digest);
        docker.run(&["rmi", &name]);
        docker.run(&["pull", &by_digest]);
    }
}

#[test]
fn s_03_podman_pulls_over_tls_of_a_private_authority_and_with_a_password() {
    let Some(podman) = Podman::new() else { return };
    let Some(htpasswd) = need("htpasswd") else { return };
    let (release, contents) = release();
    let identity = Authority::new();
    let pair = identity.server(&["127.0.0.1", "localhost"]);
    release.site.write("server.pem", pair.certificate);
    release.site.write("server.key", pair.key);
    release.site.write("trust/ca.crt", identity.certificate());
    release.site.run(&htpasswd, ["-Bbc", "logins", "ann", "a pass:word"]).run().assert_ok();
    let arguments = ["release.tar", "--cert", "server.pem", "--key", "server.key", "--htpasswd", "logins"];
    let served = Served::start(&release.site, arguments);
    let trust = release.site.path("trust").display().to_string();
    for content in &contents {
        let name = format!("{}/{}", served.host(), content.name());
        podman.run(&["pull", "--cert-dir", &trust, "--creds", "ann:a pass:word", &name]);
        let found = podman.run(&["image", "inspect", "--format", "{{.RepoDigests}}", &name]);
        assert!(content.documents.iter().any(|document| found.contains(&document.digest)), "{found}");
    }
}

#[test]
fn s_03_skopeo_copies_every_image_with_all_platforms() {
    let Some(skopeo) = need("skopeo") else { return };
    let (release, contents) = release();
    let folder = release.site.path("certificate").display().to_string();
    let served = Served::start(&release.site, ["release.tar", "--self-signed", "--tls-folder", &folder]);
    let trusted = served.report["certificate"]["trust_file"].as_str().expect("it says what to trust");
    release.site.write("trust/ca.crt", std::fs::read(trusted).unwrap());
    let trust = release.site.path("trust").display().to_string();
    for content in &contents {
        let from = format!("docker://{}/{}", served.host(), content.name());
        let copy = ["copy", "--all", "--src-cert-dir", &trust, &from, "dir:copy"];
        release.site.run(&skopeo, copy).run().assert_ok();
        assert_eq!(digest(&release.site.read("copy/manifest.json")), content.root().digest, "{from}");
        for blob in content.blobs.keys() {
            let file = format!("copy/{}", blob.trim_start_matches("sha256:"));
            assert_eq!(digest(&release.site.read(&file)), *blob);
        }
        std::fs::remove_dir_all(release.site.path("copy")).unwrap();
    }
}

#[test]
fn s_03_containerd_pulls_and_uses_it_as_a_mirror() {
    let Some(containerd) = Containerd::start() else { return };
    let (release, contents) = release();
    let served = Served::start(&release.site, ["release.tar"]);
    for content in &contents {
        let name = format!("{}/{}", served.host(), content.name());
        containerd.run(&["images", "pull", "--plain-http", "--snapshotter", "native", &name]);
        let listed = containerd.run(&["images", "list", &format!("name=={name}")]);
        assert!(listed.contains(&content.root().digest), "{listed}");
    }
    // As a mirror of the vendor's registry, which is gone.
    let vendor = release.registry.host();
    let hosts = format!(
        "server = \"http://{vendor}\"\n[host.\"http://{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
        served.host()
    );
    release.site.write(&format!("hosts/{}/hosts.toml", vendor.replace(':', "_") + "_"), &hosts);
    release.site.write(&format!("hosts/{vendor}/hosts.toml"), &hosts);
    let folder = release.site.path("hosts").display().to_string();
    let before = release.registry.requests().len();
    for content in &contents {
        let name = format!("{vendor}/{}", content.name());
        containerd.run(&["images", "pull", "--hosts-dir", &folder, "--snapshotter", "native", &name]);
        let listed = containerd.run(&["images", "list", &format!("name=={name}")]);
        assert!(listed.contains(&content.root().digest), "{listed}");
    }
    assert_eq!(release.registry.requests().len(), before, "nothing was asked of the vendor");
}
