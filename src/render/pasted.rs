//! The `docker run …` that OctoPerf's page shows, read as a shell and docker would read it.

use crate::oci::ImageRef;
use crate::render::answers::Given;
use crate::render::error::RenderError;
use crate::render::setting::Setting;

/// No command on a page is longer; the token has some hundred characters.
const MAX_COMMAND: usize = 64 * 1024;

/// What a pasted command says, as answers.
pub struct Pasted {
    /// The answers.
    pub given: Given,
    /// What was understood otherwise than word for word, a sentence each. Holds no value of the command.
    pub notes: Vec<String>,
}

/// The options of `docker run` and `podman run` that stand alone.
const SWITCHES: [&str; 24] = [
    "detach",
    "disable-content-trust",
    "env-host",
    "http-proxy",
    "init",
    "interactive",
    "no-healthcheck",
    "no-hosts",
    "oom-kill-disable",
    "passwd",
    "privileged",
    "publish-all",
    "quiet",
    "read-only",
    "read-only-tmpfs",
    "replace",
    "rm",
    "rmi",
    "rootfs",
    "sig-proxy",
    "tls-verify",
    "tty",
    "unsetenv-all",
    "use-api-socket",
];

/// Their short names.
const SHORT_SWITCHES: [(char, &str); 5] =
    [('d', "detach"), ('i', "interactive"), ('t', "tty"), ('P', "publish-all"), ('q', "quiet")];

/// Short names of options with a value.
const SHORT_OPTIONS: [(char, &str); 10] = [
    ('e', "env"),
    ('v', "volume"),
    ('p', "publish"),
    ('l', "label"),
    ('u', "user"),
    ('w', "workdir"),
    ('h', "hostname"),
    ('m', "memory"),
    ('a', "attach"),
    ('c', "cpu-shares"),
];

/// Where engines' sockets are, on a host and in an agent's container.
const SOCKETS: [&str; 4] =
    ["/var/run/docker.sock", "/run/docker.sock", "/var/run/podman/podman.sock", "/run/podman/podman.sock"];

/// The options of docker before `run` that have a value.
const GLOBAL_OPTIONS: [&str; 12] = [
    "-H",
    "--host",
    "-c",
    "--context",
    "--connection",
    "--config",
    "-l",
    "--log-level",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
    "--url",
];

/// The options of sudo that have a value.
const SUDO_OPTIONS: [&str; 8] = ["-u", "--user", "-g", "--group", "-h", "-p", "-C", "-r"];

impl Pasted {
    /// Reads a command. Its secrets go into answers only.
    pub fn parse(text: &str) -> Result<Self, RenderError> {
        let words = words(text)?;
        let mut rest = after_sudo(&words);
        let engine = rest.split_first().map(|(program, after)| (program.rsplit('/').next().unwrap_or_default(), after));
        let Some((engine @ ("docker" | "podman"), after)) = engine else {
            return Err(refuse("it does not begin with `docker run` or `podman run`"));
        };
        rest = after_globals(after);
        rest = match rest {
            [run, rest @ ..] if run == "run" => rest,
            [container, run, rest @ ..] if container == "container" && run == "run" => rest,
            _ => return Err(refuse("it is not `docker run`")),
        };
        let mut reader = Reader { given: Given::default(), notes: Vec::new(), socket: false };
        reader.given.add(Setting::Engine, engine);
        reader.read(rest)?;
        if !reader.socket {
            reader.given.add(Setting::NoDockerSocket, "true");
            reader.notes.push("The command mounts no engine's socket, so this one does not either.".into());
        }
        Ok(Self { given: reader.given, notes: reader.notes })
    }
}

/// The words that a POSIX shell makes of the one command in a text.
fn words(text: &str) -> Result<Vec<String>, RenderError> {
    if text.len() > MAX_COMMAND {
        return Err(RenderError::TooLong { what: "pasted command", limit: MAX_COMMAND });
    }
    let text = text.replace("\r\n", "\n");
    // Editors on Windows begin a file with this mark.
    let text = without_prompt(text.trim_start_matches('\u{feff}').trim());
    shlex::split(&one_line(text)?).ok_or_else(|| refuse("a quote is not closed, or it ends in a backslash"))
}

