//! What `serve` says: what it serves, what an operator should know, and what happens while it runs.

use std::fmt::Write as _;

use octobundle::failure::{ErrorClass, Failure, typed};
use octobundle::serve::{Notice, spaced};
use octobundle::wording::count;
use octobundle::workflow::{NotNow, ServeReport, ServedCertificate};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::reach::day;

#[derive(Serialize)]
struct Report {
    bundles: Vec<BundleReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bases: Vec<String>,
    urls: Vec<String>,
    host: String,
    login: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateReport>,
    images: Vec<ImageReport>,
}

#[derive(Serialize)]
struct BundleReport {
    path: String,
    release: String,
    images: usize,
}

#[derive(Serialize)]
struct CertificateReport {
    sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    begins: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
}

#[derive(Serialize)]
struct ImageReport {
    name: String,
    digest: String,
}

pub(super) fn json(report: &ServeReport) -> impl Serialize {
    Report {
        bundles: report
            .bundles
            .iter()
            .map(|bundle| BundleReport {
                path: bundle.path.display().to_string(),
                release: bundle.release.clone(),
                images: bundle.images,
            })
            .collect(),
        bases: report.bases.iter().map(|path| path.display().to_string()).collect(),
        urls: report.addresses.iter().map(|address| format!("{}://{address}/", report.scheme())).collect(),
        host: report.host.clone(),
        login: report.login,
        certificate: report.certificate.as_ref().map(|certificate| CertificateReport {
            sha256: certificate.fingerprint.hex(),
            trust_file: certificate.trust_file.as_ref().map(|path| path.display().to_string()),
            begins: match certificate.not_now {
                Some(NotNow::Begins(at)) => Some(day(at)),
                _ => None,
            },
            ended: match certificate.not_now {
                Some(NotNow::Ended(at)) => Some(day(at)),
                _ => None,
            },
        }),
        images: report
            .images
            .iter()
            .map(|(name, digest)| ImageReport { name: format!("{}/{name}", report.host), digest: digest.to_string() })
            .collect(),
    }
}

pub(super) fn text(report: &ServeReport) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes any text");
    for bundle in &report.bundles {
        let images = count(bundle.images as u64, "image");
        line(format!("serving {images} of {} from {}", bundle.release, bundle.path.display()));
    }
    for base in &report.bases {
        line(format!("with what is left out from {}", base.display()));
    }
    for (name, _) in &report.images {
        line(format!("  {}/{name}", report.host));
    }
    if let Some(certificate) = &report.certificate {
        line(format!("certificate: SHA-256 {}", spaced(&certificate.fingerprint)));
        if let Some(file) = &certificate.trust_file {
            let kept = if certificate.made { "made now and kept" } else { "kept" };
            line(format!("  {kept} in {}; engines trust it as", file.display()));
            line(format!("  /etc/docker/certs.d/{0}/ca.crt or /etc/containers/certs.d/{0}/ca.crt", report.host));
        }
    }
    line(format!("login: {}", if report.login { "asked for" } else { "none, whoever can connect may read" }));
    for address in &report.addresses {
        line(format!("listening on {}://{address}/", report.scheme()));
    }
    text
}

/// What an operator should know who opens a server to a network.
pub(super) fn warnings(report: &ServeReport) -> String {
    let mut text = refused_today(report.certificate.as_ref());
    if let Some(name) = report.certificate.as_ref().and_then(|certificate| certificate.left_out.as_ref()) {
        writeln!(
            text,
            "this machine's name, `{name}`, cannot stand in a certificate: say by `--name` how clients call it"
        )
        .expect("a String takes any text");
    }
    if report.is_local() {
        return text;
    }
    text += "other machines can connect";
    text += if report.certificate.is_some() { ", over TLS" } else { ", unencrypted (see `--self-signed`, `--cert`)" };
    text += if report.login { ", with a login\n" } else { ", without a login (see `--htpasswd`)\n" };
    text
}

pub(super) fn refused_today(certificate: Option<&ServedCertificate>) -> String {
    match certificate.and_then(|certificate| certificate.not_now) {
        Some(NotNow::Ended(at)) => format!("the certificate ended on {}: clients refuse it\n", day(at)),
        Some(NotNow::Begins(at)) => {
            format!("the certificate holds from {} only, by this machine's clock: clients refuse it\n", day(at))
        }
        None => String::new(),
    }
}

pub(super) fn tell(notice: Notice, context: &Context) {
    match notice {
        Notice::Away(failure) => {
            let failure = failure.within("a bundle is away: it is served again when it is back");
            context.output.problem(&failure.with_help("put it back where it was; the server needs no word about it"));
        }
        Notice::Back(path) => context.output.note(&format!("`{}` is back and served again\n", path.display())),
        Notice::Damaged { path, digest } => {
            let text = format!("`{}` is damaged: {digest} has other bytes", path.display());
            let help = format!("`octobundle verify {}` tells all that is wrong", typed(&path));
            context.output.problem(&Failure::new(ErrorClass::Integrity, text).with_help(help));
        }
    }
}
