//! Which connection goes through which proxy, and why.
//!
//! The rules are Go's `httpproxy` with curl's additions, since the other tools on the machine follow them: a name also
//! means what is below it, `.name` and `*.name` mean only what is below, `*` means everything, an entry with a port
//! means that port, addresses and networks match hosts written as addresses, and loopback is never sent to a proxy.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use url::{Host, Url};

use crate::oci::Host as RegistryHost;
use crate::registry::endpoint::names_of;

/// What the environment, the command line or a file says about proxies, checked.
#[derive(Clone, Default)]
pub struct ProxyRules {
    http: Option<ProxyUrl>,
    https: Option<ProxyUrl>,
    exempt: Vec<Exempt>,
    /// Hosts with a rule of their own: a proxy, or none.
    own: BTreeMap<RegistryHost, Option<ProxyUrl>>,
}

/// A proxy's address, which may hold a login. It shows itself without.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(Url);

/// Text that is no proxy setting. The text is not repeated where it could hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadProxy {
    /// Not an address.
    #[error("the {setting} proxy is not an address such as http://proxy:3128: {why}")]
    Address {
        /// Which setting.
        setting: &'static str,
        /// What the parser says.
        why: String,
    },
    /// A scheme that proxies do not have.
    #[error("the {setting} proxy has the scheme `{scheme}`; http, https, socks5 and socks5h are possible")]
    Scheme {
        /// Which setting.
        setting: &'static str,
        /// Its scheme.
        scheme: String,
    },
    /// The address of a script that chooses proxies.
    #[error(
        "the {setting} proxy is the address of a PAC file, which is a program for browsers; look in it for the line `PROXY host:port` and set that"
    )]
    Script {
        /// Which setting.
        setting: &'static str,
    },
    /// An exemption that means nothing.
    #[error("`{0}` in the list of hosts without proxy is neither a name, an address nor a network")]
    Exemption(String),
}

/// How one address is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Without a proxy, for this reason.
    Direct(String),
    /// Through this one, for this reason.
    Via(ProxyUrl, String),
}

/// The texts of the settings, as found. Empty is the same as absent.
#[derive(Clone, Copy, Default)]
pub struct ProxyTexts<'a> {
    /// For http addresses.
    pub http: Option<&'a str>,
    /// For https addresses.
    pub https: Option<&'a str>,
    /// For both, where they have none of their own.
    pub all: Option<&'a str>,
    /// Hosts reached without, separated by commas or spaces.
    pub no_proxy: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Exempt {
    text: String,
    pattern: Pattern,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Everything,
    /// This name and all below it.
    Name(String),
    /// All below this name.
    Below(String),
    Network(IpAddr, u8),
}

impl ProxyRules {
    /// No proxy at all.
    pub fn direct() -> Self {
        Self::default()
    }

    /// Rules from the settings' texts. What cannot be understood is an error: a proxy that is ignored would send the
    /// connection out directly.
    pub fn new(texts: ProxyTexts<'_>) -> Result<Self, BadProxy> {
        let all = proxy("general", texts.all)?;
        let exempt = texts.no_proxy.unwrap_or_default().split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
        Ok(Self {
            http: proxy("http", texts.http)?.or_else(|| all.clone()),
            https: proxy("https", texts.https)?.or(all),
            exempt: exempt.map(exemption).collect::<Result<_, _>>()?,
            own: BTreeMap::new(),
        })
    }

    /// The same rules with one for `host` that wins over them all: through the proxy `text`, or directly.
    pub fn with_host(mut self, host: RegistryHost, text: Option<&str>) -> Result<Self, BadProxy> {
        self.own.insert(host, proxy("registry's", text)?);
        Ok(self)
    }

    /// The proxy for https where nothing else is said, for showing.
    pub fn general(&self) -> Option<&ProxyUrl> {
        self.https.as_ref()
    }

    /// How `url` is reached.
    pub fn for_url(&self, url: &Url) -> Decision {
        if let Some(own) = names_of(url).iter().find_map(|name| self.own.get(name)) {
            let why = "the configuration file says so for this host".to_owned();
            return own
                .clone()
                .map_or_else(|| Decision::Direct(why.clone()), |proxy| Decision::Via(proxy, why.clone()));
        }
        let (proxy, kind) = if url.scheme() == "https" { (&self.https, "https") } else { (&self.http, "http") };
        let Some(proxy) = proxy else {
            return Decision::Direct(format!("no proxy is set for {kind}"));
        };
        let Some(host) = url.host() else {
            return Decision::Direct("the address has no host".into());
        };
        if is_loopback(&host) {
            return Decision::Direct("it is this machine".into());
        }
        let port = url.port_or_known_default();
        match self.exempt.iter().find(|exempt| exempt.covers(&host, port)) {
            Some(exempt) => Decision::Direct(format!("`{}` is in the list of hosts without proxy", exempt.text)),
            None => Decision::Via(proxy.clone(), format!("the {kind} proxy is set")),
        }
    }
}

