//! Chromium without a window, driven through its own pipe: messages of the `DevTools` protocol, each ending in a zero byte.
//!
//! It waits for answers and events, never for a time; the bound on waiting only tells a standstill from a slow machine.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::fs::Mode;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::real::need;

/// Starting a browser on two busy cores takes ten seconds and more.
const PATIENCE: Duration = Duration::from_secs(180);

/// Text that would run, break out, reorder or fill the page if anything took it for more than text.
pub(crate) const HOSTILE: [&str; 11] = [
    "<script>window.ran=1</script>",
    "<img src=x onerror=window.ran=1>",
    "\"onload=\"window.ran=1\" x=\"",
    "'onmouseover='window.ran=1",
    "javascript:window.ran=1",
    "</style><script>window.ran=1</script>",
    "</script><script>window.ran=1</script>",
    "</title><svg onload=window.ran=1>",
    "\u{202e}gpj.exe\u{2066}",
    "\u{1b}]0;owned\u{7}\u{9b}31m",
    "{{ 7*7 }}{% for i in range(9) %}x{% endfor %}",
];

/// Events that say that something was asked for beyond what is the page's own, or that anything was refused to run.
pub(crate) fn unwanted(events: &[Value], is_own: impl Fn(&str) -> bool) -> Vec<Value> {
    let asked = |event: &&Value| {
        let address = event["params"]["request"]["url"].as_str().unwrap_or_default();
        let kinds = ["Network.requestWillBeSent", "Network.webSocketCreated", "Page.javascriptDialogOpening"];
        let told = ["Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"];
        let method = event["method"].as_str().unwrap_or_default();
        (kinds.contains(&method) && !is_own(address)) || told.contains(&method)
    };
    events.iter().filter(asked).cloned().collect()
}

/// A browser with a profile of its own.
pub(crate) struct Browser {
    child: Child,
    requests: File,
    messages: Receiver<Value>,
    /// Events that came while something else was waited for.
    events: Vec<Value>,
    last: u64,
    session: Option<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one with an empty page, or says why not.
    pub(crate) fn start() -> Option<Self> {
        let program = need("chromium")?;
        let profile = tempfile::Builder::new().prefix("octobundle-browser-").tempdir().expect("folders can be made");
        let pipe = |name: &str| {
            let path = profile.path().join(name);
            rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).expect("a pipe can be made");
            path
        };
        let (input, output) = (pipe("input"), pipe("output"));
        // A shell opens the two descriptors that the browser expects: 3 to read, 4 to write.
        let mut child = Command::new("/bin/sh")
            .args(["-c", r#"in=$1 out=$2; shift 2; exec "$@" 3<"$in" 4>"$out""#, "sh"])
            .args([&input, &output])
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"])
            .args(["--disable-default-apps", "--disable-extensions", "--hide-scrollbars", "--force-color-profile=srgb"])
            .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell can be started");
        // Each waits for the shell to open the other end.
        let requests = OpenOptions::new().write(true).open(&input).expect("a pipe can be opened");
        let answers = BufReader::new(File::open(&output).expect("a pipe can be opened"));
        let (give, messages) = channel();
        std::thread::spawn(move || {
            for message in answers.split(0) {
                let Ok(message) = message else { break };
                let message = serde_json::from_slice(&message).expect("the browser speaks JSON");
                if give.send(message).is_err() {
                    break;
                }
            }
        });
        assert!(child.try_wait().expect("a child can be asked").is_none(), "the browser ended at once");
        let mut browser =
            Self { child, requests, messages, events: Vec::new(), last: 0, session: None, _profile: profile };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attached =
            browser.call("Target.attachToTarget", &json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = Some(attached["sessionId"].as_str().expect("sessions have names").to_owned());
        for domain in ["Page", "Network", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    /// Asks for something and waits for its answer.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let id = self.last;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.requests.write_all(format!("{message}\0").as_bytes()).expect("the browser listens");
        loop {
            let mut message = self.next(method);
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    #[track_caller]
    fn next(&mut self, waited_for: &str) -> Value {
        match self.messages.recv_timeout(PATIENCE) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => panic!("waited in vain for {waited_for}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the browser ended while {waited_for} was waited for"),
        }
    }

    /// Opens a page and waits until it is loaded and what it started has begun. Gives all events from there on.
    #[track_caller]
    pub(crate) fn open(&mut self, address: &str) -> Vec<Value> {
        self.load(address);
        self.evaluate("new Promise(done => setTimeout(done))");
        self.events()
    }

    /// Opens a page and waits until it is loaded; its scripts may be turned off.
    #[track_caller]
    pub(crate) fn load(&mut self, address: &str) {
        self.events.clear();
        let went = self.call("Page.navigate", &json!({ "url": address }));
        assert!(went.get("errorText").is_none(), "{address}: {went}");
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.next("the page to load");
            self.events.push(event);
        }
    }

    /// What happened since the page was asked for.
    pub(crate) fn events(&mut self) -> Vec<Value> {
        self.call("Runtime.evaluate", &json!({ "expression": "0" }));
        self.events.clone()
    }

    /// The value of an expression in the page, awaited, as if a person had caused it.
    #[track_caller]
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let parameters =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true });
        let mut answer = self.call("Runtime.evaluate", &parameters);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    /// The window's size in pixels, and whether the person prefers the dark.
    pub(crate) fn look(&mut self, width: u32, height: u32, dark: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Keeps a picture for whoever wants to look: `PICTURES=folder`.
    pub(crate) fn keep_picture(&mut self, name: &str) {
        if let Some(folder) = std::env::var_os("PICTURES") {
            let height = self.evaluate("document.documentElement.scrollHeight").as_u64().unwrap();
            let width = self.evaluate("innerWidth").as_u64().unwrap();
            let clip = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
            self.call("Emulation.setDeviceMetricsOverride", &clip);
            self.picture(&Path::new(&folder).join(format!("{name}.png")));
        }
    }

    /// Writes a picture of the whole page.
    pub(crate) fn picture(&mut self, path: &Path) {
        use base64::Engine as _;
        let picture = self.call("Page.captureScreenshot", &json!({ "format": "png", "captureBeyondViewport": true }));
        let data = picture["data"].as_str().expect("pictures are text");
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("pictures are base64");
        std::fs::write(path, bytes).expect("files can be written");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
