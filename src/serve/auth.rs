//! Who may read: the logins of an htpasswd file.
//!
//! bcrypt is slow on purpose, so that a stolen file is hard to guess from. A server that is asked by many must not be
//! brought down by that: one password at a time is tried, few wait, and what was right once is remembered by a keyed
//! hash until the file is read again.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::serve::error::ServeError;
use crate::serve::lock;

/// The largest file that is read: ten thousand logins have less.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// 2^16 rounds take seconds; a file that asks for more would let nobody in, ever.
const MAX_COST: u32 = 16;
/// What `htpasswd -B` takes if it is not told otherwise, and more where the file has more.
const USUAL_COST: u32 = 5;
/// Logins of one client that may wait to be tried.
const WAITING_PER_CLIENT: usize = 8;
/// Logins that may wait in all.
const WAITING: usize = 256;
/// Logins that are remembered; more than a site has accounts.
const REMEMBERED: usize = 10_000;

/// Logins as they were when the file was read.
pub(crate) struct Logins {
    hashes: HashMap<String, String>,
    /// Tried for users that do not exist, so that they take as long.
    nobody: String,
    key: [u8; 32],
    right: Mutex<HashSet<[u8; 32]>>,
    trying: Arc<Semaphore>,
    waiting: Mutex<HashMap<IpAddr, usize>>,
}

/// What a request's login is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Access {
    /// This user.
    User(String),
    /// No login, or a wrong one.
    Denied,
    /// Too many logins wait to be tried.
    Busy,
}

/// A user and a password, as a client sent them.
struct Credentials {
    user: String,
    password: Zeroizing<String>,
}

impl Logins {
    /// Reads an htpasswd file: `USER:HASH` lines, hashes by bcrypt only.
    pub(crate) fn read(path: &Path) -> Result<Self, ServeError> {
        let text = super::read_file(path, MAX_FILE)?;
        let text = String::from_utf8_lossy(&text);
        let (mut hashes, mut cost) = (HashMap::new(), USUAL_COST);
        for (index, line) in text.lines().map(str::trim).enumerate().filter(|(_, line)| is_login(line)) {
            let wrong = |what| ServeError::Htpasswd { path: path.to_owned(), line: index + 1, what };
            let (user, hash) = line.split_once(':').ok_or_else(|| wrong("it is not `USER:HASH`"))?;
            cost = cost.max(cost_of(hash).map_err(wrong)?);
            hashes.insert(user.to_owned(), hash.to_owned());
        }
        if hashes.is_empty() {
            return Err(ServeError::NoLogins(path.to_owned()));
        }
        Ok(Self {
            hashes,
            nobody: format!("$2b${cost:02}$abcdefghijklmnopqrstuuDo4JAPXIzkLVNpLAXP8KVCvLXn8y6uq"),
            key: random(),
            right: Mutex::default(),
            trying: Arc::new(Semaphore::new(1)),
            waiting: Mutex::default(),
        })
    }

    /// Tries what an `Authorization` header says.
    pub(crate) async fn access(self: &Arc<Self>, header: Option<&str>, client: IpAddr) -> Access {
        let Some(credentials) = header.and_then(Credentials::parse) else { return Access::Denied };
        let mark = self.mark(&credentials);
        if lock(&self.right).contains(&mark) {
            return Access::User(credentials.user);
        }
        let Some(_place) = Waiting::begin(self, client) else { return Access::Busy };
        let permit = self.trying.clone().acquire_owned().await.expect("nobody closes it");
        // Somebody with the same login may have been tried meanwhile: agents start all at once.
        if lock(&self.right).contains(&mark) {
            return Access::User(credentials.user);
        }
        let logins = self.clone();
        let tried = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            logins.is_right(&credentials).then_some(credentials.user)
        });
        match tried.await {
            Ok(Some(user)) => {
                let mut right = lock(&self.right);
                if right.len() >= REMEMBERED {
                    right.clear();
                }
                right.insert(mark);
                Access::User(user)
            }
            Ok(None) | Err(_) => Access::Denied,
        }
    }

    /// Takes as long whoever the user is.
    fn is_right(&self, credentials: &Credentials) -> bool {
        let known = self.hashes.get(&credentials.user);
        let hash = known.unwrap_or(&self.nobody);
        bcrypt::verify(credentials.password.as_str(), hash).unwrap_or(false) && known.is_some()
    }

    /// What is remembered of a login: nothing that the password could be found from without the key.
    fn mark(&self, credentials: &Credentials) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update((credentials.user.len() as u64).to_le_bytes());
        hash.update(&credentials.user);
        hash.update(credentials.password.as_bytes());
        hash.finalize().into()
    }
}

impl Credentials {
    fn parse(header: &str) -> Option<Self> {
        let (scheme, encoded) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
        let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some(Self { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) })
    }
}

/// One login that waits to be tried.
struct Waiting<'a> {
    logins: &'a Logins,
    client: IpAddr,
}

impl<'a> Waiting<'a> {
    fn begin(logins: &'a Logins, client: IpAddr) -> Option<Self> {
        let mut waiting = lock(&logins.waiting);
        if waiting.values().sum::<usize>() >= WAITING {
            return None;
        }
        let own = waiting.entry(client).or_default();
        if *own >= WAITING_PER_CLIENT {
            return None;
        }
        *own += 1;
        Some(Self { logins, client })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.logins.waiting);
        if let Some(own) = waiting.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                waiting.remove(&self.client);
            }
        }
    }
}

