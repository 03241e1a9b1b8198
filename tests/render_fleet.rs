//! `octobundle render agent --as …` for machines, fleets, Kubernetes and engines' mirrors: what the programs that read
//! these files make of them.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::LazyLock;

use octobundle::images::Lock;
use octobundle::plan::{MirrorMap, SourceHost, Target};
use octobundle::render::{Answers, Given, PrivateImages, Quoting, RenderTarget, Rendered, Setting, Use, usage};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};
use support::authority::Authority;
use support::cli::Site;
use support::images::TestImage;
use support::memory_registry::MemoryRegistry;
use support::real::{Containerd, Podman, RealRegistry, Setup, need};

const TOKEN: &str = "CANARY-t0ken+/=";
const PASSWORD: &str = "CANARY-pa$$ {{ lookup('pipe', 'id') }}";
const FLEET: [RenderTarget; 7] = [
    RenderTarget::Vagrant,
    RenderTarget::CloudInit,
    RenderTarget::Ansible,
    RenderTarget::Kubernetes,
    RenderTarget::Helm,
    RenderTarget::Mirrors,
    RenderTarget::Provider,
];
/// Values that mean something to every reader on the way.
const HARD: &str = "a'b\"c $HOME ${X} $(id) `id` %n %% \\ {{ x }} {% y %} #z ! & | ; < > ä € 🦀: -x";

/// One for all tests: what is rendered twice has to be the same.
static CERTIFICATE: LazyLock<String> = LazyLock::new(|| Authority::new().certificate());

fn lock(images: &[(&str, &str)]) -> Lock {
    let zero = format!("sha256:{}", "0".repeat(64));
    let content =
        |nth: usize| json!({"media_type": "application/x", "digest": format!("sha256:{nth:064x}"), "size": 1});
    let images: Vec<Value> = images
        .iter()
        .enumerate()
        .map(|(nth, (name, role))| {
            let content = content(nth);
            let source = name.rsplit_once(':').expect("it has a tag").0;
            let platform = json!({"manifest": content, "config": content, "layers": []});
            json!({"name": name, "role": role, "source": source, "root": content, "platforms": [platform]})
        })
        .collect();
    let lock = json!({
        "schema": "octobundle/lock/v1", "release": "r", "title": "R", "manifest": zero, "images": images
    });
    Lock::parse(lock.to_string().as_bytes()).expect("it is a lock")
}

/// Of 16.2.1, with stand-ins for the two that are not published.
fn release() -> Lock {
    lock(&[
        ("docker.io/octoperf/docker-agent:1", "agent"),
        ("docker.io/octoperf/generator:1", "load-generator"),
        ("docker.io/octoperf/kubernetes-agent:16.1.1", "kubernetes-agent"),
        ("docker.io/octoperf/enterprise-edition:16.2.1", "infrastructure"),
        ("docker.io/octoperf/octoperf-ui:16.2.1", "infrastructure"),
        ("docker.io/octoperf/enterprise-documentation:16.2.1", "infrastructure"),
        ("docker.io/octoperf/utility-server:16.2.1", "infrastructure"),
        ("docker.elastic.co/elasticsearch/elasticsearch:8.19.17", "infrastructure"),
    ])
}

fn target(text: &str, host: SourceHost) -> Target {
    Target::parse(text, host).expect("it is a place")
}

/// A value for every setting.
fn sample(setting: Setting) -> Option<String> {
    Some(match setting {
        Setting::ServerUrl => "https://octoperf.corp".into(),
        Setting::Name => "agent-1".into(),
        Setting::TokenFile => format!("{TOKEN}\n"),
        Setting::Engine => "podman".into(),
        Setting::Pin => "digest".into(),
        Setting::Heap => "1g".into(),
        Setting::Debug | Setting::NoDockerSocket => "true".into(),
        Setting::JavaOption => "-Da=b".into(),
        Setting::AgentHttpProxy | Setting::AgentHttpsProxy => "http://px:3128".into(),
        Setting::AgentNoProxy => "localhost,.corp".into(),
        Setting::AutoUpdate => "off".into(),
        Setting::AutoUpdateVariable => "update.auto".into(),
        Setting::Env => format!("HARD={HARD}"),
        Setting::Volume => "/srv/data:/data:ro".into(),
        Setting::CaFile => CERTIFICATE.clone(),
        Setting::RegistryUser => "robot$ci".into(),
        Setting::RegistryPasswordFile => "CANARY-pa$$'word\n".into(),
        Setting::RegistryHostProperty => "registry.host".into(),
        Setting::RegistryUserProperty => "registry.user".into(),
        Setting::RegistryPasswordProperty => "registry.password".into(),
        Setting::Box => HARD.into(),
        Setting::Namespace => "load-tests".into(),
        Setting::PullSecret => "corp-registry".into(),
        Setting::PullSecretForm => "maps".into(),
        _ => return None,
    })
}

/// Answers to all that a target needs, and to those it takes that are asked for.
fn given(render: RenderTarget, wanted: impl Fn(Setting) -> bool) -> Given {
    let mut given = Given::default();
    for setting in Setting::ALL {
        let used = match usage(render, setting) {
            Use::Needed => true,
            Use::Taken => wanted(setting),
            Use::Unused(_) => false,
        };
        if let Some(text) = sample(setting).filter(|_| used) {
            given.add(setting, text);
        }
    }
    given
}

fn rendered_at(render: RenderTarget, given: &Given, lock: &Lock, place: &Target) -> Rendered {
    let answers = Answers::new(given).unwrap_or_else(|wrong| panic!("{wrong}"));
    let images = PrivateImages::new(lock, place).expect("names are distinct");
    render.render(&answers, &images).unwrap_or_else(|error| panic!("{}: {error}", render.key()))
}

fn rendered(render: RenderTarget, given: &Given) -> Rendered {
    rendered_at(render, given, &release(), &target("reg.corp:5000/tools", SourceHost::Drop))
}

