//! The page of `octobundle serve`, in a browser.

mod support;

use serde_json::{Value, json};
use support::browser::{Browser, HOSTILE, unwanted};
use support::images::{TestImage, TestIndex};
use support::release::Release;
use support::served::Served;

/// A release as they are: an agent, load generators, and an image of two platforms.
fn usual_release() -> Release {
    let agent = TestImage::new("octoperf/docker-agent:9.0.0").random_layer(3, 80_000);
    let jmeter = TestImage::new("octoperf/jmeter-standard:9.0.1").random_layer(4, 700_000);
    let proxy = TestIndex::new("library/haproxy:alpine")
        .image(TestImage::new("-:-").random_layer(7, 60_000))
        .image(TestImage::new("-:-").random_layer(8, 61_000).platform("linux/arm64"));
    let release = Release::of(&[&agent, &jmeter, &proxy]);
    release.pull("release.tar").args(["--platform", "all", "--quiet"]).run().assert_ok();
    release
}

/// What stands in for the clipboard, which a browser without a window does not give.
const CLIPBOARD: &str = "window.taken = []; Object.defineProperty(navigator, 'clipboard', \
    { value: { writeText: text => { taken.push(text); return Promise.resolve(); } }, configurable: true });";

const LINES: &str = "[...document.querySelectorAll('.command code')].map(code => code.textContent)";

#[track_caller]
fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
}

#[test]
fn sec_58_the_page_fits_its_window_asks_nobody_else_and_copies_its_commands() {
    let Some(mut browser) = Browser::start() else { return };
    let release = usual_release();
    let served = Served::start(&release.site, ["release.tar", "--prefix", "tools"]);
    let page = format!("http://{}/", served.host());
    browser.call("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": CLIPBOARD }));
    let mut papers = Vec::new();
    for (width, height, dark) in [(1280, 900, false), (1280, 900, true), (400, 800, false), (400, 800, true)] {
        browser.look(width, height, dark);
        let events = browser.open(&page);
        let own = |event: &&Value| event["params"]["request"]["url"].as_str().is_some_and(|url| url.starts_with(&page));
        assert!(events.iter().any(|event| own(&event)), "the browser tells of the page itself");
        assert_eq!(unwanted(&events, |address| address.starts_with(&page)), [Value::Null; 0], "{width}, dark: {dark}");
        let wide = browser.evaluate("document.documentElement.scrollWidth");
        assert!(wide.as_u64().unwrap() <= u64::from(width), "{wide} pixels of page in {width}");
        papers.push(browser.evaluate("getComputedStyle(document.body).backgroundColor"));
        browser.keep_picture(&format!("serve-{width}-{}", if dark { "dark" } else { "light" }));
    }
    assert!(papers[0] == papers[2] && papers[1] == papers[3] && papers[0] != papers[1], "{papers:?}");

    let lines = browser.evaluate(LINES);
    let host = served.host();
    for line in [
        format!("docker pull {host}/tools/octoperf/docker-agent:9.0.0"),
        format!("podman pull {host}/tools/library/haproxy:alpine"),
        format!(
            "docker run -d --restart=unless-stopped --name agent-1 -v /var/run/docker.sock:/var/run/docker.sock --env-file agent-1.env {host}/tools/octoperf/docker-agent:9.0.0"
        ),
        format!(
            "podman run -d --restart=always --name agent-1 -v /var/run/podman/podman.sock:/var/run/docker.sock --env-file agent-1.env {host}/tools/octoperf/docker-agent:9.0.0"
        ),
        "AGENT_TOKEN=TOKEN\nSERVER_URL=https://SERVER".to_owned(),
        format!(
            "octobundle render agent release.tar --registry {host}/tools --server-url https://SERVER --name agent-1 --token-file token"
        ),
    ] {
        assert!(texts(&lines).contains(&line.as_str()), "{line}\n{lines:#}");
    }
    // Every button copies the line before it.
    browser.evaluate("[...document.querySelectorAll('button')].forEach(button => button.click())");
    assert_eq!(browser.evaluate("taken"), lines);
    browser.evaluate("new Promise(done => setTimeout(done))");
    assert_eq!(browser.evaluate("document.querySelector('button').textContent"), "Copied");
    // Without a clipboard object, as on plain http of another machine, it is selected and copied the old way.
    browser.open(&page);
    browser.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })");
    browser.evaluate("document.addEventListener('copy', () => { window.old = getSelection().toString(); })");
    browser.evaluate("document.querySelector('button').click()");
    assert_eq!(browser.evaluate("window.old"), texts(&lines)[0]);
    // Each button says what it copies, and the keyboard reaches it.
    let labels = "[...document.querySelectorAll('button')].every((b, i) => b.ariaLabel === 'Copy: ' + \
        document.querySelectorAll('.command code')[i].textContent && b.tabIndex === 0)";
    assert_eq!(browser.evaluate(labels), true);
}

