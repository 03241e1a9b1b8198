//! `octobundle render`.

mod files;
mod flags;
mod site;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use octobundle::bundle::Bundle;
use octobundle::failure::{ErrorClass, Explain as _, Failure};
use octobundle::manifest::SheetMistake;
use octobundle::render::{
    self, AgentToken, Answers, FileMode, Given, Pasted, PrivateImages, RenderError, RenderTarget, Rendered,
    RenderedFile, Setting, Subject, render_template,
};
use octobundle::workflow::{self, Use};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::bundle_args::BundleArgs;
use crate::cli::exit::Outcome;
use crate::cli::input::usage;
use crate::cli::output::readers_of;
use crate::cli::prompt;
use crate::cli::push::target;
use crate::cli::render::files::{Elsewhere, write_all, write_one};
use crate::cli::render::flags::{SettingFlags, answer_file};
use crate::cli::render::site::{Site, pasted_text};
use crate::cli::trust_args::TrustArgs;

/// Print what starts agents from the private registry.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// Check a site file by itself: all of its mistakes, each with its line
    #[arg(long, value_name = "SITE")]
    check: Option<PathBuf>,
    #[command(subcommand)]
    what: Option<What>,
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
    /// Take answers from a site file; flags come on top of it
    #[arg(long, value_name = "FILE")]
    site: Option<PathBuf>,
    /// Take answers from the `docker run ...` that OctoPerf shows, in a file or on standard input (`-`)
    #[arg(long, value_name = "FILE")]
    from_command: Option<PathBuf>,
    /// Fill in a template of your own in place of a form (docs/render.md)
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// Write files into this folder instead of printing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace files that say something else
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    settings: SettingFlags,
    #[command(flatten)]
    trust: TrustArgs,
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
        match (&self.check, &self.what) {
            (Some(path), _) => check(context, path),
            (None, Some(What::Agent(args))) => args.run(context, Subject::Agent),
            (None, Some(What::Infra(args))) => args.run(context, Subject::Infra),
            (None, None) => Err(usage("nothing to render was named", "see `octobundle render --help`")),
        }
    }
}

impl SubjectArgs {
    fn run(&self, context: &Context, subject: Subject) -> Result<Outcome, Failure> {
        let site = self.site.as_deref().map(Site::read).transpose()?;
        let pasted = self.from_command.as_deref().map(pasted).transpose()?;
        let flags = self.settings.given()?;
        let (above, mut pasted_notes) = pasted.map_or_else(Default::default, |pasted| (pasted.given, pasted.notes));
        let below = site.as_ref().map_or_else(Given::default, |site| site.given.clone());
        // The engine of the page is no choice: the form's counts, or the flag's.
        let chosen = flags.one(Setting::As).or(below.one(Setting::As)).is_some();
        let above = if chosen { above.without(Setting::Engine) } else { above };
        let form = self.form(subject, &below.clone().overlaid_by(above.clone()).overlaid_by(flags.clone()))?;
        let above = form.useful(above, &mut pasted_notes).overlaid_by(flags);
        let given = below.overlaid_by(above.clone());
        let mut answers = Answers::new(&given).map_err(|wrong| match &site {
            Some(site) if above.one(wrong.setting).is_none() => site.explain(&wrong),
            _ => wrong.into(),
        })?;
        let bundle = Bundle::open(self.bundle.place())?;
        let trust = self.trust.settings(context, None)?;
        workflow::trust::check(&bundle, &trust, Use::Accept, &*context.progress())?;
        let images = private_images(&given, &bundle)?;
        form.ask_for_token(&mut answers)?;
        let mut rendered = match &form {
            Form::Target(target) => target.render(&answers, &images)?,
            Form::Template { name, text } => render_template(name, text, &answers, &images)?,
        };
        rendered.notes.splice(0..0, pasted_notes);
        let printed = match &self.out {
            Some(folder) => {
                write_all(folder, &rendered.files.iter().collect::<Vec<_>>(), self.replace)?;
                rendered.notes.splice(0..0, env_file_elsewhere(&answers, &rendered));
                Printed {
                    text: None,
                    written: rendered.files.iter().map(|file| (folder.join(file.name()), file)).collect(),
                }
            }
            None => self.print(&form, &answers, &rendered)?,
        };
        tell(context, subject, &form, &rendered, &printed)?;
        Ok(Outcome::Done)
    }

    fn form(&self, subject: Subject, given: &Given) -> Result<Form, Failure> {
        let Some(path) = &self.template else { return Ok(Form::Target(render_target(subject, given)?)) };
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        Ok(Form::Template { name, text: answer_file(path)? })
    }

    /// A command with its env-file, or one file without secrets, needs no folder.
    fn print<'a>(&self, form: &Form, answers: &Answers, rendered: &'a Rendered) -> Result<Printed<'a>, Failure> {
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
                let what = format!("`{}` gives files{secret}: {}", form.shown(), names.join(", "));
                Err(usage(what, "say where to write them: `--out DIR`"))
            }
        }
    }
}

/// What to do with the env-file of a command that names it elsewhere than it was written.
fn env_file_elsewhere(answers: &Answers, rendered: &Rendered) -> Option<String> {
    let place = rendered.arguments.as_ref().and(answers.env_file.as_ref())?;
    let file = rendered.files.iter().find(|file| file.mode() == FileMode::Secret)?;
    Some(format!("Before the start, put `{}` at `{place}`, where the command looks for it.", file.name()))
}

