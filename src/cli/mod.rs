//! Words: flags in, text or JSON out. Each command's file turns flags into a request, runs the workflow and reports.

mod access;
mod amounts;
mod bundle_args;
mod completions;
mod config;
mod config_file;
mod copy;
mod cut;
mod diff;
mod doctor;
mod doctor_agent;
mod document;
mod exit;
mod have;
mod input;
mod inspect;
mod inventory;
mod key;
mod layer_limits;
mod load;
mod login;
mod logins;
mod man;
mod output;
mod progress_bar;
mod prompt;
mod pull;
mod push;
mod reach;
mod registry_args;
mod releases;
mod render;
mod repair;
mod report;
mod resolve;
mod scan;
mod schema;
mod serve;
mod settings;
mod side;
mod sign;
mod sourced;
mod trust_args;
mod upgrade_path;
mod verify;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use octobundle::failure::{ErrorClass, Failure};
use octobundle::progress::Progress;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::exit::Outcome;
use crate::cli::output::Output;
use crate::cli::progress_bar::{Display, ProgressChoice};
use crate::cli::settings::Environment;

const AFTER_HELP: &str = "\
Examples:
  octobundle releases
  octobundle pull octoperf-9.2.0 -o octoperf.tar
  octobundle verify octoperf.tar
  octobundle push octoperf.tar --registry reg.corp:5000/tools

Exit codes:
  0 done                  1 other error             2 wrong command line
  3 manifest, lock or configuration wrong           4 login or right lacks
  5 network or proxy      6 not found               7 damaged bytes
  8 not trusted           9 disk                   10 part is done, run the same command again
 11 another run          12 rate limited           13 differences found
130 interrupted         143 terminated";

/// Carries the container images of an OctoPerf release into a site without internet.
///
/// On a connected machine, `pull` packs the images of a release into one checksummed tar. Inside, `verify` checks it,
/// `push` puts it into a registry, `load` into docker or podman, and `render` prints the commands that start agents.
#[derive(Parser)]
#[command(name = "octobundle", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// How to talk; the same for every command.
#[derive(clap::Args)]
struct GlobalArgs {
    /// Print the result as JSON on stdout (docs/json.md)
    #[arg(long, global = true)]
    json: bool,
    /// Print errors and the result only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Tell more on stderr; twice tells every request
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// When to colour messages
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    color: ColorChoice,
    /// How to show progress on stderr
    #[arg(long, global = true, value_enum, default_value_t = ProgressChoice::Auto, value_name = "HOW")]
    progress: ProgressChoice,
}

#[derive(Clone, Copy, ValueEnum)]
enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Subcommand)]
enum Command {
    /// List the release manifests that come with the tool
    Releases(releases::Args),
    /// Show what would be pulled: digests, platforms, sizes
    Resolve(resolve::Args),
    /// Fetch a release into one file
    Pull(pull::Args),
    /// Show what is in a bundle, without reading its layers
    Inspect(inspect::Args),
    /// Compare two bundles, locks or registries
    Diff(diff::Args),
    /// Read a bundle and report everything that is wrong with it
    Verify(verify::Args),
    /// Cut a bundle into volumes
    Split(cut::SplitArgs),
    /// Write the volumes of a bundle as one file
    Join(cut::JoinArgs),
    /// Make a damaged bundle sound again, with what another place has of it
    Repair(repair::Args),
    /// Sign a bundle
    Sign(sign::Args),
    /// Make keys that sign bundles
    Key(key::Args),
    /// Copy a bundle onto a medium that is carried away
    Copy(copy::Args),
    /// Send a bundle's images to a registry
    Push(push::Args),
    /// Write down what a registry has, so that the next pull can leave it out
    Have(have::Args),
    /// Load a bundle's images into docker or podman on this host
    Load(load::Args),
    /// Offer bundles as a read-only registry, in place
    Serve(serve::Args),
    /// Print what starts agents from the private registry
    Render(render::Args),
    /// List the packages inside of the images, as text, `SPDX` or `CycloneDX`
    Inventory(inventory::Args),
    /// Give every file of the images to a virus scanner
    Scan(scan::Args),
    /// Write the paper about a bundle: a page, JSON, CSV or text
    Report(report::Args),
    /// Look at every registry that a job would touch, and say what is in the way
    Doctor(doctor::Args),
    /// List the releases that an upgrade goes through, a bundle each, and what OctoPerf says about each step
    UpgradePath(upgrade_path::Args),
    /// Keep a login for a registry, where docker keeps it too
    Login(login::LoginArgs),
    /// Forget a registry's login
    Logout(login::LogoutArgs),
    /// Show every setting and where it comes from
    Config(config::Args),
    /// Print the JSON Schema of release manifests
    Schema(schema::Args),
    /// Print completions for a shell
    Completions(completions::Args),
    /// Write man pages
    Man(man::Args),
}

