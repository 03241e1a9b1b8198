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

/// How a server can be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Http,
    Tls,
    TlsAndLogin,
}

const USER: &str = "ann";
const PASSWORD: &str = "a pass:word";

impl Way {
    const ALL: [Self; 3] = [Self::Http, Self::Tls, Self::TlsAndLogin];
}

/// A release that is served in one way after the other, with an authority that nobody knows but who is told.
struct Shop {
    release: Release,
    contents: Vec<Content>,
}

impl Shop {
    /// `None` if a program is missing that this needs.
    fn open() -> Option<Self> {
        let htpasswd = need("htpasswd")?;
        let (release, contents) = release();
        let authority = Authority::new();
        let pair = authority.server(&["127.0.0.1", "localhost"]);
        release.site.write("server.pem", pair.certificate);
        release.site.write("server.key", pair.key);
        release.site.write("trust/ca.crt", authority.certificate());
        release.site.run(&htpasswd, ["-Bbc", "logins", USER, PASSWORD]).run().assert_ok();
        Some(Self { release, contents })
    }

    fn serve(&self, way: Way) -> Served {
        let tls = ["--cert", "server.pem", "--key", "server.key"];
        let login = ["--htpasswd", "logins"];
        let flags = match way {
            Way::Http => Vec::new(),
            Way::Tls => tls.to_vec(),
            Way::TlsAndLogin => [&tls[..], &login].concat(),
        };
        Served::start(&self.release.site, [&["release.tar"], &flags[..]].concat())
    }

    /// The file with the authority's certificate.
    fn authority(&self) -> std::path::PathBuf {
        self.release.site.path("trust/ca.crt")
    }

    /// The folder that holds it.
    fn trust(&self) -> String {
        self.release.site.path("trust").display().to_string()
    }
}

#[test]
fn s_03_docker_pulls_every_image_by_tag_and_by_digest() {
    let Some(shop) = Shop::open() else { return };
    let Some(docker) = Docker::believing(Some(&shop.authority())) else { return };
    for way in Way::ALL {
        let served = shop.serve(way);
        if way == Way::TlsAndLogin {
            docker.run(&["login", "--username", USER, "--password", PASSWORD, &served.host()]);
        }
        for content in &shop.contents {
            let name = format!("{}/{}", served.host(), content.name());
            let printed = docker.run(&["pull", &name]);
            assert!(printed.contains(&content.root().digest), "{way:?}: {printed}");
            let by_digest = format!("{}/{}@{}", served.host(), content.repository, content.root().digest);
            docker.run(&["rmi", &name]);
            docker.run(&["pull", &by_digest]);
            docker.run(&["rmi", &by_digest]);
        }
    }
}

#[test]
fn s_03_podman_pulls_every_image_and_believes_nobody_else() {
    let Some(shop) = Shop::open() else { return };
    let Some(podman) = Podman::new() else { return };
    let login = format!("{USER}:{PASSWORD}");
    for way in Way::ALL {
        let served = shop.serve(way);
        let trust = shop.trust();
        let flags: &[&str] = match way {
            Way::Http => &["--tls-verify=false"],
            Way::Tls => &["--cert-dir", &trust],
            Way::TlsAndLogin => &["--cert-dir", &trust, "--creds", &login],
        };
        for content in &shop.contents {
            let name = format!("{}/{}", served.host(), content.name());
            podman.run(&[&["pull"], flags, &[&name]].concat());
            let found = podman.run(&["image", "inspect", "--format", "{{.RepoDigests}}", &name]);
            assert!(content.documents.iter().any(|document| found.contains(&document.digest)), "{way:?}: {found}");
            podman.run(&["rmi", &name]);
        }
    }
}