impl ProxyUrl {
    /// Whether names are looked up there and not here.
    pub(super) fn resolves_names(&self) -> bool {
        self.0.scheme() != "socks5"
    }

    /// The address with its login, for the one place that connects.
    pub(super) fn reveal(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        self.0.port_or_known_default().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn proxy(setting: &'static str, text: Option<&str>) -> Result<Option<ProxyUrl>, BadProxy> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    // `proxy:3128` is how curl's users write it; as a URL it would have the scheme `proxy`.
    let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
    let url = url.map_err(|error| BadProxy::Address { setting, why: error.to_string() })?;
    let file = Path::new(url.path());
    let is_script = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("pac"));
    if is_script || file.file_name().is_some_and(|name| name.eq_ignore_ascii_case("wpad.dat")) {
        return Err(BadProxy::Script { setting });
    }
    if !matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") {
        return Err(BadProxy::Scheme { setting, scheme: url.scheme().to_owned() });
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(BadProxy::Address { setting, why: "it names no host".into() });
    }
    Ok(Some(ProxyUrl(url)))
}

fn exemption(text: &str) -> Result<Exempt, BadProxy> {
    // Who mistakes it for the proxy's own address may have written a password.
    let shown = text.rsplit('@').next().unwrap_or_default();
    let bad = || BadProxy::Exemption(shown.chars().take(100).collect());
    let exempt = |pattern, port| Exempt { text: text.to_owned(), pattern, port };
    if text == "*" {
        return Ok(exempt(Pattern::Everything, None));
    }
    if let Some((address, bits)) = text.split_once('/') {
        let address: IpAddr = address.trim_matches(['[', ']']).parse().map_err(|_| bad())?;
        let bits: u8 = bits.parse().map_err(|_| bad())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        return if bits <= most { Ok(exempt(Pattern::Network(address, bits), None)) } else { Err(bad()) };
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(exempt(single(address), None));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port.parse::<u16>().map_err(|_| bad())?)),
        None => (text, None),
    };
    if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(exempt(single(address), port));
    }
    let below = name.strip_prefix('*').unwrap_or(name).strip_prefix('.');
    let plain = below.unwrap_or(name).trim_end_matches('.').to_ascii_lowercase();
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if plain.is_empty() || !plain.bytes().all(sound) {
        return Err(bad());
    }
    Ok(exempt(if below.is_some() { Pattern::Below(plain) } else { Pattern::Name(plain) }, port))
}

fn single(address: IpAddr) -> Pattern {
    Pattern::Network(address, if address.is_ipv4() { 32 } else { 128 })
}

impl Exempt {
    fn covers(&self, host: &Host<&str>, port: Option<u16>) -> bool {
        if self.port.is_some() && self.port != port {
            return false;
        }
        match (&self.pattern, host) {
            (Pattern::Everything, _) => true,
            (Pattern::Name(name), Host::Domain(host)) => {
                let host = lower(host);
                host == *name || is_below(&host, name)
            }
            (Pattern::Below(name), Host::Domain(host)) => is_below(&lower(host), name),
            (Pattern::Network(network, bits), Host::Ipv4(address)) => contains(*network, *bits, IpAddr::V4(*address)),
            (Pattern::Network(network, bits), Host::Ipv6(address)) => contains(*network, *bits, IpAddr::V6(*address)),
            (Pattern::Name(_) | Pattern::Below(_), _) | (Pattern::Network(..), Host::Domain(_)) => false,
        }
    }
}