/// What was asked for: one of ours, or a template that was brought.
enum Form {
    Target(RenderTarget),
    Template { name: String, text: String },
}

impl Form {
    /// Of what a pasted command says, all that this form has a place for; of the rest a note each.
    fn useful(&self, pasted: Given, notes: &mut Vec<String>) -> Given {
        let Self::Target(target) = self else { return pasted };
        let kubernetes = matches!(target, RenderTarget::Kubernetes | RenderTarget::Helm);
        let why_not = |setting| match render::usage(*target, setting) {
            render::Use::Unused(reason) => Some((setting, reason)),
            render::Use::Taken if setting == Setting::Image && kubernetes => {
                Some((setting, "Kubernetes has an agent of its own"))
            }
            render::Use::Taken | render::Use::Needed => None,
        };
        let useless: Vec<(Setting, &str)> = pasted.settings().filter_map(why_not).collect();
        useless.into_iter().fold(pasted, |pasted, (setting, reason)| {
            notes.push(format!("`{}` of the command is left out: {reason}.", setting.key()));
            pasted.without(setting)
        })
    }

    /// Asks for the token where it alone lacks and somebody is there to type it.
    fn ask_for_token(&self, answers: &mut Answers) -> Result<(), Failure> {
        let Self::Target(target) = self else { return Ok(()) };
        let lacks = |answers: &Answers| target.objections(answers).into_iter().map(|wrong| wrong.error).next();
        let missing = RenderError::Missing { target: target.key(), missing: vec![Setting::TokenFile] };
        if lacks(answers) != Some(missing) || !prompt::can_ask() {
            return Ok(());
        }
        let name = answers.name.as_ref().map(ToString::to_string).unwrap_or_default();
        let question = format!("token of `{name}`, from OctoPerf's \"Add Agent\" (not shown): ");
        answers.token = Some(AgentToken::from_file(prompt::ask_hidden(&question)?.reveal())?);
        answers.answered.insert(Setting::TokenFile);
        Ok(())
    }

    fn shown(&self) -> String {
        match self {
            Self::Target(target) => format!("--as {}", target.key()),
            Self::Template { .. } => "--template".into(),
        }
    }

    fn key(&self) -> &'static str {
        match self {
            Self::Target(target) => target.key(),
            Self::Template { .. } => "template",
        }
    }
}

/// Tells all that is wrong with a site file, or what it is for.
fn check(context: &Context, path: &Path) -> Result<Outcome, Failure> {
    let checked = Site::check(path)?;
    let mistakes: Vec<MistakeReport> = checked.mistakes.iter().map(mistake_report).collect();
    let told = |mistake: &MistakeReport| {
        [Some(mistake.message.clone()), mistake.help.as_ref().map(|help| format!("  help: {help}"))]
    };
    let end = match (&checked.says, mistakes.len()) {
        (Some(says), _) => format!("{}: {says}", path.display()),
        (None, 1) => "1 mistake".to_owned(),
        (None, count) => format!("{count} mistakes"),
    };
    let lines = mistakes.iter().flat_map(told).flatten().chain([end]);
    let text: String = lines.map(|line| line + "\n").collect();
    let sound = checked.says.is_some();
    let report = CheckReport { site: shown(path), sound, says: checked.says.as_deref(), mistakes };
    context.output.result("render", report, &text)?;
    Ok(if sound { Outcome::Done } else { Outcome::Ended(ErrorClass::Input) })
}

fn mistake_report(mistake: &SheetMistake) -> MistakeReport {
    MistakeReport { line: mistake.line, message: mistake.error.to_string(), help: mistake.error.help() }
}

#[derive(Serialize)]
struct CheckReport<'a> {
    site: String,
    sound: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    says: Option<&'a str>,
    mistakes: Vec<MistakeReport>,
}

#[derive(Serialize)]
struct MistakeReport {
    line: usize,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

fn pasted(path: &Path) -> Result<Pasted, Failure> {
    Ok(Pasted::parse(&pasted_text(path)?)?)
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

fn tell(
    context: &Context,
    subject: Subject,
    form: &Form,
    rendered: &Rendered,
    printed: &Printed<'_>,
) -> Result<(), Failure> {
    let file = |(path, file): &(PathBuf, &RenderedFile)| FileReport {
        path: shown(path),
        mode: format!("{:04o}", file.mode().bits()),
        secret: file.mode().is_secret(),
    };
    let report = Report {
        target: form.key(),
        arguments: rendered.arguments.as_deref(),
        command_line: rendered.command_line(),
        text: printed.text.as_deref().filter(|_| rendered.arguments.is_none()),
        image: rendered.agent.as_deref(),
        images: &rendered.images,
        env_file: printed.written.iter().find(|(_, file)| file.mode() == FileMode::Secret).map(|(path, _)| shown(path)),
        files: printed.written.iter().map(file).collect(),
        notes: &rendered.notes,
    };
    context.output.result(&format!("render {}", subject.key()), report, printed.text.as_deref().unwrap_or_default())?;
    for (path, file) in &printed.written {
        context.output.note(&format!("wrote {} ({})\n", shown(path), readers_of(file.mode().bits())));
    }
    for note in &rendered.notes {
        context.output.note(&format!("note: {note}\n"));
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
