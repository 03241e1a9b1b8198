//! The server, OctoPerf Enterprise Edition, as a compose file behind one port.
//!
//! Parts, paths, volumes and what the Makefile offers are those that `docs/facts.md` has sources for. What no source
//! tells (the ports of the parts, where the server keeps its data) is asked for and never guessed.

use std::collections::BTreeMap;

use minijinja::Value;
use url::Url;

use crate::render::answers::Answers;
use crate::render::environment::given_variables;
use crate::render::error::RenderError;
use crate::render::images::{PrivateImage, PrivateImages};
use crate::render::rendered::{FileMode, Rendered, RenderedFile};
use crate::render::targets::compose::{named, variables_file};
use crate::render::template::{Template, text};
use crate::render::values::{Pin, Volume};

const COMPOSE: Template<'_> =
    Template { name: "infra-compose.yml", text: include_str!("../../../templates/infra-compose.yml") };
/// Holds names of ours and numbers only: nothing in it needs quoting.
const HAPROXY: Template<'_> = Template { name: "haproxy.cfg", text: include_str!("../../../templates/haproxy.cfg") };
/// Holds `{{` of no template.
const MAKEFILE: &str = include_str!("../../../templates/Makefile.txt");

const BACKEND: &str = "enterprise-edition";
const BACKEND_PORT: u16 = 8090;
/// The first version whose security is on unless told otherwise (elastic.co, "Elasticsearch security is on by default").
const SECURE_ELASTICSEARCH: u32 = 8;

/// A part beside the server, by the last part of its image's name: the path that leads to it, and its port where a
/// source tells one.
const PARTS: [(&str, &str, Option<u16>); 5] = [
    ("enterprise-ui", "/app", None),
    ("octoperf-ui", "/ui", None),
    ("enterprise-documentation", "/doc", None),
    ("utility-server", "/utilities", None),
    ("mcp-server", "/mcp", Some(8091)),
];

/// The compose file, the balancer's configuration and the Makefile.
pub(in crate::render) fn render(answers: &Answers, images: &PrivateImages) -> Result<Rendered, RenderError> {
    let stack = Stack::new(answers, images)?;
    let values = stack.values(answers);
    let mut files = vec![
        RenderedFile::new("docker-compose.yml", FileMode::Plain, COMPOSE.fill(&values)?),
        RenderedFile::new("haproxy/haproxy.cfg", FileMode::Plain, HAPROXY.fill(&values)?),
        RenderedFile::new("Makefile", FileMode::Plain, MAKEFILE.to_owned()),
    ];
    let variables = given_variables(answers)?;
    if !variables.is_empty() {
        files.push(variables_file(BACKEND, &variables)?);
    }
    Ok(Rendered {
        files,
        arguments: None,
        agent: None,
        images: stack.references(answers.pin),
        notes: notes(&stack, answers),
    })
}

/// The images of the stack, found.
struct Stack<'a> {
    backend: &'a PrivateImage,
    elasticsearch: &'a PrivateImage,
    haproxy: &'a PrivateImage,
    parts: Vec<(&'static str, &'static str, u16, &'a PrivateImage)>,
}

impl<'a> Stack<'a> {
    fn new(answers: &Answers, images: &'a PrivateImages) -> Result<Self, RenderError> {
        let find = |name: &str| images.iter().find(|image| last_part(image) == name);
        let lacks = |name: &'static str| RenderError::NoPart { name };
        let mut parts = Vec::new();
        let mut portless = Vec::new();
        for (name, path, known) in PARTS {
            let Some(image) = find(name) else { continue };
            match answers.ports.get(name).copied().or(known) {
                Some(port) => parts.push((name, path, port, image)),
                None => portless.push(name),
            }
        }
        if !portless.is_empty() {
            return Err(RenderError::NoPort { parts: portless });
        }
        let elasticsearch = find("elasticsearch").or_else(|| find("elasticsearch-oss"));
        Ok(Self {
            backend: find(BACKEND).ok_or_else(|| lacks(BACKEND))?,
            elasticsearch: elasticsearch.ok_or_else(|| lacks("elasticsearch"))?,
            haproxy: find("haproxy").ok_or_else(|| lacks("haproxy"))?,
            parts,
        })
    }

