//! What holds for every target, whatever was answered.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::quote::texts;
use super::*;
use crate::failure::Explain;
use crate::plan::MirrorMap;
use crate::render::{FileMode, Kind, Pin, Subject, Use, usage};

/// A release with everything that any target names.
pub(super) fn everything() -> Lock {
    lock(&[
        ("octoperf/docker-agent:9.0.0", "agent"),
        ("octoperf/jmeter-standard:9.0.1", "load-generator"),
        ("octoperf/kubernetes-agent:14.5.1", "kubernetes-agent"),
        ("octoperf/enterprise-edition:14.5.0", "infrastructure"),
        ("octoperf/enterprise-ui:14.5.0", "infrastructure"),
        ("octoperf/octoperf-ui:14.5.0", "infrastructure"),
        ("octoperf/enterprise-documentation:14.5.0", "infrastructure"),
        ("octoperf/utility-server:14.5.0", "infrastructure"),
        ("octoperf/mcp-server:14.5.0", "infrastructure"),
        ("elasticsearch:8.19.7", "infrastructure"),
        ("haproxy:alpine", "infrastructure"),
    ])
}

/// The same as far as a target can have it: charts are known for servers with one user interface.
fn release(target: RenderTarget) -> Lock {
    let mut lock = everything();
    lock.images.retain(|image| target != RenderTarget::Helm || !image.name.to_string().contains("enterprise-ui"));
    lock
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

/// An answer to every setting: secrets have `s3cret` in them.
pub(super) fn answer(setting: Setting) -> &'static str {
    match setting {
        Setting::Registry => "reg.corp:5000/tools",
        Setting::KeepHost | Setting::Debug | Setting::NoDockerSocket => "true",
        Setting::ServerUrl => "https://octoperf.corp",
        Setting::Name => "agent-1",
        Setting::TokenFile => "s3cret-token\n",
        Setting::EnvFile => "/srv/agent.env",
        Setting::As | Setting::Engine => "docker",
        Setting::Image => "octoperf/docker-agent:9.0.0",
        Setting::Pin => "digest",
        Setting::Heap => "1g",
        Setting::JavaOption => "-Da=s3cret-option",
        Setting::AgentHttpProxy | Setting::AgentHttpsProxy => "http://user:s3cret-proxy@proxy.corp:3128",
        Setting::AgentNoProxy => "localhost,.corp",
        Setting::AutoUpdate => "off",
        Setting::AutoUpdateVariable => "auto.update",
        Setting::Env => "EXTRA=s3cret-variable",
        Setting::Volume => "/srv/data:/data:ro",
        Setting::RunOption => "--memory=2g",
        Setting::CaFile => CERTIFICATE,
        Setting::RegistryUser => "puller",
        Setting::RegistryPasswordFile => "s3cret-password\n",
        Setting::RegistryHostProperty => "registry.host",
        Setting::RegistryUserProperty => "registry.user",
        Setting::RegistryPasswordProperty => "registry.password",
        Setting::Port => "octoperf-ui=80",
        Setting::PublishedPort => "8080",
        Setting::DataPath => "/home/octoperf/data",
        Setting::Box => "corp/with-docker",
        Setting::Namespace => "load-tests",
        Setting::PullSecret => "corp-registry",
        Setting::PullSecretForm => "names",
    }
}

/// Everything that a target takes, or only what it needs.
pub(super) fn answers_for(target: RenderTarget, all: bool) -> Given {
    let mut given = Given::default();
    let wanted = |setting: &Setting| match usage(target, *setting) {
        Use::Needed => true,
        Use::Taken => all,
        Use::Unused(_) => false,
    };
    for setting in Setting::ALL.into_iter().filter(wanted) {
        given.add(setting, answer(setting));
    }
    for part in ["enterprise-ui", "enterprise-documentation", "utility-server", "octoperf-ui"] {
        if target.subject() == Subject::Infra {
            given.add(Setting::Port, format!("{part}=80"));
        }
    }
    if target == RenderTarget::Podman && all {
        given.add(Setting::Engine, "podman");
    }
    given
}

fn rendered(target: RenderTarget, given: &Given) -> Rendered {
    let answers = Answers::new(given).unwrap();
    target.render(&answers, &images(&release(target))).unwrap_or_else(|error| panic!("{target:?}: {error}"))
}