#[test]
fn s_03_skopeo_copies_every_image_with_all_platforms_and_believes_nobody_else() {
    let Some(shop) = Shop::open() else { return };
    let Some(skopeo) = need("skopeo") else { return };
    let login = format!("{USER}:{PASSWORD}");
    let site = &shop.release.site;
    for way in Way::ALL {
        let served = shop.serve(way);
        let trust = shop.trust();
        let flags: &[&str] = match way {
            Way::Http => &["--src-tls-verify=false"],
            Way::Tls => &["--src-cert-dir", &trust],
            Way::TlsAndLogin => &["--src-cert-dir", &trust, "--src-creds", &login],
        };
        for content in &shop.contents {
            let from = format!("docker://{}/{}", served.host(), content.name());
            let copy = |flags: &[&str]| site.run(&skopeo, [&["copy", "--all"], flags, &[&from, "dir:copy"]].concat());
            copy(flags).run().assert_ok();
            assert_eq!(digest(&site.read("copy/manifest.json")), content.root().digest, "{way:?}: {from}");
            for blob in content.blobs.keys() {
                let file = format!("copy/{}", blob.trim_start_matches("sha256:"));
                assert_eq!(digest(&site.read(&file)), *blob);
            }
            std::fs::remove_dir_all(site.path("copy")).unwrap();
            if way != Way::Http {
                let refused = copy(&[]).run();
                assert!(refused.code != Some(0) && refused.stderr.contains("x509"), "{}", refused.stderr);
            }
            if way == Way::TlsAndLogin {
                let refused = copy(&["--src-cert-dir", &trust]).run();
                assert!(refused.code != Some(0) && refused.stderr.contains("unauthorized"), "{}", refused.stderr);
            }
        }
    }
}

#[test]
fn s_03_a_certificate_of_the_servers_own_is_what_engines_are_told_to_trust() {
    let Some(skopeo) = need("skopeo") else { return };
    let (release, contents) = release();
    let folder = release.site.path("certificate").display().to_string();
    let served = Served::start(&release.site, ["release.tar", "--self-signed", "--tls-folder", &folder]);
    let trusted = served.report["certificate"]["trust_file"].as_str().expect("it says what to trust");
    release.site.write("trust/ca.crt", std::fs::read(trusted).unwrap());
    let trust = release.site.path("trust").display().to_string();
    let from = format!("docker://{}/{}", served.host(), contents[0].name());
    let copy = ["copy", "--src-cert-dir", &trust, &from, "dir:copy"];
    release.site.run(&skopeo, copy).run().assert_ok();
    assert_eq!(digest(&release.site.read("copy/manifest.json")), contents[0].root().digest);
}

#[test]
fn s_03_containerd_pulls_every_image_and_uses_it_as_a_mirror() {
    let Some(shop) = Shop::open() else { return };
    let Some(containerd) = Containerd::start() else { return };
    let login = format!("{USER}:{PASSWORD}");
    for way in Way::ALL {
        let served = shop.serve(way);
        // For a host of this machine `ctr` speaks plain http unless a file says otherwise.
        let https = format!("https://{}", served.host());
        let authority = shop.authority().display().to_string();
        let more = format!("ca = \"{authority}\"\n");
        let hosts = hosts_folder(&shop.release, &served.host(), &https, &https, &more);
        let flags: &[&str] = match way {
            Way::Http => &["--plain-http"],
            Way::Tls => &["--hosts-dir", &hosts],
            Way::TlsAndLogin => &["--hosts-dir", &hosts, "--user", &login],
        };
        for content in &shop.contents {
            let name = format!("{}/{}", served.host(), content.name());
            containerd.run(&[&["images", "pull", "--snapshotter", "native"], flags, &[&name]].concat());
            let listed = containerd.run(&["images", "list", &format!("name=={name}")]);
            assert!(listed.contains(&content.root().digest), "{way:?}: {listed}");
            // With all that it brought, so that the next way brings it anew.
            containerd.run(&["images", "remove", "--sync", &name]);
        }
    }
    let Shop { release, contents } = shop;
    let served = Served::start(&release.site, ["release.tar"]);
    // As a mirror of the vendor's registry, which is gone.
    let vendor = release.registry.host();
    let mirror = format!("http://{}", served.host());
    let folder = hosts_folder(&release, &vendor, &format!("http://{vendor}"), &mirror, "");
    let before = release.registry.requests().len();
    for content in &contents {
        let name = format!("{vendor}/{}", content.name());
        containerd.run(&["images", "pull", "--hosts-dir", &folder, "--snapshotter", "native", &name]);
        let listed = containerd.run(&["images", "list", &format!("name=={name}")]);
        assert!(listed.contains(&content.root().digest), "{listed}");
    }
    assert_eq!(release.registry.requests().len(), before, "nothing was asked of the vendor");
}

/// The folder in which containerd finds that `asked` stands in for the registry `host`.
fn hosts_folder(release: &Release, host: &str, server: &str, asked: &str, more: &str) -> String {
    let text = format!("server = \"{server}\"\n[host.\"{asked}\"]\ncapabilities = [\"pull\", \"resolve\"]\n{more}");
    release.site.write(&format!("hosts/{}_/hosts.toml", host.replace(':', "_")), &text);
    release.site.write(&format!("hosts/{host}/hosts.toml"), &text);
    release.site.path("hosts").display().to_string()
}
