//! How hosts, servers and problems are told, as text and as JSON: what both doctors share.

use std::fmt::Write as _;

use octobundle::failure::ErrorClass;
use octobundle::registry::{
    CertificateReport, Decision, HostReport, LoginAnswer, RateLimit, Reach, Resolved, ServerReport, TlsReport, Vouched,
};
use octobundle::workflow::{Diagnosis, Interception, Problem, ServerDiagnosis, ServerUse};
use serde::Serialize;

use crate::cli::exit::{class_name, exit_code};

/// Addresses of a name that are shown; some names have dozens.
const SHOWN_ADDRESSES: usize = 4;

/// The way to a host or server.
#[derive(Serialize)]
struct ReachJson {
    host: String,
    address: String,
    addresses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<String>,
    route_reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_difference_seconds: Option<i64>,
}

#[derive(Serialize)]
pub(super) struct HostJson {
    #[serde(flatten)]
    reach: ReachJson,
    roles: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<String>,
    reachable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_accepted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<RateJson>,
}

#[derive(Serialize)]
pub(super) struct ServerJson {
    #[serde(flatten)]
    reach: ReachJson,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tokens_of: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blobs_of: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

#[derive(Serialize)]
struct TlsJson {
    chain: Vec<CertificateJson>,
    vouched_by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intercepted: Option<&'static str>,
}

#[derive(Serialize)]
struct CertificateJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    from: String,
    until: String,
}

#[derive(Serialize)]
struct RateJson {
    limit: u64,
    remaining: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_seconds: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct ProblemJson {
    about: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
    messages: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

pub(super) fn host_json(diagnosis: &Diagnosis) -> HostJson {
    let report = &diagnosis.report;
    HostJson {
        reach: reach_json(&report.reach, Some(&diagnosis.interception)),
        roles: roles(diagnosis),
        login: report.login.as_ref().ok().and_then(Clone::clone),
        reachable: report.answer.as_ref().err().is_none_or(|failure| failure.class() != ErrorClass::Network),
        login_accepted: report.answer.as_ref().ok().map(|answer| answer.login == LoginAnswer::Accepted),
        rate_limit: diagnosis.rate.map(|rate| RateJson {
            limit: rate.limit,
            remaining: rate.remaining,
            window_seconds: rate.window,
        }),
    }
}

/// A server that registries send their users to.
pub(super) fn server_json(diagnosis: &ServerDiagnosis) -> ServerJson {
    let (tokens_of, blobs_of) = registries_of(diagnosis);
    let bare = bare_server_json(&diagnosis.report);
    ServerJson {
        reach: reach_json(&diagnosis.report.reach, Some(&diagnosis.interception)),
        tokens_of,
        blobs_of,
        ..bare
    }
}

/// A server of which nobody knows who may open TLS on the way to it.
pub(super) fn bare_server_json(server: &ServerReport) -> ServerJson {
    let status = server.answer.as_ref().ok().copied();
    ServerJson { reach: reach_json(&server.reach, None), tokens_of: Vec::new(), blobs_of: Vec::new(), status }
}

fn reach_json(reach: &Reach, interception: Option<&Interception>) -> ReachJson {
    let (proxy, route_reason) = match &reach.route {
        Decision::Direct(why) => (None, why.clone()),
        Decision::Via(proxy, why) => (Some(proxy.to_string()), why.clone()),
    };
    ReachJson {
        host: reach.host.clone(),
        address: reach.address.clone(),
        addresses: match &reach.resolved {
            Resolved::Addresses(all) => all.iter().map(ToString::to_string).collect(),
            Resolved::ByProxy | Resolved::Failed(_) => Vec::new(),
        },
        proxy,
        route_reason,
        tls: reach.tls.as_ref().map(|tls| tls_json(tls, interception)),
        clock_difference_seconds: reach.clock_difference,
    }
}

fn tls_json(tls: &TlsReport, interception: Option<&Interception>) -> TlsJson {
    TlsJson {
        chain: tls.chain.iter().map(certificate_json).collect(),
        vouched_by: vouched_word(&tls.vouched_by),
        file: match &tls.vouched_by {
            Vouched::File(path) => Some(path.display().to_string()),
            _ => None,
        },
        intercepted: interception.map(|interception| match interception {
            Interception::None => "no",
            Interception::Certain(_) => "yes",
            Interception::Possible(_) => "possibly",
        }),
    }
}

/// The registries for which it gives tokens, and those for which it gives blobs.
fn registries_of(diagnosis: &ServerDiagnosis) -> (Vec<String>, Vec<String>) {
    let (mut tokens, mut blobs) = (Vec::new(), Vec::new());
    for use_ in &diagnosis.uses {
        match use_ {
            ServerUse::Tokens(registry) => tokens.push(registry.to_string()),
            ServerUse::Blobs(registry) => blobs.push(registry.to_string()),
        }
    }
    (tokens, blobs)
}

fn roles(diagnosis: &Diagnosis) -> Vec<&'static str> {
    let roles = diagnosis.roles;
    let all = [(roles.source, "source"), (roles.mirror, "mirror"), (roles.target, "target")];
    all.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect()
}

fn vouched_word(vouched: &Vouched) -> &'static str {
    match vouched {
        Vouched::PublicAuthority => "public-authority",
        Vouched::File(_) => "file",
        Vouched::System => "system-store",
        Vouched::Unchecked => "unchecked",
        Vouched::Nobody(_) => "nobody",
    }
}

