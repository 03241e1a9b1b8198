//! `octobundle scan`.

use std::fmt::Write as _;
use std::sync::Arc;

use clap::ValueEnum;
use octobundle::bundle::Bundle;
use octobundle::failure::{ErrorClass, Failure};
use octobundle::scanner::{Each, ScanRecord, Scanner, Verdict};
use octobundle::wording::{count, plain_json, size};
use octobundle::workflow::{self, ScanRequest, scan_verdict};
use tokio::runtime::Handle;

use crate::cli::Context;
use crate::cli::amounts::Span;
use crate::cli::bundle_args::BundleArgs;
use crate::cli::document::DocumentArgs;
use crate::cli::exit::Outcome;
use crate::cli::layer_limits::LayerLimitArgs;

/// Give every file of the images to a virus scanner, and keep what it answers.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle scan octoperf.tar --with 'clamdscan --stream' -o scan.json
  octobundle scan octoperf.tar --with 'scanner --file {}' -o scan.json
  octobundle report octoperf.tar --scan scan.json -o report.html

The command is run without a shell, once for each file. Its `{}` stands for the path of the file, which is there while it
runs; without one the file is its standard input. It answers by its exit code: 0 clean, 1 found, others failed. First it
must object to the EICAR test file: a scanner that does not see what it is given finds nothing.

Exit code 8 says that something was found, 10 that not everything could be looked at.")]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    /// The scanner's command
    #[arg(long, value_name = "COMMAND")]
    with: String,
    /// What is given to it at a time
    #[arg(long, value_enum, default_value_t = EachName::File)]
    each: EachName,
    /// The longest that it may look at one
    #[arg(long, value_name = "TIME", default_value = "10m")]
    timeout: Span,
    /// Do not ask it about the EICAR test file first
    #[arg(long)]
    no_self_test: bool,
    #[command(flatten)]
    document: DocumentArgs,
    #[command(flatten)]
    limits: LayerLimitArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum EachName {
    /// One file of a layer
    File,
    /// One layer, as a tar: for scanners that look into archives and take long to start
    Layer,
}

impl Args {
    /// Scans and tells what was answered.
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        self.document.check()?;
        let bundle = Arc::new(Bundle::open(self.bundle.place())?);
        let request = ScanRequest {
            scanner: Scanner::new(&self.with, self.timeout.0, Handle::current())?,
            each: match self.each {
                EachName::File => Each::File,
                EachName::Layer => Each::Layer,
            },
            self_test: !self.no_self_test,
            limits: self.limits.limits(),
        };
        let record = workflow::scan(&bundle, request, &context.progress()).await?;
        context.finish_progress();
        if self.document.path().is_some() {
            let text = serde_json::to_string_pretty(&record)
                .map_err(|error| Failure::new(ErrorClass::Other, format!("failed to write JSON: {error}")))?;
            self.document.write(context, &format!("{}\n", plain_json(&text)))?;
        }
        context.output.result("scan", &record, &summary(&record))?;
        Ok(match scan_verdict(&record) {
            Verdict::Clean => Outcome::Done,
            Verdict::Found => Outcome::Ended(ErrorClass::Trust),
            Verdict::Failed => Outcome::Ended(ErrorClass::Partial),
        })
    }
}

fn summary(record: &ScanRecord) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes any text");
    for (layer, looked) in record.answers().filter(|(_, looked)| looked.verdict != Verdict::Clean) {
        let what = if looked.verdict == Verdict::Found { "FOUND" } else { "failed" };
        let path = looked.path.as_deref().unwrap_or("the whole layer");
        let answer = looked.answer().replace('\n', " ");
        line(format!("{what}: {path}: {answer}\n  layer {}, in {}", layer.digest, layer.images.join(", ")));
    }
    for (layer, why) in record.layers.iter().filter_map(|layer| Some((layer, layer.failure.as_ref()?))) {
        line(format!("failed: layer {}: {why}\n  in {}", layer.digest, layer.images.join(", ")));
    }
    let (looked, bytes) =
        record.answers().fold((0, 0), |(number, bytes), (_, looked)| (number + 1, bytes + looked.bytes));
    let each = match record.each {
        Each::File => "file",
        Each::Layer => "layer",
    };
    line(format!(
        "{} looked at, {}: {} found, {} failed, {} not read",
        count(looked, each),
        size(bytes),
        record.count(Verdict::Found),
        record.count(Verdict::Failed),
        count(record.layers.iter().filter(|layer| layer.failure.is_some()).count() as u64, "layer"),
    ));
    text
}
