//! `octobundle inventory`.

use std::sync::Arc;

use clap::ValueEnum;
use octobundle::bundle::Bundle;
use octobundle::failure::{ErrorClass, Failure};
use octobundle::inventory::Form;
use octobundle::workflow::{self, InventoryRequest};

use crate::cli::Context;
use crate::cli::bundle_args::BundleArgs;
use crate::cli::document::DocumentArgs;
use crate::cli::exit::Outcome;
use crate::cli::layer_limits::LayerLimitArgs;

/// List the packages inside of the images: dpkg, apk, rpm, Java archives.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle inventory octoperf.tar
  octobundle inventory octoperf.tar -o octoperf.spdx.json
  octobundle inventory octoperf.tar --as cyclonedx -o sbom.json

Layers are read as they stand in the bundle and proven while they are read; nothing is unpacked to disk.
Exit code 10 says that something could not be read; what, stands in the document.")]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    #[command(flatten)]
    document: DocumentArgs,
    /// The form [default: by the file's ending, `.spdx.json` or `.cdx.json`, else text]
    #[arg(long = "as", value_enum, value_name = "FORM")]
    form: Option<FormName>,
    /// Write the date into it: that of `SOURCE_DATE_EPOCH`, or else now; without this, that of the newest image
    #[arg(long)]
    dated: bool,
    #[command(flatten)]
    limits: LayerLimitArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormName {
    Text,
    Spdx,
    Cyclonedx,
}

impl Args {
    /// Reads the layers and lists what is in them.
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        self.document.check()?;
        let request = InventoryRequest {
            limits: self.limits.limits(),
            dated: self.dated.then(|| context.environment.date()).transpose()?,
        };
        let bundle = Arc::new(Bundle::open(self.bundle.place())?);
        let inventory = workflow::inventory(&bundle, &request, &context.progress()).await?;
        context.finish_progress();
        let form = self.form();
        let text = inventory.render(form);
        if self.document.path().is_some() {
            self.document.write(context, &text)?;
            context.output.result("inventory", &inventory, "")?;
        } else if form == Form::Text {
            context.output.result("inventory", &inventory, &text)?;
        } else {
            context.output.verbatim(&text)?;
        }
        if inventory.is_complete() {
            return Ok(Outcome::Done);
        }
        context.output.note("not all of it could be read: the document says what\n");
        Ok(Outcome::Ended(ErrorClass::Partial))
    }

    fn form(&self) -> Form {
        match self.form {
            Some(FormName::Text) => Form::Text,
            Some(FormName::Spdx) => Form::Spdx,
            Some(FormName::Cyclonedx) => Form::CycloneDx,
            None => self.form_by_ending(),
        }
    }

    fn form_by_ending(&self) -> Form {
        let name = self.document.path().and_then(|path| path.file_name()).unwrap_or_default().to_string_lossy();
        match () {
            () if name.ends_with(".spdx.json") => Form::Spdx,
            () if name.ends_with(".cdx.json") => Form::CycloneDx,
            () => Form::Text,
        }
    }
}
