//! The person's configuration file: what it may say, and where in it each value stands.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use octobundle::failure::{ErrorClass, Failure};
use octobundle::manifest::closest;
use octobundle::oci::Host;
use octobundle::trust::PublicKey;
use serde::Deserialize;
use serde::de::{SeqAccess, Visitor};
use toml::Spanned;

use crate::cli::amounts::{Rate, Span};
use crate::cli::input::read_limited;

/// Hundreds of registries fit in.
const MAX_FILE: u64 = 1024 * 1024;
const REGISTRY_KEYS: [&str; 8] =
    ["proxy", "ca", "cert", "key", "mirror", "trusted-realms", "plain-http", "insecure-tls"];
const LIMIT_KEYS: [&str; 4] = ["jobs", "retry-for", "max-wait", "limit-rate"];
const TRUST_KEYS: [&str; 2] = ["keys", "policy"];
const TABLES: [&str; 3] = ["registry", "limits", "trust"];

/// A value with its line in the file, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) line: usize,
}

/// The file, read and checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigFile {
    /// None where there is no file.
    pub(crate) path: Option<PathBuf>,
    pub(crate) registries: BTreeMap<Host, RegistryEntry>,
    pub(crate) jobs: Option<Placed<NonZeroUsize>>,
    pub(crate) retry_for: Option<Placed<Span>>,
    pub(crate) max_wait: Option<Placed<Span>>,
    pub(crate) limit_rate: Option<Placed<Rate>>,
    /// Whom to trust, unless there is a policy.
    pub(crate) trusted_keys: Option<Placed<Vec<TrustedKey>>>,
    pub(crate) policy: Option<Placed<PathBuf>>,
}

/// A public key as it is named: by its line of base64 or by its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TrustedKey {
    Line(PublicKey),
    File(PathBuf),
}

/// What it says about one registry.
#[derive(Clone, Default)]
pub(crate) struct RegistryEntry {
    /// None in it means: reached directly. The text may hold a password.
    pub(crate) proxy: Option<Placed<Option<String>>>,
    pub(crate) ca: Option<Placed<Vec<PathBuf>>>,
    pub(crate) cert: Option<Placed<PathBuf>>,
    pub(crate) key: Option<Placed<PathBuf>>,
    pub(crate) mirror: Option<Placed<Vec<String>>>,
    pub(crate) trusted_realms: Option<Placed<Vec<String>>>,
    pub(crate) plain_http: Option<Placed<bool>>,
    pub(crate) insecure_tls: Option<Placed<bool>>,
}

impl std::fmt::Debug for RegistryEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegistryEntry(..)")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(default)]
    registry: BTreeMap<Spanned<String>, RegistryWire>,
    #[serde(default)]
    limits: LimitsWire,
    #[serde(default)]
    trust: TrustWire,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct TrustWire {
    keys: Option<Spanned<OneOrMany>>,
    policy: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RegistryWire {
    proxy: Option<Spanned<String>>,
    ca: Option<Spanned<OneOrMany>>,
    cert: Option<Spanned<String>>,
    key: Option<Spanned<String>>,
    mirror: Option<Spanned<OneOrMany>>,
    trusted_realms: Option<Spanned<OneOrMany>>,
    plain_http: Option<Spanned<bool>>,
    insecure_tls: Option<Spanned<bool>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct LimitsWire {
    jobs: Option<Spanned<u64>>,
    retry_for: Option<Spanned<String>>,
    max_wait: Option<Spanned<String>>,
    limit_rate: Option<Spanned<String>>,
}

/// A text, or a list of them.
struct OneOrMany(Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<OneOrMany, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = texts.next_element()? {
                    all.push(text);
                }
                Ok(OneOrMany(all))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

impl ConfigFile {
    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path, home: Option<&Path>) -> Result<Self, Failure> {
        let bytes = read_limited(path, MAX_FILE)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            Failure::new(ErrorClass::Input, format!("the configuration file `{}` is not UTF-8 text", path.display()))
                .with_help("save it as UTF-8")
        })?;
        Reader { path, text: &text, home }.read()
    }
}

/// A file being read.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    home: Option<&'a Path>,
}

