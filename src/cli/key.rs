//! `octobundle key`.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use octobundle::failure::{ErrorClass, Failure};
use octobundle::registry::Secret;
use octobundle::trust::{Protection, SecretKey};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::exit::Outcome;
use crate::cli::input::usage;
use crate::cli::output::readers_of;
use crate::cli::prompt;

const SECRET_MODE: u32 = 0o600;

/// Make keys that sign bundles.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Make a key pair: FILE, which signs, and FILE.pub, which others trust
    New(NewArgs),
}

/// Make a key pair: FILE, which signs, and FILE.pub, which others trust.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle key new anna.key
  octobundle key new build.key --no-password

Both files have minisign's form: `minisign -S -s anna.key` signs with it too.")]
struct NewArgs {
    /// The secret key's file (mode 0600); an existing one is never replaced
    file: PathBuf,
    /// Read the password from standard input; else it is asked for, unseen
    #[arg(long, conflicts_with = "no_password")]
    password_stdin: bool,
    /// Keep the key without a password: whoever has the file can sign
    #[arg(long)]
    no_password: bool,
}

#[derive(Serialize)]
struct Report {
    secret_key: String,
    public_key: String,
    key: String,
    line: String,
}

impl Args {
    /// Makes a key.
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match &self.what {
            What::New(args) => args.run(context),
        }
    }
}

impl NewArgs {
    fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let public_file = beside(&self.file, ".pub");
        for file in [&self.file, &public_file] {
            if file.symlink_metadata().is_ok() {
                return Err(taken(file));
            }
        }
        let password = self.password()?;
        let key = SecretKey::generate()?;
        let protection = password.as_ref().map_or(Protection::None, |password| Protection::Password(password.reveal()));
        let secret = tokio::task::block_in_place(|| key.to_file(&protection))?;
        let public = key.public();
        write_new(&self.file, secret.as_bytes(), SECRET_MODE)?;
        write_new(&public_file, public.to_file().as_bytes(), 0o644)?;
        let report = Report {
            secret_key: self.file.display().to_string(),
            public_key: public_file.display().to_string(),
            key: public.id().to_string(),
            line: public.to_string(),
        };
        let text = format!(
            "wrote {} ({}; keep it) and {} (give it to those who check)\nkey {}\n{}\n",
            report.secret_key,
            readers_of(SECRET_MODE),
            report.public_key,
            report.key,
            report.line
        );
        context.output.result("key new", report, &text)?;
        if self.no_password {
            context.output.note("warning: the key has no password: whoever can read the file can sign\n");
        }
        Ok(Outcome::Done)
    }

    fn password(&self) -> Result<Option<Secret>, Failure> {
        let help = "pipe it in with `--password-stdin`, or make a key without one with `--no-password`";
        if self.no_password {
            return Ok(None);
        }
        let password = if self.password_stdin {
            prompt::password_from_stdin()?
        } else if prompt::can_ask() {
            let password = prompt::ask_hidden("password for the new key (not shown): ")?;
            let again = prompt::ask_hidden("the same again: ")?;
            if password.reveal() != again.reveal() {
                return Err(usage("the two passwords differ", "run the same command again"));
            }
            password
        } else {
            return Err(usage("there is no terminal to ask for a password on", help));
        };
        if password.reveal().is_empty() {
            return Err(usage("the password is empty", help));
        }
        Ok(Some(password))
    }
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn taken(file: &Path) -> Failure {
    usage(format!("`{}` exists already", file.display()), "choose another name; a key is never replaced")
}

/// A new file, on the disk when this returns.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let written = options.open(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => taken(path),
        _ => Failure::new(ErrorClass::Disk, format!("failed to write `{}`: {error}", path.display()))
            .with_help("choose another place"),
    })
}
