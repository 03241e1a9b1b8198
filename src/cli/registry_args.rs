//! Flags of the commands that speak to registries.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::cli::amounts::{Rate, Span};

/// Flags of every command that speaks to a registry. What is not given comes from `OCTOBUNDLE_*` variables, the
/// configuration file or defaults: `octobundle config` shows it.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Reaching registries")]
pub(crate) struct RegistryArgs {
    /// Take logins from this file only (docker's or podman's form)
    #[arg(long, value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,
    /// Trust the certificates in this PEM file too; may be given several times
    #[arg(long = "ca", value_name = "FILE")]
    pub(crate) authorities: Vec<PathBuf>,
    /// Show this certificate (PEM) to the host that the command names, or to HOST
    #[arg(long, value_name = "[HOST=]FILE", requires = "key")]
    pub(crate) cert: Option<String>,
    /// The key of `--cert` (PEM, not encrypted)
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Speak plain http to this host; may be given several times (hosts of this machine need it not)
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) plain_http: Vec<String>,
    /// Do not check this host's certificate; may be given several times
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) insecure_tls: Vec<String>,
    /// With `=false`: do not check the certificate of the one host that the command names
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) tls_verify: Option<bool>,
    /// Let this token server see registries' logins; may be given several times
    #[arg(long = "trust-realm", value_name = "HOST[:PORT]")]
    pub(crate) trusted_realms: Vec<String>,
    /// Send all connections through this proxy instead of the environment's (it may hold user and password)
    #[arg(long, value_name = "URL", conflicts_with = "no_proxy_env")]
    pub(crate) proxy: Option<String>,
    /// Ignore the proxies that the environment names
    #[arg(long)]
    pub(crate) no_proxy_env: bool,
    /// Ignore the `registries.conf` of podman and its like
    #[arg(long)]
    pub(crate) no_registries_conf: bool,
    /// Read this configuration file instead of `~/.config/octobundle/config.toml`
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Flags of commands that move images.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Pace and patience")]
pub(crate) struct TransferArgs {
    /// Blobs that travel at a time [default: 16, of them 8 larger than 256 KiB]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Stop at the first image that fails instead of finishing the others
    #[arg(long)]
    pub(crate) fail_fast: bool,
    /// How long a transfer may stand still before it is given up, as in `90s` or `2h` [default: 10m]
    #[arg(long, value_name = "TIME")]
    pub(crate) retry_for: Option<Span>,
    /// The longest pause that a registry may ask for (HTTP 429) [default: 15m]
    #[arg(long, value_name = "TIME")]
    pub(crate) max_wait: Option<Span>,
    /// Move no more bytes a second than this, as in `20M`
    #[arg(long, value_name = "RATE")]
    pub(crate) limit_rate: Option<Rate>,
}

/// Flags of commands that fetch.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Reaching registries")]
pub(crate) struct SourceArgs {
    /// Fetch a host's images from another registry, names unchanged; may be given several times
    #[arg(long = "mirror", value_name = "HOST=REGISTRY[/PATH]")]
    pub(crate) mirrors: Vec<String>,
    /// Skopeo's name for `--authfile` where images are fetched
    #[arg(long, value_name = "FILE", conflicts_with = "authfile")]
    pub(crate) src_authfile: Option<PathBuf>,
}