/// A prompt that was copied with the command.
fn without_prompt(text: &str) -> &str {
    let command = ["$ ", "# "].into_iter().find_map(|prompt| text.strip_prefix(prompt)).map(str::trim_start);
    let begins = |text: &&str| ["sudo", "docker", "podman"].iter().any(|program| text.starts_with(program));
    command.filter(begins).unwrap_or(text)
}

/// The text with the lines joined that end in a backslash, outside of single quotes.
///
/// Variables, substitutions, pipes and further commands are refused: what they would give is not known here.
fn one_line(text: &str) -> Result<String, RenderError> {
    #[derive(PartialEq)]
    enum Quote {
        None,
        Single,
        Double,
    }
    let mut quote = Quote::None;
    let mut line = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if c == '\\' && quote != Quote::Single {
            match characters.next() {
                Some('\n') => {}
                next => line.extend(std::iter::once('\\').chain(next)),
            }
            continue;
        }
        line.push(c);
        quote = match (c, quote) {
            ('\'', Quote::None) => Quote::Single,
            ('\'', Quote::Single) | ('"', Quote::Double) => Quote::None,
            ('"', Quote::None) => Quote::Double,
            ('$' | '`', Quote::None | Quote::Double) => {
                return Err(refuse(
                    "it has a variable or a substitution (`$` or a backquote outside of single quotes)",
                ));
            }
            (';' | '&' | '|' | '<' | '>' | '(' | ')', Quote::None) => {
                return Err(refuse("it goes on with a second command, a pipe or a redirection"));
            }
            ('\n', Quote::None) => {
                return Err(RenderError::Pasted {
                    reason: "it goes on in a new line, and the line before does not end in a `\\`",
                    help: "write the command in one line, or end each of its lines but the last in a `\\`",
                });
            }
            ('\u{2018}'..='\u{201f}' | '\u{2010}'..='\u{2015}' | '\u{a0}', Quote::None) => {
                return Err(RenderError::Pasted {
                    reason: "it has typographic quotes, dashes or blanks, which a shell takes for letters",
                    help: "copy the command from OctoPerf's page itself, or replace them by `'`, `-` and a blank",
                });
            }
            (_, quote) => quote,
        };
    }
    Ok(line)
}

fn after_sudo(words: &[String]) -> &[String] {
    let Some((first, mut rest)) = words.split_first() else { return words };
    if first.rsplit('/').next() != Some("sudo") {
        return words;
    }
    while let Some((option, after)) = rest.split_first().filter(|(option, _)| option.starts_with('-')) {
        let takes = usize::from(SUDO_OPTIONS.contains(&option.as_str()));
        rest = after.get(takes..).unwrap_or_default();
        if option == "--" {
            break;
        }
    }
    rest
}

fn after_globals(mut rest: &[String]) -> &[String] {
    while let Some((option, after)) = rest.split_first().filter(|(option, _)| option.starts_with('-')) {
        rest = after.get(usize::from(GLOBAL_OPTIONS.contains(&option.as_str()))..).unwrap_or_default();
    }
    rest
}

struct Reader {
    given: Given,
    notes: Vec<String>,
    /// Whether the engine's socket is mounted.
    socket: bool,
}