impl Reader<'_> {
    fn read(&self) -> Result<ConfigFile, Failure> {
        let wire: Wire = toml::from_str(self.text).map_err(|error| self.explain(&error))?;
        let mut file = ConfigFile {
            path: Some(self.path.to_owned()),
            registries: BTreeMap::new(),
            jobs: wire.limits.jobs.map(|jobs| self.jobs(&jobs)).transpose()?,
            retry_for: self.parsed(wire.limits.retry_for)?,
            max_wait: self.parsed(wire.limits.max_wait)?,
            limit_rate: self.parsed(wire.limits.limit_rate)?,
            trusted_keys: wire
                .trust
                .keys
                .map(|keys| self.place(keys, |OneOrMany(all)| all.iter().map(|one| self.trusted_key(one)).collect())),
            policy: wire.trust.policy.map(|path| self.place(path, |path| self.file(&path))),
        };
        if let (Some(keys), Some(_)) = (&file.trusted_keys, &file.policy) {
            let what = format!("`keys` (line {}) and `policy` stand beside each other", keys.line);
            return Err(self.wrong(0, &what, "a policy names its keys itself: leave `keys` out"));
        }
        for (name, entry) in wire.registry {
            let offset = name.span().start;
            let host: Host = name.as_ref().parse().map_err(|error| {
                let help = "write the table's name as in image names: `[registry.\"reg.corp:5000\"]`";
                self.wrong(offset, &format!("{error}"), help)
            })?;
            let entry = self.entry(offset, entry)?;
            if file.registries.insert(host.clone(), entry).is_some() {
                let what = format!("`{host}` has two tables");
                return Err(self.wrong(offset, &what, "write all about a registry into one table"));
            }
        }
        Ok(file)
    }

    fn entry(&self, offset: usize, wire: RegistryWire) -> Result<RegistryEntry, Failure> {
        if wire.cert.is_some() != wire.key.is_some() {
            let what = "`cert` and `key` need each other, and one is missing";
            return Err(self.wrong(offset, what, "name the files of the certificate and of its key"));
        }
        let direct = |text: String| if matches!(text.as_str(), "" | "none" | "direct") { None } else { Some(text) };
        Ok(RegistryEntry {
            proxy: wire.proxy.map(|proxy| self.place(proxy, direct)),
            ca: wire.ca.map(|ca| self.place(ca, |OneOrMany(all)| all.iter().map(|one| self.file(one)).collect())),
            cert: wire.cert.map(|cert| self.place(cert, |path| self.file(&path))),
            key: wire.key.map(|key| self.place(key, |path| self.file(&path))),
            mirror: wire.mirror.map(|mirror| self.place(mirror, |OneOrMany(all)| all)),
            trusted_realms: wire.trusted_realms.map(|realms| self.place(realms, |OneOrMany(all)| all)),
            plain_http: wire.plain_http.map(|plain| self.place(plain, |plain| plain)),
            insecure_tls: wire.insecure_tls.map(|insecure| self.place(insecure, |insecure| insecure)),
        })
    }

    fn place<T, U>(&self, spanned: Spanned<T>, turn: impl FnOnce(T) -> U) -> Placed<U> {
        let line = self.position(spanned.span().start).0;
        Placed { value: turn(spanned.into_inner()), line }
    }

    fn jobs(&self, jobs: &Spanned<u64>) -> Result<Placed<NonZeroUsize>, Failure> {
        let value = usize::try_from(*jobs.get_ref()).ok().and_then(NonZeroUsize::new);
        let value =
            value.ok_or_else(|| self.wrong(jobs.span().start, "`jobs` is 0 or too large", "write `jobs = 8`"))?;
        Ok(Placed { value, line: self.position(jobs.span().start).0 })
    }

    fn parsed<T: FromStr<Err = String>>(&self, text: Option<Spanned<String>>) -> Result<Option<Placed<T>>, Failure> {
        let Some(text) = text else { return Ok(None) };
        let offset = text.span().start;
        let value = text.get_ref().parse().map_err(|why: String| {
            self.wrong(offset, &why, "times are written as in \"10m\" and rates as in \"20M\", in quotes")
        })?;
        Ok(Some(Placed { value, line: self.position(offset).0 }))
    }

    /// A file's path: from the configuration file's folder, or from the home for `~/`.
    fn file(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.path.parent().unwrap_or(Path::new("")).join(text),
        }
    }

    fn trusted_key(&self, text: &str) -> TrustedKey {
        text.parse().map_or_else(|_| TrustedKey::File(self.file(text)), TrustedKey::Line)
    }

    /// Line and column of an offset, both from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    fn wrong(&self, offset: usize, what: &str, help: &str) -> Failure {
        let (line, column) = self.position(offset);
        let place = format!("{}:{line}:{column}", self.path.display());
        Failure::new(ErrorClass::Input, format!("the configuration file is not right at {place}: {what}"))
            .with_help(help)
    }

    /// The parser's error in our words. Values are not repeated: a proxy's address may hold a password.
    fn explain(&self, error: &toml::de::Error) -> Failure {
        let span = error.span().unwrap_or(0..0);
        if !error.message().starts_with("unknown field") {
            let what: String = error.message().lines().next().unwrap_or_default().chars().take(200).collect();
            let what = if what.starts_with("invalid type") { self.wrong_type(&span, &what) } else { what };
            return self.wrong(span.start, &what, "`octobundle config --help` shows an example");
        }
        let key = self.text.get(span.clone()).unwrap_or_default().trim_matches(['"', '\'']);
        let known: &[&str] = if error.message().contains("`trusted-realms`") {
            &REGISTRY_KEYS
        } else if error.message().contains("`limit-rate`") {
            &LIMIT_KEYS
        } else if error.message().contains("`policy`") {
            &TRUST_KEYS
        } else {
            &TABLES
        };
        let help = match closest(key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("possible here: {}", known.join(", ")),
        };
        let key: String = key.chars().take(60).collect();
        self.wrong(span.start, &format!("there is no setting `{key}` here"), &help)
    }

    /// `invalid type: string "SECRET", expected …` without the value.
    fn wrong_type(&self, span: &std::ops::Range<usize>, message: &str) -> String {
        let line_start = self.text[..span.start.min(self.text.len())].rfind('\n').map_or(0, |end| end + 1);
        let key = self.text[line_start..].split('=').next().unwrap_or_default().trim();
        let expected = message.rsplit_once(", expected ").map_or("something else", |(_, expected)| expected);
        format!("`{}` has a value of the wrong kind: expected {expected}", key.chars().take(40).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ConfigFile, Failure> {
        let home = PathBuf::from("/home/someone");
        Reader { path: Path::new("/etc/ob/config.toml"), text, home: Some(&home) }.read()
    }

    #[test]
    fn every_setting_is_read_with_its_line() {
        let file = read(
            "[limits]\njobs = 3\nretry-for = \"1h\"\nmax-wait = \"90s\"\nlimit-rate = \"20M\"\n\
             [registry.\"reg.corp:5000\"]\nproxy = \"none\"\nca = \"ca.pem\"\ncert = \"~/c.pem\"\nkey = \"/k.pem\"\n\
             mirror = [\"a.corp/x\", \"b.corp\"]\ntrusted-realms = \"auth.corp\"\nplain-http = false\n",
        )
        .unwrap();
        assert_eq!(file.jobs.unwrap(), Placed { value: NonZeroUsize::new(3).unwrap(), line: 2 });
        assert_eq!(file.retry_for.unwrap().value.to_string(), "1h");
        assert_eq!(file.max_wait.unwrap().line, 4);
        assert_eq!(file.limit_rate.unwrap().value, Rate(20_000_000));
        let entry = &file.registries[&"reg.corp:5000".parse::<Host>().unwrap()];
        assert_eq!(entry.proxy, Some(Placed { value: None, line: 7 }));
        assert_eq!(entry.ca.as_ref().unwrap().value, [PathBuf::from("/etc/ob/ca.pem")]);
        assert_eq!(entry.cert.as_ref().unwrap().value, PathBuf::from("/home/someone/c.pem"));
        assert_eq!(entry.key.as_ref().unwrap().value, PathBuf::from("/k.pem"));
        assert_eq!(entry.mirror.as_ref().unwrap().value, ["a.corp/x", "b.corp"]);
        assert_eq!(entry.trusted_realms, Some(Placed { value: vec!["auth.corp".into()], line: 12 }));
        assert_eq!(
            (entry.plain_http.clone(), entry.insecure_tls.clone()),
            (Some(Placed { value: false, line: 13 }), None)
        );
    }

    #[test]
    fn mistakes_are_told_with_file_line_column_and_what_was_meant() {
        for (text, place, help) in [
            ("[limits]\njob = 3\n", ":2:1:", "did you mean `jobs`?"),
            ("[limts]\n", ":1:2:", "did you mean `limits`?"),
            ("[registry.\"a.corp\"]\n  proxi = \"x\"\n", ":2:3:", "did you mean `proxy`?"),
            ("[registry.\"a.corp\"]\nwhatever = 1\n", ":2:1:", "trusted-realms"),
            ("[registry.\"http://a\"]\n", ":1:11:", "reg.corp:5000"),
            ("[limits]\nretry-for = \"soon\"\n", ":2:13:", "10m"),
            ("[limits]\njobs = 0\n", ":2:8:", "jobs = 8"),
            ("[registry.\"a.corp\"]\ncert = \"x\"\n", ":1:11:", "key"),
            ("[registry.\"a.corp\"]\n[registry.\"A.corp\"]\n", ":", "one table"),
            ("[limits\n", ":1:", "--help"),
        ] {
            let failure = read(text).err().unwrap_or_else(|| panic!("{text}"));
            let shown = failure.to_string();
            assert!(shown.contains(&format!("/etc/ob/config.toml{place}")), "{text:?}: {shown}");
            assert!(failure.help().unwrap().contains(help), "{text:?}: {:?}", failure.help());
        }
    }

    #[test]
    fn sec_60_a_mistake_beside_a_password_does_not_show_it() {
        for text in [
            "[registry.\"a.corp\"]\nproxy = [\"http://u:CANARY@p\"]\n",
            "[registry.\"a.corp\"]\nplain-http = \"CANARY\"\n",
            "[registry.\"a.corp\"]\nproxy = \"http://u:CANARY@p\n",
            "[registry.\"a.corp\"]\nproxy = http://u:CANARY@p\n",
            "[limits]\njobs = \"CANARY\"\n",
        ] {
            let failure = read(text).err().unwrap();
            let shown = format!("{failure} {:?}", failure.help());
            assert!(!shown.contains("CANARY"), "{text:?}: {shown}");
        }
    }
}
