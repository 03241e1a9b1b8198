//! What starts what the bundle carries, in every form a site may want it. Text to text: it touches no file, no network
//! and no environment.
//!
//! [`Given`] texts become [`Answers`], which cannot be wrong; [`PrivateImages`] are a bundle's images by the names that
//! `push` makes. A [`RenderTarget`] makes [`Rendered`] files of both, each with its mode, through a template of
//! `templates/`. A value is quoted where it is put into the template, by the rules of that template's file
//! ([`Quoting`]), so no value can become two arguments or a second command. Which setting applies to which target is
//! one table, [`usage`].

mod answers;
mod applies;
mod env_file;
mod environment;
mod error;
mod images;
mod own_template;
mod pasted;
mod quote;
mod rendered;
mod setting;
mod stick;
mod target;
mod targets;
mod template;
#[cfg(test)]
mod tests;
mod values;

pub use answers::{AgentProxy, Answers, Given, RegistryLogin, WrongAnswer};
pub use applies::{Use, usage};
pub use env_file::{AgentToken, EnvName, EnvValue};
pub use error::RenderError;
pub use images::{AGENT_ROLE, PrivateImage, PrivateImages};
pub use own_template::render_template;
pub use pasted::Pasted;
pub use quote::Quoting;
pub use rendered::{FileMode, Rendered, RenderedFile};
pub use setting::{Kind, Setting};
pub use stick::{Stick, StickDelta};
pub use target::{RenderTarget, Subject};
pub use values::{
    AbsolutePath, AutoUpdate, Certificates, ContainerEngine, ContainerName, EngineSocket, Heap, KubernetesName,
    MachineBox, Pin, PullSecretForm, ServerUrl, Volume,
};
