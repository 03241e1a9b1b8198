//! `octobundle report`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use octobundle::bundle::{self, Bundle};
use octobundle::failure::{ErrorClass, Failure};
use octobundle::images::Lock;
use octobundle::report::{Form, Report, ReportError, Verification};
use octobundle::scanner::ScanRecord;
use octobundle::workflow::{self, ReportRequest};

use crate::cli::Context;
use crate::cli::bundle_args::BundleArgs;
use crate::cli::document::DocumentArgs;
use crate::cli::exit::Outcome;
use crate::cli::input::{read_limited, read_lock, threads, usage};
use crate::cli::push::target;
use crate::cli::trust_args::TrustArgs;
use crate::cli::verify::FindingReport;

/// A record with a million files is some 200 MiB.
const MAX_RECORD: u64 = 512 * 1024 * 1024;

/// Write the paper about a bundle: what is in it, from where, and how to check it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle report octoperf.tar -o report.html
  octobundle report octoperf.tar --verify --registry reg.corp:5000/tools --since last-month.lock -o report.html
  octobundle report octoperf.tar -o report.csv
  octobundle report octoperf.tar
  octobundle report octoperf.tar --verify --trust anna.pub -o report.html

The same bundle and flags give the same bytes; only `--dated` brings in the clock.")]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    #[command(flatten)]
    document: DocumentArgs,
    /// The form [default: by the file's ending, else txt]
    #[arg(long = "as", value_enum, value_name = "FORM")]
    form: Option<FormName>,
    /// Read every byte first, and say what that showed
    #[arg(long)]
    verify: bool,
    /// Say what differs from this older bundle or lock
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// Show what `octobundle scan` wrote to this file
    #[arg(long, value_name = "FILE")]
    scan: Option<PathBuf>,
    /// Show names and commands for this private registry
    #[arg(long, value_name = "HOST[:PORT][/PATH]")]
    registry: Option<String>,
    /// Keep the source's host as a part of the path
    #[arg(long, requires = "registry")]
    keep_host: bool,
    #[command(flatten)]
    trust: TrustArgs,
    /// Write the date into it: that of `SOURCE_DATE_EPOCH`, or else now
    #[arg(long)]
    dated: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormName {
    Html,
    Json,
    Csv,
    Txt,
}

impl Args {
    /// Describes the bundle and writes that down.
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let form = self.form()?;
        self.document.check()?;
        let request = ReportRequest {
            private: self.registry.as_deref().map(|text| target(text, self.keep_host)).transpose()?,
            shown: None,
            since: self.since.as_deref().map(earlier_lock).transpose()?,
            verification: self.verification(context)?,
            trust: self.trust.settings(context, None)?,
            scan: self.scan.as_deref().map(scan_record).transpose()?,
            dated: self.dated.then(|| context.environment.date()).transpose()?,
        };
        let report = workflow::report(&Bundle::open(self.bundle.place())?, &request, &*context.progress())?;
        self.give(context, &report, form)?;
        Ok(match (&report.verification, report.trust.state) {
            (Verification::Damaged { .. }, _) => Outcome::Ended(ErrorClass::Integrity),
            (_, "untrusted" | "older") => Outcome::Ended(ErrorClass::Trust),
            (Verification::NotChecked | Verification::Sound { .. }, _) => Outcome::Done,
        })
    }

    fn give(&self, context: &Context, report: &Report, form: Form) -> Result<(), Failure> {
        let text = report.render(form)?;
        if self.document.path().is_some() {
            self.document.write(context, &text)?;
            return context.output.result("report", report, "");
        }
        match form {
            Form::Text => context.output.result("report", report, &text),
            Form::Html | Form::Json | Form::Csv => context.output.verbatim(&text),
        }
    }

    fn form(&self) -> Result<Form, Failure> {
        if let Some(name) = self.form {
            return Ok(match name {
                FormName::Html => Form::Html,
                FormName::Json => Form::Json,
                FormName::Csv => Form::Csv,
                FormName::Txt => Form::Text,
            });
        }
        let Some(path) = self.document.path() else { return Ok(Form::Text) };
        match path.extension().and_then(OsStr::to_str) {
            Some("html" | "htm") => Ok(Form::Html),
            Some("json") => Ok(Form::Json),
            Some("csv") => Ok(Form::Csv),
            Some("txt") => Ok(Form::Text),
            _ => Err(usage(
                format!("the ending of `{}` names no form of a report", path.display()),
                "name the file `.html`, `.json`, `.csv` or `.txt`, or say `--as FORM`",
            )),
        }
    }

    /// What reading every byte shows, if that was asked for.
    fn verification(&self, context: &Context) -> Result<Verification, Failure> {
        if !self.verify {
            return Ok(Verification::NotChecked);
        }
        let progress = context.progress();
        let verdict = tokio::task::block_in_place(|| bundle::verify(self.bundle.place(), threads(), &*progress))?;
        context.finish_progress();
        if verdict.findings.is_empty() {
            return Ok(Verification::Sound { bytes: verdict.bytes });
        }
        let findings =
            verdict.findings.iter().map(|finding| FindingReport::new(finding, &verdict).sentence()).collect();
        Ok(Verification::Damaged { bytes: verdict.bytes, findings })
    }
}

/// The record of a scan.
fn scan_record(path: &Path) -> Result<ScanRecord, Failure> {
    let text = read_limited(path, MAX_RECORD)?;
    let record = serde_json::from_slice(&text).map_err(|error| ReportError::Record(error.to_string()));
    record.map_err(|error| Failure::from(error).within(format!("failed to use `{}`", path.display())))
}

/// The lock of an older release, from its file or its bundle.
fn earlier_lock(path: &Path) -> Result<Lock, Failure> {
    // A lock is JSON; a bundle begins with the name of its first member.
    if read_limited(path, 1)?.starts_with(b"{") {
        return read_lock(path);
    }
    Ok(Bundle::open(path)?.lock().clone())
}
