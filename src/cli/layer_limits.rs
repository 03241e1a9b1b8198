//! How far commands read into layers.

use octobundle::layers::Limits;

use crate::cli::amounts::Size;

/// How far reading a layer may go before it is taken for a decompression bomb.
#[derive(clap::Args)]
pub(crate) struct LayerLimitArgs {
    /// The most that one layer may unpack to [default: 64GiB]
    #[arg(long, value_name = "SIZE")]
    max_unpacked: Option<Size>,
    /// How many times its own size a layer may unpack to, beyond the first 256 MiB [default: 200]
    #[arg(long, value_name = "N")]
    max_ratio: Option<u64>,
}

impl LayerLimitArgs {
    /// The limits.
    pub(crate) fn limits(&self) -> Limits {
        let usual = Limits::default();
        Limits {
            unpacked: self.max_unpacked.map_or(usual.unpacked, |size| size.0),
            ratio: self.max_ratio.unwrap_or(usual.ratio),
            ..usual
        }
    }
}
