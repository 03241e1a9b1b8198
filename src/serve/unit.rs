//! The units by which systemd starts a server: a socket that is there from boot, and a service that may do little.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// The text of both units, each with its place in a remark before it.
    pub fn text(&self) -> String {
        let mut text = String::from(
            "# /etc/systemd/system/octobundle.socket\n[Unit]\nDescription=Registry of octobundle\n\n[Socket]\n",
        );
        for address in &self.listen {
            writeln!(text, "ListenStream={address}").expect("a String takes any text");
        }
        text += "Backlog=1024\n\n[Install]\nWantedBy=sockets.target\n\n";
        text += "# /etc/systemd/system/octobundle.service\n[Unit]\nDescription=Registry of octobundle\n";
        text += "Requires=octobundle.socket\nAfter=octobundle.socket\n";
        // A medium that is away for a day must not make systemd give up.
        text += "StartLimitIntervalSec=0\n";
        for path in &self.mounts {
            writeln!(text, "RequiresMountsFor={}", word(&path.to_string_lossy())).expect("a String takes any text");
        }
        text += "\n[Service]\n";
        self.command(&mut text);
        text += SERVICE;
        text
    }

    fn command(&self, text: &mut String) {
        let mut words = vec![word(&self.program.to_string_lossy())];
        words.extend(self.arguments.iter().map(|argument| word(argument)));
        for (flag, path) in &self.credentials {
            let name = flag.trim_start_matches('-');
            let pair = format!("{name}:{}", path.display());
            writeln!(text, "LoadCredential={}", word(&pair)).expect("a String takes any text");
            words.push(format!("{flag} %d/{name}"));
        }
        writeln!(text, "ExecStart={}", words.join(" ")).expect("a String takes any text");
    }
}

/// One word of a unit's command line (systemd.service(5), "Command lines").
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut word = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => word.extend(['\\', c]),
            // A percent sign begins a specifier, a dollar sign a variable.
            '%' | '$' => word.extend([c, c]),
            '\n' => word += "\\n",
            _ => word.push(c),
        }
    }
    word + "\""
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

    #[test]
    fn no_character_of_a_path_means_anything_to_systemd() {
        assert_eq!(word("/srv/octoperf.tar"), "/srv/octoperf.tar");
        assert_eq!(word("a b%c$d\"e\\f\ng"), "\"a b%%c$$d\\\"e\\\\f\\ng\"");
        assert_eq!(word("a;b"), "\"a;b\"");
        assert_eq!(word(""), "\"\"");
    }
}