fn is_login(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#')
}

/// The cost of a bcrypt hash: `$2y$05$` and 53 characters.
fn cost_of(hash: &str) -> Result<u32, &'static str> {
    let rest = ["$2y$", "$2b$", "$2a$"].iter().find_map(|start| hash.strip_prefix(start));
    let rest = rest.ok_or("the password is not hashed by bcrypt")?;
    let (cost, digest) = rest.split_once('$').ok_or("the hash is cut")?;
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/';
    if digest.len() != 53 || !digest.bytes().all(alphabet) {
        return Err("the hash is cut");
    }
    let cost: u32 = cost.parse().map_err(|_| "the hash has no cost")?;
    if (4..=MAX_COST).contains(&cost) { Ok(cost) } else { Err("the hash's cost is not between 4 and 16") }
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn logins(lines: &str) -> Result<Arc<Logins>, ServeError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("htpasswd");
        std::fs::write(&path, lines).unwrap();
        Logins::read(&path).map(Arc::new)
    }

    fn hash(password: &str) -> String {
        bcrypt::hash_with_salt(password, 4, [7; 16]).unwrap().format_for_version(bcrypt::Version::TwoY)
    }

    fn basic(login: &str) -> String {
        format!("Basic {}", STANDARD.encode(login))
    }

    #[tokio::test]
    async fn sec_77_only_the_right_password_of_a_known_user_opens() {
        let logins = logins(&format!("# ours\n\nann:{}\nbob:{}\n", hash("one:two"), hash("other"))).unwrap();
        let right = Access::User("ann".into());
        for _ in 0..2 {
            assert_eq!(logins.access(Some(&basic("ann:one:two")), CLIENT).await, right);
        }
        let wrong =
            ["ann:other", "ann:", "ann", "bob:one:two", "eve:one:two", "eve:", ":", "annone:two", "ann :one:two"];
        for login in wrong {
            assert_eq!(logins.access(Some(&basic(login)), CLIENT).await, Access::Denied, "{login}");
        }
        for header in ["", "Basic", "Basic !!", "Bearer abc", "Basic YW5uOm9uZTp0d28", "Basic /w=="] {
            assert_eq!(logins.access(Some(header), CLIENT).await, Access::Denied, "{header}");
        }
        assert_eq!(logins.access(None, CLIENT).await, Access::Denied);
    }

    #[tokio::test]
    async fn a_flood_of_wrong_logins_is_refused_and_not_worked_off() {
        let logins = logins(&format!("ann:{}\n", hash("right"))).unwrap();
        assert_eq!(logins.access(Some(&basic("ann:right")), CLIENT).await, Access::User("ann".into()));
        let held = logins.trying.clone().acquire_owned().await.unwrap();
        let ask = |client: IpAddr, login: String| {
            let logins = logins.clone();
            tokio::spawn(async move { logins.access(Some(&basic(&login)), client).await })
        };
        let first: Vec<_> = (0..WAITING_PER_CLIENT).map(|n| ask(CLIENT, format!("ann:{n}"))).collect();
        while lock(&logins.waiting).get(&CLIENT) != Some(&WAITING_PER_CLIENT) {
            tokio::task::yield_now().await;
        }
        assert_eq!(logins.access(Some(&basic("ann:more")), CLIENT).await, Access::Busy);
        let known = logins.access(Some(&basic("ann:right")), CLIENT).await;
        assert_eq!(known, Access::User("ann".into()), "who was right before does not wait");
        let other = ask("10.0.0.1".parse().unwrap(), "ann:right".into());
        drop(held);
        for waiting in first {
            assert_eq!(waiting.await.unwrap(), Access::Denied);
        }
        assert_eq!(other.await.unwrap(), Access::User("ann".into()), "another client has places of its own");
        assert!(lock(&logins.waiting).is_empty());
    }

    #[test]
    fn files_with_other_hashes_are_refused_by_line() {
        let good = hash("x");
        for (lines, expected) in [
            ("ann:$apr1$abcdefgh$abcdefghijklmnopqrstuv".to_owned(), "line 1: the password is not hashed by bcrypt"),
            (format!("# a\nann:{good}\nbob:{{SHA}}abc"), "line 3: the password is not hashed by bcrypt"),
            ("ann".into(), "line 1: it is not `USER:HASH`"),
            (format!("ann:{}", &good[..30]), "line 1: the hash is cut"),
            (format!("ann:{}", good.replace("$04$", "$31$")), "line 1: the hash's cost is not between 4 and 16"),
            ("# nobody\n".into(), "has no logins"),
        ] {
            let error = logins(&lines).err().unwrap().to_string();
            assert!(error.ends_with(expected), "{error}");
        }
    }

    #[test]
    fn the_hash_for_nobody_can_be_tried() {
        let logins = logins(&format!("ann:{}\n", hash("right"))).unwrap();
        assert_eq!(bcrypt::verify("x", &logins.nobody).ok(), Some(false));
    }
}