fn file<'a>(rendered: &'a Rendered, name: &str) -> &'a str {
    let found = rendered.files.iter().find(|file| file.name() == name);
    let names: Vec<&str> = rendered.files.iter().map(octobundle::render::RenderedFile::name).collect();
    found.unwrap_or_else(|| panic!("{name}: {names:?}")).content()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Writes everything below a folder.
fn write(site: &Site, rendered: &Rendered) {
    for file in &rendered.files {
        let path = site.write(file.name(), file.content());
        fs::set_permissions(path, fs::Permissions::from_mode(file.mode().bits())).expect("it is ours");
    }
}

#[track_caller]
fn accepted(program: &Path, site: &Site, arguments: &[&str]) -> String {
    site.run(program, arguments).run().assert_ok().stdout
}

#[test]
fn images_are_those_that_push_makes_and_secrets_stand_in_secret_files() {
    for (text, host) in
        [("reg.corp:5000/tools", SourceHost::Drop), ("reg.corp", SourceHost::Drop), ("reg.corp/a/b", SourceHost::Keep)]
    {
        let (place, lock) = (target(text, host), release());
        let names = MirrorMap::of_lock(&lock, &place).expect("names are distinct");
        let mut pushed: BTreeSet<String> = names.iter().map(|(_, name)| name.to_string()).collect();
        pushed.extend(lock.images.iter().map(|image| {
            let name = names.target_of(&image.name).expect("it is in the lock");
            format!("{}@{}", name.repository(), image.root.digest)
        }));
        for render in FLEET {
            for all in [false, true] {
                let rendered = rendered_at(render, &given(render, |_| all), &lock, &place);
                for image in &rendered.images {
                    assert!(pushed.contains(image), "{}: {image}", render.key());
                }
                for file in &rendered.files {
                    assert!(!file.content().contains("CANARY") || file.mode().is_secret(), "{file:?}");
                    // Nothing names an image at a public registry. Values of charts hold names in pieces, and have a
                    // test of their own.
                    if file.name().ends_with(".values.yaml") {
                        continue;
                    }
                    let public = ["octoperf/docker-agent", "octoperf/kubernetes-agent", "octoperf/enterprise-edition"];
                    for name in public.map(|name| format!("docker.io/{name}")) {
                        let inside = file.content().matches(&name).count();
                        let ours = file.content().matches(&format!("/{name}")).count();
                        assert_eq!(inside, ours, "{file:?} names {name}");
                    }
                }
                assert!(!rendered.notes.concat().contains("CANARY"));
                assert_eq!(rendered.files, rendered_at(render, &given(render, |_| all), &lock, &place).files);
            }
        }
    }
}

#[test]
fn every_answer_is_taken_or_refused_with_a_reason() {
    for render in FLEET {
        let place = target("reg.corp:5000/tools", SourceHost::Drop);
        let images = PrivateImages::new(&release(), &place).expect("names are distinct");
        for setting in Setting::ALL {
            let Some(text) = sample(setting) else { continue };
            let base = given(render, |one| one == Setting::AutoUpdateVariable && setting == Setting::AutoUpdate);
            let mut more = base.clone();
            more.add(setting, text);
            // A property without what it carries is refused, wherever it is taken.
            for (property, value) in [
                (Setting::RegistryUserProperty, Setting::RegistryUser),
                (Setting::RegistryPasswordProperty, Setting::RegistryPasswordFile),
            ] {
                if setting == property && !matches!(usage(render, value), Use::Unused(_)) {
                    more.add(value, sample(value).expect("it has one"));
                }
            }
            let answers = Answers::new(&more).map_err(|wrong| wrong.error);
            let result = answers.and_then(|answers| render.render(&answers, &images));
            let applies = !matches!(usage(render, setting), Use::Unused(_));
            assert_eq!(result.is_ok(), applies, "{} {}: {result:?}", render.key(), setting.key());
            let needed = usage(render, setting) == Use::Needed;
            let changes =
                [Setting::PullSecretForm, Setting::RegistryUser, Setting::RegistryPasswordFile, Setting::Image];
            if let (Ok(rendered), true) = (&result, applies && !needed && !changes.contains(&setting)) {
                let without = rendered_base(render, &base, &images);
                let auto = setting == Setting::AutoUpdateVariable;
                assert!(auto || rendered.files != without.files, "{} ignores {}", render.key(), setting.key());
            }
        }
    }
}

fn rendered_base(render: RenderTarget, given: &Given, images: &PrivateImages) -> Rendered {
    render.render(&Answers::new(given).unwrap_or_else(|wrong| panic!("{wrong}")), images).expect("it was rendered")
}

/// Ruby that reads a `Vagrantfile` with a stand-in for Vagrant, and writes what it was told as JSON.
const VAGRANT: &str = r"
require 'json'
class Told
  def initialize(all) @all = all end
  def method_missing(name, *arguments, **named, &block)
    name = name.to_s
    @all << [name, *arguments, named]
    block.call(self) if block
    %w[vm].include?(name) ? self : nil
  end
  def respond_to_missing?(*) true end
end
module Vagrant
  def self.configure(version) yield Told.new($all) end
end
puts JSON.generate(ARGV.map { |file| $all = []; load file; $all })
";

