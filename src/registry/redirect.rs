//! Where a redirect leads, and who sees the login there.

use url::Url;

/// As many as browsers and curl's users are used to; registries need two.
pub(super) const MAX_HOPS: usize = 10;
/// Signed addresses are long, but not this long.
const MAX_LOCATION: usize = 16 * 1024;

/// The way of one request from hop to hop, and the one decision about its login.
pub(super) struct Trail {
    start: Url,
    now: Url,
    hops: usize,
    /// Once another origin was asked, the login stays away for the rest of the request, on the way back too.
    left: bool,
}

impl Trail {
    /// The way of a request that begins at `start`. The login is that of the registry at `home`.
    pub(super) fn new(home: &Url, start: Url) -> Self {
        let left = start.origin() != home.origin();
        Self { now: start.clone(), start, hops: 0, left }
    }

    pub(super) fn now(&self) -> &Url {
        &self.now
    }

    /// Whether the login may go along: only to the very scheme, host and port that it is for.
    pub(super) fn carries_login(&self) -> bool {
        !self.left && self.now.origin() == self.start.origin()
    }

    /// Goes to where `location` points, or says why not.
    pub(super) fn follow(&mut self, location: &str) -> Result<(), &'static str> {
        self.hops += 1;
        if self.hops > MAX_HOPS {
            return Err("it is redirected too often");
        }
        if location.len() > MAX_LOCATION {
            return Err("the address is too long");
        }
        let mut next = self.now.join(location).map_err(|_| "it is no address")?;
        match (self.now.scheme(), next.scheme()) {
            ("https", "http") => return Err("it leads from https to plain http"),
            (_, "http" | "https") => {}
            _ => return Err("it is neither http nor https"),
        }
        if next.host_str().is_none_or(str::is_empty) || next.port() == Some(0) {
            return Err("the address has no host or port");
        }
        // A login in an address is the server's wish to make us send one; nobody needs that.
        let cleared = next.set_username("").and_then(|()| next.set_password(None));
        cleared.map_err(|()| "the address has no host")?;
        next.set_fragment(None);
        self.now = next;
        self.left |= self.now.origin() != self.start.origin();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail_from(start: &str) -> Trail {
        Trail::new(&Url::parse("https://reg.corp:8443/v2/").unwrap(), Url::parse(start).unwrap())
    }

    fn trail() -> Trail {
        trail_from("https://reg.corp:8443/v2/a/blobs/x")
    }

    #[test]
    fn sec_01_the_login_stays_with_its_origin() {
        for (location, kept) in [
            ("/v2/b", true),
            ("?x=1", true),
            ("https://reg.corp:8443/other", true),
            ("https://REG.corp:8443/other", true),
            ("https://user:pw@reg.corp:8443/other", true),
            ("https://reg.corp/other", false),
            ("https://reg.corp:9443/other", false),
            ("//reg.corp/other", false),
            ("https://a.reg.corp:8443/", false),
            ("https://corp:8443/", false),
            ("https://reg.corp.:8443/", false),
            ("https://10.0.0.1:8443/", false),
            ("https://[fd00::1]:8443/", false),
        ] {
            let mut trail = trail();
            trail.follow(location).unwrap();
            assert_eq!(trail.carries_login(), kept, "{location}");
            assert_eq!((trail.now().username(), trail.now().password()), ("", None), "{location}");
        }
    }

    #[test]
    fn sec_01_a_request_that_begins_elsewhere_never_carries_the_login() {
        for start in ["https://cdn.corp/u/1", "https://reg.corp/u/1", "http://reg.corp:8443/u/1"] {
            let mut trail = trail_from(start);
            assert!(!trail.carries_login(), "{start}");
            trail.follow("https://reg.corp:8443/v2/").unwrap();
            assert!(!trail.carries_login(), "{start}, and then home");
        }
    }

    #[test]
    fn sec_02_the_login_does_not_come_back_on_the_way_back() {
        let mut trail = trail();
        trail.follow("https://cdn.corp/x").unwrap();
        trail.follow("https://reg.corp:8443/v2/a/blobs/x").unwrap();
        assert!(!trail.carries_login());
    }

    #[test]
    fn sec_03_and_04_bad_targets_are_not_followed() {
        let long = format!("/{}", "a".repeat(1 << 20));
        for location in [
            "http://reg.corp:8443/",
            "http://cdn.corp/",
            "file:///etc/passwd",
            "ftp://reg.corp/",
            "data:text/plain,x",
            "unix:///run/docker.sock",
            "https://",
            "https://[fe80::1%25eth0]/",
            "https://reg.corp:0/",
            &long,
        ] {
            assert!(trail().follow(location).is_err(), "{location}");
        }
        let mut looping = trail();
        let followed = (0..20).take_while(|_| looping.follow("/again").is_ok()).count();
        assert_eq!(followed, MAX_HOPS);
    }
}
