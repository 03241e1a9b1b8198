//! Tables of manifests and what a user sees.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::failure::{ErrorClass, Explain};
use crate::oci::Platform;

const HEAD: &str = "schema: octobundle/v1\nrelease: r\ntitle: T\n";
const ONE: &str = "images:\n  - image: a/b:1\n    role: agent\n";

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse("site.yaml", text.as_bytes())
}

fn good(text: &str) -> Manifest {
    parse(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// A wrong text, the line and column that are shown, part of the message, part of the suggestion.
struct Wrong(String, usize, usize, &'static str, &'static str);

fn check(cases: &[Wrong]) {
    for Wrong(text, line, column, message, suggestion) in cases {
        let error = parse(text).expect_err(text);
        let ManifestError::Mistake(mistake) = &error else { panic!("{text}\n{error}") };
        assert_eq!((mistake.place.line(), mistake.place.column()), (*line, *column), "{text}\n{error}");
        let shown = error.to_string();
        assert!(shown.starts_with(&format!("site.yaml:{line}:{column}: ")), "{shown}");
        assert!(shown.contains(message), "{text}\n{shown}\nshould contain: {message}");
        let caret = shown.lines().last().unwrap();
        assert_eq!(caret.trim_start_matches([' ', '|']).trim_end_matches('^'), "", "{shown}");
        let help = error.help().unwrap_or_default();
        assert!(help.contains(suggestion), "{text}\n{help}\nshould contain: {suggestion}");
        assert_eq!(error.class(), ErrorClass::Input);
        for raw in ["invalid type", "expected struct", "sequence", "mapping", "scalar", "unknown field"] {
            assert!(!shown.contains(raw), "`{raw}` says nothing to a user: {shown}");
        }
    }
}

fn head(rest: &str) -> String {
    format!("{HEAD}{rest}")
}

fn with_image(rest: &str) -> String {
    format!("{HEAD}{ONE}{rest}")
}

#[test]
fn a_mistake_is_shown_with_its_line_and_a_caret() {
    let error = parse(&head("imags:\n  - image: a/b:1\n")).unwrap_err();
    assert_eq!(error.to_string(), "site.yaml:4:1: unknown key `imags`\n  |\n4 | imags:\n  | ^^^^^");
    assert_eq!(
        error.help().unwrap(),
        "did you mean `images`? known: `schema`, `release`, `title`, `variables`, `platforms`, `images`"
    );
    let long = format!("{HEAD}images:\n  - image: {}/b\n    role: x\n", "a".repeat(150));
    let shown = parse(&long).unwrap_err().to_string();
    assert!(shown.lines().skip(1).all(|line| line.chars().count() < 130), "{shown}");
    let far = format!("{HEAD}images: [{}]\n", vec!["{image: a, role: x}"; 50].join(", "));
    let far = far.replacen("{image: a, role: x}]", "{image: a, rol: x}]", 1);
    let shown = parse(&far).unwrap_err().to_string();
    let lines: Vec<&str> = shown.lines().collect();
    let caret = lines[3].chars().position(|c| c == '^').unwrap();
    let pointed: String = lines[2].chars().skip(caret).take(3).collect();
    assert_eq!(pointed, "rol", "{shown}");
}

#[test]
fn wrong_keys_are_named_with_what_was_meant() {
    check(&[
        Wrong(head("imags:\n  - image: a/b:1\n"), 4, 1, "unknown key `imags`", "did you mean `images`?"),
        Wrong(head("images:\n  - image: a/b:1\n    roel: x\n"), 6, 5, "unknown key `roel`", "did you mean `role`?"),
        Wrong(head("images:\n  - iamge: a/b:1\n    role: x\n"), 5, 5, "unknown key `iamge`", "did you mean `image`?"),
        Wrong(with_image("    tag: x\n"), 7, 5, "unknown key `tag`", "known: `image`, `role`, `groups`, `platforms`"),
        Wrong(with_image("title: X\n"), 7, 1, "`title` is given twice; the first time on line 3", "keep one"),
        Wrong(with_image("    image: c:1\n"), 7, 5, "`image` is given twice; the first time on line 5", "keep one"),
        Wrong(head("variables:\n  x: a\n  x: b\n"), 6, 3, "`x` is given twice", "keep one"),
        Wrong("release: r\n".into(), 1, 1, "the key `schema` is missing", "add `schema: octobundle/v1`"),
        Wrong(HEAD.into(), 3, 1, "the key `images` is missing", "add `images:`"),
        Wrong(head("images:\n  - image: a/b:1\n"), 5, 5, "the key `role` is missing", "`role: load-generator`"),
        Wrong(head("images:\n  - role: x\n"), 5, 5, "the key `image` is missing", "image: octoperf/docker-agent:9.0.0"),
        Wrong("schema: octobundle/v2\nnew: 1\n".into(), 1, 9, "schema is `octobundle/v2`", "octobundle/v1"),
    ]);
}

#[test]
fn wrong_kinds_of_value_are_named_with_what_to_write() {
    check(&[
        Wrong(head("variables:\n  tag: 1.10\n"), 5, 8, "`1.10` without quotes is a number", "write `\"1.10\"`"),
        Wrong(head("variables:\n  tag: 9\n"), 5, 8, "`9` without quotes is a number", "write `\"9\"`"),
        Wrong(head("variables:\n  tag: 1e5\n"), 5, 8, "`1e5` without quotes", "write `\"1e5\"`"),
        Wrong(head("variables:\n  tag: true\n"), 5, 8, "`true` without quotes", "write `\"true\"`"),
        Wrong(head("release: 1\n").replace("release: r\n", ""), 3, 10, "`1` without quotes", "write `\"1\"`"),
        Wrong(with_image("    groups: [1]\n"), 7, 14, "`1` without quotes", "write `\"1\"`"),
        Wrong(head("images:\n  - image: a/b:1\n    role: 7\n"), 6, 11, "`7` without quotes", "write `\"7\"`"),
        Wrong(head("variables:\n  tag: [1]\n"), 5, 8, "expected text, found a list", "one text"),
        Wrong(head("variables:\n  tag: {a: b}\n"), 5, 8, "expected text, found keys with values", "one text"),
        Wrong(head("variables: [a]\n"), 4, 12, "expected keys with values, found a list", "KEY: VALUE"),
        Wrong(head("variables: a\n"), 4, 12, "expected keys with values, found text", "KEY: VALUE"),
        Wrong(head("images: a\n"), 4, 9, "expected a list, found text", "write `[a]`"),
        Wrong(head("images:\n  image: a/b:1\n"), 5, 3, "expected a list, found keys with values", "- VALUE"),
        Wrong(head("images:\n  - a/b:1\n"), 5, 5, "expected keys with values, found text", "write `image: a/b:1`"),
        Wrong(head("images:\n"), 4, 7, "the manifest lists no image", "- image: NAME:TAG"),
        Wrong(head("images: []\n"), 4, 9, "the manifest lists no image", "- image: NAME:TAG"),
        Wrong(with_image("    groups: agent\n"), 7, 13, "expected a list, found text", "write `[agent]`"),
        Wrong(with_image("    groups: [[a]]\n"), 7, 14, "expected text, found a list", "one text"),
        Wrong(with_image("").replace("title: T", "title:"), 3, 6, "expected text, found nothing", "behind the `:`"),
        Wrong(with_image("").replace("title: T", "title: ''"), 3, 8, "the title must be one line", ""),
        Wrong(with_image("").replace("title: T", "title: \"a\\nb\""), 3, 8, "the title must be one line", ""),
        Wrong(with_image("").replace("title: T", "title: \"a\\u202eb\""), 3, 8, "the title must be one line", ""),
        Wrong("just text".into(), 1, 1, "expected keys with values, found text", "KEY: VALUE"),
        Wrong("- a\n".into(), 1, 1, "expected keys with values, found a list", "KEY: VALUE"),
        Wrong(with_image("    platforms: linux/amd64\n"), 7, 16, "`all` or a list of platforms", "`[linux/amd64]`"),
        Wrong(with_image("    platforms: 1.5\n"), 7, 16, "`all` or a list of platforms", "`[1.5]`"),
        Wrong(with_image("    platforms: {a: b}\n"), 7, 16, "found keys with values", "KEY: VALUE"),
        Wrong(with_image("    platforms: []\n"), 7, 16, "the list of platforms is empty", "`all`"),
        Wrong(with_image("platforms: [linux/amd64, linux]\n"), 7, 26, "`linux` is no platform", "linux/arm64"),
    ]);
}

#[test]
fn wrong_names_references_and_variables_are_shown_where_they_stand() {
    let image = |reference: &str| head(&format!("images:\n  - image: {reference}\n    role: agent\n"));
    let variable = |line: &str| head(&format!("variables:\n  {line}\n{ONE}"));
    check(&[
        Wrong(image("a/b"), 5, 12, "`a/b` has neither a tag nor a digest; write `a/b:TAG`", ""),
        Wrong(image("A/b:1"), 5, 12, "did you mean `a/b`?", ""),
        Wrong(image("https://a/b:1"), 5, 12, "leave out `https://`", ""),
        Wrong(image("a/b:-1"), 5, 12, "`-1` is no tag", "[HOST/]NAME:TAG"),
        Wrong(image("a/b@sha256:12"), 5, 12, "is no digest", "@sha256:DIGEST"),
        Wrong(image("a/b@sha512:12"), 5, 12, "sha512", "@sha256:DIGEST"),
        Wrong(image("reg..corp/b:1"), 5, 12, "is no registry host", "[HOST/]NAME:TAG"),
        Wrong(image("a b:1"), 5, 12, "cannot contain ' '", "[HOST/]NAME:TAG"),
        Wrong(image("\"a\\e:1\""), 5, 12, "cannot contain '\\u{1b}'", "[HOST/]NAME:TAG"),
        Wrong(image("|\n      a/b:1"), 6, 7, "cannot contain '\\n'", "[HOST/]NAME:TAG"),
        Wrong(image(&"a".repeat(1025)), 5, 12, "is longer than 255 characters", "[HOST/]NAME:TAG"),
        Wrong(image("''"), 5, 12, "the image reference is empty", "octoperf/docker-agent:9.0.0"),
        Wrong(image(""), 5, 10, "expected text, found nothing", "behind the `:`"),
        Wrong(image("a/b:${x}"), 5, 16, "the variable `x` is not defined", "`x: \"value\"`"),
        Wrong(image("a/b:${x"), 5, 16, "`${x` is no variable", "${name}"),
        Wrong(image("\"a/b:${x y}\""), 5, 17, "`${x y}` is no variable", "${name}"),
        Wrong(
            head("variables:\n  agent_tag: x\nimages:\n  - image: a/b:${agnet_tag}\n    role: x\n"),
            7,
            16,
            "`agnet_tag` is not defined",
            "did you mean `agent_tag`?",
        ),
        Wrong(
            head("variables:\n  tag: a:b\nimages:\n  - image: a/b:${tag}\n    role: x\n"),
            7,
            12,
            "with the defaults it is `a/b:a:b`",
            "",
        ),
        Wrong(
            with_image("  - image: docker.io/a/b:1\n    role: x\n"),
            7,
            12,
            "`docker.io/a/b:1` is listed twice; the first time on line 5",
            "keep one",
        ),
        Wrong(
            with_image(&format!("  - image: a/b:1@{}\n    role: x\n", Digest::of(b"x"))),
            7,
            12,
            "`docker.io/a/b:1` is listed twice",
            "keep one",
        ),
        Wrong(
            head(&format!("variables:\n  x:\nimages:\n  - image: {}\n    role: x\n", "${x}".repeat(257))),
            7,
            12,
            "is longer than 255 characters",
            "[HOST/]NAME:TAG",
        ),
        Wrong(variable("tag: 'a b'"), 5, 8, "the value for `tag` contains ' '", "letters, digits"),
        Wrong(variable("tag: ''"), 5, 8, "the value for `tag` is empty", "write nothing behind"),
        Wrong(variable("tag: ${x}"), 5, 8, "the value for `tag` contains '$'", "letters, digits"),
        Wrong(variable(&format!("tag: {}", "a".repeat(513))), 5, 8, "is longer than 512", "letters, digits"),
        Wrong(variable("9tag: a"), 5, 3, "`9tag` is no name for a variable", ""),
        Wrong(with_image("    groups: [x, Agent]\n"), 7, 17, "`Agent` is no name for a group", ""),
        Wrong(with_image("    groups: ['']\n"), 7, 14, "`` is no name for a group", ""),
        Wrong(with_image("").replace("role: agent", "role: ../x"), 6, 11, "`../x` is no name for a role", ""),
        Wrong(with_image("").replace("release: r", "release: ../r"), 2, 10, "`../r` is no name for a release", ""),
        Wrong(with_image("").replace("release: r", "release: ${r}"), 2, 10, "under `image` only", ""),
        Wrong(with_image("").replace("title: T", "title: ${r}"), 3, 8, "under `image` only", ""),
    ]);
}

#[test]
fn what_manifests_leave_out_of_yaml_is_refused_by_name() {
    check(&[
        Wrong(head("images:\n  - image: &a a/b:1\n"), 5, 12, "anchors (`&name`) are not read", "write the value out"),
        Wrong(head("images:\n  - image: *a\n"), 5, 12, "aliases (`*name`) are not read", "write the value out"),
        Wrong(head("images:\n  - image: !!str a/b:1\n"), 5, 12, "tags (`!name`, `!!name`)", "leave the tag out"),
        Wrong(head("images: !x\n  - image: a/b:1\n"), 4, 9, "tags (`!name`, `!!name`)", "leave the tag out"),
        Wrong(head("images:\n  - !y!z a\n"), 5, 5, "tags (`!name`, `!!name`)", "leave the tag out"),
        Wrong(head("images:\n  - <<: {role: x}\n"), 5, 5, "merge keys (`<<`)", "write the value out"),
        Wrong(with_image("---\na: b\n"), 7, 1, "further documents after `---`", "a file of its own"),
        Wrong(format!("%YAML 1.2\n---\n{HEAD}"), 1, 1, "directives (`%NAME`)", "leave the line out"),
        Wrong(head("? [a]\n: b\n"), 4, 3, "keys that are lists or maps", "plain names"),
        Wrong("[".repeat(1000), 1, 17, "more than 16 deep", "octobundle schema"),
        Wrong("[".repeat(1_000_000), 1, 17, "more than 16 deep", "octobundle schema"),
        Wrong("- ".repeat(1000), 1, 33, "more than 16 deep", "octobundle schema"),
        Wrong("{a: ".repeat(1000), 1, 65, "more than 16 deep", "octobundle schema"),
    ]);
    let levels = (b'b'..=b'i').map(char::from).zip('a'..);
    let bomb = levels.fold("a: &a [x, x]\n".to_owned(), |bomb, (name, below)| {
        format!("{bomb}{name}: &{name} [{}]\n", vec![format!("*{below}"); 10].join(", "))
    });
    check(&[Wrong(bomb, 1, 4, "anchors (`&name`) are not read", "write the value out")]);
}

#[test]
fn text_that_is_not_yaml_is_explained_in_plain_words() {
    check(&[
        Wrong(String::new(), 1, 1, "the file is empty", "schema: octobundle/v1"),
        Wrong("# nothing\n".into(), 1, 1, "the file is empty", "schema: octobundle/v1"),
        Wrong(head("images:\n\t- image: a:1\n"), 5, 1, "indented with a tab", "spaces"),
        Wrong(head("images:\n  - image: a:1\n  \trole: x\n"), 6, 3, "indented with a tab", "spaces"),
        Wrong(head("images:\n  - image: \"a:1\n    role: x\n"), 6, 5, "quoted text above is not closed", "same line"),
        Wrong(head("x: \"a\n"), 5, 1, "quoted text above is not closed", "same line"),
        Wrong(head("images: [{image: a:1\n"), 4, 10, "the bracket is not closed", "close it"),
        Wrong(head("images:\n  - {image: a:${t}}\n"), 5, 16, "the bracket is not closed", "needs quotes"),
        Wrong(head("images:\n  - image: a:1\n   role: x\n"), 6, 4, "indentation does not fit", "same column"),
        Wrong(head("images:\n  - image: a:1\n      role: x\n"), 6, 11, "a key with `:` cannot stand here", "quotes"),
        Wrong("title: OctoPerf: nine\n".into(), 1, 16, "a key with `:` cannot stand here", "quotes"),
        Wrong("title: @x\n".into(), 1, 8, "cannot begin with this character", "in quotes"),
        Wrong("title: \"a\\q\"\n".into(), 1, 8, "does not exist in YAML", "single quotes"),
        Wrong("title: \u{1b}[31m\n".into(), 1, 8, "invisible character U+001B", "remove"),
        Wrong("title: a\u{202e}b\n".into(), 1, 9, "invisible character U+202E", "remove"),
        Wrong("title: a\rb\n".into(), 1, 9, "invisible character U+000D", "remove"),
        Wrong("title: a\0b\n".into(), 1, 9, "invisible character U+0000", "remove"),
    ]);
    let error = Manifest::parse("site.yaml", b"schema: octobundle/v1\ntitle: caf\xe9\n").unwrap_err();
    assert!(error.to_string().starts_with("site.yaml:2:11: the file is not UTF-8 text"), "{error}");
}

#[test]
fn a_manifest_over_one_mebibyte_is_refused_and_one_of_just_that_is_read() {
    let filled = |size: usize| format!("{}#{}", with_image(""), "x".repeat(size - with_image("").len() - 1));
    assert_eq!(good(&filled(MAX_MANIFEST_BYTES)).image_count(), 1);
    let error = parse(&filled(MAX_MANIFEST_BYTES + 1)).unwrap_err();
    assert!(matches!(error, ManifestError::TooLarge { size, .. } if size == MAX_MANIFEST_BYTES + 1), "{error}");
    assert_eq!(error.class(), ErrorClass::Input);
}

#[test]
fn windows_lines_a_byte_order_mark_and_empty_optional_keys_are_read() {
    let text = format!("\u{feff}---\n{}variables:\nplatforms:\n", with_image("    groups:\n    platforms:\n"));
    let manifest = good(&text.replace('\n', "\r\n"));
    assert_eq!((manifest.release(), manifest.title(), manifest.image_count()), ("r", "T", 1));
    assert_eq!(*manifest.platforms(), PlatformChoice::Only(BTreeSet::from([Platform::linux_amd64()])));
    assert!(manifest.groups().is_empty() && manifest.variables().is_empty());
}

const SITE: &str = "\
schema: octobundle/v1
release: site-1
title: A site
variables:
  agent_tag:
  version: \"9.1\"
  load_generator: ~
platforms: [linux/amd64, linux/arm64]
images:
  - image: octoperf/docker-agent:${agent_tag}
    role: agent
    groups: [agent]
  - image: ${load_generator}
    role: load-generator
    groups: [agent]
  - image: octoperf/enterprise-edition:${version}
    role: infrastructure
    groups: [infra, server]
    platforms: all
  - image: busybox:1
    role: tool
    platforms: [linux/arm/v7]
";

fn selection(groups: &[&str], set: &[(&str, &str)]) -> Selection {
    Selection {
        groups: groups.iter().map(ToString::to_string).collect(),
        set: set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        platforms: None,
    }
}

fn names(groups: &[&str], set: &[(&str, &str)]) -> Vec<String> {
    let set = good(SITE).select(&selection(groups, set)).unwrap();
    set.images.iter().map(|image| image.name.to_string()).collect()
}

#[test]
fn groups_select_and_images_without_group_always_come() {
    let (server, tool) = ("docker.io/octoperf/enterprise-edition:9.1", "docker.io/library/busybox:1");
    let agent = "docker.io/octoperf/docker-agent:9.0.0";
    let generator = "reg.corp:5000/jmeter:2";
    let both = [("agent_tag", "9.0.0"), ("load_generator", "reg.corp:5000/jmeter:2")];
    assert_eq!(names(&["infra"], &[]), [server, tool]);
    assert_eq!(names(&["server", "infra"], &[]), [server, tool]);
    assert_eq!(names(&["agent"], &both), [agent, generator, tool]);
    assert_eq!(names(&[], &both), [agent, generator, server, tool]);
    assert_eq!(names(&["infra"], &[("version", "9.2")])[0], "docker.io/octoperf/enterprise-edition:9.2");
}

#[test]
fn an_image_set_names_its_release_and_manifest_and_keeps_roles_and_platforms() {
    let manifest = good(SITE);
    let set = manifest.select(&selection(&["infra"], &[])).unwrap();
    assert_eq!((set.release.as_str(), set.title.as_str()), ("site-1", "A site"));
    assert_eq!(set.manifest, Digest::of(SITE.as_bytes()));
    assert_eq!(set.images[0].role, "infrastructure");
    assert_eq!(set.images[0].groups, BTreeSet::from(["infra".to_owned(), "server".to_owned()]));
    let only = |texts: &[&str]| PlatformChoice::Only(texts.iter().map(|text| text.parse().unwrap()).collect());
    assert_eq!(set.images[0].platforms, PlatformChoice::All);
    assert_eq!(set.images[1].platforms, only(&["linux/arm/v7"]));
    let set = manifest.select(&selection(&["agent"], &[("agent_tag", "1"), ("load_generator", "a:1")])).unwrap();
    assert_eq!(set.images[0].platforms, only(&["linux/amd64", "linux/arm64"]));
    let chosen = Selection { platforms: Some(only(&["linux/s390x"])), ..selection(&["infra"], &[]) };
    let set = manifest.select(&chosen).unwrap();
    assert!(set.images.iter().all(|image| image.platforms == only(&["linux/s390x"])), "{set:?}");
}

#[test]
fn a_selection_that_cannot_be_served_says_what_to_type() {
    /// Groups, values, part of the message, part of the suggestion.
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str, &'a str);
    let cases: [Case<'_>; 13] = [
        (
            &[],
            &[],
            "needs values for `agent_tag`, `load_generator`",
            "--set agent_tag=VALUE --set load_generator=VALUE",
        ),
        (&["agent"], &[("agent_tag", "1")], "needs values for `load_generator`", "add --set load_generator=VALUE"),
        (&["infra"], &[("agnet_tag", "1")], "has no variable `agnet_tag`", "did you mean `agent_tag`?"),
        (&["infra"], &[("color", "1")], "has no variable `color`", "known: `agent_tag`, `version`"),
        (&["infar"], &[], "has no group `infar`", "did you mean `infra`? known: `agent`, `infra`, `server`"),
        (&["infra", "kibana"], &[], "has no group `kibana`", "known: `agent`, `infra`, `server`"),
        (&["infra"], &[("version", "")], "the value for `version` is empty", "--set version=9.0.1"),
        (&["infra"], &[("version", "9 1")], "the value for `version` contains ' '", "--set version=9.0.1"),
        (&["infra"], &[("version", "${x}")], "the value for `version` contains '$'", "--set version=9.0.1"),
        (&["infra"], &[("version", "9\n1")], "the value for `version` contains '\\n'", "--set version=9.0.1"),
        (&["infra"], &[("version", "é")], "the value for `version` contains 'é'", "--set version=9.0.1"),
        (&["infra"], &[("version", "a:b")], "`octoperf/enterprise-edition:${version}` becomes", "--set"),
        (
            &["agent"],
            &[("agent_tag", "1"), ("load_generator", "busybox:1")],
            "`${load_generator}` and `busybox:1` are both `docker.io/library/busybox:1`",
            "--set",
        ),
    ];
    for (groups, set, message, help) in cases {
        let error = good(SITE).select(&selection(groups, set)).expect_err(message);
        assert!(error.to_string().contains(message), "{error}\nshould contain: {message}");
        assert!(error.help().unwrap().contains(help), "{:?}\nshould contain: {help}", error.help());
        assert_eq!(error.class(), ErrorClass::Usage, "{error}");
    }
}

#[test]
fn a_listing_knows_groups_and_what_must_be_set() {
    let manifest = good(SITE);
    assert_eq!(manifest.groups().into_iter().collect::<Vec<_>>(), [("agent", 2), ("infra", 1), ("server", 1)]);
    assert_eq!(manifest.required_variables().collect::<Vec<_>>(), ["agent_tag", "load_generator"]);
    assert_eq!(manifest.variables()[1], Variable { name: "version".into(), default: Some("9.1".into()) });
    assert_eq!(manifest.image_count(), 4);
}

#[test]
fn a_mistyped_release_finds_its_neighbour() {
    assert_eq!(find_release("octoperf-9.2.0").unwrap().name, "octoperf-9.2.0");
    let error = find_release("octopref-9.2.0").unwrap_err();
    assert_eq!(error.to_string(), "there is no release `octopref-9.2.0`");
    assert_eq!(error.help().unwrap(), "did you mean `octoperf-9.2.0`?");
    assert!(find_release("kubernetes").unwrap_err().help().unwrap().contains("octobundle releases"));
}

/// What our schema uses of JSON Schema, checked; patterns are looked at by the types alone.
fn fits(schema: &Value, root: &Value, value: &Value) -> bool {
    if let Some(name) = schema["$ref"].as_str() {
        return fits(&root["$defs"][name.rsplit('/').next().unwrap()], root, value);
    }
    if let Some(choices) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        return choices.iter().any(|choice| fits(choice, root, value));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::String(one) => one == kind,
        Value::Array(several) => several.iter().any(|one| one == kind),
        _ => true,
    };
    let one_of_them = schema["enum"].as_array().is_none_or(|words| words.contains(value));
    let the_one = schema.get("const").is_none_or(|word| word == value);
    let items = value.as_array().is_none_or(|items| {
        items.len() as u64 >= schema["minItems"].as_u64().unwrap_or(0)
            && items.iter().all(|item| fits(&schema["items"], root, item))
    });
    let keys = value.as_object().is_none_or(|keys| {
        let required = schema["required"].as_array().into_iter().flatten();
        required.map(|key| key.as_str().unwrap()).all(|key| keys.contains_key(key))
            && keys.iter().all(|(key, value)| match schema["properties"].get(key) {
                Some(schema) => fits(schema, root, value),
                None if schema["additionalProperties"] == Value::Bool(false) => false,
                None => fits(&schema["additionalProperties"], root, value),
            })
    });
    allowed && one_of_them && the_one && items && keys
}

#[test]
fn schema_and_types_take_and_refuse_the_same() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let json = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
    let mut cases: Vec<String> = releases().iter().map(|release| release.text.to_owned()).collect();
    cases.extend([SITE.into(), with_image("    groups:\n    platforms:\nvariables:\nplatforms: all\n")]);
    for text in &cases {
        assert!(parse(text).is_ok() && fits(&schema, &schema, &json(text)), "{text}");
    }
    let refused = [
        head("imags: []\n"),
        HEAD.into(),
        head("images: []\n"),
        head("images:\n"),
        head("images: {}\n"),
        head("images:\n  - a:1\n"),
        head("images:\n  - image: a:1\n"),
        head("images:\n  - role: a\n"),
        head("images:\n  - image: 1\n    role: a\n"),
        with_image("    tag: x\n"),
        with_image("more: x\n"),
        with_image("    groups: x\n"),
        with_image("    groups: [1]\n"),
        with_image("    platforms: any\n"),
        with_image("    platforms: []\n"),
        with_image("variables: []\n"),
        with_image("variables: {a: 1.10}\n"),
        with_image("variables: {a: [x]}\n"),
        with_image("").replace("v1", "v2"),
    ];
    for text in refused {
        assert!(parse(&text).is_err(), "{text}");
        assert!(!fits(&schema, &schema, &json(&text)), "{text}");
    }
}

