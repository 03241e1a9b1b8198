//! The page at `/`: what is here, how to get it, and how to trust it. It works without scripts; they add copy buttons.

use std::fmt::{self, Write as _};
use std::path::Path;

use bytes::Bytes;

use crate::failure::typed;
use crate::images::Lock;
use crate::oci::{Digest, ImageRef};
use crate::plan::Target;
use crate::render::{AGENT_ROLE, Answers, Given, PrivateImages, RenderTarget, Rendered, Setting};
use crate::report;
use crate::serve::answer::Answer;
use crate::serve::catalog::OfferedImage;
use crate::serve::tls::spaced;
use crate::wording::{count, plain, size};

/// What the page shows.
pub(crate) struct Page<'a> {
    /// Where the images are, by the host and port with which the reader reached this server.
    pub(crate) target: &'a Target,
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
    /// The name of its file, without folders.
    pub(crate) file: String,
    pub(crate) lock: Lock,
}

/// Scripts and styles from here, nothing from elsewhere, and no other page may frame this one.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
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

/// A bundle's report, which brings its own style and script.
pub(crate) fn report(page: Bytes) -> Answer {
    Answer::bytes(200, "text/html; charset=utf-8", page)
        .header("Content-Security-Policy", format!("{}; frame-ancestors 'none'", report::policy()))
        .header("Referrer-Policy", "no-referrer")
        .header("Cache-Control", "no-cache")
}

fn html(page: &Page<'_>) -> String {
    let mut out = Html::default();
    let title = page.bundles.iter().map(|bundle| bundle.lock.title.as_str()).collect::<Vec<_>>().join(" · ");
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

    /// A command that can be copied. Its words are kept whole where a line has room for them: a browser would break
    /// `--flag` behind its first dash.
    fn command(&mut self, command: impl fmt::Display) {
        self.raw("<div class=\"command\"><pre tabindex=\"0\"><code>");
        for (place, word) in command.to_string().split(' ').enumerate() {
            if place > 0 {
                self.raw(" ");
            }
            for (line, part) in word.split('\n').enumerate() {
                if line > 0 {
                    self.raw("\n");
                }
                self.element("span", part);
            }
        }
        self.raw("</code></pre></div>");
    }

    fn header(&mut self, page: &Page<'_>, title: &str) {
        self.raw("<header>");
        self.element("h1", title);
        let bytes: u64 = page.images.iter().map(|image| image.bytes).sum();
        self.element(
            "p",
            format_args!("{} from this registry, {}", count(page.images.len() as u64, "image"), size(bytes)),
        );
        self.raw("<ul class=\"badges\">");
        for bundle in page.bundles {
            self.element("li", format_args!("{} ({})", bundle.lock.release, bundle.file));
        }
        self.element("li", if page.fingerprint.is_some() { "TLS" } else { "plain http" });
        self.element("li", if page.login { "login needed" } else { "no login" });
        self.raw("</ul>");
        self.reports(page);
        self.raw("</header>");
        if page.login {
            self.element("h2", "Log in");
            self.command(format_args!("docker login {}", page.target.registry()));
            self.command(format_args!("podman login {}", page.target.registry()));
        }
    }

    /// What is in each bundle, down to its layers.
    fn reports(&mut self, page: &Page<'_>) {
        self.raw("<p class=\"reports\">");
        for (place, bundle) in page.bundles.iter().enumerate() {
            write!(self.0, "<a href=\"/report/{}\">", place + 1).expect("a String takes any text");
            self.words(format_args!("Report of {}", bundle.lock.release));
            self.raw("</a> ");
        }
        self.raw("</p>");
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
        let agents = page.images.iter().filter(|image| image.role == AGENT_ROLE);
        let started: Vec<Agent> = agents.filter_map(|image| Agent::of(page, image)).collect();
        let Some(first) = started.first() else { return };
        self.element("h2", "Start an agent");
        self.raw("<p>Write these lines into <code>agent-1.env</code>, with your server's address and the agent's token, and let nobody else read the file:</p>");
        self.command(&first.variables);
        self.raw("<p>Then, with docker or with podman:</p>");
        for agent in &started {
            agent.commands.iter().for_each(|command| self.command(command));
        }
        self.raw("<p>Where octobundle and the bundle are, this does both, and knows of proxies, certificates and other forms:</p>");
        for agent in &started {
            self.command(&agent.rendered);
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
        self.command(format_args!("{{ \"insecure-registries\": [\"{}\"] }}", page.target.registry()));
        self.raw("<p>podman:</p>");
        self.command(format_args!("podman pull --tls-verify=false {}/IMAGE", page.target));
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
        self.command(format_args!(
            "sudo install -D -m 644 certificate.pem /etc/docker/certs.d/{}/ca.crt",
            page.target.registry()
        ));
        self.raw("<p>podman, skopeo, CRI-O</p>");
        self.command(format_args!(
            "sudo install -D -m 644 certificate.pem /etc/containers/certs.d/{}/ca.crt",
            page.target.registry()
        ));
        self.raw("<p>containerd, with <code>config_path</code> set to this folder</p>");
        self.command(format_args!(
            "sudo install -D -m 644 certificate.pem /etc/containerd/certs.d/{}/ca.crt",
            page.target.registry()
        ));
    }
}

/// How one agent is started.
struct Agent {
    /// The lines of its env-file, with words to fill in.
    variables: String,
    /// The commands of docker and podman.
    commands: Vec<String>,
    /// The command of ours that knows the rest.
    rendered: String,
}

impl Agent {
    /// None where the image is no agent that octobundle can start: then nothing is said rather than something wrong.
    fn of(page: &Page<'_>, image: &OfferedImage) -> Option<Self> {
        let bundle = &page.bundles[image.bundle];
        let images = PrivateImages::new(&bundle.lock, page.target).ok()?;
        let answers = answers(&image.origin)?;
        let started = [RenderTarget::Docker, RenderTarget::Podman].map(|target| target.render(&answers, &images));
        let started: Vec<Rendered> = started.into_iter().collect::<Result<_, _>>().ok()?;
        let variables = started.first()?.files.iter().find(|file| file.mode().is_secret())?;
        let choice = if images.agent(None).is_ok() { String::new() } else { format!(" --image {}", image.origin) };
        let word = typed(Path::new(&bundle.file));
        Some(Self {
            variables: variables.content().trim_end().to_owned(),
            commands: started.iter().filter_map(Rendered::command_line).collect(),
            rendered: format!(
                "octobundle render agent {word} --registry {}{choice} --server-url https://SERVER --name agent-1 --token-file token",
                page.target
            ),
        })
    }
}

/// Answers with words to fill in. They hold no secret.
fn answers(image: &ImageRef) -> Option<Answers> {
    let mut given = Given::default();
    given.add(Setting::ServerUrl, "https://SERVER");
    given.add(Setting::Name, "agent-1");
    given.add(Setting::TokenFile, "TOKEN");
    given.add(Setting::Image, image.to_string());
    Answers::new(&given).ok()
}

/// An image's name without the host.
fn short(image: &OfferedImage) -> String {
    let separator = if image.name.tag().is_some() { ':' } else { '@' };
    format!("{}{separator}{}", image.name.repository().name.as_str(), image.name.lookup())
}

/// An image's name as the reader's engine takes it.
fn named(page: &Page<'_>, image: &OfferedImage) -> String {
    format!("{}/{}", page.target.registry(), short(image))
}
