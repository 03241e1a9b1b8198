//! Flags of the commands that ask who made a bundle, and words for what they find.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use octobundle::failure::{ErrorClass, Failure};
use octobundle::trust::{MAX_KEY_BYTES, MAX_POLICY_BYTES, Policy, PublicKey, SignatureFault, Signer};
use octobundle::wording::line;
use octobundle::workflow::{Trust, TrustSettings};

use crate::cli::Context;
use crate::cli::access::config_file;
use crate::cli::config_file::{ConfigFile, TrustedKey};
use crate::cli::input::{read_limited, usage};
use crate::cli::settings::Environment;
use crate::cli::sourced::{Origin, Sourced};

/// Who must have signed the bundle. What is not given comes from variables or the configuration file.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Trust")]
pub(crate) struct TrustArgs {
    /// Want a signature by this public key (a file, or its line of base64); may be given several times, one is enough
    #[arg(long, value_name = "KEY", conflicts_with = "policy")]
    trust: Vec<String>,
    /// Want the signatures that this policy requires (docs/trust.md)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Look at this signature file instead of those beside the bundle; may be given several times
    #[arg(long = "signature", value_name = "FILE")]
    signatures: Vec<PathBuf>,
    /// Take a bundle that is older than one that was accepted before; the reason is recorded
    #[arg(long, value_name = "REASON")]
    allow_older: Option<String>,
}

/// Whom to trust, before any file of it is read.
pub(crate) enum Trusting {
    Keys(Vec<TrustedKey>),
    Policy(PathBuf),
}

impl TrustArgs {
    /// The settings, with the configuration file that `--config` or its variable names.
    pub(crate) fn settings(&self, context: &Context, config: Option<&Path>) -> Result<TrustSettings, Failure> {
        let file = config_file(config, &context.environment)?;
        let reason = self.allow_older.as_deref().map(str::trim);
        if reason.is_some_and(|reason| reason.is_empty() || reason.len() > 500) {
            return Err(usage("the reason of `--allow-older` is empty or too long", "say why in a sentence"));
        }
        Ok(TrustSettings {
            policy: trusting(self, &file, &context.environment).map(|trusting| trusting.value.read()).transpose()?,
            signatures: self.signatures.clone(),
            state: context.environment.accepted_file(),
            allow_older: reason.map(str::to_owned),
            now: now(),
        })
    }
}

/// The seconds since 1970, by this machine's clock.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

impl TrustArgs {
    /// All but the policy, for a command that is run elsewhere: each key as its line, each file by its whole path.
    pub(crate) fn as_arguments(&self) -> Result<Vec<String>, Failure> {
        let key = |text: &String| Ok(["--trust".to_owned(), public_key(&named_key(text))?.to_string()]);
        let file = |path: &PathBuf| {
            let whole = std::path::absolute(path).map_err(|_| usage("`--signature` is empty", "name a file"))?;
            Ok(["--signature".to_owned(), whole.display().to_string()])
        };
        let reason = self.allow_older.iter().map(|reason| Ok(["--allow-older".to_owned(), reason.clone()]));
        let pairs = self.trust.iter().map(key).chain(self.signatures.iter().map(file)).chain(reason);
        Ok(pairs.collect::<Result<Vec<_>, Failure>>()?.into_iter().flatten().collect())
    }

    /// The policy that is named.
    pub(crate) fn policy(&self) -> Option<&Path> {
        self.policy.as_deref()
    }
}

/// Flags, then variables, then the file. Of one place either keys or a policy; nothing is added up across places, so
/// that what is nearer can never be weakened by what is further away.
pub(crate) fn trusting(args: &TrustArgs, file: &ConfigFile, environment: &Environment) -> Option<Sourced<Trusting>> {
    if let Some(path) = &args.policy {
        return Some(Sourced::flag("--policy", Trusting::Policy(path.clone())));
    }
    if !args.trust.is_empty() {
        return Some(Sourced::flag("--trust", Trusting::Keys(args.trust.iter().map(|text| named_key(text)).collect())));
    }
    if let Some(variable) = &environment.own.policy {
        return Some(Sourced::environment(&variable.name, Trusting::Policy(PathBuf::from(&variable.value))));
    }
    if let Some(variable) = &environment.own.trust {
        let keys = variable.value.split_whitespace().map(named_key).collect();
        return Some(Sourced::environment(&variable.name, Trusting::Keys(keys)));
    }
    let at = |line| Origin::File { path: file.path.clone().unwrap_or_default(), line: Some(line) };
    if let Some(policy) = &file.policy {
        return Some(Sourced { value: Trusting::Policy(policy.value.clone()), origin: at(policy.line) });
    }
    let keys = file.trusted_keys.as_ref()?;
    Some(Sourced { value: Trusting::Keys(keys.value.clone()), origin: at(keys.line) })
}