#[test]
fn sec_58_the_page_has_everything_without_scripts() {
    let Some(mut browser) = Browser::start() else { return };
    let release = usual_release();
    let served = Served::start(&release.site, ["release.tar"]);
    let page = format!("http://{}/", served.host());
    browser.look(400, 800, false);
    browser.open(&page);
    let with = browser.evaluate(LINES);
    browser.call("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    browser.load(&page);
    assert_eq!(browser.evaluate("document.querySelectorAll('button').length"), 0, "no button that does nothing");
    assert_eq!(browser.evaluate(LINES), with);
    assert_eq!(
        browser.evaluate(
            "[...document.querySelectorAll('.command')].every(one => one.offsetHeight > 0 || one.closest('details'))"
        ),
        true
    );
    browser.keep_picture("serve-400-without-scripts");
}

#[test]
fn sec_58_the_report_is_a_click_away_and_asks_nobody_else() {
    let Some(mut browser) = Browser::start() else { return };
    let release = usual_release();
    let served = Served::start(&release.site, ["release.tar"]);
    let page = format!("http://{}/", served.host());
    browser.look(1280, 900, false);
    browser.open(&page);
    let report = browser.evaluate("document.querySelector('.reports a').href");
    assert_eq!(report, format!("{page}report/1"));
    let events = browser.open(report.as_str().unwrap());
    assert_eq!(unwanted(&events, |address| address.starts_with(&page)), [Value::Null; 0]);
    assert!(browser.evaluate("document.body.innerText").as_str().unwrap().contains("octoperf/docker-agent"));
    assert_eq!(browser.evaluate("document.querySelectorAll('button').length > 0"), true, "its script runs");

    // It is what the command writes, for the names that the images have here.
    let registry = ["report", "release.tar", "--registry", &served.host(), "-o", "report.html"];
    release.site.octobundle(registry).run().assert_ok();
    let answer = served.get("/report/1");
    assert!(answer.body == release.site.read("report.html"), "another report than the command's");
    assert!(answer.header("content-security-policy").contains("default-src 'none'"));
    assert_eq!(served.get("/report/2").status, 404);
    assert_eq!(served.get("/report/0").status, 404);
    assert_eq!(served.ask("HEAD", "/report/1", &[]).header("content-length"), answer.body.len().to_string());
}

#[test]
fn sec_58_hostile_words_on_the_page_are_shown_and_run_nothing() {
    let Some(mut browser) = Browser::start() else { return };
    let text = HOSTILE.join(" ");
    let image = TestImage::new("octoperf/agent:1").random_layer(1, 60_000).created(&text).label(&text, &text);
    let other = TestImage::new("octoperf/other:1").layer(b"other");
    let release = Release::of(&[&image, &other]);
    release.resolve().args(["--lock", "release.lock"]).run().assert_ok();
    // A manifest with such text is refused; who sends a hostile bundle writes its lock himself.
    let mut lock: Value = serde_json::from_slice(&release.site.read("release.lock")).unwrap();
    (lock["release"], lock["title"]) = (json!(text), json!(text));
    lock["images"][1]["role"] = json!(text);
    release.site.write("release.lock", lock.to_string());
    let file = "a<img src=x onerror=window.ran=1>\u{202e}'\".tar";
    release.site.octobundle(["pull", "--locked", "release.lock", "-o", file]).run().assert_ok();
    let served = Served::start(&release.site, [file]);
    let page = format!("http://{}/", served.host());
    // With the page's policy, and with a browser that does not heed it: escaping alone must do.
    for bypassed in [false, true] {
        browser.call("Page.setBypassCSP", &json!({ "enabled": bypassed }));
        for (width, dark, address) in
            [(1280, false, page.clone()), (400, true, page.clone()), (400, false, format!("{page}report/1"))]
        {
            browser.look(width, 900, dark);
            let events = browser.open(&address);
            let own = |address: &str| address.starts_with(&page);
            assert_eq!(unwanted(&events, own), [Value::Null; 0], "{address} at {width}, policy bypassed: {bypassed}");
            browser.evaluate("for (const one of document.querySelectorAll('*')) for (const kind of ['mouseover', 'focus', 'load', 'error']) one.dispatchEvent(new Event(kind))");
            assert_eq!(browser.evaluate("typeof window.ran"), "undefined");
            let wide = browser.evaluate("document.documentElement.scrollWidth");
            assert!(wide.as_u64().unwrap() <= width.into(), "{wide} pixels of page in {width}");
        }
    }
    browser.look(400, 900, false);
    browser.open(&page);
    browser.keep_picture("serve-hostile");
    let shown = browser.evaluate("document.body.textContent");
    for hostile in HOSTILE {
        let plain: String = hostile
            .chars()
            .map(|c| if c.is_ascii_graphic() || c == ' ' { c.to_string() } else { c.escape_unicode().to_string() })
            .collect();
        assert!(shown.as_str().unwrap().contains(&plain), "{plain} is not in the page");
    }
    let elements = browser.evaluate("document.querySelectorAll('img, iframe, svg, form, object, [onload], [style], script:not([src=\"/page.js\"])').length");
    assert_eq!(elements, 0, "nothing that came from outside");
    let policy = served.get("/").header("content-security-policy").to_owned();
    for part in ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
}
