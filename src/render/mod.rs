//! Commands that start what the bundle carries. Text to text: it touches no file, no network and no environment.
//!
//! A command is a list of arguments first, filled in from a template of `templates/`, and is quoted afterwards for the
//! shell that will read it; so no value can become two arguments or a second command.

mod agent;
mod env_file;
mod error;
mod shell;
mod template;

pub use agent::{AgentCommand, AgentRequest, ContainerEngine, ContainerName, ServerUrl, agent_image};
pub use env_file::{AgentToken, EnvFile, EnvName, EnvValue};
pub use error::RenderError;