fn named_key(text: &str) -> TrustedKey {
    text.parse().map_or_else(|_| TrustedKey::File(PathBuf::from(text)), TrustedKey::Line)
}

impl Trusting {
    /// Reads the files that are named. What cannot be read or understood trusts nobody.
    fn read(&self) -> Result<Policy, Failure> {
        match self {
            Self::Policy(path) => {
                let text = whole(path, MAX_POLICY_BYTES)?;
                Ok(Policy::parse(&path.display().to_string(), &text)?)
            }
            Self::Keys(keys) => {
                let keys = keys.iter().map(public_key).collect::<Result<Vec<_>, _>>()?;
                Ok(Policy::any_of(&keys)?)
            }
        }
    }
}

/// As `octobundle config` shows it.
impl std::fmt::Display for Trusting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Policy(path) => write!(f, "{}", path.display()),
            Self::Keys(keys) => {
                let shown = keys.iter().map(|key| match key {
                    TrustedKey::Line(key) => key.to_string(),
                    TrustedKey::File(path) => path.display().to_string(),
                });
                f.write_str(&shown.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn public_key(named: &TrustedKey) -> Result<PublicKey, Failure> {
    match named {
        TrustedKey::Line(key) => Ok(*key),
        TrustedKey::File(path) => PublicKey::parse_file(&whole(path, MAX_KEY_BYTES)?)
            .map_err(|error| Failure::from(error).within(format!("`{}` cannot be trusted", path.display()))),
    }
}

/// A whole file, if it is not longer than `limit`.
pub(crate) fn whole(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let bytes = read_limited(path, limit + 1)?;
    if bytes.len() as u64 > limit {
        let text = format!("`{}` is longer than {limit} bytes", path.display());
        return Err(Failure::new(ErrorClass::Input, text).with_help("check the path"));
    }
    Ok(bytes)
}

/// What is known of the signatures, for people: one line a signature, and what follows.
pub(crate) fn words(trust: &Trust) -> String {
    let mut text = String::new();
    // A name of a file, or a release's, that went on in a further line could say anything there.
    let mut line = |words: String| writeln!(text, "{}", line(&words)).expect("a String takes any text");
    match trust {
        Trust::Unchecked => {
            line("no signature was checked: name whom you trust with `--trust FILE.pub` or `--policy FILE`".to_owned());
        }
        Trust::Trusted { signers, refused } => {
            each(signers, refused).for_each(&mut line);
            line("trusted".to_owned());
        }
        Trust::Untrusted(judgement) => {
            each(&judgement.signers, &judgement.refused).for_each(&mut line);
            line(format!(
                "NOT TRUSTED: signed by {} of the {} who are required",
                judgement.signers.len(),
                judgement.required
            ));
        }
        Trust::Older { signers, name, older } => {
            each(signers, &[]).for_each(&mut line);
            line(format!(
                "OLDER than what was accepted here: `{name}` had number {} with {}",
                older.accepted, older.release
            ));
        }
    }
    text
}

fn each<'a>(signers: &'a [Signer], refused: &'a [(String, SignatureFault)]) -> impl Iterator<Item = String> + use<'a> {
    let refused = refused.iter().map(|(file, fault)| format!("does not count: {file}: {fault}"));
    signers.iter().map(signed).chain(refused)
}

fn signed(signer: &Signer) -> String {
    let name = signer.name.as_ref().map_or_else(String::new, |name| format!("{name}, "));
    format!("signed by {name}key {}: {}", signer.key, signer.statement.text.replace('\t', " "))
}
