//! Kubernetes: plain manifests for its agent, and values for the vendor's charts.
//!
//! Keys of the charts are those that `docs/facts.md` names; what is not confirmed there is left to the person.

use minijinja::Value;

use crate::render::answers::Answers;
use crate::render::environment::agent_variables;
use crate::render::error::RenderError;
use crate::render::images::{PrivateImage, PrivateImages};
use crate::render::rendered::{FileMode, Rendered, RenderedFile};
use crate::render::template::{Template, text};
use crate::render::values::{KubernetesName, Pin, PullSecretForm};

const MANIFESTS: Template<'_> =
    Template { name: "kubernetes-agent.yaml", text: include_str!("../../../templates/kubernetes-agent.yaml") };
const SECRET: Template<'_> =
    Template { name: "kubernetes-secret.yaml", text: include_str!("../../../templates/kubernetes-secret.yaml") };
const AGENT_VALUES: Template<'_> = Template {
    name: "helm-kubernetes-agent.yaml",
    text: include_str!("../../../templates/helm-kubernetes-agent.yaml"),
};
const SERVER_VALUES: Template<'_> = Template {
    name: "helm-enterprise-edition.yaml",
    text: include_str!("../../../templates/helm-enterprise-edition.yaml"),
};
/// The role of the agent for Kubernetes in a release manifest.
const KUBERNETES_AGENT: &str = "kubernetes-agent";
const SECRET_FILE: &str = "agent-secret.yaml";
/// The values of the server's chart that name an image, with that image's path.
const PARTS: [(&str, &str); 5] = [
    ("backend", "octoperf/enterprise-edition"),
    ("frontend", "octoperf/octoperf-ui"),
    ("doc", "octoperf/enterprise-documentation"),
    ("utilityServer", "octoperf/utility-server"),
    ("mcpServer", "octoperf/mcp-server"),
];
/// The user interface of servers before 15.0.0, which have a second one beside it.
const OLD_INTERFACE: &str = "octoperf/enterprise-ui";

/// Service account, role, binding and deployment; all variables in a secret of their own file.
pub(in crate::render) fn manifests(answers: &Answers, images: &PrivateImages) -> Result<Rendered, RenderError> {
    let image = agent(answers, images)?;
    let name = answers.name.as_ref().expect("it was checked that this target has a name").to_string();
    let namespace = answers.namespace.as_ref().expect("it was checked that this target has a namespace");
    let token_secret = answers.token.is_none().then(|| format!("{name}-token"));
    let reference = image.reference(answers.pin);
    let manifests = MANIFESTS.fill(&[
        ("name", text(&name)),
        ("namespace", text(namespace.as_str())),
        ("image", text(&reference)),
        ("digest", text(&image.digest.to_string())),
        ("secret_file", text(SECRET_FILE)),
        ("pull_secret", optional(answers.pull_secret.as_ref().map(KubernetesName::as_str))),
        ("token_secret", optional(token_secret.as_deref())),
    ])?;
    let variables = agent_variables(answers, images.target().registry().as_str())?;
    let variables: Vec<Value> = variables
        .iter()
        .map(|(name, value)| Value::from_pairs([("name", text(name.as_str())), ("value", text(value.expose()))]))
        .collect();
    let secret = SECRET.fill(&[
        ("name", text(&name)),
        ("namespace", text(namespace.as_str())),
        ("variables", Value::from(variables)),
    ])?;
    let mut notes = vec![
        format!("`{SECRET_FILE}` holds what may be secret: keep it at mode 0600, and out of version control."),
        "One agent a node; the agent starts its load generators on its own node.".to_owned(),
        format!("The namespace has to be there: `kubectl create namespace {}`.", namespace.as_str()),
    ];
    if let Some(secret) = &answers.pull_secret {
        notes.push(format!(
            "The pull secret has to be there, made of the file that a login wrote: `kubectl create secret generic {} --namespace {} --type=kubernetes.io/dockerconfigjson --from-file=.dockerconfigjson=FILE`.",
            secret.as_str(),
            namespace.as_str()
        ));
    }
    if let Some(secret) = token_secret {
        notes.push(format!(
            "Make the secret with the token yourself: `kubectl create secret generic {secret} --namespace {} --from-file=AGENT_TOKEN=FILE`, where FILE ends without a line break.",
            namespace.as_str()
        ));
    }
    notes.extend(load_generator_note(answers));
    Ok(Rendered {
        files: vec![
            RenderedFile::new("agent.yaml", FileMode::Plain, manifests),
            RenderedFile::new(SECRET_FILE, FileMode::Secret, secret),
        ],
        arguments: None,
        agent: Some(reference.clone()),
        images: vec![reference],
        notes,
    })
}

/// Values for the charts whose images the bundle holds.
pub(in crate::render) fn helm(answers: &Answers, images: &PrivateImages) -> Result<Rendered, RenderError> {
    let mut rendered = Rendered::default();
    if images.of_role(KUBERNETES_AGENT).next().is_some() || answers.image.is_some() {
        agent_values(answers, images, &mut rendered)?;
    }
    if images.named(PARTS[0].1).is_some() {
        server_values(answers, images, &mut rendered)?;
    }
    if rendered.files.is_empty() {
        return Err(RenderError::NoChart);
    }
    rendered.notes.push("A chart is no image: carry its archive (`helm pull`) inside by other means.".to_owned());
    Ok(rendered)
}

