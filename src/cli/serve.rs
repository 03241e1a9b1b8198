//! `octobundle serve`.

mod signals;
mod words;

use std::num::NonZeroUsize;
use std::path::{Component, Path, PathBuf};

use octobundle::bundle::BundlePlace;
use octobundle::failure::{ErrorClass, Failure};
use octobundle::oci::Host;
use octobundle::plan::SourceHost;
use octobundle::serve::{Limits, LogTarget, Units, listen_addresses};
use octobundle::workflow::{self, CertificateChoice, ServeRequest, Serving};

use crate::cli::Context;
use crate::cli::bundle_args::BaseArgs;
use crate::cli::exit::Outcome;
use crate::cli::serve::signals::{Asked, Signals};
use crate::cli::serve::words::{json, refused_today, tell, text, warnings};
use crate::cli::trust_args::{TrustArgs, now};

/// This machine only, at the port that registries have.
const DEFAULT_LISTEN: &str = "127.0.0.1:5000";

/// Offer bundles as a read-only registry, in place.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle serve octoperf.tar
  octobundle serve octoperf.tar --listen 0.0.0.0:5000 --self-signed --name reg.site --htpasswd logins
  octobundle serve update.tar --base octoperf.tar
  octobundle serve octoperf.tar --systemd

Nothing is unpacked and nothing is written. SIGHUP reads certificates, logins and the policy again; SIGTERM and Ctrl-C stop
after the answers under way.")]
pub(crate) struct Args {
    /// The bundles: NAME.tar, any volume of it, NAME.volumes.json, or a folder that holds it
    #[arg(required = true, value_name = "BUNDLE")]
    bundles: Vec<PathBuf>,
    /// A further folder that holds volumes of the bundles; may be given several times
    #[arg(long, value_name = "FOLDER")]
    volumes_in: Vec<PathBuf>,
    #[command(flatten)]
    bases: BaseArgs,
    /// Where to listen; may be given several times [default: 127.0.0.1:5000, this machine only]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<String>,
    /// How clients call this machine; may be given several times
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,
    /// The path below which the images are, as `push --registry HOST/PATH` would put them
    #[arg(long, value_name = "PATH")]
    prefix: Option<String>,
    /// Keep the source's host as a part of the path
    #[arg(long)]
    keep_host: bool,
    /// Check each blob before its first byte is sent, not only before its last
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    readers: ReaderArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// Where requests are noted: a file, or `off` [default: stderr]
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// Print the units by which systemd starts this server, and end
    #[arg(long)]
    systemd: bool,
    /// The most connections
    #[arg(long, value_name = "N", default_value_t = default_connections())]
    max_connections: NonZeroUsize,
    /// The most connections from one address; an IPv6 network of 64 bits counts as one
    #[arg(long, value_name = "N", default_value_t = default_per_client())]
    max_connections_per_client: NonZeroUsize,
}

/// Who may read, and how it is kept from others.
#[derive(clap::Args)]
#[command(next_help_heading = "Who may read, and how")]
struct ReaderArgs {
    /// The server's certificate and those above it, in PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The certificate's key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Make a certificate at the first start and keep it
    #[arg(long, conflicts_with = "cert")]
    self_signed: bool,
    /// Where that certificate is kept [default: ~/.local/state/octobundle/serve]
    #[arg(long, value_name = "FOLDER", requires = "self_signed")]
    tls_folder: Option<PathBuf>,
    /// The logins: lines of `htpasswd -B`
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
}

fn default_connections() -> NonZeroUsize {
    NonZeroUsize::new(Limits::default().connections).expect("the default lets somebody in")
}

fn default_per_client() -> NonZeroUsize {
    NonZeroUsize::new(Limits::default().per_client).expect("the default lets somebody in")
}

