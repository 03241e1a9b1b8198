//! The page at `/`: what is here, how to get it, and how to trust it. It works without scripts; they add copy buttons.

use std::fmt::{self, Write as _};

use crate::oci::Digest;
use crate::serve::answer::Answer;
use crate::serve::catalog::OfferedImage;
use crate::serve::tls::spaced;
use crate::wording::{plain, size};

/// What the page shows.
pub(crate) struct Page<'a> {
    /// How the reader reached this server: host and port, as image names begin here.
    pub(crate) host: &'a str,
    /// What follows the host in every name, with its leading slash.
    pub(crate) below: &'a str,
    pub(crate) bundles: &'a [Shown],
    pub(crate) images: &'a [OfferedImage],
    /// The certificate's SHA-256; plain http without.
    pub(crate) fingerprint: Option<Digest>,
    /// Whether the certificate signs itself and must be trusted by hand.
    pub(crate) self_signed: bool,
    pub(crate) login: bool,
}

/// One bundle, for people.
pub(crate) struct Shown {
    pub(crate) title: String,
    pub(crate) release: String,
    pub(crate) file: String,
}

/// Scripts and styles from here, nothing from elsewhere, and no other page may frame this one.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The role of an image that starts an agent.
const AGENT: &str = "agent";

pub(crate) fn style() -> Answer {
    Answer::bytes(200, "text/css; charset=utf-8", include_str!("page.css")).header("Cache-Control", "no-cache")
}

pub(crate) fn script() -> Answer {
    Answer::bytes(200, "text/javascript; charset=utf-8", include_str!("page.js")).header("Cache-Control", "no-cache")
}

pub(crate) fn home(page: &Page<'_>) -> Answer {
    Answer::bytes(200, "text/html; charset=utf-8", html(page))
        .header("Content-Security-Policy", POLICY)
        .header("Referrer-Policy", "no-referrer")
        .header("Cache-Control", "no-cache")
}

fn html(page: &Page<'_>) -> String {
    let mut out = Html::default();
    let title = page.bundles.iter().map(|bundle| bundle.title.as_str()).collect::<Vec<_>>().join(" · ");
    out.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    out.element("title", &title);
    out.raw("<link rel=\"stylesheet\" href=\"/page.css\"><script src=\"/page.js\" defer></script></head><body><main>");
    out.header(page, &title);
    out.images(page);
    out.agents(page);
    out.trust(page);
    out.raw(
        "<footer><a href=\"/v2/_catalog\">Catalog</a><a href=\"/healthz\">Health</a><a href=\"/metrics\">Metrics</a>",
    );
    out.raw("<p>This registry is read-only: it serves the bundle as it is, by octobundle.</p></footer>");
    out.raw("</main></body></html>\n");
    out.0
}

/// Text that grows; foreign words enter it escaped only.
#[derive(Default)]
struct Html(String);

impl Html {
    /// Markup of ours.
    fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    /// Words, whoever wrote them.
    fn words(&mut self, words: impl fmt::Display) {
        for c in plain(&words.to_string()).chars() {
            match c {
                '&' => self.raw("&amp;"),
                '<' => self.raw("&lt;"),
                '>' => self.raw("&gt;"),
                '"' => self.raw("&quot;"),
                '\'' => self.raw("&#39;"),
                _ => self.0.push(c),
            }
        }
    }

    fn element(&mut self, name: &str, words: impl fmt::Display) {
        write!(self.0, "<{name}>").expect("a String takes any text");
        self.words(words);
        write!(self.0, "</{name}>").expect("a String takes any text");
    }

    /// A command that can be copied.
    fn command(&mut self, command: impl fmt::Display) {
        self.raw("<div class=\"command\"><pre tabindex=\"0\">");
        self.element("code", command);
        self.raw("</pre></div>");
    }

    fn header(&mut self, page: &Page<'_>, title: &str) {
        self.raw("<header>");
        self.element("h1", title);
        let bytes: u64 = page.images.iter().map(|image| image.bytes).sum();
        self.element("p", format_args!("{} from this registry, {}", count(page.images.len()), size(bytes)));
        self.raw("<ul class=\"badges\">");
        for bundle in page.bundles {
            self.element("li", format_args!("{} ({})", bundle.release, bundle.file));
        }
        self.element("li", if page.fingerprint.is_some() { "TLS" } else { "plain http" });
        self.element("li", if page.login { "login needed" } else { "no login" });
        self.raw("</ul></header>");
        if page.login {
            self.element("h2", "Log in");
            self.command(format_args!("docker login {}", page.host));
            self.command(format_args!("podman login {}", page.host));
        }
    }

