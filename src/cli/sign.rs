//! `octobundle sign`.

use std::path::PathBuf;
use std::time::SystemTime;

use octobundle::failure::{ErrorClass, Failure};
use octobundle::trust::{BundleName, LockedKey, MAX_KEY_BYTES, SecretKey};
use octobundle::wording::count;
use octobundle::workflow::{self, SignRequest};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::cli::Context;
use crate::cli::bundle_args::BundleArgs;
use crate::cli::exit::Outcome;
use crate::cli::input::{threads, usage};
use crate::cli::prompt;
use crate::cli::trust_args::whole;

/// Read a whole bundle, and sign it if it is sound.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle sign octoperf.tar --key anna.key
  octobundle sign octoperf.tar --key build.key --name agents --sequence 12

The signature covers SHA256SUMS inside of the bundle, which covers everything else. It is a file beside the bundle; the
bundle itself stays as it is. Several people can sign, each with a key of their own.")]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    /// The secret key, made by `octobundle key new` or `minisign -G`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Read the key's password from standard input; else it is asked for, unseen
    #[arg(long)]
    password_stdin: bool,
    /// The name of the line of bundles that this one is the newest of [default: the release without its version]
    #[arg(long, value_name = "NAME")]
    name: Option<BundleName>,
    /// A number that is higher than that of the bundle before, under the same name [default: the time in seconds]
    #[arg(long, value_name = "N")]
    sequence: Option<u64>,
    /// Where to write the signature [default: BUNDLE.KEY.minisig]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    signature: String,
    key: String,
    release: String,
    images: usize,
    checksums: String,
    trusted_comment: String,
}

impl Args {
    /// Signs.
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let key = tokio::task::block_in_place(|| self.unlock())?;
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = clock.map_err(|_| {
            Failure::new(ErrorClass::Other, "this machine's clock stands before 1970")
                .with_help("set the clock: the time of signing is part of a signature")
        })?;
        let request = SignRequest {
            bundle: self.bundle.place(),
            output: self.output.clone(),
            name: self.name.clone(),
            sequence: self.sequence,
            now: now.as_secs(),
            threads: threads(),
        };
        let progress = context.progress();
        let signed = tokio::task::block_in_place(|| workflow::sign(&request, &key, &*progress))?;
        context.finish_progress();
        let report = Report {
            signature: signed.file.display().to_string(),
            key: key.public().id().to_string(),
            release: signed.release,
            images: signed.images,
            checksums: signed.checksums.to_string(),
            trusted_comment: signed.statement,
        };
        let text = format!(
            "signed {}, {}, all of it read and sound\n{} of SHA256SUMS\nwrote {}\n",
            report.release,
            count(report.images as u64, "image"),
            report.checksums,
            report.signature
        );
        context.output.result("sign", report, &text)?;
        Ok(Outcome::Done)
    }

    fn unlock(&self) -> Result<SecretKey, Failure> {
        let at_key = |failure: Failure| failure.within(format!("the key `{}` cannot be used", self.key.display()));
        let text = Zeroizing::new(whole(&self.key, MAX_KEY_BYTES)?);
        let locked = LockedKey::parse(&text).map_err(|error| at_key(error.into()))?;
        if !locked.wants_password() {
            return locked.open("").map_err(|error| at_key(error.into()));
        }
        let password = if self.password_stdin {
            prompt::password_from_stdin()?
        } else if prompt::can_ask() {
            prompt::ask_hidden(&format!("password of {} (not shown): ", self.key.display()))?
        } else {
            return Err(usage(
                "the key wants a password, and there is no terminal to ask for it on",
                "pipe it in with `--password-stdin`",
            ));
        };
        locked.open(password.reveal()).map_err(|error| at_key(error.into()))
    }
}