    fn values(&self, answers: &Answers) -> Vec<(&'static str, Value)> {
        let image = |image: &PrivateImage| {
            Value::from_pairs([("image", image.reference(answers.pin)), ("digest", image.digest.to_string())])
        };
        let server = address(answers);
        let data_path = answers.data_path.as_ref().expect("the table of targets has seen to it");
        let parts = self.parts.iter().map(|(service, path, port, part)| {
            Value::from_pairs(BTreeMap::from([
                ("service", text(service)),
                ("path", text(path)),
                ("port", Value::from(*port)),
                ("image", text(&part.reference(answers.pin))),
                ("digest", text(&part.digest.to_string())),
            ]))
        });
        vec![
            ("elasticsearch", image(self.elasticsearch)),
            ("elasticsearch_has_security", (major(self.elasticsearch) >= Some(SECURE_ELASTICSEARCH)).into()),
            ("backend", image(self.backend)),
            ("haproxy", image(self.haproxy)),
            ("parts", parts.collect()),
            ("scheme", text(server.scheme())),
            ("hostname", text(server.host_str().unwrap_or_default())),
            ("data_volume", text(&format!("octoperf-data:{data_path}"))),
            ("volumes", answers.volumes.iter().map(Volume::as_str).collect()),
            ("named_volumes", named(&answers.volumes)),
            ("published", text(&format!("{}:8080", published(answers)))),
            ("backend_port", answers.ports.get(BACKEND).copied().unwrap_or(BACKEND_PORT).into()),
        ]
    }

    fn references(&self, pin: Pin) -> Vec<String> {
        let parts = self.parts.iter().map(|(_, _, _, image)| *image);
        [self.backend, self.elasticsearch, self.haproxy]
            .into_iter()
            .chain(parts)
            .map(|image| image.reference(pin))
            .collect()
    }
}

/// The server's address, as agents reach it.
fn address(answers: &Answers) -> Url {
    let server = answers.server_url.as_ref().expect("the table of targets has seen to it").as_str();
    Url::parse(server).expect("it was parsed before")
}

/// The port of the host by which everything is reached.
fn published(answers: &Answers) -> u16 {
    answers.published_port.unwrap_or(80)
}

fn last_part(image: &PrivateImage) -> &str {
    image.source.repository().name.as_str().rsplit('/').next().unwrap_or_default()
}

/// The first number of a tag.
fn major(image: &PrivateImage) -> Option<u32> {
    image.source.tag()?.as_str().split('.').next()?.parse().ok()
}

/// What has to stand between the address that agents are told and the port that is published.
fn note_of_address(answers: &Answers) -> Option<String> {
    let (address, port) = (address(answers), published(answers));
    if address.scheme() == "https" {
        return Some(format!(
            "The stack speaks plain http at port {port}: what has the certificate for `{address}` and passes on to it is yours to set up."
        ));
    }
    let asked = address.port_or_known_default().filter(|&asked| asked != port)?;
    Some(format!(
        "Agents come to port {asked} of `{address}`, and the stack is published at port {port}: add `--published-port {asked}`, or pass it on."
    ))
}

fn notes(stack: &Stack<'_>, answers: &Answers) -> Vec<String> {
    let mut notes = vec![
        "Run `sudo make install` once, then `make`. `make stop` stops, `make clean` takes the containers away and keeps the data.".to_owned(),
        "The server tells agents the address of `--server-url`. Where it has a port of its own, give the server's variable for it with `-e`: `server.port` in old versions, `server.public.port` in the charts.".to_owned(),
        "The vendor's archive keeps the licence at `license/license.l4j` and settings at `config/application.yml`: mount them with `--volume`, where the server's documentation says.".to_owned(),
        "Majors are upgraded one at a time, after a backup of both volumes; there is no way back.".to_owned(),
    ];
    notes.extend(note_of_address(answers));
    if major(stack.elasticsearch) >= Some(SECURE_ELASTICSEARCH) {
        notes.push("Elasticsearch runs without login: nothing but this stack must reach its network.".into());
    }
    notes
}