impl Args {
    /// Serves until a signal asks to stop.
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        if self.systemd {
            context.output.verbatim(&self.units()?.text()?)?;
            return Ok(Outcome::Done);
        }
        let mut signals = Signals::listen()?;
        let mut request = self.request(context)?;
        let mut serving = tokio::task::block_in_place(|| workflow::serve(&mut request, &*context.progress()))?;
        let (stop, run) = serving.run();
        let run = tokio::spawn(run);
        context.output.result("serve", json(&serving.report), &text(&serving.report))?;
        context.output.note(&warnings(&serving.report));
        let mut run = std::pin::pin!(run);
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = &mut run => {
                    return ended.unwrap_or_else(|error| {
                        Err(Failure::new(ErrorClass::Other, format!("the server stopped: {error}")))
                    }).map(|()| Outcome::Done);
                }
                Some(notice) = serving.notices.recv() => tell(notice, context),
                asked = signals.next() => match asked {
                    Asked::Reload => tokio::task::block_in_place(|| self.reload(&serving, context)),
                    Asked::Stop(code) if stopping => return Ok(Outcome::Stopped(code)),
                    Asked::Stop(_) => {
                        stopping = true;
                        stop.stop();
                        context.output.note("stopping once the answers under way are out; again to stop now\n");
                    }
                },
            }
        }
    }

    fn request(&self, context: &Context) -> Result<ServeRequest, Failure> {
        let sockets = passed_sockets()?;
        let listen = if self.listen.is_empty() && sockets.is_empty() {
            vec![DEFAULT_LISTEN.to_owned()]
        } else {
            self.listen.clone()
        };
        Ok(ServeRequest {
            bundles: self.places(),
            bases: self.bases.places().into_iter().map(|base| base.also_in(&self.volumes_in)).collect(),
            listen,
            sockets,
            prefix: self.prefix.clone(),
            source_host: if self.keep_host { SourceHost::Keep } else { SourceHost::Drop },
            names: self.names.iter().map(|name| host(name)).collect::<Result<_, _>>()?,
            certificate: self.certificate(context)?,
            htpasswd: self.readers.htpasswd.clone(),
            verify: self.verify,
            log: match &self.access_log {
                None if context.output.is_quiet() => LogTarget::Off,
                None => LogTarget::Stderr,
                Some(path) if path.as_os_str() == "off" => LogTarget::Off,
                Some(path) => LogTarget::File(path.clone()),
            },
            limits: Limits {
                connections: self.max_connections.get(),
                per_client: self.max_connections_per_client.get(),
            },
            trust: self.trust.settings(context, None)?,
        })
    }

    /// Each word is a bundle; the folders are looked into for all of them.
    fn places(&self) -> Vec<BundlePlace> {
        self.bundles.iter().map(|path| BundlePlace::from(path).also_in(&self.volumes_in)).collect()
    }

    /// What systemd starts: this very command, with absolute paths and without what it does itself.
    fn units(&self) -> Result<Units, Failure> {
        let bundles = self.bundles.iter().map(|path| absolute(path)).collect::<Result<Vec<_>, _>>()?;
        let mut arguments = vec!["serve".to_owned()];
        arguments.extend(bundles.iter().map(|path| path.display().to_string()));
        let bases = self.bases.paths().iter().map(|path| absolute(path)).collect::<Result<Vec<_>, _>>()?;
        arguments.extend(bases.iter().flat_map(|path| ["--base".to_owned(), path.display().to_string()]));
        for name in &self.names {
            arguments.extend(["--name".to_owned(), name.clone()]);
        }
        arguments.extend(self.prefix.iter().flat_map(|prefix| ["--prefix".to_owned(), prefix.clone()]));
        for (given, flag) in
            [(self.keep_host, "--keep-host"), (self.verify, "--verify"), (self.readers.self_signed, "--self-signed")]
        {
            arguments.extend(given.then(|| flag.to_owned()));
        }
        for (limit, default, flag) in [
            (self.max_connections, default_connections(), "--max-connections"),
            (self.max_connections_per_client, default_per_client(), "--max-connections-per-client"),
        ] {
            if limit != default {
                arguments.extend([flag.to_owned(), limit.to_string()]);
            }
        }
        let folders = self.volumes_in.iter().map(|path| absolute(path)).collect::<Result<Vec<_>, _>>()?;
        arguments.extend(folders.iter().flat_map(|path| ["--volumes-in".to_owned(), path.display().to_string()]));
        let mut credentials = Vec::new();
        for (flag, path) in
            [("--cert", &self.readers.cert), ("--key", &self.readers.key), ("--htpasswd", &self.readers.htpasswd)]
        {
            if let Some(path) = path {
                credentials.push((flag, absolute(path)?));
            }
        }
        arguments.extend(self.log_argument()?);
        // A service reads no file of a person's: keys stand in its command, a policy is handed to it.
        arguments.extend(self.trust.as_arguments()?);
        if let Some(policy) = self.trust.policy() {
            credentials.push(("--policy", absolute(policy)?));
        }
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(ErrorClass::Other, format!("failed to find this program's file: {error}")))?;
        let listen = if self.listen.is_empty() { vec![DEFAULT_LISTEN.to_owned()] } else { self.listen.clone() };
        let listen = listen_addresses(&listen)?;
        Ok(Units { program, arguments, credentials, listen, mounts: [bundles, bases, folders].concat() })
    }

    /// What a service is told of its log. It has the journal, and a state folder of its own for what it keeps.
    fn log_argument(&self) -> Result<Vec<String>, Failure> {
        match &self.access_log {
            None if self.readers.tls_folder.is_none() => Ok(Vec::new()),
            Some(path) if path.as_os_str() == "off" && self.readers.tls_folder.is_none() => {
                Ok(["--access-log", "off"].map(str::to_owned).to_vec())
            }
            _ => Err(Failure::new(
                ErrorClass::Usage,
                "a file of `--access-log`, or `--tls-folder`, has no place in a service",
            )
            .with_help(
                "leave it out: systemd's journal takes the log, and the service's state folder the certificate",
            )),
        }
    }

    /// Reads again what may have changed. What cannot be read stays as it was; what is not trusted any more is not
    /// given out any more.
    fn reload(&self, serving: &Serving, context: &Context) {
        match serving.reload(now()) {
            Ok(certificate) => {
                let refused = refused_today(certificate.as_ref());
                context.output.note(&format!("certificates and logins were read again\n{refused}"));
            }
            Err(error) => {
                let failure = Failure::from(error).within("certificates and logins stay as they were");
                context.output.problem(&failure);
            }
        }
        match self.trust.settings(context, None) {
            Ok(trust) => {
                for failure in serving.judge(&trust, &*context.progress()) {
                    context.output.problem(&failure.within("a bundle is not served any more"));
                }
            }
            Err(failure) => context.output.problem(&failure.within("who is trusted stays as it was")),
        }
    }

    fn certificate(&self, context: &Context) -> Result<CertificateChoice, Failure> {
        if let (Some(certificate), Some(key)) = (&self.readers.cert, &self.readers.key) {
            return Ok(CertificateChoice::Files { certificate: certificate.clone(), key: key.clone() });
        }
        if !self.readers.self_signed {
            return Ok(CertificateChoice::None);
        }
        let folder =
            self.readers.tls_folder.clone().or_else(|| Some(context.environment.state_folder()?.join("serve")));
        let folder = folder.ok_or_else(|| {
            Failure::new(ErrorClass::Usage, "there is no home folder to keep the certificate in")
                .with_help("name one: `--tls-folder FOLDER`")
        })?;
        Ok(CertificateChoice::SelfSigned { folder })
    }
}