/// All words of a text that begin with the private registry.
fn references(text: &str) -> BTreeSet<String> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || "._/:@-".contains(c));
    let words = text.split(ends).filter(|word| word.starts_with("reg.corp:5000/tools/"));
    words.map(|word| word.trim_end_matches(['.', ':']).to_owned()).collect()
}

/// What `push` puts at the target, by tag and by digest.
fn pushed() -> BTreeSet<String> {
    let images = images(&everything());
    images.iter().flat_map(|image| [image.reference(Pin::Tag), image.reference(Pin::Digest)]).collect()
}

#[test]
fn every_image_that_is_named_is_one_that_push_makes() {
    for target in RenderTarget::ALL {
        for all in [false, true] {
            let rendered = rendered(target, &answers_for(target, all));
            let files = rendered.files.iter().map(super::super::rendered::RenderedFile::content);
            let mut text = files.collect::<Vec<_>>().join("\n") + "\n";
            text += &rendered.arguments.clone().unwrap_or_default().join("\n");
            // Charts put names together of pieces: `no_image_of_the_charts_is_left_that_points_outside` looks at them.
            if target == RenderTarget::Helm {
                continue;
            }
            let named = references(&text);
            assert!(!named.is_empty() || rendered.images.is_empty(), "{target:?}");
            assert!(named.is_subset(&pushed()), "{target:?}: {:?}", named.difference(&pushed()));
            assert_eq!(named, rendered.images.iter().cloned().collect(), "{target:?} says what it names");
            // No image by its name outside.
            for outside in ["docker.io/", "docker.elastic.co/", "registry.hub.docker.com"] {
                assert!(!text.contains(outside), "{target:?} names {outside}");
            }
            let vendor = text.matches("octoperf/docker-agent").count() + text.matches("octoperf/enterprise").count();
            let inside = text.matches("reg.corp:5000/tools/octoperf/docker-agent").count()
                + text.matches("reg.corp:5000/tools/octoperf/enterprise").count();
            assert_eq!(vendor, inside, "{target:?}");
        }
    }
}

#[test]
fn sec_55_no_secret_is_in_a_command_a_note_or_a_file_that_others_read() {
    for target in RenderTarget::ALL {
        let rendered = rendered(target, &answers_for(target, true));
        let open = rendered.files.iter().filter(|file| !file.mode().is_secret()).map(|file| file.content().to_owned());
        let words = rendered.arguments.iter().flatten().chain(&rendered.notes).chain(&rendered.images).cloned();
        for text in open.chain(words).chain([format!("{rendered:?}")]) {
            assert!(!text.contains("s3cret"), "{target:?}: {text}");
        }
        for file in &rendered.files {
            let may = matches!(file.mode(), FileMode::Secret | FileMode::SecretProgram);
            assert_eq!(may, file.mode().bits().trailing_zeros() >= 6, "{file:?}");
        }
        let secret: String = rendered
            .files
            .iter()
            .filter(|file| file.mode().is_secret())
            .map(|file| file.content().to_owned())
            .collect();
        for wanted in [Setting::TokenFile, Setting::Env, Setting::JavaOption, Setting::AgentHttpsProxy] {
            if matches!(usage(target, wanted), Use::Needed | Use::Taken) {
                let value = answer(wanted).trim().rsplit('=').next().unwrap().to_owned();
                assert!(secret.contains(&value), "{target:?} has {value} where its owner reads it");
            }
        }
    }
}

#[test]
fn an_answer_without_use_is_refused_with_its_reason_and_one_that_lacks_is_named() {
    for target in RenderTarget::ALL {
        for setting in Setting::ALL {
            match usage(target, setting) {
                Use::Unused(reason) => {
                    let mut given = answers_for(target, false);
                    given.add(setting, answer(setting));
                    if setting == Setting::AutoUpdate {
                        given.add(Setting::AutoUpdateVariable, "a.b");
                    }
                    let answers = Answers::new(&given).unwrap();
                    let error = target.render(&answers, &images(&everything())).unwrap_err();
                    assert!(matches!(&error, RenderError::NoUse { .. }), "{target:?} {setting:?}: {error}");
                    assert!(error.to_string().contains(reason) || setting == Setting::AutoUpdate);
                }
                Use::Needed => {
                    let given = answers_for(target, false).without(setting);
                    let error = target.render(&Answers::new(&given).unwrap(), &images(&everything())).unwrap_err();
                    assert!(matches!(&error, RenderError::Missing { missing, .. } if *missing == [setting]), "{error}");
                    assert!(error.help().unwrap().contains(setting.key()));
                }
                Use::Taken => {}
            }
        }
    }
}