#[test]
fn ruby_reads_a_vagrantfile_as_it_was_meant() {
    let Some(ruby) = need("ruby") else { return };
    let site = Site::new();
    site.write("told.rb", VAGRANT);
    let mut values: Vec<String> = vec![HARD.into(), "#{`id`} \\' \\\\".into(), "'".into(), "\\".into()];
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    while values.len() < 200 {
        let text = "(\\PC|[ '\"\\\\#{}$`]){1,30}".new_tree(&mut runner).expect("it has values").current();
        if !text.is_empty() && text.chars().all(|c| octobundle::wording::plain(&c.to_string()) == c.to_string()) {
            values.push(text);
        }
    }
    let names: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(nth, value)| {
            let mut given = given(RenderTarget::Vagrant, |_| false);
            given.add(Setting::Box, value);
            let rendered = rendered(RenderTarget::Vagrant, &given);
            site.write(&format!("{nth}/Vagrantfile"), file(&rendered, "Vagrantfile"));
            format!("{nth}/Vagrantfile")
        })
        .collect();
    for name in &names[..4] {
        assert_eq!(accepted(&ruby, &site, &["-c", name]), "Syntax OK\n");
    }
    let mut arguments = vec!["told.rb"];
    let paths: Vec<String> = names.iter().map(|name| site.path(name).display().to_string()).collect();
    arguments.extend(paths.iter().map(String::as_str));
    let told: Value = serde_json::from_str(&accepted(&ruby, &site, &arguments)).expect("it is JSON");
    for (nth, value) in values.iter().enumerate() {
        let calls = told[nth].as_array().expect("it is a list");
        let find = |name: &str| calls.iter().filter(|call| call[0] == name).collect::<Vec<_>>();
        assert_eq!(find("box=")[0][1], value.as_str());
        assert_eq!(find("define")[0][1], "agent-1");
        let provisioned = find("provision");
        assert_eq!(provisioned.len(), 4, "a folder, two files and the start");
        assert_eq!(provisioned[1][2]["destination"], ".octoperf-agent/start-agent-1.sh");
        assert_eq!(provisioned[3][2]["inline"], "sudo sh \"$HOME\"/.octoperf-agent/start-agent-1.sh");
    }
}

/// The strings of a PowerShell script, by the rules of its tokenizer for verbatim strings: all single quotes of Unicode
/// count as one, and two of them are one in the string. Double-quoted strings and remarks are passed over.
fn verbatim_strings(script: &str) -> Vec<String> {
    let is_quote = |c: char| matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}');
    let (mut strings, mut rest) = (Vec::new(), script.chars().peekable());
    while let Some(c) = rest.next() {
        match c {
            '#' => while rest.next().is_some_and(|c| c != '\n') {},
            '"' => while rest.next().is_some_and(|c| c != '"') {},
            c if is_quote(c) => {
                let mut string = String::new();
                loop {
                    match rest.next() {
                        Some(c) if is_quote(c) && rest.peek().is_some_and(|&next| is_quote(next)) => {
                            rest.next();
                            string.push(c);
                        }
                        Some(c) if is_quote(c) => break,
                        Some(c) => string.push(c),
                        None => panic!("a string without an end: {script}"),
                    }
                }
                strings.push(string);
            }
            _ => {}
        }
    }
    strings
}

/// What `wsl.exe` is told to run in Linux by the script, a list of words a call; `own` stands for the folder there.
fn told_to_wsl(script: &str, files: &[&str], own: &str) -> Vec<Vec<String>> {
    let mut calls = Vec::new();
    for line in script.lines().map(str::trim).filter_map(|line| line.strip_prefix("Invoke-Wsl ")) {
        let each: &[&str] = if line.contains("$file") { files } else { &[""] };
        for file in each {
            // Two texts with a `+` between are one word.
            let line = line.replace("(\"$folder/\" + '", "'$folder/").replace("')", "'");
            let line = line.replace("$folder", own).replace("$file", file);
            calls.push(shlex::split(&line).expect("its quotes are those of a shell too"));
        }
    }
    calls
}

#[test]
fn what_wsl_is_told_starts_an_agent() {
    let (Some(_), Some(env)) = (need("sh"), need("env")) else { return };
    let site = Site::new();
    let path = with_docker(&site);
    let mut plain = Given::default();
    for setting in [Setting::ServerUrl, Setting::Name, Setting::TokenFile, Setting::Box] {
        plain.add(setting, sample(setting).expect("it has one"));
    }
    let rendered = rendered(RenderTarget::Vagrant, &plain);
    write(&site, &rendered);
    let own = site.path("agent").display().to_string();
    let calls = told_to_wsl(file(&rendered, "wsl.ps1"), &["start-agent-1.sh", "agent-1.env"], &own);
    assert_eq!(calls.len(), 4, "a folder, two files and the start: {calls:?}");
    for words in calls {
        // It is called in the folder of the script, as WSL does it.
        site.run(&env, words).env("PATH", &path).run().assert_ok();
    }
    let mode = |name: &str| fs::metadata(site.path(name)).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode("agent"), mode("agent/agent-1.env"), mode("agent/start-agent-1.sh")), (0o700, 0o600, 0o600));
    assert!(String::from_utf8(site.read("asked")).expect("it is text").contains("run\n-d\n"));
    // The shell of the distribution would read all of it once more.
    assert!(file(&rendered, "wsl.ps1").contains("& wsl.exe @asRoot --exec @args\n"));
}

