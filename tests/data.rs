//! The release manifests that come with the tool: facts of the vendor's, and nothing made up.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use octobundle::images::{ImageSet, WantedImage};
use octobundle::manifest::{self, Release, Selection};

#[test]
fn every_manifest_of_the_folder_is_compiled_in_under_its_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let files: BTreeSet<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let compiled: Vec<String> = manifest::releases().iter().map(|release| format!("{}.yaml", release.name)).collect();
    assert_eq!(files, compiled.iter().cloned().collect());
    assert_eq!(compiled.len(), files.len(), "each is in the list once");
    for release in manifest::releases() {
        assert_eq!(release.manifest.release(), release.name);
        assert!(release.text.contains("# Source"), "{} says where its facts come from", release.name);
    }
}

#[test]
fn releases_are_listed_from_the_oldest_to_the_newest() {
    let version = |release: &Release| -> Vec<u32> {
        release.name.strip_prefix("octoperf-").unwrap().split('.').map(|part| part.parse().unwrap()).collect()
    };
    assert!(manifest::releases().is_sorted_by_key(version));
}

/// Everything of a release, with a stand-in for each variable that the user must set.
fn whole(release: &Release) -> ImageSet {
    let value =
        |name: &str| if name.ends_with("_tag") { "0".into() } else { format!("site.corp/{name}:0").replace('_', "-") };
    let set = release.manifest.required_variables().map(|name| (name.to_owned(), value(name))).collect();
    let selection = Selection { set, ..Selection::default() };
    release.manifest.select(&selection).unwrap_or_else(|error| panic!("{}: {error}", release.name))
}

fn names(release: &str) -> Vec<String> {
    whole(manifest::find_release(release).unwrap()).images.iter().map(|image| image.name.to_string()).collect()
}

#[test]
fn every_release_is_complete_once_its_variables_are_set() {
    for release in manifest::releases() {
        let set = whole(release);
        let has_role = |role: &str| set.images.iter().any(|image| image.role == role);
        assert!(has_role("agent") && has_role("load-generator") && has_role("infrastructure"), "{}", release.name);
        assert!(release.manifest.groups().contains_key("agent") && release.manifest.groups().contains_key("infra"));
        assert!(set.images.iter().all(|image| !image.groups.is_empty()), "{}", release.name);
    }
}

#[test]
fn the_two_published_releases_need_nothing_to_be_set() {
    let infrastructure = |release: &str, elasticsearch: &str| {
        vec![
            "docker.io/octoperf/docker-agent:9.0.0".to_owned(),
            "docker.io/octoperf/jmeter-standard:9.0.1".into(),
            "docker.io/octoperf/jmeter-webdriver:9.0.1".into(),
            format!("docker.io/octoperf/enterprise-edition:{release}"),
            format!("docker.io/octoperf/enterprise-ui:{release}"),
            format!("docker.io/octoperf/enterprise-documentation:{release}"),
            format!("docker.elastic.co/elasticsearch/elasticsearch-oss:{elasticsearch}"),
            "docker.io/library/haproxy:alpine".into(),
        ]
    };
    for (release, elasticsearch) in [("9.1.0", "6.3.0"), ("9.2.0", "6.3.1")] {
        let found = manifest::find_release(&format!("octoperf-{release}")).unwrap();
        assert_eq!(found.manifest.required_variables().count(), 0);
        assert_eq!(names(found.name), infrastructure(release, elasticsearch));
    }
}

#[test]
fn what_the_vendor_did_not_publish_must_be_set_by_the_user() {
    for release in manifest::releases().iter().filter(|release| !release.name.starts_with("octoperf-9.")) {
        let required: BTreeSet<&str> = release.manifest.required_variables().collect();
        assert!(required.contains("agent_tag") && required.contains("load_generator"), "{}", release.name);
        let stands_in = |image: &WantedImage| image.name.repository().host.as_str() == "site.corp";
        for image in whole(release).images {
            let name = image.name.to_string();
            match image.role.as_str() {
                "agent" => assert_eq!(name, "docker.io/octoperf/docker-agent:0", "{}", release.name),
                "load-generator" => assert!(stands_in(&image), "{}: {name}", release.name),
                _ => {}
            }
        }
    }
}

#[test]
fn server_images_follow_the_releases_through_their_history() {
    let version = |name: &str| name.strip_prefix("octoperf-").unwrap().to_owned();
    for release in manifest::releases() {
        let (names, version) = (names(release.name), version(release.name));
        let numbers: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
        let has = |image: &str| names.contains(&format!("docker.io/octoperf/{image}:{version}"));
        assert!(has("enterprise-edition") && has("enterprise-documentation"), "{version}");
        assert_eq!(has("enterprise-ui"), numbers < vec![15, 0, 0], "{version}: the old interface until 14.5.1");
        assert_eq!(has("octoperf-ui"), numbers >= vec![12, 9, 1], "{version}: the new interface from 12.9.1");
        assert_eq!(has("utility-server"), numbers >= vec![13, 1, 0], "{version}: from 13.1.0");
        assert_eq!(has("mcp-server"), numbers >= vec![16, 2, 1], "{version}: with the newest chart alone");
        let postgresql = (vec![12, 0, 0]..vec![12, 10, 0]).contains(&numbers);
        assert_eq!(names.contains(&"site.corp/postgresql:0".to_owned()), postgresql, "{version}");
        let kubernetes = names.iter().any(|name| name.starts_with("docker.io/octoperf/kubernetes-agent:"));
        assert_eq!(kubernetes, numbers >= vec![12, 12, 1], "{version}: seen from 12.12.1");
    }
}

#[test]
fn elasticsearch_has_the_tag_of_the_table_or_one_that_must_be_set() {
    for (release, image) in [
        ("octoperf-11.0.0", "docker.elastic.co/elasticsearch/elasticsearch-oss:0"),
        ("octoperf-12.8.0", "site.corp/elasticsearch:0"),
        ("octoperf-14.0.0", "site.corp/elasticsearch:0"),
        ("octoperf-14.1.0", "docker.io/library/elasticsearch:7.17.15"),
        ("octoperf-14.4.0", "docker.io/library/elasticsearch:7.17.15"),
        ("octoperf-14.4.1", "docker.io/library/elasticsearch:7.17.18"),
        ("octoperf-14.5.0", "docker.io/library/elasticsearch:7.17.18"),
        ("octoperf-14.5.1", "docker.io/library/elasticsearch:7.17.21"),
        ("octoperf-15.0.0", "docker.io/library/elasticsearch:7.17.21"),
        ("octoperf-15.2.2", "docker.io/library/elasticsearch:7.17.23"),
        ("octoperf-15.4.1", "docker.io/library/elasticsearch:7.17.28"),
        ("octoperf-16.0.0", "docker.io/library/elasticsearch:8.19.7"),
        ("octoperf-16.1.2", "docker.io/library/elasticsearch:8.19.12"),
        ("octoperf-16.2.1", "docker.io/library/elasticsearch:8.19.17"),
    ] {
        assert!(names(release).contains(&image.to_owned()), "{release}: {:?}", names(release));
    }
}
