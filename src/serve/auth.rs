//! Who may read: the logins of an htpasswd file.
//!
//! bcrypt is slow on purpose, so that a stolen file is hard to guess from. A server that is asked by many must not be
//! brought down by that: one login at a time is tried, for all who wait for the same; few others wait; and what was
//! right once is remembered by a keyed hash until the file is read again.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, watch};
use zeroize::Zeroizing;

use crate::serve::error::ServeError;
use crate::serve::limits::counted_as;
use crate::serve::lock;

/// The largest file that is read: ten thousand logins have less.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// 2^16 rounds take seconds; a file that asks for more would let nobody in, ever.
const MAX_COST: u32 = 16;
/// What `htpasswd -B` takes if it is not told otherwise, and more where the file has more.
const USUAL_COST: u32 = 5;
/// Different logins of one client that may wait to be tried.
const WAITING_PER_CLIENT: usize = 8;
/// Different logins that may wait in all.
const WAITING: usize = 256;
/// Logins that are remembered; more than a site has accounts.
const REMEMBERED: usize = 10_000;

/// What is kept of a login: nothing that the password could be found from without the key.
type Mark = [u8; 32];

/// Logins as they were when the file was read.
pub(crate) struct Logins {
    users: HashMap<String, Hashed>,
    /// The cost that every wrong login has.
    cost: u32,
    key: [u8; 32],
    right: Mutex<HashSet<Mark>>,
    turn: Arc<Semaphore>,
    trials: Mutex<Trials>,
}

/// A password as the file has it.
struct Hashed {
    text: String,
    cost: u32,
}

/// Logins that are tried, or wait for their turn.
#[derive(Default)]
struct Trials {
    /// Where it will appear what each is worth.
    outcomes: HashMap<Mark, watch::Receiver<Option<bool>>>,
    /// How many of them each client has begun.
    begun: HashMap<IpAddr, usize>,
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
        let (mut users, mut cost) = (HashMap::new(), USUAL_COST);
        // Windows begins files with a mark of their encoding.
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
        for (index, line) in lines.enumerate().filter(|(_, line)| is_login(line)) {
            let wrong = |what| ServeError::Htpasswd { path: path.to_owned(), line: index + 1, what };
            let (user, hash) = line
                .split_once(':')
                .filter(|(user, _)| !user.is_empty())
                .ok_or_else(|| wrong("it is not `USER:HASH`"))?;
            let hashed = Hashed { text: hash.to_owned(), cost: cost_of(hash).map_err(wrong)? };
            cost = cost.max(hashed.cost);
            // Other programs take the first line or the last; nobody should have to guess.
            if users.insert(user.to_owned(), hashed).is_some() {
                return Err(wrong("its user has a line already"));
            }
        }
        if users.is_empty() {
            return Err(ServeError::NoLogins(path.to_owned()));
        }
        Ok(Self {
            users,
            cost,
            key: random(),
            right: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
            trials: Mutex::default(),
        })
    }

    /// Tries what an `Authorization` header says.
    pub(crate) async fn access(self: &Arc<Self>, header: Option<&str>, client: IpAddr) -> Access {
        let Some(credentials) = header.and_then(Credentials::parse) else { return Access::Denied };
        let (user, mark) = (credentials.user.clone(), self.mark(&credentials));
        if lock(&self.right).contains(&mark) {
            return Access::User(user);
        }
        let Some(mut outcome) = self.trial(mark, credentials, counted_as(client)) else { return Access::Busy };
        let is_right = outcome.wait_for(Option::is_some).await.is_ok_and(|outcome| *outcome == Some(true));
        if is_right { Access::User(user) } else { Access::Denied }
    }

    /// The trial of a login, the same for all who wait for it: agents start all at once, behind one address. None if
    /// too many others wait.
    fn trial(
        self: &Arc<Self>,
        mark: Mark,
        credentials: Credentials,
        client: IpAddr,
    ) -> Option<watch::Receiver<Option<bool>>> {
        let mut trials = lock(&self.trials);
        if let Some(same) = trials.outcomes.get(&mark) {
            return Some(same.clone());
        }
        if trials.outcomes.len() >= WAITING || trials.begun.get(&client).is_some_and(|&own| own >= WAITING_PER_CLIENT) {
            return None;
        }
        let (tell, told) = watch::channel(None);
        trials.outcomes.insert(mark, told.clone());
        *trials.begun.entry(client).or_default() += 1;
        let logins = self.clone();
        tokio::spawn(async move {
            let is_right = logins.try_in_turn(credentials).await;
            if is_right {
                logins.remember(mark);
            }
            lock(&logins.trials).end(&mark, client);
            tell.send_replace(Some(is_right));
        });
        Some(told)
    }

    async fn try_in_turn(self: &Arc<Self>, credentials: Credentials) -> bool {
        let turn = self.turn.clone().acquire_owned().await.expect("nobody closes it");
        let logins = self.clone();
        let tried = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            logins.is_right(&credentials)
        });
        tried.await.unwrap_or(false)
    }

    fn remember(&self, mark: Mark) {
        let mut right = lock(&self.right);
        if right.len() >= REMEMBERED {
            right.clear();
        }
        right.insert(mark);
    }

    /// What is wrong takes as long whoever the user is, and whether there is one.
    fn is_right(&self, credentials: &Credentials) -> bool {
        let known = self.users.get(&credentials.user);
        if known.is_some_and(|hashed| bcrypt::verify(credentials.password.as_str(), &hashed.text).unwrap_or(false)) {
            return true;
        }
        for cost in self.made_up(known.map(|hashed| hashed.cost)) {
            std::hint::black_box(bcrypt::hash_with_salt(credentials.password.as_str(), cost, [0; 16]).is_ok());
        }
        false
    }

    /// The costs of further trials, by which a wrong login takes 2^`cost` rounds whatever was tried before: a trial of
    /// cost c takes 2^c, and 2^c + 2^c + 2^(c+1) + … + 2^(`cost`-1) = 2^`cost`.
    fn made_up(&self, tried: Option<u32>) -> Range<u32> {
        match tried {
            Some(cost) => cost..self.cost,
            None => self.cost..self.cost + 1,
        }
    }

    fn mark(&self, credentials: &Credentials) -> Mark {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update((credentials.user.len() as u64).to_le_bytes());
        hash.update(&credentials.user);
        hash.update(credentials.password.as_bytes());
        hash.finalize().into()
    }
}