#[test]
fn powershell_names_the_files_that_are_there() {
    let rendered = rendered(RenderTarget::Vagrant, &given(RenderTarget::Vagrant, |_| true));
    let strings = verbatim_strings(file(&rendered, "wsl.ps1"));
    let files = rendered.files.iter().map(octobundle::render::RenderedFile::name);
    for name in files.filter(|name| !["Vagrantfile", "wsl.ps1"].contains(name)) {
        assert!(strings.iter().any(|string| string == name), "{name}: {strings:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]
    #[test]
    fn a_value_in_powershell_is_one_string(value in "(\\PC|['\"$`’‘‚‛{}#;]){0,40}") {
        let quoted = Quoting::PowerShell.quoted(&value).expect("it has no control characters");
        prop_assert_eq!(verbatim_strings(&format!("Write-Output {quoted} # 'x'\n")), [value]);
    }

    #[test]
    fn a_secret_of_kubernetes_holds_what_was_asked(value in "[!-~äß€ ]{0,40}[!-~]", boot in "[!-~äß€ ]{0,40}[!-~]") {
        prop_assume!(!value.starts_with([' ', '"', '\'', '`']) && !boot.starts_with([' ', '"', '\'', '`']));
        let mut asked = given(RenderTarget::Kubernetes, |setting| setting == Setting::TokenFile);
        asked.add(Setting::Env, format!("A={value}"));
        let secret = yaml(file(&rendered(RenderTarget::Kubernetes, &asked), "agent-secret.yaml"));
        prop_assert_eq!(&secret["stringData"]["A"], &json!(value));
        prop_assert_eq!(&secret["stringData"]["AGENT_TOKEN"], TOKEN);
        let mut asked = given(RenderTarget::CloudInit, |_| false);
        asked.add(Setting::Env, format!("A={boot}"));
        let data = yaml(file(&rendered(RenderTarget::CloudInit, &asked), "user-data-agent-1.yaml"));
        let variables = data["write_files"][1]["content"].as_str().unwrap_or_default();
        let expected = format!("A={boot}");
        prop_assert_eq!(variables.lines().last(), Some(expected.as_str()));
    }
}

/// What cloud-init does with `write_files`, below another root and for whoever this is, and the script that it makes of
/// `runcmd`.
const WRITE_FILES: &str = "import grp, os, pwd, sys
from cloudinit import util
from cloudinit.config import cc_write_files
data = util.load_yaml(open(sys.argv[1], encoding='utf-8').read())
me = pwd.getpwuid(os.getuid()).pw_name + ':' + grp.getgrgid(os.getgid()).gr_name
for entry in data['write_files']:
    assert entry.pop('owner') == 'root:root'
    entry['path'] = sys.argv[2] + entry['path']
cc_write_files.write_files('test', data['write_files'], me)
sys.stdout.write(util.shellify(data['runcmd']))
";

#[test]
fn cloud_init_accepts_the_user_data_and_gets_every_file_whole() {
    let given = given(RenderTarget::CloudInit, |_| true);
    let (user_data, own) = (
        rendered(RenderTarget::CloudInit, &given),
        rendered(RenderTarget::Vagrant, &{
            let mut with_box = given.clone();
            with_box.add(Setting::Box, "box");
            with_box
        }),
    );
    assert_eq!(user_data.files.len(), 1);
    assert!(user_data.files[0].mode().is_secret());
    let data = yaml(user_data.files[0].content());
    // The folder is there, and root's alone, before the first secret is: `bootcmd` comes before `write_files`.
    assert_eq!(data["bootcmd"], json!([["mkdir", "-p", "-m", "0700", "/etc/octoperf-agent"]]));
    let files = data["write_files"].as_array().expect("it is a list");
    assert_eq!(files.len(), 4, "script, variables, certificate and password");
    for entry in files {
        let name = entry["path"].as_str().and_then(|path| path.strip_prefix("/etc/octoperf-agent/")).expect("a path");
        let same = own.files.iter().find(|file| file.name() == name).expect("it is one of the agent's files");
        assert_eq!(entry["content"], same.content());
        assert_eq!(entry["permissions"], format!("{:04o}", same.mode().bits()));
    }
    let Some(program) = need("cloud-init") else { return };
    let site = Site::new();
    site.write("user-data", user_data.files[0].content());
    // Its own module writes the files, below a folder of ours.
    site.write("write.py", WRITE_FILES);
    let root = site.path("root").display().to_string();
    let python = Path::new("/usr/bin/python3");
    let started = accepted(python, &site, &["write.py", "user-data", &root]);
    assert_eq!(started, "#!/bin/sh\n'sh' '/etc/octoperf-agent/start-agent-1.sh'\n");
    for entry in files {
        let path = entry["path"].as_str().unwrap_or_default();
        let written = site.path("root").join(path.trim_start_matches('/'));
        assert_eq!(fs::read_to_string(&written).expect(path), entry["content"].as_str().unwrap_or_default(), "{path}");
        let mode = fs::metadata(&written).expect(path).permissions().mode() & 0o777;
        assert_eq!(format!("{mode:04o}"), entry["permissions"].as_str().unwrap_or_default(), "{path}");
    }
    let said = accepted(&program, &site, &["schema", "--config-file", "user-data"]);
    assert!(said.contains("Valid cloud-config"), "{said}");
    // What it does not accept it says; so the check can fail.
    site.write("wrong", "#cloud-config\nruncmd: 5\n");
    assert!(site.run(&program, ["schema", "--config-file", "wrong"]).run().code != Some(0));
}

/// A `docker` that keeps its arguments, a line each, knows no container until it was run, and reads what it is given.
const DOCKER: &str = "#!/bin/sh\n\
    [ \"$1\" = login ] && cat > \"$HOME/password\"\n\
    printf '%s\\n' \"$@\" - >> \"$HOME/asked\"\n\
    [ \"$1\" = run ] && touch \"$HOME/there\" && rm -f \"$HOME/stopped\"\n\
    [ \"$1 $2 $3\" != 'container inspect --format' ] || { [ -e \"$HOME/stopped\" ] && echo false || echo true; }\n\
    [ \"$1 $2\" != 'container inspect' ] || [ -e \"$HOME/there\" ]\n";

fn with_docker(site: &Site) -> String {
    site.program("bin/docker", DOCKER);
    format!("{}:{}", site.path("bin").display(), std::env::var("PATH").unwrap_or_default())
}

#[test]
fn the_script_starts_one_agent_however_often_it_runs() {
    let mut plain = Given::default();
    for setting in [Setting::ServerUrl, Setting::Name, Setting::TokenFile, Setting::Box] {
        plain.add(setting, sample(setting).expect("it has one"));
    }
    plain.add(Setting::RegistryUser, HARD);
    plain.add(Setting::RegistryPasswordFile, format!("{PASSWORD}\n"));
    let rendered = rendered(RenderTarget::Vagrant, &plain);
    for shell in ["dash", "bash", "busybox"] {
        let Some(program) = need(shell) else { continue };
        let site = Site::new();
        let path = with_docker(&site);
        write(&site, &rendered);
        for _ in 0..2 {
            let words: &[&str] =
                if shell == "busybox" { &["sh", "./start-agent-1.sh"] } else { &["./start-agent-1.sh"] };
            site.run(&program, words).env("PATH", &path).run().assert_ok();
        }
        let log = String::from_utf8(site.read("asked")).expect("it is text");
        let calls: Vec<&str> = log.split("\n-\n").filter(|call| !call.is_empty()).collect();
        assert_eq!(String::from_utf8(site.read("password")).expect("it is text"), PASSWORD);
        let image = "reg.corp:5000/tools/octoperf/docker-agent:1";
        let login = format!("login\n--username\n{HARD}\n--password-stdin\nreg.corp:5000");
        let run = format!(
            "run\n-d\n--restart=unless-stopped\n--name\nagent-1\n-v\n/var/run/docker.sock:/var/run/docker.sock\n--env-file\nagent-1.env\n{image}"
        );
        let pull = format!("pull\n{image}");
        let first = [login.as_str(), &pull, "container\ninspect\nagent-1", &run];
        let again = [login.as_str(), &pull, "container\ninspect\nagent-1", "rm\n-f\nagent-1", &run];
        assert_eq!(calls, [&first[..], &again[..]].concat(), "{shell}");
    }
}

#[test]
fn with_podman_the_script_switches_on_what_an_agent_lives_on() {
    let sh = need("sh").expect("every system has one");
    for (more, wanted) in [
        (&[][..], &["enable --now podman.socket", "enable podman-restart.service"][..]),
        (&[Setting::NoDockerSocket], &["enable podman-restart.service"]),
    ] {
        let mut asked = Given::default();
        for &setting in
            [Setting::ServerUrl, Setting::Name, Setting::TokenFile, Setting::Box, Setting::Engine].iter().chain(more)
        {
            asked.add(setting, sample(setting).expect("it has one"));
        }
        let rendered = rendered(RenderTarget::Vagrant, &asked);
        let site = Site::new();
        let path = with_docker(&site);
        fs::copy(site.path("bin/docker"), site.path("bin/podman")).expect("it was made");
        site.program("bin/systemctl", "#!/bin/sh\necho \"$@\" >> \"$HOME/switched\"\n");
        write(&site, &rendered);
        // Another place than that of this machine's own podman.
        let script = file(&rendered, "start-agent-1.sh").replace("-S /var/run/podman/podman.sock", "-S own.sock");
        site.write("start-agent-1.sh", script);
        let start = || site.run(&sh, ["start-agent-1.sh"]).env("PATH", &path).run().assert_ok();
        start();
        let switched = || String::from_utf8(site.read("switched")).expect("it is text");
        assert_eq!(switched().lines().collect::<Vec<_>>(), wanted);
        let started = String::from_utf8(site.read("asked")).expect("it is text");
        assert!(started.contains("run\n-d\n--restart=always\n"), "{started}");
        // A socket that is there is left as it is; a machine without systemd is no reason not to start.
        let _own = std::os::unix::net::UnixListener::bind(site.path("own.sock")).expect("its name is short");
        site.program("bin/systemctl", "#!/bin/sh\necho \"$@\" >> \"$HOME/switched\"\nexit 1\n");
        assert!(start().stderr.contains("run this script again"));
        assert_eq!(switched().lines().filter(|line| line.contains("socket")).count(), wanted.len() - 1);
    }
}

#[test]
fn ansible_starts_an_agent_with_its_own_token() {
    let (Some(ansible), Some(_)) = (need("ansible-playbook"), need("sh")) else { return };
    let site = Site::new();
    let path = with_docker(&site);
    let mut asked = Given::default();
    for setting in [Setting::ServerUrl, Setting::Name] {
        asked.add(setting, sample(setting).expect("it has one"));
    }
    asked.add(Setting::Env, format!("HARD={HARD}"));
    asked.add(Setting::RegistryUser, HARD);
    asked.add(Setting::RegistryPasswordFile, format!("{PASSWORD}\n"));
    let rendered = rendered(RenderTarget::Ansible, &asked);
    write(&site, &rendered);
    let play = |arguments: &[&str]| {
        let run = site.run(&ansible, arguments).env("PATH", &path).env("LC_ALL", "C.UTF-8");
        run.env("ANSIBLE_LOCAL_TEMP", site.path("tmp")).env("ANSIBLE_REMOTE_TEMP", site.path("tmp")).run().assert_ok()
    };
    play(&["--syntax-check", "-i", "inventory.yaml", "agents.yaml"]);
    let python = need("python3").map_or_else(String::new, |path| path.display().to_string());
    let hard = "t0k'en{{ 1 + 1 }}$(id)";
    site.write("tokens/one", format!("{hard}\n"));
    site.write(
        "own.yaml",
        format!(
            "octoperf_agents:\n  hosts:\n    localhost:\n      ansible_connection: local\n      ansible_python_interpreter: {python}\n      octoperf_token_file: tokens/one\n"
        ),
    );
    let folder = format!("octoperf_folder={}", site.path("agent").display());
    let arguments = ["-i", "own.yaml", "agents.yaml", "-e", "ansible_become=false", "-e", &folder];
    let first = play(&arguments);
    assert!(!first.stdout.contains("CANARY") && !first.stdout.contains("t0k'en"), "{}", first.stdout);
    let variables = String::from_utf8(site.read("agent/agent-1.env")).expect("it is text");
    assert_eq!(
        variables,
        format!("SERVER_URL=https://octoperf.corp\nHARD={HARD}\nAGENT_TOKEN={hard}\n"),
        "a value is no template"
    );
    let mode = |name: &str| fs::metadata(site.path(name)).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode("agent"), mode("agent/agent-1.env"), mode("agent/registry-password")), (0o700, 0o600, 0o600));
    let runs = || String::from_utf8(site.read("asked")).expect("it is text").matches("run\n-d\n").count();
    assert_eq!(runs(), 1);
    play(&arguments);
    assert_eq!(runs(), 1, "nothing changed");
    site.write("tokens/one", "another");
    play(&arguments);
    assert_eq!(runs(), 2, "the token changed");
    site.write("stopped", "");
    play(&arguments);
    assert_eq!(runs(), 3, "it was stopped");
}