#[test]
fn schema_and_types_have_the_same_keys_and_describe_each() {
    let schema = schema();
    let known = |text: &str| match parse(text).unwrap_err() {
        ManifestError::Mistake(mistake) => match mistake.problem {
            Problem::UnknownKey { known, .. } => known,
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    };
    let described = |schema: &Value| -> Vec<String> {
        let properties = schema["properties"].as_object().unwrap();
        for (key, property) in properties {
            assert!(property["description"].is_string(), "`{key}` has no description");
        }
        properties.keys().cloned().collect()
    };
    assert_eq!(described(&schema), known("strange: 1\n"));
    assert_eq!(described(&schema["$defs"]["Image"]), known(&with_image("    strange: 1\n")));
}

/// A text that differs from a sound manifest in a few places.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "", "\t", "\n", "  ", ": ", "- ", "\"", "'", "[", "]", "{", "}", "&a ", "*a", "!!str ", "<<: ", "---\n", "${",
        "}", "#", "|\n", ">\n", "1.10", "null", "all", "\r", "\0", "\u{feff}", "\u{2028}", "é", "%", "@", "`", "? ",
        "\\", "~", "sha256:",
    ]);
    let change = (any::<prop::sample::Index>(), 0_usize..8, pieces);
    prop::collection::vec(change, 1..6).prop_map(|changes| {
        changes.into_iter().fold(SITE.as_bytes().to_vec(), |mut text, (at, removed, piece)| {
            let at = at.index(text.len());
            let end = (at + removed).min(text.len());
            text.splice(at..end, piece.bytes());
            text
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_typed_gives_a_manifest_or_an_error_with_a_place(text in mutated()) {
        match Manifest::parse("site.yaml", &text) {
            Ok(manifest) => prop_assert!(manifest.image_count() > 0),
            Err(error) => {
                let shown = error.to_string();
                prop_assert!(shown.starts_with("site.yaml:"), "{}", shown);
                prop_assert!(shown.len() < 2000 && !shown.chars().any(|c| c.is_control() && c != '\n'), "{:?}", shown);
            }
        }
    }

    #[test]
    fn values_that_are_set_never_break_out_of_a_reference(value in "\\PC{0,12}|[a-z0-9:./@${} -]{1,12}") {
        let set = good(SITE).select(&selection(&["infra"], &[("version", &value)]));
        if let Ok(set) = set {
            let name = set.images[0].name.to_string();
            prop_assert!(name.starts_with("docker.io/octoperf/enterprise-edition:"), "{}", name);
        }
    }
}
