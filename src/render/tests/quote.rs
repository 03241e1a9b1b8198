//! Every rule of quoting, read back by a parser of that format.

use proptest::prelude::*;

use crate::render::Quoting;

/// Texts of what has a meaning somewhere, and of everything else that can be seen.
pub(super) fn texts() -> impl Strategy<Value = String> {
    "(\\PC|[ '\"$`\\\\!*?{}()<>|&;~#=%^:,@\u{2018}\u{2019}\u{a0}\\[\\]-]){0,24}"
}

/// What systemd makes of one quoted word of a command line: systemd.service(5) and systemd.unit(5).
fn systemd_word(written: &str) -> Option<String> {
    let inner = written.strip_prefix('"')?.strip_suffix('"')?;
    let mut word = String::new();
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => return None,
            // Each of them is an escape here, and stands for itself only when it is doubled.
            '\\' | '%' | '$' => {
                let next = characters.next()?;
                if next != c && !(c == '\\' && next == '"') {
                    return None;
                }
                word.push(next);
            }
            c => word.push(c),
        }
    }
    Some(word)
}

/// What PowerShell makes of a verbatim string: any of its single quotes ends it, unless it stands twice.
fn powershell_string(written: &str) -> Option<String> {
    let is_quote = |c: char| matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}');
    let inner = written.strip_prefix('\'')?.strip_suffix('\'')?;
    let mut text = String::new();
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        if is_quote(c) && !characters.next().is_some_and(is_quote) {
            return None;
        }
        text.push(c);
    }
    Some(text)
}

/// What a program is given by cmd for a quoted argument of a batch file.
fn batch_argument(written: &str) -> Option<String> {
    let inner = written.strip_prefix('"')?.strip_suffix('"')?;
    let slashes = inner.len() - inner.trim_end_matches('\\').len();
    let text = &inner[..inner.len() - slashes / 2];
    (!inner.contains(['"', '!']) && slashes % 2 == 0 && !text.replace("%%", "").contains('%'))
        .then(|| text.replace("%%", "%"))
}

fn yaml(written: &str) -> Option<String> {
    serde_saphyr::from_str::<Vec<String>>(&format!("- {written}\n")).ok()?.pop()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]
    #[test]
    fn sec_53_every_text_is_read_back_as_it_was_by_each_format(text in texts()) {
        let quoted = |quoting: Quoting| quoting.quoted(&text).unwrap();
        let same = Some(text.clone());
        prop_assert_eq!(quoted(Quoting::Plain), text.clone());
        let words = shlex::split(&quoted(Quoting::Sh));
        prop_assert_eq!(words, Some(vec![text.clone()]));
        prop_assert_eq!(yaml(&quoted(Quoting::Yaml)), same.clone());
        for doubled in [Quoting::Compose, Quoting::KubernetesEnv] {
            let read = yaml(&quoted(doubled)).unwrap();
            prop_assert!(!read.replace("$$", "").contains('$'), "{read}");
            prop_assert_eq!(Some(read.replace("$$", "$")), same.clone());
        }
        prop_assert_eq!(systemd_word(&quoted(Quoting::Systemd)), same.clone());
        prop_assert_eq!(powershell_string(&quoted(Quoting::PowerShell)), same.clone());
        let json: String = serde_json::from_str(&quoted(Quoting::Json)).unwrap();
        prop_assert_eq!(&json, &text);
        let table: toml::Table = toml::from_str(&format!("a = {}", quoted(Quoting::Toml))).unwrap();
        prop_assert_eq!(table["a"].as_str(), Some(text.as_str()));
        // What has no form there is refused, and everything else is read back.
        if let Ok(written) = Quoting::Cmd.quoted(&text) {
            prop_assert_eq!(batch_argument(&written), same.clone());
        } else {
            prop_assert!(text.contains(['"', '!']));
        }
        match Quoting::Quadlet.quoted(&text) {
            Ok(written) => prop_assert_eq!(written, text),
            Err(_) => prop_assert!(!text.is_empty()),
        }
    }
}

#[test]
fn sec_54_what_would_end_a_line_is_refused_or_escaped() {
    let hostile = "a\nb\r\u{1b}c\0";
    for quoting in [Quoting::EnvFile, Quoting::Cmd, Quoting::SystemdText, Quoting::Quadlet, Quoting::Sh] {
        assert!(quoting.quoted(hostile).is_err(), "{quoting:?}");
    }
    for quoting in [Quoting::Yaml, Quoting::Compose, Quoting::Toml, Quoting::Json] {
        let written = quoting.quoted("a\nb\u{85}\u{2028}").unwrap();
        assert_eq!(written.lines().count(), 1, "{quoting:?}: {written}");
    }
    // YAML 1.1 ends lines at these too.
    for quoting in [Quoting::Yaml, Quoting::Compose, Quoting::KubernetesEnv] {
        let written = quoting.quoted("a\u{85}b\u{2028}c\u{2029}d\u{feff}").unwrap();
        assert!(written.is_ascii(), "{quoting:?}: {written}");
    }
    assert!(Quoting::Quadlet.quoted("a%h").is_err() && Quoting::SystemdText.quoted("a\\").is_err());
    assert_eq!(Quoting::SystemdText.quoted("100%").unwrap(), "100%%");
}

#[test]
fn what_looks_like_an_option_is_quoted_like_everything_else() {
    for text in ["-Da=$HOME", "--label=a b", "-x`id`", "--a=~/x", "-e*", "--a=b;id", "-a\\", "--env=A=(b)"] {
        let written = Quoting::Sh.quoted(text).unwrap();
        assert_ne!(written, text, "a shell reads more into it");
        assert_eq!(shlex::split(&written), Some(vec![text.to_owned()]));
    }
    assert_eq!(Quoting::Sh.quoted("--restart=unless-stopped").unwrap(), "--restart=unless-stopped");
    assert_eq!(Quoting::Ruby.quoted(r"a\'b\").unwrap(), r"'a\\\'b\\'");
}

#[test]
fn a_file_has_the_rules_of_its_ending() {
    for (name, expected) in [
        ("docker-compose.yml", Some(Quoting::Compose)),
        ("deployment.yaml.j2", Some(Quoting::Yaml)),
        ("Vagrantfile", Some(Quoting::Ruby)),
        ("a/b.service", Some(Quoting::Systemd)),
        ("noending", None),
        ("a.exe", None),
        ("", None),
    ] {
        assert_eq!(Quoting::of_file(name), expected, "{name}");
    }
}