fn certificate_json(certificate: &CertificateReport) -> CertificateJson {
    CertificateJson {
        subject: certificate.subject.clone(),
        issuer: certificate.issuer.clone(),
        from: day(certificate.from),
        until: day(certificate.until),
    }
}

pub(super) fn problem_json(problem: &Problem) -> ProblemJson {
    ProblemJson {
        about: problem.about.clone(),
        class: problem.class.map(class_name),
        exit_code: problem.class.map(exit_code),
        messages: problem.what.clone(),
        help: problem.help.clone(),
    }
}

/// A host with what was found about it, a fact a line.
pub(super) fn host_text(diagnosis: &Diagnosis) -> String {
    let report = &diagnosis.report;
    let mut lines = way_lines(&report.reach);
    let login = match &report.login {
        Ok(Some(origin)) => format!("from {origin}"),
        Ok(None) => "none found, asking as nobody".to_owned(),
        Err(_) => "looking for one failed".to_owned(),
    };
    lines.push(("login", login));
    lines.push(("answer", answer(report)));
    lines.extend(diagnosis.rate.map(|rate| ("limit", rate_line(rate))));
    lines.extend(clock_line(&report.reach));
    section(&format!("{}  ({})", report.reach.host, roles(diagnosis).join(", ")), &lines)
}

/// A server that registries send their users to.
pub(super) fn server_text(diagnosis: &ServerDiagnosis) -> String {
    let (tokens, blobs) = registries_of(diagnosis);
    let of = |what: &str, registries: Vec<String>| {
        (!registries.is_empty()).then(|| format!("{what} of {}", registries.join(" and ")))
    };
    let uses: Vec<String> = of("tokens", tokens).into_iter().chain(of("blobs", blobs)).collect();
    bare_server_text(&diagnosis.report, &uses.join(", "))
}

/// A server, and what it is.
pub(super) fn bare_server_text(server: &ServerReport, what: &str) -> String {
    let mut lines = way_lines(&server.reach);
    let answer = match &server.answer {
        Ok(status) => format!("HTTP {status}"),
        Err(failure) => failure.chain().into_iter().next().unwrap_or_default(),
    };
    lines.push(("answer", answer));
    lines.extend(clock_line(&server.reach));
    section(&format!("{}  ({what})", server.reach.host), &lines)
}