/// Whether a value follows a schema; the words of JSON Schema that those of `tests/data/kubernetes` use.
fn check(value: &Value, schema: &Value, place: &str) {
    let known = ["type", "required", "properties", "items", "enum", "maxLength", "pattern", "additional", "source"];
    for word in schema.as_object().expect("a schema is an object").keys() {
        assert!(known.contains(&word.as_str()), "{place}: the schema has `{word}`");
    }
    if let Some(kind) = schema["type"].as_str() {
        let fits = match kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_u64(),
            "boolean" => value.is_boolean(),
            other => panic!("{place}: the schema has the type `{other}`"),
        };
        assert!(fits, "{place} is no {kind}: {value}");
    }
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{place}: {value} is none of {allowed:?}");
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(value.get(name).is_some(), "{place} has no `{name}`");
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let place = format!("{place}.{key}");
        match (schema["properties"].get(key), schema.get("additional")) {
            (Some(own), _) => check(inner, own, &place),
            (None, Some(any)) => check(inner, any, &place),
            (None, None) => panic!("{place} is not in the schema"),
        }
    }
    for (nth, inner) in value.as_array().into_iter().flatten().enumerate() {
        check(inner, &schema["items"], &format!("{place}[{nth}]"));
    }
    if schema["pattern"] == "label" {
        let text = value.as_str().unwrap_or_default();
        let sound = !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        assert!(sound && !text.starts_with('-') && !text.ends_with('-') && text.len() <= 63, "{place}: {text}");
    }
}

