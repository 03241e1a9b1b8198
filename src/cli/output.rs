//! Reports and errors as text or JSON. stdout carries the result, stderr the rest.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use octobundle::failure::{ErrorClass, Failure};
use octobundle::oci::ImageRef;
use octobundle::transfer::CopyFailure;
pub(crate) use octobundle::wording::{plain, plain_json};
use serde::Serialize;

use crate::cli::exit::{DIFFERS, Outcome, class_name, exit_code};

/// The version of all JSON on stdout and stderr; it changes only when a field changes its meaning or goes.
const SCHEMA_VERSION: u32 = 1;

/// Where results and errors go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    schema_version: u32,
    command: &'a str,
    #[serde(flatten)]
    report: T,
}

/// A failure as JSON.
#[derive(Serialize)]
pub(crate) struct FailureReport {
    class: &'static str,
    exit_code: u8,
    messages: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

/// A failure with its images, as JSON.
#[derive(Serialize)]
pub(crate) struct ImageFailureReport {
    images: Vec<String>,
    #[serde(flatten)]
    failure: FailureReport,
}

impl From<&Failure> for FailureReport {
    fn from(failure: &Failure) -> Self {
        Self {
            class: class_name(failure.class()),
            exit_code: exit_code(failure.class()),
            messages: failure.chain(),
            help: failure.help().map(str::to_owned),
        }
    }
}

impl From<&CopyFailure> for ImageFailureReport {
    fn from(failed: &CopyFailure) -> Self {
        let images = failed.images.iter().map(ToString::to_string).collect();
        Self { images, failure: FailureReport::from(&failed.failure) }
    }
}

impl Output {
    /// Text, or JSON; with or without what is not asked for.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Prints a command's result: `report` as JSON, or else `text`.
    pub(crate) fn result(self, command: &str, report: impl Serialize, text: &str) -> Result<(), Failure> {
        if self.json {
            let envelope = Envelope { schema_version: SCHEMA_VERSION, command, report };
            let json = serde_json::to_string_pretty(&envelope)
                .map_err(|error| Failure::new(ErrorClass::Other, format!("failed to write JSON: {error}")))?;
            return raw(&format!("{}\n", plain_json(&json)));
        }
        raw(&plain(text))
    }

    /// Prints text that is itself the result, whatever `--json` says, byte for byte.
    pub(crate) fn verbatim(self, text: &str) -> Result<(), Failure> {
        let _ = self;
        raw(text)
    }

    /// Says something on stderr that is not the result.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet && !self.json {
            message(&plain(text));
        }
    }

    /// Says why some images are not done: one failure for each set of images, and how many more of it there are.
    pub(crate) fn failures(self, failures: &[CopyFailure]) {
        if self.json {
            return;
        }
        let mut told: Vec<(&[ImageRef], &Failure, usize)> = Vec::new();
        for failed in failures {
            match told
                .iter_mut()
                .find(|(images, first, _)| *images == failed.images && first.class() == failed.failure.class())
            {
                Some((_, _, count)) => *count += 1,
                None => told.push((&failed.images, &failed.failure, 0)),
            }
        }
        for (images, first, more) in &told {
            self.failure(first);
            let names: Vec<String> = images.iter().map(ToString::to_string).collect();
            let more =
                if *more == 0 { String::new() } else { format!(" ({more} more of its layers failed like this)") };
            message(&plain(&format!("  incomplete: {}{more}\n", names.join(", "))));
        }
    }

    /// Turns how a command ended into the process's exit code, telling a failure on the way. `continues` says whether the
    /// same command, run again, goes on where a signal stopped this one.
    pub(crate) fn end(self, outcome: Result<Outcome, Failure>, continues: bool) -> ExitCode {
        match outcome {
            Ok(Outcome::Done) => ExitCode::SUCCESS,
            Ok(Outcome::Differs) => ExitCode::from(DIFFERS),
            Ok(Outcome::Ended(class)) => ExitCode::from(exit_code(class)),
            Ok(Outcome::Stopped(code)) => {
                self.stopped(code, continues);
                ExitCode::from(code)
            }
            Err(failure) => {
                self.failure(&failure);
                ExitCode::from(exit_code(failure.class()))
            }
        }
    }

    /// Whether only errors and the result are wanted.
    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Tells a failure that does not end the command.
    pub(crate) fn problem(self, failure: &Failure) {
        self.failure(failure);
    }

    fn failure(self, failure: &Failure) {
        if self.json {
            error_line(FailureReport::from(failure));
        } else {
            message(&failure_text(failure));
        }
    }

    /// Says that a signal ended the command.
    fn stopped(self, exit_code: u8, continues: bool) {
        if self.json {
            let help = continues.then(|| "run the same command again: it continues".to_owned());
            let class = class_name(ErrorClass::Interrupted);
            error_line(FailureReport { class, exit_code, messages: vec!["stopped by a signal".into()], help });
        } else {
            message("stopped\n");
            if continues {
                self.note("what was moved is kept, the same command continues\n");
            }
        }
    }
}

/// One line of JSON on stderr, as `docs/json.md` says.
fn error_line(error: FailureReport) {
    #[derive(Serialize)]
    struct Error {
        error: FailureReport,
    }
    let envelope = Envelope { schema_version: SCHEMA_VERSION, command: "error", report: Error { error } };
    message(&format!("{}\n", plain_json(&serde_json::to_string(&envelope).unwrap_or_default())));
}

/// The form of `docs/messages.md`: what was tried, the causes, the next step.
fn failure_text(failure: &Failure) -> String {
    let red = AnsiColor::Red.on_default().bold();
    let bold = Style::new().bold();
    let chain = failure.chain();
    let (first, causes) = chain.split_first().map_or(("", &[][..]), |(first, causes)| (first.as_str(), causes));
    let mut text = format!("{red}error:{red:#} {}\n", plain(first));
    for cause in causes {
        writeln!(text, "  {bold}cause:{bold:#} {}", plain(cause)).expect("a String takes any text");
    }
    if let Some(help) = failure.help() {
        writeln!(text, "  {bold}help:{bold:#} {}", plain(help)).expect("a String takes any text");
    }
    text
}

fn raw(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        // `octobundle … | head` has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(ErrorClass::Disk, format!("failed to write the result to stdout: {error}"))),
    }
}

/// Prints help, the version or what is wrong with the command line. Help that nobody can read is no success.
pub(crate) fn told(parsed: &clap::Error) -> ExitCode {
    let code = u8::try_from(parsed.exit_code()).unwrap_or(exit_code(ErrorClass::Usage));
    match parsed.print().and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe && code == 0 => {
            ExitCode::from(exit_code(ErrorClass::Disk))
        }
        _ => ExitCode::from(code),
    }
}

/// Writes to stderr; when even that is closed there is nobody left to tell.
fn message(text: &str) {
    drop(anstream::stderr().lock().write_all(text.as_bytes()));
}

/// Who may read a file that was written with a mode, in words. Windows has no modes: there a file is as open as its folder.
pub(crate) fn readers_of(mode: u32) -> String {
    if cfg!(unix) { format!("mode {mode:04o}") } else { "as open to others as its folder".to_owned() }
}