impl Trials {
    fn end(&mut self, mark: &Mark, client: IpAddr) {
        self.outcomes.remove(mark);
        if let Some(own) = self.begun.get_mut(&client) {
            *own -= 1;
            if *own == 0 {
                self.begun.remove(&client);
            }
        }
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

fn is_login(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#')
}

/// The cost of a bcrypt hash: `$2y$05$` and 53 characters.
fn cost_of(hash: &str) -> Result<u32, &'static str> {
    if !["$2y$", "$2b$", "$2a$"].iter().any(|start| hash.starts_with(start)) {
        return Err("the password is not hashed by bcrypt");
    }
    let parts: bcrypt::HashParts = hash.parse().map_err(|_| "the hash is cut, or was changed")?;
    let cost = parts.get_cost();
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
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    fn ask_now(logins: &Arc<Logins>, client: IpAddr, login: String) -> impl Future<Output = Access> + use<> {
        let logins = logins.clone();
        async move { logins.access(Some(&basic(&login)), client).await }
    }

    fn ask(logins: &Arc<Logins>, client: IpAddr, login: String) -> tokio::task::JoinHandle<Access> {
        tokio::spawn(ask_now(logins, client, login))
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
        let logins = logins(&format!("ann:{0}\nbob:{0}\n", hash("right"))).unwrap();
        assert_eq!(logins.access(Some(&basic("ann:right")), CLIENT).await, Access::User("ann".into()));
        let held = logins.turn.clone().acquire_owned().await.unwrap();
        let first: Vec<_> = (0..WAITING_PER_CLIENT).map(|n| ask(&logins, CLIENT, format!("ann:{n}"))).collect();
        while lock(&logins.trials).begun.get(&CLIENT) != Some(&WAITING_PER_CLIENT) {
            tokio::task::yield_now().await;
        }
        assert_eq!(logins.access(Some(&basic("ann:more")), CLIENT).await, Access::Busy);
        let known = logins.access(Some(&basic("ann:right")), CLIENT).await;
        assert_eq!(known, Access::User("ann".into()), "who was right before does not wait");
        let other = ask(&logins, "10.0.0.1".parse().unwrap(), "bob:right".into());
        drop(held);
        for waiting in first {
            assert_eq!(waiting.await.unwrap(), Access::Denied);
        }
        assert_eq!(other.await.unwrap(), Access::User("bob".into()), "another client has places of its own");
        let left = lock(&logins.trials);
        assert!(left.begun.is_empty() && left.outcomes.is_empty());
    }

    #[tokio::test]
    async fn many_clients_behind_one_address_with_the_same_login_are_all_let_in() {
        let logins = logins(&format!("ann:{}\n", hash("right"))).unwrap();
        let held = logins.turn.clone().acquire_owned().await.unwrap();
        let inside = Arc::new(AtomicUsize::new(0));
        let ask = |login: &str| {
            let (inside, asked) = (inside.clone(), ask_now(&logins, CLIENT, login.to_owned()));
            tokio::spawn(async move {
                // Nothing else runs on this thread until it waits for what comes of it.
                inside.fetch_add(1, Ordering::SeqCst);
                asked.await
            })
        };
        let agents: Vec<_> = (0..100).map(|_| ask("ann:right")).collect();
        let guessing: Vec<_> = (0..100).map(|_| ask("ann:wrong")).collect();
        while inside.load(Ordering::SeqCst) < 200 {
            tokio::task::yield_now().await;
        }
        assert_eq!(lock(&logins.trials).outcomes.len(), 2, "each login is tried once");
        drop(held);
        for agent in agents {
            assert_eq!(agent.await.unwrap(), Access::User("ann".into()));
        }
        for guess in guessing {
            assert_eq!(guess.await.unwrap(), Access::Denied);
        }
    }

    #[test]
    fn sec_77_a_wrong_login_takes_the_same_rounds_whoever_the_user_is() {
        let line = |user: &str, cost| format!("{user}:{}\n", bcrypt::hash_with_salt("x", cost, [7; 16]).unwrap());
        let logins = logins(&(line("ann", 4) + &line("bob", 6) + &line("eve", 7))).unwrap();
        for user in ["ann", "bob", "eve", "nobody"] {
            let own = logins.users.get(user).map(|hashed| hashed.cost);
            let rounds: u64 = own.into_iter().chain(logins.made_up(own)).map(|cost| 1 << cost).sum();
            assert_eq!(rounds, 1 << 7, "{user}");
        }
    }

    #[tokio::test]
    async fn files_that_windows_wrote_have_the_same_logins() {
        let logins = logins(&format!("\u{feff}ann:{}\r\n", hash("right"))).unwrap();
        assert_eq!(logins.access(Some(&basic("ann:right")), CLIENT).await, Access::User("ann".into()));
    }

    #[test]
    fn files_with_other_hashes_are_refused_by_line() {
        let good = hash("x");
        for (lines, expected) in [
            ("ann:$apr1$abcdefgh$abcdefghijklmnopqrstuv".to_owned(), "line 1: the password is not hashed by bcrypt"),
            (format!("# a\nann:{good}\nbob:{{SHA}}abc"), "line 3: the password is not hashed by bcrypt"),
            ("ann".into(), "line 1: it is not `USER:HASH`"),
            (format!("ann:{}", &good[..30]), "line 1: the hash is cut, or was changed"),
            (format!("ann:{}é", &good[..58]), "line 1: the hash is cut, or was changed"),
            (format!("ann:{good}:a remark"), "line 1: the hash is cut, or was changed"),
            (format!(":{good}"), "line 1: it is not `USER:HASH`"),
            (format!("ann:{good}\nbob:{good}\nann:{good}"), "line 3: its user has a line already"),
            (format!("ann:{}", good.replace("$04$", "$31$")), "line 1: the hash's cost is not between 4 and 16"),
            ("# nobody\n".into(), "has no logins"),
        ] {
            let error = logins(&lines).err().unwrap().to_string();
            assert!(error.ends_with(expected), "{error}");
        }
    }
}