fn schema_of(kind: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kubernetes").join(format!("{kind}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("it is JSON")
}

#[test]
fn kubernetes_manifests_follow_the_schemas() {
    for all in [false, true] {
        let rendered = rendered(RenderTarget::Kubernetes, &given(RenderTarget::Kubernetes, |_| all));
        let mut kinds = Vec::new();
        for name in ["agent.yaml", "agent-secret.yaml"] {
            for text in file(&rendered, name).split("\n---\n") {
                let document = yaml(text);
                let kind = document["kind"].as_str().expect("it has a kind").to_owned();
                check(&document, &schema_of(&kind), &kind);
                assert_eq!(document["metadata"]["namespace"], "load-tests");
                kinds.push((kind, document));
            }
        }
        let names: Vec<&str> = kinds.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(names, ["ServiceAccount", "Role", "RoleBinding", "Deployment", "Secret"]);
        let (deployment, secret) = (&kinds[3].1["spec"]["template"]["spec"], &kinds[4].1);
        assert_eq!(kinds[3].1["spec"]["selector"]["matchLabels"], kinds[3].1["spec"]["template"]["metadata"]["labels"]);
        assert_eq!(kinds[2].1["subjects"][0]["name"], deployment["serviceAccountName"]);
        assert_eq!(deployment["containers"][0]["envFrom"][0]["secretRef"]["name"], secret["metadata"]["name"]);
        let variables = deployment["containers"][0]["env"].as_array().expect("it is a list");
        let token = variables.iter().find(|variable| variable["name"] == "AGENT_TOKEN");
        assert_eq!(token.is_some(), !all, "the token is in the one secret or in the other");
        assert_eq!(secret["stringData"].get("AGENT_TOKEN").is_some(), all);
        if let Some(token) = token {
            assert_eq!(token["valueFrom"]["secretKeyRef"]["name"], "agent-1-token");
        } else {
            let told = rendered.notes.concat();
            assert!(told.contains("`kubectl create namespace load-tests`"), "{told}");
            assert!(told.contains("create secret generic corp-registry --namespace load-tests --type="), "{told}");
            assert_eq!(deployment["imagePullSecrets"], json!([{"name": "corp-registry"}]));
            assert_eq!(secret["stringData"]["HARD"], HARD);
        }
    }
    // Names of labels are narrower than those of containers.
    for name in ["Agent_1", "agent.1"] {
        let mut wrong = given(RenderTarget::Kubernetes, |_| false);
        wrong.add(Setting::Name, name);
        let answers = Answers::new(&wrong).expect("it is a container's name");
        let images = PrivateImages::new(&release(), &target("reg.corp", SourceHost::Drop)).expect("names are distinct");
        assert!(RenderTarget::Kubernetes.render(&answers, &images).is_err(), "{name}");
    }
}

/// The values of a chart with ours on top, as helm merges them.
fn merged(defaults: &Value, ours: &Value) -> Value {
    match (defaults, ours) {
        (Value::Object(defaults), Value::Object(ours)) => {
            let mut all = defaults.clone();
            for (key, value) in ours {
                all.insert(key.clone(), merged(defaults.get(key).unwrap_or(&Value::Null), value));
            }
            Value::Object(all)
        }
        _ => ours.clone(),
    }
}

/// A name as a chart's templates put it together: `{a.b}` stands for a value.
fn put_together(form: &str, values: &Value) -> String {
    let mut name = String::new();
    for (nth, part) in form.split(['{', '}']).enumerate() {
        if nth % 2 == 0 {
            name += part;
        } else {
            let value = part.split('.').fold(values, |value, key| &value[key]);
            name += value.as_str().unwrap_or_else(|| panic!("{part} is no text: {value}"));
        }
    }
    name
}

