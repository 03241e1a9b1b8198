//! What a 401 asks for: the `WWW-Authenticate` headers of RFC 9110, section 11.6.1.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// More than any registry sends, few enough to parse without a thought.
const MAX_BYTES: usize = 16 * 1024;

/// One way to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from a token server.
    Bearer {
        /// The token server's address, as sent.
        realm: String,
        /// The registry's name there.
        service: Option<String>,
        /// What the token must allow, as the registry sees it.
        scope: Option<String>,
        /// Why the last token was refused.
        error: Option<String>,
    },
}

/// The best challenge in an answer: bearer before basic, since a registry that offers both wants tokens. `Err` says
/// why none can be used.
pub(super) fn best(headers: &HeaderMap) -> Result<Challenge, String> {
    let mut found = Vec::new();
    let mut foreign = Vec::new();
    for header in headers.get_all(WWW_AUTHENTICATE) {
        let text = header.to_str().map_err(|_| "its `WWW-Authenticate` header is not text".to_owned())?;
        for (scheme, parameters) in parse(text)? {
            match scheme.as_str() {
                "basic" => found.push(Challenge::Basic),
                "bearer" => found.push(bearer(&parameters)?),
                _ => foreign.push(scheme),
            }
        }
    }
    let bearer = found.iter().position(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    match bearer.or(if found.is_empty() { None } else { Some(0) }) {
        Some(index) => Ok(found.swap_remove(index)),
        None if foreign.is_empty() => Err("it asks for a login but does not say how".into()),
        None => Err(format!("it asks for a login by `{}`, and only Basic and Bearer are known", foreign.join("`, `"))),
    }
}

fn bearer(parameters: &[(String, String)]) -> Result<Challenge, String> {
    // Which of two equal parameters counts is anyone's guess, and a login hangs on it.
    let one = |name: &str| {
        let mut values = parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone());
        let first = values.next();
        if values.next().is_some() { Err(format!("its challenge has `{name}` twice")) } else { Ok(first) }
    };
    let realm = one("realm")?.filter(|realm| !realm.is_empty());
    let realm = realm.ok_or_else(|| "its challenge names no token server (`realm`)".to_owned())?;
    Ok(Challenge::Bearer { realm, service: one("service")?, scope: one("scope")?, error: one("error")? })
}

type Parsed = Vec<(String, Vec<(String, String)>)>;

/// Splits one header into schemes, in lower case, with their parameters. A comma separates both parameters and
/// challenges; a word that is followed by `=` is a parameter.
fn parse(text: &str) -> Result<Parsed, String> {
    if text.len() > MAX_BYTES {
        return Err("its challenge is too long".into());
    }
    let mut rest = Rest(text);
    let mut all: Parsed = Vec::new();
    loop {
        rest.skip(|c| c == ',' || c.is_ascii_whitespace());
        if rest.0.is_empty() {
            return Ok(all);
        }
        let word = rest.word();
        if word.is_empty() {
            return Err("its challenge cannot be understood".into());
        }
        rest.skip(|c| c.is_ascii_whitespace());
        match (rest.0.strip_prefix('='), all.last_mut()) {
            (Some(after), Some((_, parameters))) => {
                rest.0 = after;
                rest.skip(|c| c.is_ascii_whitespace());
                let value = rest.value()?;
                parameters.push((word.to_ascii_lowercase(), value));
            }
            (Some(_), None) => return Err("its challenge begins with a parameter".into()),
            (None, _) => all.push((word.to_ascii_lowercase(), Vec::new())),
        }
    }
}

struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip(&mut self, unwanted: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(unwanted);
    }

    fn word(&mut self) -> &'a str {
        let ends = |c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c));
        let (word, rest) = self.0.split_at(self.0.find(ends).unwrap_or(self.0.len()));
        self.0 = rest;
        word
    }

    fn value(&mut self) -> Result<String, String> {
        let Some(quoted) = self.0.strip_prefix('"') else {
            // Not quoted though it should be: up to the next comma or space.
            let (value, rest) =
                self.0.split_at(self.0.find(|c: char| c == ',' || c.is_ascii_whitespace()).unwrap_or(self.0.len()));
            self.0 = rest;
            return Ok(value.to_owned());
        };
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = &quoted[at + 1..];
                    return Ok(value);
                }
                '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
                other => value.push(other),
            }
        }
        Err("its challenge has a quote that does not end".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(headers: &[&str]) -> Result<Challenge, String> {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(WWW_AUTHENTICATE, header.parse().unwrap());
        }
        best(&map)
    }

    fn bearer_of(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.into(), service: own(service), scope: own(scope), error: None }
    }

    #[test]
    fn a_04_odd_challenges_are_understood() {
        let usual = bearer_of("https://a/t", Some("reg"), Some("repository:x:pull,push"));
        for headers in [
            &[r#"Bearer realm="https://a/t",service="reg",scope="repository:x:pull,push""#][..],
            &[r#"bearer REALM="https://a/t" , service=reg,, scope="repository:x:pull,push" "#],
            &[r#"Basic realm="x, y", Bearer realm="https://a/t",service="reg",scope="repository:x:pull,push""#],
            &[
                "Negotiate",
                "Basic realm=x",
                r#"Bearer scope="repository:x:pull,push",realm="https://a/t",service="reg""#,
            ],
            &[r#"Bearer realm = "https://a/t", service="r\eg", scope="repository:x:pull,push""#],
        ] {
            assert_eq!(from(headers).as_ref(), Ok(&usual), "{headers:?}");
        }
        assert_eq!(from(&["BASIC realm=\"Sonatype, Nexus\""]), Ok(Challenge::Basic));
        assert_eq!(from(&["Basic"]), Ok(Challenge::Basic));
        assert_eq!(from(&[r#"Bearer realm="https://a/t""#]), Ok(bearer_of("https://a/t", None, None)));
    }

    #[test]
    fn sec_12_what_is_doubtful_is_refused() {
        for headers in [
            &[][..],
            &[""],
            &["Negotiate"],
            &["NTLM TlRMTVNTUAAC"],
            &["Bearer"],
            &[r#"Bearer realm="""#],
            &[r#"Bearer service="reg""#],
            &[r#"Bearer realm="https://a/t",realm="https://evil/t""#],
            &[r#"Bearer realm="https://a/t",REALM=https://evil/t"#],
            &[r#"Bearer realm="https://a/t"#],
            &[r#"realm="https://a/t""#],
            &["Bearer realm=\"https://a/t\", \u{1}"],
        ] {
            let mut map = HeaderMap::new();
            for header in headers {
                let Ok(value) = http::HeaderValue::from_bytes(header.as_bytes()) else { continue };
                map.append(WWW_AUTHENTICATE, value);
            }
            let understood = best(&map);
            // A control character never becomes a header value; then the challenge is simply absent.
            assert!(understood.is_err(), "{headers:?} {understood:?}");
        }
        assert!(from(&[&format!("Bearer realm=\"{}\"", "a".repeat(1 << 20))]).is_err());
    }
}