#[test]
fn every_answer_that_is_taken_changes_what_is_rendered() {
    // What is said before a target is asked, what stands for itself, and what only completes another answer.
    let silent = [Setting::As, Setting::Registry, Setting::KeepHost, Setting::Image];
    for target in RenderTarget::ALL {
        let text = |given: &Given| {
            let rendered = rendered(target, given);
            let files: Vec<String> =
                rendered.files.iter().map(|file| format!("{} {}", file.name(), file.content())).collect();
            format!("{files:?} {:?} {:?}", rendered.arguments, rendered.notes)
        };
        let with_all = text(&answers_for(target, true));
        for setting in Setting::ALL.into_iter().filter(|setting| !silent.contains(setting)) {
            if usage(target, setting) != Use::Taken {
                continue;
            }
            let mut given = answers_for(target, true).without(setting);
            match setting {
                Setting::AutoUpdateVariable => given = given.without(Setting::AutoUpdate),
                Setting::RegistryUser => given = given.without(Setting::RegistryUserProperty),
                Setting::RegistryPasswordFile => given = given.without(Setting::RegistryPasswordProperty),
                Setting::Engine if target != RenderTarget::Podman => given.add(Setting::Engine, "podman"),
                Setting::Port => given.add(Setting::Port, "octoperf-ui=81"),
                _ => {}
            }
            if setting == Setting::Engine && matches!(target, RenderTarget::Docker | RenderTarget::Podman) {
                continue;
            }
            if setting == Setting::Port {
                for part in ["enterprise-ui", "enterprise-documentation", "utility-server"] {
                    given.add(Setting::Port, format!("{part}=80"));
                }
            }
            assert_ne!(text(&given), with_all, "{target:?} does nothing with {setting:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
    #[test]
    fn a_compose_file_gives_the_variables_that_were_asked_for(value in texts()) {
        let mut given = answers_for(RenderTarget::Compose, false);
        given.add(Setting::Env, format!("EXTRA.one={value}"));
        let Ok(answers) = Answers::new(&given) else { return Ok(()) };
        let rendered = RenderTarget::Compose.render(&answers, &images(&everything())).unwrap();
        let file = rendered.files.iter().find(|file| file.name() == "docker-compose.override.yml").unwrap();
        let read: serde_json::Value = serde_saphyr::from_str(file.content()).unwrap();
        let extra = read["services"]["agent"]["environment"]["EXTRA.one"].as_str().unwrap();
        prop_assert_eq!(extra.replace("$$", "$"), value);
        prop_assert!(!extra.replace("$$", "").contains('$'));
    }
}

/// Where a site may have its registry, with and without the source's host in the names.
fn places() -> impl Strategy<Value = Target> {
    let host = prop_oneof![
        "[a-z][a-z0-9]{0,8}\\.[a-z]{2,5}",
        "10\\.[1-9]\\.0\\.[1-9]",
        "\\[fd00::[1-9]\\]",
        Just("localhost".to_owned())
    ];
    let path = "(/[a-z0-9]{1,6}([._-][a-z0-9]{1,4})?){0,3}";
    (host, proptest::option::of(1..=u16::MAX), path, any::<bool>()).prop_filter_map(
        "a place",
        |(host, port, path, keep)| {
            let port = port.map_or_else(String::new, |port| format!(":{port}"));
            let hosts = if keep { SourceHost::Keep } else { SourceHost::Drop };
            Target::parse(&format!("{host}{port}{path}"), hosts).ok()
        },
    )
}

/// The same release from other registries, in other versions.
fn releases() -> impl Strategy<Value = Lock> {
    let host =
        prop_oneof![Just("docker.io"), Just("registry.hub.docker.com"), Just("reg.vendor.com:8443"), Just("quay.io")];
    (host, "[0-9]{1,2}\\.[0-9]{1,2}(\\.[0-9]{1,2})?(-[A-Za-z0-9_.]{0,5}[a-z0-9])?").prop_map(|(host, tag)| {
        let mut lock = everything();
        for image in &mut lock.images {
            let path = image.name.repository().name.to_string();
            image.name = format!("{host}/{path}:{tag}").parse().unwrap();
        }
        lock
    })
}

/// Every word of a text that begins with the place, as a reader of names would take it.
fn named_at<'a>(place: &str, text: &'a str) -> BTreeSet<&'a str> {
    let begin = format!("{place}/");
    let ends = |c: char| !(c.is_ascii_alphanumeric() || "._/:@-".contains(c));
    // Below a folder it is the name of one, such as that of a registry's authority; behind a letter, the end of a word.
    let inside = |at: usize| text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || "./-".contains(c));
    let at = text.match_indices(&begin).map(|(at, _)| at).filter(|&at| !inside(at));
    at.map(|at| {
        let rest = &text[at + begin.len()..];
        let length = begin.len() + rest.find(ends).unwrap_or(rest.len());
        text[at..at + length].trim_end_matches(['.', ':'])
    })
    .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]
    #[test]
    fn whatever_bundle_and_registry_only_images_that_push_makes_are_named(place in places(), lock in releases()) {
        let map = MirrorMap::of_lock(&lock, &place).unwrap();
        let mut pushed: BTreeSet<String> = map.iter().map(|(_, name)| name.to_string()).collect();
        pushed.extend(lock.images.iter().map(|image| {
            format!("{}@{}", map.target_of(&image.name).unwrap().repository(), image.root.digest)
        }));
        let agent = lock.images[0].name.to_string();
        for target in RenderTarget::ALL {
            let mut bundle = lock.clone();
            bundle.images.retain(|image| target != RenderTarget::Helm || !image.name.to_string().contains("enterprise-ui"));
            for all in [false, true] {
                let mut given = answers_for(target, all);
                if !given.texts(Setting::Image).is_empty() {
                    given = given.without(Setting::Image);
                    given.add(Setting::Image, agent.as_str());
                }
                let answers = Answers::new(&given).unwrap();
                let rendered = target.render(&answers, &PrivateImages::new(&bundle, &place).unwrap());
                let rendered = rendered.unwrap_or_else(|error| panic!("{target:?}: {error}"));
                for image in &rendered.images {
                    prop_assert!(pushed.contains(image), "{target:?}: {image}");
                }
                let files = rendered.files.iter().map(super::super::rendered::RenderedFile::content);
                let text = files.chain(rendered.arguments.iter().flatten().map(String::as_str)).collect::<Vec<_>>().join("\n");
                // Charts and mirrors have names in pieces, which tests of their own put together.
                if !matches!(target, RenderTarget::Helm | RenderTarget::Mirrors) {
                    for name in named_at(&place.to_string(), &text) {
                        prop_assert!(pushed.contains(name), "{target:?} names {name}");
                    }
                }
                for image in &lock.images {
                    let source = image.name.to_string();
                    let inside = text.matches(&format!("/{source}")).count();
                    prop_assert_eq!(text.matches(&source).count(), inside, "{:?} names {} outside", target, source);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]
    #[test]
    fn sec_54_nul_cr_lf_and_esc_are_refused_in_every_value(nth in 0..Setting::ALL.len(), at in any::<proptest::sample::Index>()) {
        let setting = Setting::ALL[nth];
        let text = answer(setting).trim_end();
        let at = at.index(text.len() + 1);
        for c in ['\0', '\r', '\n', '\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}'] {
            // The lines of a certificate may break anywhere, and what stands around them is left out.
            if setting == Setting::CaFile && (matches!(c, '\r' | '\n') || text[at..].starts_with('-') || text[..at].ends_with('-')) {
                continue;
            }
            let mut hostile = text.to_owned();
            hostile.insert(at, c);
            let refused = match setting {
                Setting::As => RenderTarget::by_key(Subject::Agent, &hostile).is_err(),
                Setting::Registry => Target::parse(&hostile, SourceHost::Drop).is_err(),
                _ => {
                    let mut given = Given::default();
                    given.add(Setting::AutoUpdateVariable, "auto.update");
                    given = given.without(setting);
                    given.add(setting, hostile.as_str());
                    match Answers::new(&given) {
                        Err(wrong) => {
                            let told = format!("{wrong} {:?}", wrong.help());
                            prop_assert!(!told.contains("s3cret"), "{told}");
                            wrong.help().is_some()
                        }
                        // A line's end belongs to the file that a secret came in, and not to the secret.
                        Ok(_) => setting.kind() == Kind::File && at == text.len() && matches!(c, '\r' | '\n'),
                    }
                }
            };
            prop_assert!(refused, "{setting:?} took {hostile:?}");
        }
    }
}