impl Reader {
    /// Options up to the image, which is the last word.
    fn read(&mut self, words: &[String]) -> Result<(), RenderError> {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let image = match word.as_str() {
                "--" => words.next(),
                option if option.starts_with("--") => {
                    self.long(option, &mut words)?;
                    continue;
                }
                option if option.starts_with('-') && option.len() > 1 => {
                    self.short(option, &mut words)?;
                    continue;
                }
                _ => Some(word),
            };
            let image = image.ok_or_else(|| refuse("it names no image"))?;
            return match words.next() {
                None => self.image(image),
                Some(_) => Err(refuse("it has words behind the image; the agent takes none")),
            };
        }
        Err(refuse("it names no image"))
    }

    fn long<'a>(
        &mut self,
        option: &str,
        words: &mut (impl Iterator<Item = &'a String> + Clone),
    ) -> Result<(), RenderError> {
        let name = option.trim_start_matches('-');
        match name.split_once('=') {
            Some((name, value)) => self.option(name, value),
            None if SWITCHES.contains(&name) => {
                self.switch(name);
                Ok(())
            }
            None => {
                let value = words.next().ok_or_else(|| refuse("its last option has no value"))?;
                self.option(name, value)
            }
        }
    }

    /// `-d`, `-dit`, `-e X=Y`, `-eX=Y`, `-e=X=Y`, `-iteX=Y`.
    fn short<'a>(&mut self, option: &str, words: &mut impl Iterator<Item = &'a String>) -> Result<(), RenderError> {
        for (at, letter) in option[1..].char_indices() {
            if let Some((_, name)) = SHORT_SWITCHES.iter().find(|(short, _)| *short == letter) {
                self.switch(name);
                continue;
            }
            let known = SHORT_OPTIONS.iter().find(|(short, _)| *short == letter);
            let (_, name) = known.ok_or_else(|| refuse("it has a short option that octobundle does not know"))?;
            let attached = &option[1 + at + letter.len_utf8()..];
            let attached = attached.strip_prefix('=').unwrap_or(attached);
            if !attached.is_empty() {
                return self.option(name, attached);
            }
            let value = words.next().ok_or_else(|| refuse("its last option has no value"))?;
            return self.option(name, value);
        }
        Ok(())
    }

    fn switch(&mut self, name: &str) {
        match name {
            "detach" => {}
            "interactive" | "tty" | "rm" => self.leave_out(name),
            _ => self.keep(format!("--{name}")),
        }
    }

    fn option(&mut self, name: &str, value: &str) -> Result<(), RenderError> {
        match name {
            "env" => self.variable(value),
            "name" => self.given.add(Setting::Name, value),
            "volume" => self.volume(value, &mut value.split(':')),
            "mount" if is_bind(value) => self.mount(value),
            "restart" if value == "unless-stopped" => {}
            // Beside our own policy, or with `--rm`, engines refuse it.
            "restart" => {
                self.notes.push(format!("`--{name}={value}` is left out: an agent has a restart policy of its own."));
            }
            "detach" if value == "true" => {}
            "detach" | "interactive" | "tty" | "rm" => self.leave_out(name),
            "env-file" => self.notes.push("`--env-file` is left out: give what it holds with `-e`.".into()),
            _ if SWITCHES.contains(&name) || is_option_name(name) => self.keep(format!("--{name}={value}")),
            _ => return Err(refuse("it has an option whose name is none")),
        }
        Ok(())
    }

    /// A volume by its source and target. The engine's socket is mounted by us, wherever that of the chosen engine is.
    fn volume<'a>(&mut self, text: &str, parts: &mut impl Iterator<Item = &'a str>) {
        let (source, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if !SOCKETS.contains(&target) {
            self.given.add(Setting::Volume, text);
            return;
        }
        self.socket = true;
        // Git's shell on Windows wants a second slash in front.
        if !SOCKETS.contains(&source.strip_prefix("//").map_or(source, |_| &source[1..])) {
            self.notes.push(format!(
                "The socket `{source}` of the command is not taken over: the engine's usual one is mounted."
            ));
        }
    }

    /// The engine's socket where it is mounted by `--mount`; of others the whole option is kept.
    fn mount(&mut self, text: &str) {
        let field = |names: &[&str]| {
            let fields = text.split(',').filter_map(|field| field.split_once('='));
            fields.filter(|(name, _)| names.contains(name)).map(|(_, value)| value).next_back().unwrap_or_default()
        };
        let (source, target) = (field(&["source", "src"]), field(&["target", "dst", "destination"]));
        if SOCKETS.contains(&target) {
            self.volume(text, &mut [source, target].into_iter());
        } else {
            self.keep(format!("--mount={text}"));
        }
    }

    fn leave_out(&mut self, name: &str) {
        self.notes.push(format!("`--{name}` is left out: an agent runs by itself."));
    }

    fn variable(&mut self, text: &str) {
        let Some((name, value)) = text.split_once('=') else {
            self.notes.push(
                "A variable without value is left out: it would have come from the environment of the shell.".into(),
            );
            return;
        };
        match name {
            "AGENT_TOKEN" => self.given.add(Setting::TokenFile, value),
            "SERVER_URL" => self.given.add(Setting::ServerUrl, value),
            "HTTP_PROXY" => self.given.add(Setting::AgentHttpProxy, value),
            "HTTPS_PROXY" => self.given.add(Setting::AgentHttpsProxy, value),
            "NO_PROXY" => self.given.add(Setting::AgentNoProxy, value),
            // Of one that is set twice engines take the last.
            _ => {
                let mut last = Given::default();
                last.add(Setting::Env, text);
                self.given = std::mem::take(&mut self.given).overlaid_by(last);
            }
        }
    }

    fn keep(&mut self, word: String) {
        let name = word.split('=').next().unwrap_or_default();
        self.notes.push(format!("`{name}` is kept as it was in the command."));
        self.given.add(Setting::RunOption, word);
    }

    /// Without a tag engines take `latest`.
    fn image(&mut self, name: &str) -> Result<(), RenderError> {
        let latest = format!("{name}:latest");
        let sound = |text: &str| text.parse::<ImageRef>();
        let text = match sound(name) {
            Ok(_) => name,
            Err(_) if sound(&latest).is_ok() => &latest,
            Err(source) => return Err(RenderError::Image { text: name.chars().take(200).collect(), source }),
        };
        self.given.add(Setting::Image, text);
        Ok(())
    }
}