fn agent_values(answers: &Answers, images: &PrivateImages, rendered: &mut Rendered) -> Result<(), RenderError> {
    let image = agent(answers, images)?;
    let tag = tag_of(image)?;
    // `image.registry` is a host; the path belongs to `image.repository`.
    let repository = image.name.repository();
    let pull_secrets = answers.pull_secret.as_ref().zip(answers.pull_secret_form);
    let pull_secrets = pull_secrets.map(|(secret, form)| match form {
        PullSecretForm::Names => format!("\"{}\"", secret.as_str()),
        PullSecretForm::Maps => format!("name: \"{}\"", secret.as_str()),
    });
    let values = AGENT_VALUES.fill(&[
        ("registry", text(repository.host.as_str())),
        ("repository", text(repository.name.as_str())),
        ("tag", text(&tag)),
        ("digest", text(&image.digest.to_string())),
        ("pull_secrets", optional(pull_secrets.as_deref())),
    ])?;
    rendered.files.push(RenderedFile::new("kubernetes-agent.values.yaml", FileMode::Plain, values));
    rendered.agent = Some(image.reference(Pin::Tag));
    rendered.images.push(image.reference(Pin::Tag));
    rendered.notes.push(
        "Token and server of the agent's chart are set as its README says; their keys are not in the documents that octobundle knows.".into(),
    );
    if answers.pull_secret.is_some() && answers.pull_secret_form.is_none() {
        rendered.notes.push(
            "The agent's chart takes pull secrets in `image.pullSecrets` and, for load generators, in `config.octoperf.pod.spec.image-pull-secrets`. Whether as names or as maps is not in the documents that octobundle knows: look into the chart and add `--pull-secret-form names` or `--pull-secret-form maps`.".into(),
        );
    }
    Ok(())
}

fn server_values(answers: &Answers, images: &PrivateImages, rendered: &mut Rendered) -> Result<(), RenderError> {
    if images.named(OLD_INTERFACE).is_some() {
        return Err(RenderError::OldChart);
    }
    let found: Vec<(&str, &PrivateImage)> =
        PARTS.into_iter().filter_map(|(key, path)| Some((key, images.named(path)?))).collect();
    let below = images.target().to_string();
    let version = tag_of(found[0].1)?;
    let mut parts = Vec::new();
    for (key, image) in &found {
        if tag_of(image)? != version {
            return Err(RenderError::SeveralVersions {
                first: found[0].1.name.clone().into(),
                other: image.name.clone().into(),
            });
        }
        let whole = image.name.repository().to_string();
        let path = whole.strip_prefix(&below).and_then(|rest| rest.strip_prefix('/')).unwrap_or(&whole);
        parts.push(Value::from_pairs([("key", text(key)), ("image", text(path))]));
    }
    let elasticsearch = images.iter().find(|image| is_elasticsearch(image)).ok_or(RenderError::NoElasticsearch)?;
    let used: Vec<&PrivateImage> = found.iter().map(|(_, image)| *image).chain([elasticsearch]).collect();
    let shown = |image: &&PrivateImage| {
        Value::from_pairs([("name", text(&image.name.to_string())), ("digest", text(&image.digest.to_string()))])
    };
    let values = SERVER_VALUES.fill(&[
        ("images", Value::from(used.iter().map(shown).collect::<Vec<_>>())),
        ("registry", text(&below)),
        ("version", text(&version)),
        ("pull_secret", optional(answers.pull_secret.as_ref().map(KubernetesName::as_str))),
        ("documentation", Value::from(found.iter().any(|(key, _)| *key == "doc"))),
        ("parts", Value::from(parts)),
        ("elasticsearch", text(&elasticsearch.name.repository().to_string())),
        ("elasticsearch_tag", text(&tag_of(elasticsearch)?)),
    ])?;
    rendered.files.push(RenderedFile::new("enterprise-edition.values.yaml", FileMode::Plain, values));
    rendered.images.extend(used.iter().map(|image| image.reference(Pin::Tag)));
    for (key, path) in PARTS.into_iter().filter(|(key, _)| *key != "doc" && !found.iter().any(|(one, _)| one == key)) {
        rendered.notes.push(format!(
            "The bundle does not hold `{path}`: see that `{key}` of the chart is switched off{}.",
            where_on(key)
        ));
    }
    rendered.notes.push(
        "The chart ships with Elasticsearch's security off and a password that everybody can read: set your own."
            .into(),
    );
    Ok(())
}

/// Which charts have a part switched on by themselves.
fn where_on(key: &str) -> &'static str {
    if key == "utilityServer" { ", which it is not in the charts of 15.2.2 to 16.2.1" } else { "" }
}

fn is_elasticsearch(image: &PrivateImage) -> bool {
    image.source.repository().name.as_str().rsplit('/').next().is_some_and(|last| last.starts_with("elasticsearch"))
}

/// The agent for Kubernetes: the one that is wanted, or the only one with that role.
fn agent<'a>(answers: &Answers, images: &'a PrivateImages) -> Result<&'a PrivateImage, RenderError> {
    if answers.image.is_some() {
        return images.agent(answers.image.as_ref());
    }
    let all = || images.iter().map(|image| image.source.clone()).collect::<Vec<_>>();
    images.of_role(KUBERNETES_AGENT).next().ok_or_else(|| RenderError::NoKubernetesAgent { images: all() })
}

fn tag_of(image: &PrivateImage) -> Result<String, RenderError> {
    let tag = image.name.tag().ok_or_else(|| RenderError::NoTag(image.name.clone().into()))?;
    Ok(tag.as_str().to_owned())
}

/// Pods that the agent starts need the registry's login too.
fn load_generator_note(answers: &Answers) -> Option<String> {
    let secret = answers.pull_secret.as_ref()?;
    Some(format!(
        "Load generators run in pods of their own, which need `{}` too: OctoPerf's documentation of the agent's `application.yml` says where.",
        secret.as_str()
    ))
}

fn optional(value: Option<&str>) -> Value {
    value.map_or(Value::from(false), text)
}