#[test]
fn no_image_of_the_charts_is_left_that_points_outside() {
    let charts: Value = serde_json::from_str(include_str!("data/charts.json")).expect("it is JSON");
    let mut asked = given(RenderTarget::Helm, |_| false);
    asked.add(Setting::PullSecret, "corp-registry");
    asked.add(Setting::PullSecretForm, "maps");
    for (text, host) in [("reg.corp:5000/tools", SourceHost::Drop), ("reg.corp", SourceHost::Keep)] {
        let (place, lock) = (target(text, host), release());
        let rendered = rendered_at(RenderTarget::Helm, &asked, &lock, &place);
        let names = MirrorMap::of_lock(&lock, &place).expect("names are distinct");
        let pushed: BTreeSet<String> = names.iter().map(|(_, name)| name.to_string()).collect();
        for chart in ["kubernetes-agent", "enterprise-edition"] {
            let about = &charts[chart];
            let ours = yaml(file(&rendered, &format!("{chart}.values.yaml")));
            let values = merged(&about["defaults"], &ours);
            for form in about["images"].as_array().expect("it is a list").iter().filter_map(Value::as_str) {
                let before = put_together(form, &about["defaults"]);
                let after = put_together(form, &values);
                assert!(!before.starts_with(&place.to_string()), "{before}");
                assert!(after.starts_with(&format!("{place}/")), "{form} is {after}");
                // The chart switches this one off; the bundle does not hold it.
                assert!(pushed.contains(&after) || after.contains("mcp-server"), "{after}");
            }
            for key in about["pull_secrets"].as_array().expect("it is a list").iter().filter_map(Value::as_str) {
                let value = key.split('.').fold(&values, |value, key| &value[key]);
                assert_eq!(value, &json!([{"name": "corp-registry"}]), "{key}");
            }
            if let Some(key) = about["pull_policy"].as_str() {
                assert_eq!(values[key], "IfNotPresent");
            }
        }
    }
    // Without documentation in the bundle, the chart does without.
    let small = lock(&[
        ("octoperf/enterprise-edition:16.2.1", "infrastructure"),
        ("octoperf/octoperf-ui:16.2.1", "infrastructure"),
        ("elasticsearch:8.19.17", "infrastructure"),
    ]);
    let rendered = rendered_at(RenderTarget::Helm, &asked, &small, &target("reg.corp", SourceHost::Drop));
    assert_eq!(yaml(file(&rendered, "enterprise-edition.values.yaml"))["doc"]["enabled"], false);
    let note = rendered.notes.iter().find(|note| note.contains("octoperf/utility-server")).expect("it is told");
    assert!(note.contains("15.2.2 to 16.2.1"), "some charts have it on by themselves: {note}");
}

#[test]
fn a_server_that_a_chart_cannot_have_is_refused() {
    let refused = |images: &[(&str, &str)], said: &str| {
        let images = PrivateImages::new(&lock(images), &target("reg.corp", SourceHost::Drop)).expect("distinct");
        let answers = Answers::new(&Given::default()).expect("there are none");
        let error = RenderTarget::Helm.render(&answers, &images).expect_err(said);
        assert!(error.to_string().contains(said), "{error}");
    };
    let server = ("octoperf/enterprise-edition:14.5.1", "infrastructure");
    refused(&[("octoperf/docker-agent:1", "agent")], "neither the agent for Kubernetes nor the server");
    refused(&[server, ("octoperf/enterprise-ui:14.5.1", "infrastructure")], "two user interfaces");
    refused(&[server], "no Elasticsearch");
    refused(&[server, ("octoperf/octoperf-ui:15.0.0", "infrastructure")], "have two");
}

/// A registry with TLS that holds the images of a release, and the release's lock.
fn private_registry(site: &Site) -> Option<(RealRegistry, Lock)> {
    let authority = Authority::new();
    let registry = RealRegistry::with(&Setup { login: None, tls: Some(&authority), clients: None })?;
    let vendor = MemoryRegistry::start();
    for name in ["octoperf/docker-agent:1", "elasticsearch/elasticsearch:8"] {
        vendor.add(&TestImage::new(name).docker().layer(name.as_bytes()));
    }
    site.write("ca.pem", authority.certificate());
    let manifest = "schema: octobundle/v1\nrelease: r-1\ntitle: R\nimages:\n  - {image: 'octoperf/docker-agent:1', role: agent}\n  - {image: 'docker.elastic.co/elasticsearch/elasticsearch:8', role: infrastructure}\n";
    site.write("release.yaml", manifest);
    let mirrors = ["docker.io", "docker.elastic.co"].map(|host| format!("{host}={}", vendor.host()));
    let pull = ["pull", "release.yaml", "-o", "bundle.tar", "--mirror", &mirrors[0], "--mirror", &mirrors[1]];
    site.octobundle(pull).run().assert_ok();
    let place = format!("0.0.0.0:{}/tools", registry.port());
    site.octobundle(["push", "bundle.tar", "--registry", &place, "--ca", "ca.pem"]).run().assert_ok();
    let lock = site.octobundle(["inspect", "bundle.tar", "--lock"]).run().assert_ok().stdout;
    Some((registry, Lock::parse(lock.as_bytes()).expect("it is a lock")))
}

const PUBLIC: [&str; 2] = ["docker.io/octoperf/docker-agent:1", "docker.elastic.co/elasticsearch/elasticsearch:8"];

#[test]
fn engines_find_public_names_in_the_private_registry() {
    let site = Site::new();
    let Some((registry, lock)) = private_registry(&site) else { return };
    let mut asked = Given::default();
    asked.add(Setting::CaFile, String::from_utf8(site.read("ca.pem")).expect("it is text"));
    let place = target(&format!("0.0.0.0:{}/tools", registry.port()), SourceHost::Drop);
    let rendered = rendered_at(RenderTarget::Mirrors, &asked, &lock, &place);
    write(&site, &rendered);
    // Where the containers tools look for a person's own parts of it.
    let conf = file(&rendered, "containers/registries.conf.d/octoperf.conf");
    site.write(".config/containers/registries.conf.d/octoperf.conf", conf);
    if let Some(skopeo) = need("skopeo") {
        for name in PUBLIC {
            let run = site.run(&skopeo, ["inspect", "--no-tags", &format!("docker://{name}")]);
            let run = run.env("SSL_CERT_FILE", site.path("ca.pem"));
            assert!(run.run().assert_ok().stdout.contains("sha256:"), "{name}");
        }
    }
    if let Some(podman) = Podman::new() {
        for name in PUBLIC {
            let run = site.run(&podman.wrapper(), ["pull", "--quiet", name]);
            run.env("SSL_CERT_FILE", site.path("ca.pem")).run().assert_ok();
            assert!(podman.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).contains(name));
        }
    }
    if let Some(containerd) = Containerd::start() {
        let hosts = site.path("containerd/certs.d").display().to_string();
        for name in PUBLIC {
            containerd.run(&["images", "pull", "--hosts-dir", &hosts, "--snapshotter", "native", name]);
            assert!(containerd.run(&["images", "ls", "--quiet"]).contains(name));
        }
    }
}