fn is_bind(mount: &str) -> bool {
    mount.split(',').any(|field| field == "type=bind")
}

fn is_option_name(name: &str) -> bool {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    name.bytes().next().is_some_and(|b| b.is_ascii_lowercase()) && name.bytes().all(letters)
}

fn refuse(reason: &'static str) -> RenderError {
    let help = "paste the whole command that OctoPerf shows under \"Add Agent\", from `docker run` to the image";
    RenderError::Pasted { reason, help }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Pasted {
        Pasted::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn one(pasted: &Pasted, setting: Setting) -> Option<String> {
        pasted.given.one(setting).map(str::to_owned)
    }

    const SHOWN: &str = "sudo docker run -d --restart=unless-stopped --name XXXX -v /var/run/docker.sock:/var/run/docker.sock -e AGENT_TOKEN='t0k$en==' -e SERVER_URL='https://api.octoperf.com' octoperf/docker-agent:13.0.0";

    #[test]
    fn the_documented_command_is_understood_whole() {
        let pasted = parsed(SHOWN);
        assert_eq!(one(&pasted, Setting::TokenFile).unwrap(), "t0k$en==");
        assert_eq!(one(&pasted, Setting::ServerUrl).unwrap(), "https://api.octoperf.com");
        assert_eq!(one(&pasted, Setting::Name).unwrap(), "XXXX");
        assert_eq!(one(&pasted, Setting::Image).unwrap(), "octoperf/docker-agent:13.0.0");
        assert_eq!(one(&pasted, Setting::Engine).unwrap(), "docker");
        assert!(pasted.notes.is_empty() && one(&pasted, Setting::NoDockerSocket).is_none(), "{:?}", pasted.notes);
    }

    #[test]
    fn every_way_to_write_an_option_means_the_same() {
        let expected = parsed(SHOWN);
        for text in [
            "$ docker run -d --restart unless-stopped --name=XXXX --volume=/var/run/docker.sock:/var/run/docker.sock \\\n  -eAGENT_TOKEN='t0k$en==' \\\r\n  --env SERVER_URL=https://api.octoperf.com -- octoperf/docker-agent:13.0.0\n",
            "/usr/bin/sudo -E --user root -- /usr/bin/docker --host unix:///x --debug container run --detach=true --name \"XXXX\" -v/var/run/docker.sock:/var/run/docker.sock:ro -e=AGENT_TOKEN=\"t0k\\$en==\" -de SERVER_URL=https://api.octoperf.com octoperf/docker-agent:13.0.0",
        ] {
            let pasted = parsed(text);
            for setting in Setting::ALL {
                assert_eq!(one(&pasted, setting), one(&expected, setting), "{setting:?} of {text}");
            }
        }
    }

    #[test]
    fn what_is_not_known_is_kept_and_mentioned_without_its_value() {
        let pasted = parsed(
            "docker run -it --rm -p 80:80 --memory 2g --ulimit=nofile=1:2 -e EXTRA=1 -e EXTRA='a b' -e JAVA_OPTS=\"-Xmx1g -Da=b\" -e HTTP_PROXY=http://u:pw@p -e LONELY --new-thing s3cret --privileged -v named:/x img:1",
        );
        assert_eq!(
            pasted.given.texts(Setting::RunOption),
            ["--publish=80:80", "--memory=2g", "--ulimit=nofile=1:2", "--new-thing=s3cret", "--privileged"]
        );
        assert_eq!(pasted.given.texts(Setting::Env), ["EXTRA=a b", "JAVA_OPTS=-Xmx1g -Da=b"]);
        assert_eq!(pasted.given.texts(Setting::Volume), ["named:/x"]);
        assert_eq!(one(&pasted, Setting::AgentHttpProxy).unwrap(), "http://u:pw@p");
        assert_eq!(one(&pasted, Setting::NoDockerSocket).unwrap(), "true");
        let told = pasted.notes.join("\n");
        for mentioned in ["--publish", "--ulimit", "--new-thing", "--privileged", "--rm", "without value", "socket"] {
            assert!(told.contains(mentioned), "{mentioned}: {told}");
        }
        assert!(!told.contains("s3cret") && !told.contains("pw"), "{told}");
    }

    #[test]
    fn a_switch_takes_no_word_behind_it() {
        for switch in SWITCHES.into_iter().filter(|name| !["detach", "interactive", "tty", "rm"].contains(name)) {
            for (option, kept) in [
                (format!("--{switch}"), format!("--{switch}")),
                (format!("--{switch}=false"), format!("--{switch}=false")),
            ] {
                let pasted = parsed(&format!("docker --tlskey k run {option} img:1"));
                assert_eq!(one(&pasted, Setting::Image).as_deref(), Some("img:1"), "{option}");
                assert_eq!(pasted.given.texts(Setting::RunOption), [kept]);
            }
        }
    }

    #[test]
    fn the_socket_is_known_however_it_is_mounted() {
        for mount in [
            "-v /var/run/docker.sock:/var/run/docker.sock:z",
            "-v //var/run/docker.sock:/var/run/docker.sock",
            "-v /run/podman/podman.sock:/run/docker.sock",
            "--mount type=bind,source=/var/run/docker.sock,target=/var/run/docker.sock",
            "--mount=type=bind,src=/run/docker.sock,dst=/var/run/docker.sock,readonly",
        ] {
            let pasted = parsed(&format!("docker run {mount} img:1"));
            assert!(
                one(&pasted, Setting::NoDockerSocket).is_none() && pasted.notes.is_empty(),
                "{mount}: {:?}",
                pasted.notes
            );
            assert!(
                pasted.given.texts(Setting::Volume).is_empty() && pasted.given.texts(Setting::RunOption).is_empty()
            );
        }
        let pasted = parsed("docker run -v /run/user/1000/podman/podman.sock:/var/run/docker.sock img:1");
        assert!(pasted.notes.concat().contains("/run/user/1000/podman/podman.sock"), "{:?}", pasted.notes);
        let pasted = parsed(
            "docker run --mount type=bind,source=/srv,target=/data --mount type=tmpfs,target=/run/docker.sock img:1",
        );
        assert_eq!(one(&pasted, Setting::NoDockerSocket).unwrap(), "true");
        assert_eq!(pasted.given.texts(Setting::RunOption).len(), 2, "others are kept");
    }

    #[test]
    fn what_would_stand_against_our_own_options_is_left_out_and_mentioned() {
        let pasted = parsed("docker run --restart=always --rm=true --detach=false -it octoperf/docker-agent");
        assert!(pasted.given.texts(Setting::RunOption).is_empty());
        let told = pasted.notes.join("\n");
        for option in ["--restart=always", "--rm", "--detach", "--interactive", "--tty"] {
            assert!(told.contains(&format!("`{option}` is left out")), "{option}: {told}");
        }
        assert_eq!(one(&pasted, Setting::Image).unwrap(), "octoperf/docker-agent:latest", "as an engine takes it");
    }

    #[test]
    fn what_came_to_harm_on_the_way_is_named() {
        for (text, said) in [
            ("docker run -d\n -e A=1 img:1", "end each of its lines"),
            ("docker run -d ^\r\n -e A=1 img:1", "end each of its lines"),
            ("docker run -e A=\u{2018}s3cret\u{2019} img:1", "replace them"),
            ("docker run -e \u{201c}A=s3cret\u{201d} img:1", "replace them"),
            ("docker run \u{2014}e A=s3cret img:1", "replace them"),
            ("docker run -e A=s3cret\u{a0}img:1", "replace them"),
        ] {
            let Err(error) = Pasted::parse(text) else { panic!("{text} was taken") };
            assert!(crate::failure::Explain::help(&error).unwrap().contains(said), "{text}: {error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
        // Within quotes they are what they are.
        assert_eq!(parsed("docker run -e 'A=\u{2018}' img:1").given.texts(Setting::Env), ["A=\u{2018}"]);
    }

    #[test]
    fn what_only_a_shell_can_do_is_refused_without_showing_the_command() {
        for text in [
            "",
            "ls",
            "docker",
            "docker ps",
            "docker run",
            "docker run -d",
            "docker run -e",
            "docker run --name",
            "docker run 'img:1",
            "docker run img:1 sh",
            "docker run UPPER/img:1",
            "docker run -e A=$s3cret img:1",
            "docker run -e \"A=`s3cret`\" img:1",
            "docker run -e \"A=$(s3cret)\" img:1",
            "docker run img:1; rm -rf s3cret",
            "docker run img:1 | sh",
            "docker run img:1 > s3cret",
            "docker pull img:1\ndocker run img:1",
            "docker run -Z s3cret img:1",
            "docker run --=s3cret img:1",
            &format!("docker run {}", "a".repeat(MAX_COMMAND)),
        ] {
            let Err(error) = Pasted::parse(text) else { panic!("{text} was taken") };
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]
        #[test]
        fn what_a_shell_would_give_to_docker_is_what_is_read(
            value in "(\\PC|[ '\"$`\\\\!*?{}()<>|&;~#=%-]){0,24}",
            style in 0..4usize,
        ) {
            let variable = format!("EXTRA={value}");
            let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
            let option = match style {
                0 => format!("-e {}", quoted(&variable)),
                1 => format!("-e{}", quoted(&variable)),
                2 => format!("--env={}", quoted(&variable)),
                _ => format!("--env \\\n {}", quoted(&variable)),
            };
            let pasted = Pasted::parse(&format!("sudo docker run {option} img:1")).unwrap();
            prop_assert_eq!(pasted.given.texts(Setting::Env), [variable]);
        }
        #[test]
        fn no_text_makes_it_panic(text in "(docker run |sudo |-e|-v |--|=|'|\"|\\\\|\n|\\PC){0,20}") {
            Pasted::parse(&text).ok();
        }
    }
}