    fn images(&mut self, page: &Page<'_>) {
        self.element("h2", "Images");
        for image in page.images {
            self.raw("<section class=\"card\">");
            self.element("h3", short(image));
            self.raw("<p class=\"facts\">");
            let platforms =
                if image.platforms.is_empty() { String::new() } else { format!("{} · ", image.platforms.join(", ")) };
            self.words(format_args!("{} · {platforms}{} · ", image.role, size(image.bytes)));
            self.element("code", image.digest);
            self.raw("</p>");
            self.command(format_args!("docker pull {}", named(page, image)));
            self.command(format_args!("podman pull {}", named(page, image)));
            self.raw("</section>");
        }
    }

    fn agents(&mut self, page: &Page<'_>) {
        let agents: Vec<_> = page.images.iter().filter(|image| image.role == AGENT).collect();
        if agents.is_empty() {
            return;
        }
        self.element("h2", "Start an agent");
        self.raw("<p>Where octobundle and the bundle are, this prints the command that starts an agent from here, for docker or podman. ");
        self.raw("Put your server's address and a file with the agent's token in it:</p>");
        for place in agents.iter().map(|image| image.bundle).collect::<std::collections::BTreeSet<_>>() {
            self.command(format_args!(
                "octobundle render agent {} --registry {}{} --server-url https://SERVER --name agent-1 --token-file token",
                page.bundles[place].file, page.host, page.below
            ));
        }
    }

    fn trust(&mut self, page: &Page<'_>) {
        match &page.fingerprint {
            None => self.plain_http(page),
            Some(fingerprint) => self.certificate(page, fingerprint),
        }
    }

    fn plain_http(&mut self, page: &Page<'_>) {
        self.raw("<details><summary>If an engine refuses plain http</summary>");
        self.raw("<p>docker speaks plain http to its own machine only, unless <code>/etc/docker/daemon.json</code> says otherwise (restart docker after it):</p>");
        self.command(format_args!("{{ \"insecure-registries\": [\"{}\"] }}", page.host));
        self.raw("<p>podman:</p>");
        self.command(format_args!("podman pull --tls-verify=false {}/IMAGE", page.host));
        self.raw("</details>");
    }

    fn certificate(&mut self, page: &Page<'_>, fingerprint: &Digest) {
        self.element("h2", "Trust this server");
        self.raw("<p>SHA-256 of its certificate; compare it with what the server printed when it started:</p>");
        self.raw("<p class=\"fingerprint\"><code>");
        self.words(spaced(fingerprint));
        self.raw("</code></p>");
        if !page.self_signed {
            return;
        }
        self.raw("<p>Then save <a href=\"/certificate.pem\">its certificate</a> where the engine looks for it:</p>");
        self.raw("<p>docker</p>");
        self.command(format_args!("sudo install -D -m 644 certificate.pem /etc/docker/certs.d/{}/ca.crt", page.host));
        self.raw("<p>podman, skopeo, CRI-O</p>");
        self.command(format_args!(
            "sudo install -D -m 644 certificate.pem /etc/containers/certs.d/{}/ca.crt",
            page.host
        ));
        self.raw("<p>containerd, with <code>config_path</code> set to this folder</p>");
        self.command(format_args!(
            "sudo install -D -m 644 certificate.pem /etc/containerd/certs.d/{}/ca.crt",
            page.host
        ));
    }
}

fn count(images: usize) -> String {
    if images == 1 { "1 image".into() } else { format!("{images} images") }
}

/// An image's name without the host.
fn short(image: &OfferedImage) -> String {
    let separator = if image.name.tag().is_some() { ':' } else { '@' };
    format!("{}{separator}{}", image.name.repository().name.as_str(), image.name.lookup())
}

/// An image's name as the reader's engine takes it.
fn named(page: &Page<'_>, image: &OfferedImage) -> String {
    format!("{}/{}", page.host, short(image))
}