fn lower(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

fn is_below(host: &str, name: &str) -> bool {
    host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
}

fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    // An IPv4 address may be written as IPv6; it is the same machine.
    let plain = |address: IpAddr| match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4),
        four @ IpAddr::V4(_) => four,
    };
    match (network, plain(address)) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let shift = 32 - u32::from(bits);
            u64::from(network.to_bits()) >> shift == u64::from(address.to_bits()) >> shift
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let high = |address: std::net::Ipv6Addr| address.to_bits().checked_shr(128 - u32::from(bits)).unwrap_or(0);
            high(network) == high(address)
        }
        _ => false,
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = lower(name);
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback() || address.to_ipv4_mapped().is_some_and(|four| four.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(no_proxy: &str) -> ProxyRules {
        let texts = ProxyTexts { all: Some("http://proxy:3128"), no_proxy: Some(no_proxy), ..ProxyTexts::default() };
        ProxyRules::new(texts).unwrap()
    }

    fn goes_direct(no_proxy: &str, url: &str) -> bool {
        matches!(rules(no_proxy).for_url(&Url::parse(url).unwrap()), Decision::Direct(_))
    }

    #[test]
    fn p_03_every_form_of_exemption_means_what_the_table_says() {
        for (no_proxy, url, direct) in [
            ("", "https://reg.corp/", false),
            ("reg.corp", "https://reg.corp/", true),
            ("REG.corp", "https://reg.CORP./", true),
            ("reg.corp", "https://a.reg.corp/", true),
            ("reg.corp", "https://evilreg.corp/", false),
            ("reg.corp", "https://reg.corp.evil/", false),
            (".corp", "https://reg.corp/", true),
            (".reg.corp", "https://reg.corp/", false),
            ("*.reg.corp", "https://a.reg.corp/", true),
            ("*.reg.corp", "https://reg.corp/", false),
            ("reg.corp:5000", "https://reg.corp:5000/", true),
            ("reg.corp:5000", "https://reg.corp/", false),
            ("reg.corp:443", "https://reg.corp/", true),
            ("reg.corp:80", "http://reg.corp/", true),
            ("10.0.0.0/8", "https://10.200.3.4/", true),
            ("10.0.0.0/8", "https://11.0.0.1/", false),
            ("0.0.0.0/0", "https://11.0.0.1/", true),
            ("10.1.2.3", "https://10.1.2.3:5000/", true),
            ("10.1.2.3:5000", "https://10.1.2.3:5000/", true),
            ("10.1.2.3:5001", "https://10.1.2.3:5000/", false),
            ("10.0.0.0/8", "https://reg.corp/", false),
            ("fd00::/8", "https://[fd12::1]/", true),
            ("::/0", "https://[fd12::1]/", true),
            ("fd12::1", "https://[fd12::1]:5000/", true),
            ("[fd12::1]:5000", "https://[fd12::1]:5000/", true),
            ("[fd12::1]:5001", "https://[fd12::1]:5000/", false),
            ("10.0.0.0/8", "https://[::ffff:10.0.0.1]/", true),
            ("*", "https://10.0.0.1/", true),
            ("*", "https://reg.corp/", true),
            (" a.corp , reg.corp,,b ", "https://reg.corp/", true),
            ("a.corp reg.corp", "https://reg.corp/", true),
            ("", "http://localhost:5000/", true),
            ("", "http://127.0.0.1:5000/", true),
            ("", "http://[::1]:5000/", true),
            ("", "https://localhost.corp/", false),
        ] {
            assert_eq!(goes_direct(no_proxy, url), direct, "NO_PROXY={no_proxy:?} {url}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_an_error_and_not_ignored() {
        for bad in ["htp://proxy", "ftp://proxy", "http://", "socks4://p:1", "http://proxy:99999", "unix:///x"] {
            let texts = ProxyTexts { https: Some(bad), ..ProxyTexts::default() };
            assert!(ProxyRules::new(texts).is_err(), "{bad}");
        }
        for bad in ["10.0.0.0/33", "a/8", "reg.corp:x", "http://reg.corp", "a*b", "."] {
            assert!(ProxyRules::new(ProxyTexts { no_proxy: Some(bad), ..ProxyTexts::default() }).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_scheme_has_its_proxy_and_the_general_one_fills_in() {
        let texts = ProxyTexts { http: Some("plain:1"), all: Some("socks5h://all:2"), ..ProxyTexts::default() };
        let rules = ProxyRules::new(texts).unwrap();
        let shown = |url| match rules.for_url(&Url::parse(url).unwrap()) {
            Decision::Via(proxy, _) => proxy.to_string(),
            Decision::Direct(why) => why,
        };
        assert_eq!(shown("http://reg.corp/"), "http://plain:1");
        assert_eq!(shown("https://reg.corp/"), "socks5h://all:2");
    }

    #[test]
    fn a_hosts_own_rule_wins_over_all_others() {
        let rules = rules("direct.corp").with_host("reg.corp:5000".parse().unwrap(), None).unwrap();
        let rules = rules.with_host(RegistryHost::docker_hub(), Some("http://other:8080")).unwrap();
        let rules = rules.with_host("direct.corp".parse().unwrap(), Some("http://third:1")).unwrap();
        for (url, expected) in [
            ("https://reg.corp:5000/", None),
            ("https://reg.corp/", Some("http://proxy:3128")),
            ("https://registry-1.docker.io/", Some("http://other:8080")),
            ("https://direct.corp/", Some("http://third:1")),
        ] {
            let proxy = match rules.for_url(&Url::parse(url).unwrap()) {
                Decision::Via(proxy, _) => Some(proxy.to_string()),
                Decision::Direct(_) => None,
            };
            assert_eq!(proxy.as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_proxys_password_is_not_shown() {
        let texts = ProxyTexts { all: Some("http://user:CANARY@proxy:3128"), ..ProxyTexts::default() };
        let decision = ProxyRules::new(texts).unwrap().for_url(&Url::parse("https://reg.corp/").unwrap());
        assert!(!format!("{decision:?}").contains("CANARY"), "{decision:?}");
        let bad = ProxyTexts { all: Some("htp://user:CANARY@proxy"), ..ProxyTexts::default() };
        let error = ProxyRules::new(bad).err().unwrap();
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
    }
}