/// The whole path. systemd takes none with `..` in it, and what that means only the file system knows.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let failed = |error| Failure::new(ErrorClass::Usage, format!("`{}` is no path: {error}", path.display()));
    let has_parent = path.components().any(|part| part == Component::ParentDir);
    if has_parent { path.canonicalize() } else { std::path::absolute(path) }.map_err(failed)
}

fn host(text: &str) -> Result<Host, Failure> {
    let host: Host = text.parse().map_err(|error| Failure::new(ErrorClass::Usage, format!("`--name`: {error}")))?;
    if host.port().is_some() {
        return Err(Failure::new(ErrorClass::Usage, format!("`--name {text}` has a port"))
            .with_help("leave the port out: it is that of `--listen`"));
    }
    Ok(host)
}

/// Sockets that systemd opened for this process.
fn passed_sockets() -> Result<Vec<std::net::TcpListener>, Failure> {
    let mut passed = listenfd::ListenFd::from_env();
    let mut sockets = Vec::new();
    for place in 0..passed.len() {
        let socket = passed.take_tcp_listener(place).map_err(|error| {
            Failure::new(ErrorClass::Usage, format!("systemd passed something that is no TCP socket: {error}"))
        })?;
        sockets.extend(socket);
    }
    Ok(sockets)
}
