//! `octobundle render`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use octobundle::bundle::Bundle;
use octobundle::content::{Readers, write_whole};
use octobundle::failure::{ErrorClass, Failure};
use octobundle::oci::ImageRef;
use octobundle::plan::MirrorMap;
use octobundle::render::{
    AgentCommand, AgentRequest, AgentToken, ContainerEngine, EnvFile, EnvName, EnvValue, agent_image,
};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::exit::Outcome;
use crate::cli::input::{read_limited, usage};
use crate::cli::push::TargetArgs;

/// Tokens are some hundred characters.
const MAX_TOKEN: u64 = 64 * 1024;

/// Print what starts agents from the private registry.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The command that starts one agent
    Agent(Box<AgentArgs>),
}

/// The command that starts one agent.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  octobundle render agent octoperf.tar --registry reg.corp:5000/tools \\
      --server-url https://octoperf.corp --name agent-1 --token-file token

The token goes into the env-file (mode 0600) and never into the command.")]
struct AgentArgs {
    /// The bundle
    bundle: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
    /// The server's address, as agents reach it
    #[arg(long, value_name = "URL")]
    server_url: String,
    /// The container's name
    #[arg(long, value_name = "NAME")]
    name: String,
    /// A file that holds the agent's token
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Where to write the env-file [default: NAME.env]
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Replace an env-file that says something else
    #[arg(long)]
    replace: bool,
    /// Whose command
    #[arg(long, value_enum, default_value_t = EngineName::Docker)]
    engine: EngineName,
    /// The agent's image by its name in the bundle, where several have that role
    #[arg(long, value_name = "IMAGE")]
    image: Option<ImageRef>,
    /// An option for the agent's Java, as in `-Xmx1g`; may be given several times, merged into one variable
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    java_option: Vec<String>,
    /// A further variable for the agent; may be given several times
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE")]
    variables: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum EngineName {
    Docker,
    Podman,
}

#[derive(Serialize)]
struct Report<'a> {
    arguments: &'a [String],
    command_line: &'a str,
    image: String,
    env_file: String,
    notes: &'a [String],
}

impl Args {
    /// Renders.
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match &self.what {
            What::Agent(args) => args.run(context),
        }
    }
}

impl AgentArgs {
    fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let bundle = Bundle::open(&self.bundle)?;
        let names = MirrorMap::of_lock(bundle.lock(), &self.target.parse()?)?;
        let image = agent_image(bundle.lock(), &names, self.image.as_ref())?.clone();
        let env_path = self.env_file.clone().unwrap_or_else(|| PathBuf::from(format!("{}.env", self.name)));
        let command = self.request(image.clone(), &env_path)?.render()?;
        write_private(&env_path, &command.env_file, self.replace)?;
        tell(context, &command, &image, &env_path)?;
        Ok(Outcome::Done)
    }

    fn request(&self, image: ImageRef, env_path: &Path) -> Result<AgentRequest, Failure> {
        let token = read_limited(&self.token_file, MAX_TOKEN)?;
        let token = String::from_utf8(token)
            .map_err(|_| Failure::new(ErrorClass::Input, format!("`{}` is no text", self.token_file.display())))?;
        let java = |text: &String| EnvValue::parse("java option", text);
        Ok(AgentRequest {
            engine: match self.engine {
                EngineName::Docker => ContainerEngine::Docker,
                EngineName::Podman => ContainerEngine::Podman,
            },
            image,
            name: self.name.parse()?,
            server_url: self.server_url.parse()?,
            token: AgentToken::from_file(&token)?,
            env_file: path_text(env_path)?,
            java_options: self.java_option.iter().map(java).collect::<Result<_, _>>()?,
            variables: self.variables.iter().map(|text| variable(text)).collect::<Result<_, _>>()?,
        })
    }
}

fn tell(context: &Context, command: &AgentCommand, image: &ImageRef, env_path: &Path) -> Result<(), Failure> {
    let report = Report {
        arguments: &command.arguments,
        command_line: &command.command,
        image: image.to_string(),
        env_file: env_path.display().to_string(),
        notes: &command.notes,
    };
    context.output.result("render agent", report, &format!("{}\n", command.command))?;
    context.output.note(&format!("wrote {} (mode 0600)\n", env_path.display()));
    for note in &command.notes {
        context.output.note(&format!("note: {note}\n"));
    }
    Ok(())
}

fn variable(text: &str) -> Result<(EnvName, EnvValue), Failure> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(usage("a variable of `-e` has no `=`", "write `-e NAME=VALUE`"));
    };
    Ok((EnvName::parse(name)?, EnvValue::parse(name, value)?))
}

/// A command line is text, so the path in it must be too.
fn path_text(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| usage("the env-file's path is no text", "choose another with `--env-file FILE`"))
}

/// Whether a regular file holds exactly this; one that is longer is not read to its end.
fn says(path: &Path, content: &EnvFile) -> bool {
    let content = content.as_bytes();
    path.is_file() && read_limited(path, content.len() as u64 + 1).is_ok_and(|found| found == content)
}

/// Writes a file that only its owner can read, in one step. One that says something else is not replaced unasked.
fn write_private(path: &Path, content: &EnvFile, replace: bool) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::new(ErrorClass::Disk, format!("failed to write `{}`: {error}", path.display()))
            .with_help("choose another place with `--env-file FILE`")
    };
    let kind = fs::symlink_metadata(path).map(|metadata| metadata.file_type()).ok();
    if kind.is_some_and(|kind| !kind.is_file() && !kind.is_symlink()) {
        return Err(usage(
            format!("`{}` is a folder, device, pipe or socket", path.display()),
            "choose another place with `--env-file FILE`",
        ));
    }
    if !replace && kind.is_some() && !says(path, content) {
        return Err(usage(
            format!("`{}` exists and says something else", path.display()),
            "add `--replace`, or choose another place with `--env-file FILE`",
        ));
    }
    write_whole(path, content.as_bytes(), Readers::Owner).map_err(failed)
}