#[test]
fn mirrors_are_written_as_their_readers_want_them() {
    let all = |text: &str, host| {
        let asked = given(RenderTarget::Mirrors, |_| true);
        rendered_at(RenderTarget::Mirrors, &asked, &release(), &target(text, host))
    };
    for (text, host, hub, elastic) in [
        ("reg.corp:5000/tools", SourceHost::Drop, "tools", "tools"),
        ("reg.corp:5000/a", SourceHost::Keep, "a/docker.io", "a/docker.elastic.co"),
        ("[fd00::1]:5000", SourceHost::Keep, "docker.io", "docker.elastic.co"),
    ] {
        let rendered = all(text, host);
        let registry = text.split('/').next().expect("it has a host");
        for (public, below) in [("docker.io", hub), ("docker.elastic.co", elastic)] {
            let hosts: Value = toml::from_str(file(&rendered, &format!("containerd/certs.d/{public}/hosts.toml")))
                .expect("it is TOML");
            let place = format!("https://{registry}/v2/{below}");
            assert_eq!(hosts["server"], place);
            let host = &hosts["host"][&place];
            assert_eq!((&host["override_path"], &host["ca"]), (&json!(true), &json!("ca.crt")));
            let conf: Value =
                toml::from_str(file(&rendered, "containers/registries.conf.d/octoperf.conf")).expect("it is TOML");
            let entries = conf["registry"].as_array().expect("it is a list");
            let entry = entries.iter().find(|entry| entry["prefix"] == public).expect("it has one");
            assert_eq!(entry["location"], format!("{registry}/{below}"));
            let k3s = yaml(file(&rendered, "rancher/k3s/registries.yaml"));
            assert_eq!(k3s["mirrors"][public]["endpoint"], json!([format!("https://{registry}")]));
            assert_eq!(k3s["mirrors"][public]["rewrite"]["^(.*)$"], format!("{below}/$1"));
            assert_eq!(k3s["configs"][registry]["tls"]["ca_file"], "/etc/rancher/k3s/registry-ca.crt");
        }
        // docker takes no path here.
        assert!(rendered.files.iter().all(|file| file.name() != "docker/daemon.json"));
    }
    let rendered = all("reg.corp", SourceHost::Drop);
    let daemon: Value = serde_json::from_str(file(&rendered, "docker/daemon.json")).expect("it is JSON");
    assert_eq!(daemon, json!({"registry-mirrors": ["https://reg.corp"]}));
    let k3s = yaml(file(&rendered, "rancher/k3s/registries.yaml"));
    assert!(k3s["mirrors"]["docker.io"].get("rewrite").is_none());
}

#[test]
fn the_providers_form_is_told_without_the_password() {
    let asked = given(RenderTarget::Provider, |_| true);
    let rendered = rendered(RenderTarget::Provider, &asked);
    let text = file(&rendered, "provider.txt");
    assert!(text.contains("\nRegistry:  reg.corp:5000/tools\n"), "{text}");
    for option in ["-Dregistry.host=reg.corp:5000", "-Dregistry.user=robot$ci", "-Dregistry.password=PASSWORD"] {
        assert!(text.contains(&format!("\n  {option}\n")), "{text}");
    }
    let without =
        rendered_at(RenderTarget::Provider, &Given::default(), &release(), &target("reg.corp", SourceHost::Drop));
    assert!(file(&without, "provider.txt").contains("--registry-user-property PROPERTY"));
}

#[test]
fn files_are_written_with_their_modes_and_one_plain_file_is_printed() {
    let site = Site::new();
    let vendor = MemoryRegistry::start();
    let name = vendor.add(&TestImage::new("octoperf/docker-agent:1").docker().layer(b"agent"));
    site.write("release.yaml", support::release::manifest(&[name]));
    site.octobundle(["pull", "release.yaml", "-o", "bundle.tar", "--quiet"]).run().assert_ok();
    site.write("token", TOKEN);
    let render = |target: &str, more: &[&str]| {
        let run = site.octobundle(["render", "agent", "bundle.tar", "--registry", "reg.corp/tools", "--as", target]);
        run.args(more).run()
    };
    let provider = render("provider", &[]).assert_ok();
    assert!(provider.stdout.contains("Registry:  reg.corp/tools\n"), "{}", provider.stdout);
    let agent = ["--server-url", "https://octoperf.corp", "--name", "agent-1", "--token-file", "token"];
    let refused = render("cloud-init", &agent).assert_code(2);
    assert!(refused.stderr.contains("--out DIR") && refused.stdout.is_empty(), "{}", refused.stderr);
    let written = render("vagrant", &[&agent[..], &["--box", "corp/docker", "--out", "vm"]].concat()).assert_ok();
    assert!(!written.stdout.contains("CANARY") && !written.stderr.contains("CANARY"));
    let mode = |name: &str| fs::metadata(site.path(name)).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode("vm/agent-1.env"), 0o600);
    assert_eq!(mode("vm/start-agent-1.sh") & 0o700, 0o700);
    let missing = render("vagrant", &agent).assert_code(2);
    assert!(missing.stderr.contains("`--as vagrant` needs `box`"), "{}", missing.stderr);
}