/// A title with facts below it.
pub(super) fn section(title: &str, lines: &[(&str, String)]) -> String {
    let mut text = format!("{title}\n");
    for (name, value) in lines {
        writeln!(text, "  {name:<10} {value}").expect("a String takes any text");
    }
    text
}

/// What is wrong, its causes and the next step, after an empty line.
pub(super) fn problem_text(problem: &Problem) -> String {
    let (first, causes) = problem.what.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let word = if problem.class.is_some() { "problem" } else { "note" };
    let mut text = format!("\n{word}: {}: {first}", problem.about);
    for cause in causes {
        write!(text, "\n  cause: {cause}").expect("a String takes any text");
    }
    if let Some(help) = &problem.help {
        write!(text, "\n  help: {help}").expect("a String takes any text");
    }
    text
}

/// The address, the name, the way, and what is shown in TLS.
fn way_lines(reach: &Reach) -> Vec<(&'static str, String)> {
    let way = match &reach.route {
        Decision::Direct(why) => format!("direct: {why}"),
        Decision::Via(proxy, why) => format!("through the proxy {proxy}: {why}"),
    };
    let mut lines = vec![("address", reach.address.clone()), ("name", resolved(&reach.resolved)), ("way", way)];
    if let Some(tls) = &reach.tls {
        lines.extend(tls.chain.iter().map(|certificate| ("TLS", certificate_line(certificate))));
        lines.push(("trusted", vouched(&tls.vouched_by)));
    }
    lines
}

fn clock_line(reach: &Reach) -> Option<(&'static str, String)> {
    reach.clock_difference.map(|seconds| ("clock", format!("{} s apart", seconds.unsigned_abs())))
}

fn resolved(resolved: &Resolved) -> String {
    match resolved {
        Resolved::Addresses(all) => {
            let shown: Vec<String> = all.iter().take(SHOWN_ADDRESSES).map(ToString::to_string).collect();
            let more = all.len().saturating_sub(SHOWN_ADDRESSES);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            format!("is {}{more}", shown.join(", "))
        }
        Resolved::ByProxy => "looked up by the proxy".to_owned(),
        Resolved::Failed(why) => format!("cannot be resolved: {why}"),
    }
}

fn certificate_line(certificate: &CertificateReport) -> String {
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "(no name)".to_owned());
    let (subject, issuer) = (name(&certificate.subject), name(&certificate.issuer));
    format!("{subject}, signed by {issuer}, until {}", day(certificate.until))
}

fn vouched(vouched: &Vouched) -> String {
    match vouched {
        Vouched::PublicAuthority => "yes: a public authority".to_owned(),
        Vouched::File(path) => format!("yes: {}", path.display()),
        Vouched::System => "yes: an authority that was added to this machine's store".to_owned(),
        Vouched::Unchecked => "not checked".to_owned(),
        Vouched::Nobody(why) => format!("no: {why}"),
    }
}

fn answer(report: &HostReport) -> String {
    match &report.answer {
        Ok(answer) => {
            let login = match (answer.login, &report.login) {
                (LoginAnswer::Accepted, Ok(Some(_))) => "took the login",
                (LoginAnswer::Accepted, _) => "gave a token to nobody in particular",
                (LoginAnswer::NotAsked, _) => "asked for no login",
            };
            let server = answer.server.as_ref().map_or_else(String::new, |server| format!(" ({server})"));
            format!("a registry{server}, {login}")
        }
        Err(failure) => failure.chain().into_iter().next().unwrap_or_default(),
    }
}

fn rate_line(rate: RateLimit) -> String {
    let window = rate.window.map_or_else(String::new, |seconds| format!(" in {} h", seconds.div_ceil(3_600)));
    format!("{} of {} images{window} are left", rate.remaining, rate.limit)
}

/// A day, as in 2026-01-31.
pub(crate) fn day(seconds: u64) -> String {
    let moment = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    moment.map_or_else(|| "an unknown day".to_owned(), |moment| moment.strftime("%Y-%m-%d").to_string())
}
