//! The units by which systemd starts a server: a socket that is there from boot, and a service that may do little.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::serve::error::ServeError;
use crate::serve::sockets::is_beside_ipv4;

/// What the units start.
#[derive(Debug, Clone)]
pub struct Units {
    /// The program, absolute.
    pub program: PathBuf,
    /// Arguments that are no secret files: `serve`, the bundles, the flags.
    pub arguments: Vec<String>,
    /// Flags whose files only root can read, with those files, absolute. The service gets copies.
    pub credentials: Vec<(&'static str, PathBuf)>,
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// What must be mounted before.
    pub mounts: Vec<PathBuf>,
}

impl Units {
    /// The text of both units, each with its place in a remark before it. Refuses paths that a unit cannot name.
    pub fn text(&self) -> Result<String, ServeError> {
        let mut text = String::from(
            "# /etc/systemd/system/octobundle.socket\n[Unit]\nDescription=Registry of octobundle\n\n[Socket]\n",
        );
        for address in &self.listen {
            writeln!(text, "ListenStream={}", value(&address.to_string())).expect("a String takes any text");
        }
        if self.listen.iter().any(|address| is_beside_ipv4(address, &self.listen)) {
            text += "BindIPv6Only=ipv6-only\n";
        }
        text += "Backlog=1024\n\n[Install]\nWantedBy=sockets.target\n\n";
        text += "# /etc/systemd/system/octobundle.service\n[Unit]\nDescription=Registry of octobundle\n";
        text += "Requires=octobundle.socket\nAfter=octobundle.socket\n";
        // A medium that is away for a day must not make systemd give up.
        text += "StartLimitIntervalSec=0\n";
        for path in &self.mounts {
            writeln!(text, "RequiresMountsFor={}", word(named(path)?)).expect("a String takes any text");
        }
        text += "\n[Service]\n";
        self.command(&mut text)?;
        text += SERVICE;
        Ok(text)
    }

    fn command(&self, text: &mut String) -> Result<(), ServeError> {
        let program = named(&self.program)?;
        if program.contains(['"', '\'']) {
            return Err(ServeError::Unit { path: self.program.clone(), what: "a program's path has no quotes there" });
        }
        let mut words = vec![word(program)];
        words.extend(self.arguments.iter().map(|argument| argument_word(argument)));
        for (flag, path) in &self.credentials {
            let name = flag.trim_start_matches('-');
            writeln!(text, "LoadCredential={name}:{}", value(named(path)?)).expect("a String takes any text");
            words.push(format!("{flag} %d/{name}"));
        }
        writeln!(text, "ExecStart={}", words.join(" ")).expect("a String takes any text");
        Ok(())
    }
}

/// A path as every setting can hold it: not all of them know quotes, and a line ends where it ends.
fn named(path: &Path) -> Result<&str, ServeError> {
    let refused = |what| ServeError::Unit { path: path.to_owned(), what };
    let text = path.to_str().ok_or_else(|| refused("it is no text"))?;
    match text {
        _ if text.chars().any(char::is_control) => Err(refused("it has a control character")),
        _ if text.contains('\\') || text.ends_with(char::is_whitespace) => {
            Err(refused("it has a backslash, or a blank at its end"))
        }
        _ => Ok(text),
    }
}

/// The rest of a line, to its end. Quotes would be part of it; a percent sign begins a specifier.
fn value(text: &str) -> String {
    text.replace('%', "%%")
}

/// One word of a list (systemd.syntax(7), "Quoting").
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut word = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => word.extend(['\\', c]),
            '%' => word += "%%",
            '\n' => word += "\\n",
            _ => word.push(c),
        }
    }
    word + "\""
}

/// One argument of a command (systemd.service(5), "Command lines"), where a dollar sign begins a variable. In the
/// program's own path it does not.
fn argument_word(text: &str) -> String {
    word(text).replace('$', "$$")
}

/// What the service may do: read files, and talk over the socket that it is given.
const SERVICE: &str = "\
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
TimeoutStopSec=40
LimitNOFILE=8192
DynamicUser=yes
StateDirectory=octobundle
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
MemoryMax=512M
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged

[Install]
WantedBy=multi-user.target
";

#[cfg(test)]
mod tests {
    use super::*;

    fn units(name: &str) -> Units {
        let at = |file: &str| PathBuf::from(format!("/srv/{name}/{file}"));
        Units {
            program: at("octobundle"),
            arguments: vec!["serve".into(), at("x.tar").display().to_string()],
            credentials: vec![("--key", at("key.pem"))],
            listen: vec!["0.0.0.0:5000".parse().unwrap(), "[fe80::1%2]:5001".parse().unwrap()],
            mounts: vec![at("x.tar")],
        }
    }

    #[test]
    fn no_character_of_a_path_means_anything_to_systemd() {
        let text = Units { program: "/opt/o $1%2;/octobundle".into(), ..units("a b$c%d\"e;") }.text().unwrap();
        for line in [
            r#"RequiresMountsFor="/srv/a b$c%%d\"e;/x.tar""#,
            r#"LoadCredential=key:/srv/a b$c%%d"e;/key.pem"#,
            r#"ExecStart="/opt/o $1%%2;/octobundle" serve "/srv/a b$$c%%d\"e;/x.tar" --key %d/key"#,
            "ListenStream=[fe80::1%%2]:5001",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let plain = units("plain").text().unwrap();
        assert!(plain.contains("\nExecStart=/srv/plain/octobundle serve /srv/plain/x.tar --key %d/key\n"), "{plain}");
        assert_eq!((argument_word("a;\\\n"), argument_word("")), ("\"a;\\\\\\n\"".into(), "\"\"".into()));
    }

    #[cfg(unix)]
    #[test]
    fn what_a_unit_cannot_name_is_refused() {
        use std::os::unix::ffi::OsStrExt as _;
        for name in ["a\nExecStartPre=x", "a\\", "a\tb", "a\u{7f}", "a'b"] {
            assert!(matches!(units(name).text(), Err(ServeError::Unit { .. })), "{name:?}");
        }
        let binary = PathBuf::from(std::ffi::OsStr::from_bytes(b"/srv/\xff"));
        for path in [binary, "/srv/key ".into()] {
            let units = Units { credentials: vec![("--key", path.clone())], ..units("a") };
            assert!(units.text().is_err(), "{path:?}");
        }
    }

    #[test]
    fn an_ipv6_socket_leaves_ipv4_to_the_one_beside_it() {
        let with = |listen: &[&str]| {
            let listen = listen.iter().map(|address| address.parse().unwrap()).collect();
            Units { listen, ..units("a") }.text().unwrap().contains("BindIPv6Only=ipv6-only")
        };
        assert!(with(&["0.0.0.0:5000", "[::]:5000"]));
        assert!(!with(&["[::]:5000"]) && !with(&["127.0.0.1:5001", "[::]:5000"]));
    }
}
