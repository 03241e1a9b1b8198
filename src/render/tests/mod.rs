//! What was asked for, read back from what was rendered.

mod all;
mod quote;
mod run;
#[cfg(unix)] // real shells
mod shells;

use crate::images::{LOCK_SCHEMA, Lock, LockedContent, LockedImage, LockedPlatform};
use crate::oci::{Digest, ImageRef};
use crate::plan::{SourceHost, Target};
use crate::render::{Answers, Given, PrivateImages, RenderError, RenderTarget, Rendered, Setting};

/// What every target of an agent is content with.
pub(super) fn given() -> Given {
    let mut given = Given::default();
    given.add(Setting::ServerUrl, "https://octoperf.corp");
    given.add(Setting::Name, "agent-1");
    given.add(Setting::TokenFile, "t0ken+/=\n");
    given
}

/// The same with more.
pub(super) fn given_with(more: &[(Setting, &str)]) -> Given {
    let mut given = given();
    for (setting, text) in more {
        given.add(*setting, *text);
    }
    given
}

pub(super) fn render(target: RenderTarget, given: &Given) -> Result<Rendered, RenderError> {
    let answers = Answers::new(given).map_err(|wrong| wrong.error)?;
    target.render(
        &answers,
        &images(&lock(&[("octoperf/docker-agent:9.0.0", "agent"), ("octoperf/jmeter:1", "load-generator")])),
    )
}

pub(super) fn images(lock: &Lock) -> PrivateImages {
    PrivateImages::new(lock, &Target::parse("reg.corp:5000/tools", SourceHost::Drop).unwrap()).unwrap()
}

pub(super) fn lock(images: &[(&str, &str)]) -> Lock {
    let images = images.iter().map(|(name, role)| {
        let name: ImageRef = name.parse().unwrap();
        let content = LockedContent {
            media_type: "application/x".into(),
            digest: Digest::of(name.to_string().as_bytes()),
            size: 1,
        };
        let platform =
            LockedPlatform { platform: None, manifest: content.clone(), config: content.clone(), layers: Vec::new() };
        LockedImage {
            source: name.repository().clone(),
            name,
            role: (*role).to_owned(),
            groups: std::collections::BTreeSet::new(),
            root: content.clone(),
            index: None,
            derived: false,
            insecure: false,
            platforms: vec![platform],
        }
    });
    Lock {
        schema: LOCK_SCHEMA.into(),
        release: "r".into(),
        title: "R".into(),
        manifest: Digest::of(b"m"),
        images: images.collect(),
    }
}
