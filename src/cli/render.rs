//! `octobundle render`.

mod files;
mod flags;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use octobundle::bundle::Bundle;
use octobundle::failure::Failure;
use octobundle::render::{
    Answers, FileMode, Given, PrivateImages, RenderTarget, Rendered, RenderedFile, Setting, Subject,
};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::bundle_args::BundleArgs;
use crate::cli::exit::Outcome;
use crate::cli::input::usage;
use crate::cli::push::target;
use crate::cli::render::files::{Elsewhere, write_all, write_one};
use crate::cli::render::flags::SettingFlags;

/// Print what starts agents from the private registry.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// What starts one agent, in the form that a site wants
    #[command(after_help = "\
Examples:
  octobundle render agent octoperf.tar --registry reg.corp:5000/tools \\
      --server-url https://octoperf.corp --name agent-1 --token-file token
  octobundle render agent octoperf.tar --registry reg.corp:5000/tools --as script --out agent-1 \\
      --server-url https://octoperf.corp --name agent-1 --token-file token

The token goes into files of mode 0600 and never into a command (docs/render.md).")]
    Agent(Box<SubjectArgs>),
    /// The server, `OctoPerf` Enterprise Edition, behind one port
    #[command(after_help = "\
Example:
  octobundle render infra octoperf.tar --registry reg.corp:5000/tools --as compose --out server \\
      --server-url https://octoperf.corp --data-path /home/octoperf/data --port octoperf-ui=8080

What no document of the vendor's tells, such as these ports, is asked for (docs/render.md).")]
    Infra(Box<SubjectArgs>),
}

/// What is rendered, and where to.
#[derive(clap::Args)]
struct SubjectArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Write files into this folder instead of printing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace files that say something else
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

#[derive(Serialize)]
struct Report<'a> {
    target: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_line: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    images: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    env_file: Option<String>,
    files: Vec<FileReport>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct FileReport {
    path: String,
    mode: String,
    secret: bool,
}

impl Args {
    /// Renders.
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match &self.what {
            What::Agent(args) => args.run(context, Subject::Agent),
            What::Infra(args) => args.run(context, Subject::Infra),
        }
    }
}

impl SubjectArgs {
    fn run(&self, context: &Context, subject: Subject) -> Result<Outcome, Failure> {
        let given = self.settings.given()?;
        let render_target = render_target(subject, &given)?;
        let answers = Answers::new(&given)?;
        let bundle = Bundle::open(self.bundle.place())?;
        let images = private_images(&given, &bundle)?;
        let rendered = render_target.render(&answers, &images)?;
        let printed = match &self.out {
            Some(folder) => {
                write_all(folder, &rendered.files.iter().collect::<Vec<_>>(), self.replace)?;
                Printed {
                    text: None,
                    written: rendered.files.iter().map(|file| (folder.join(file.name()), file)).collect(),
                }
            }
            None => self.print(render_target, &answers, &rendered)?,
        };
        tell(context, render_target, &rendered, &printed)?;
        Ok(Outcome::Done)
    }

    /// A command with its env-file, or one file without secrets, needs no folder.
    fn print<'a>(
        &self,
        target: RenderTarget,
        answers: &Answers,
        rendered: &'a Rendered,
    ) -> Result<Printed<'a>, Failure> {
        if let Some(line) = rendered.command_line() {
            let env_file = rendered.files.iter().find(|file| file.mode().is_secret()).expect("a command has one");
            let path = answers.env_file.as_ref().map_or_else(|| PathBuf::from(env_file.name()), PathBuf::from);
            write_one(&path, env_file, self.replace, Elsewhere("choose another place with `--env-file FILE`"))?;
            return Ok(Printed { text: Some(format!("{line}\n")), written: vec![(path, env_file)] });
        }
        match &rendered.files[..] {
            [file] if !file.mode().is_secret() => {
                Ok(Printed { text: Some(file.content().to_owned()), written: Vec::new() })
            }
            files => {
                let names: Vec<&str> = files.iter().map(RenderedFile::name).collect();
                let secret = if files.iter().any(|file| file.mode().is_secret()) { ", with secrets" } else { "" };
                let what = format!("`--as {}` gives files{secret}: {}", target.key(), names.join(", "));
                Err(usage(what, "say where to write them: `--out DIR`"))
            }
        }
    }
}

/// What goes to stdout, and what was written instead.
struct Printed<'a> {
    text: Option<String>,
    written: Vec<(PathBuf, &'a RenderedFile)>,
}

/// The form that was asked for; of an agent the engine's command if none was.
fn render_target(subject: Subject, given: &Given) -> Result<RenderTarget, Failure> {
    let key = given.one(Setting::As).or_else(|| match subject {
        Subject::Agent => given.one(Setting::Engine).or(Some("docker")),
        Subject::Infra => Some("compose"),
    });
    Ok(RenderTarget::by_key(subject, key.unwrap_or_default())?)
}

fn private_images(given: &Given, bundle: &Bundle) -> Result<PrivateImages, Failure> {
    let Some(registry) = given.one(Setting::Registry) else {
        return Err(usage("no registry was named", "add `--registry HOST[:PORT][/PATH]`, where `push` put the images"));
    };
    let place = target(registry, given.is_on(Setting::KeepHost)?)?;
    Ok(PrivateImages::new(bundle.lock(), &place)?)
}

fn tell(context: &Context, target: RenderTarget, rendered: &Rendered, printed: &Printed<'_>) -> Result<(), Failure> {
    let file = |(path, file): &(PathBuf, &RenderedFile)| FileReport {
        path: shown(path),
        mode: format!("{:04o}", file.mode().bits()),
        secret: file.mode().is_secret(),
    };
    let report = Report {
        target: target.key(),
        arguments: rendered.arguments.as_deref(),
        command_line: rendered.command_line(),
        text: printed.text.as_deref().filter(|_| rendered.arguments.is_none()),
        image: rendered.agent.as_deref(),
        images: &rendered.images,
        env_file: printed.written.iter().find(|(_, file)| file.mode() == FileMode::Secret).map(|(path, _)| shown(path)),
        files: printed.written.iter().map(file).collect(),
        notes: &rendered.notes,
    };
    context.output.result(
        &format!("render {}", target.subject().key()),
        report,
        printed.text.as_deref().unwrap_or_default(),
    )?;
    for (path, file) in &printed.written {
        context.output.note(&format!("wrote {} (mode {:04o})\n", shown(path), file.mode().bits()));
    }
    for note in &rendered.notes {
        context.output.note(&format!("note: {note}\n"));
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