/// What every command works with.
pub(crate) struct Context {
    pub(crate) output: Output,
    pub(crate) environment: Environment,
    display: Arc<Display>,
}

impl Context {
    /// Where the library tells its progress.
    pub(crate) fn progress(&self) -> Arc<dyn Progress> {
        self.display.clone()
    }

    /// Ends the drawing of progress: the result comes next.
    pub(crate) fn finish_progress(&self) {
        self.display.finish();
    }
}

/// Parses the command line, runs it and gives the exit code.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return output::told(&told),
    };
    let global = &cli.global;
    set_colors(global.color);
    settings::start_log(global.verbose);
    let output = Output::new(global.json, global.quiet);
    let display = Arc::new(Display::new(global.progress, global.quiet, global.verbose > 0));
    let context = Context { output, environment: Environment::read(), display: display.clone() };
    let continues = matches!(
        cli.command,
        Command::Pull(_) | Command::Split(_) | Command::Join(_) | Command::Repair(_) | Command::Push(_)
    );
    let outcome = run(cli.command, context);
    display.finish();
    output.end(outcome, continues)
}

fn set_colors(choice: ColorChoice) {
    match choice {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}

/// Runs the command until it ends or a signal asks it to.
fn run(command: Command, context: Context) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(ErrorClass::Other, format!("failed to start: {error}")))?;
    // A server has its own way to stop, and SIGHUP does not end it.
    let serves = matches!(command, Command::Serve(_));
    let outcome = runtime.block_on(async {
        let stopped = async { if serves { std::future::pending().await } else { stopped().await } };
        let work = tokio::spawn(dispatch(command, context));
        tokio::select! {
            ended = work => ended.unwrap_or_else(|error| Err(Failure::new(ErrorClass::Other, format!("the command stopped: {error}")))),
            outcome = stopped => outcome,
        }
    });
    // What is being written is finished; what waits for a network is left.
    runtime.shutdown_timeout(Duration::from_millis(500));
    outcome
}

#[cfg(unix)]
async fn stopped() -> Result<Outcome, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| deaf(&error))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| deaf(&error))?;
    let code = tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
        hung_up = hangup() => hung_up.map(|()| 129)?,
    };
    Ok(Outcome::Stopped(code))
}

#[cfg(unix)]
async fn hangup() -> Result<(), Failure> {
    if hangups_are_ignored() {
        return std::future::pending().await;
    }
    signal(SignalKind::hangup()).map_err(|error| deaf(&error))?.recv().await;
    Ok(())
}

/// Whether `nohup` started us: listening for hang-ups would undo what it did. Only Linux tells without unsafe code.
#[cfg(unix)]
fn hangups_are_ignored() -> bool {
    /// The lowest bit of the mask `SigIgn` is signal 1, SIGHUP (proc(5)).
    const HANGUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & HANGUP != 0)
}

#[cfg(not(unix))]
async fn stopped() -> Result<Outcome, Failure> {
    match tokio::signal::ctrl_c().await {
        Ok(()) => Ok(Outcome::Stopped(130)),
        Err(error) => Err(deaf(&error)),
    }
}

fn deaf(error: &std::io::Error) -> Failure {
    Failure::new(ErrorClass::Other, format!("failed to listen for signals: {error}"))
}

async fn dispatch(command: Command, context: Context) -> Result<Outcome, Failure> {
    match command {
        Command::Releases(releases::Args {}) => releases::Args::run(&context),
        Command::Resolve(args) => args.run(&context).await,
        Command::Pull(args) => args.run(&context).await,
        Command::Inspect(args) => args.run(&context),
        Command::Diff(args) => args.run(&context).await,
        Command::Verify(args) => args.run(&context).await,
        Command::Split(args) => args.run(&context).await,
        Command::Join(args) => args.run(&context).await,
        Command::Repair(args) => args.run(&context).await,
        Command::Sign(args) => args.run(&context),
        Command::Key(args) => args.run(&context),
        Command::Copy(args) => args.run(&context),
        Command::Push(args) => args.run(&context).await,
        Command::Have(args) => args.run(&context).await,
        Command::Load(args) => args.run(&context).await,
        Command::Serve(args) => args.run(&context).await,
        Command::Render(args) => args.run(&context),
        Command::Inventory(args) => args.run(&context).await,
        Command::Scan(args) => args.run(&context).await,
        Command::Report(args) => args.run(&context),
        Command::Doctor(args) => args.run(&context).await,
        Command::UpgradePath(args) => args.run(&context),
        Command::Login(args) => args.run(&context).await,
        Command::Logout(args) => args.run(&context),
        Command::Config(args) => args.run(&context),
        Command::Schema(schema::Args {}) => schema::Args::run(&context),
        Command::Completions(args) => args.run(&context),
        Command::Man(args) => args.run(&context),
    }
}
