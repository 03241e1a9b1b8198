//! `report`: what it says, in every form, and what a browser does with it.

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::browser::{Browser, HOSTILE, unwanted};
use support::cli::Site;
use support::images::{Sample, TestImage, TestIndex};
use support::release::Release;

fn hostile() -> String {
    HOSTILE.join(" ")
}

/// A release whose every foreign field is hostile; what has a grammar of its own cannot be.
fn hostile_release() -> Release {
    let long = "9".repeat(10_000);
    let text = hostile();
    let image = TestImage::new("octoperf/agent:1")
        .layer(b"shared")
        .random_layer(1, 60_000)
        .created(&text)
        .label("org.opencontainers.image.licenses", &text)
        .label("license", &long)
        .label(&text, &text);
    let other = TestImage::new("octoperf/other:1").layer(b"shared").random_layer(2, 20_000).created("=1+1");
    let release = Release::of(&[&image, &other]);
    release.resolve().args(["--lock", "release.lock"]).run().assert_ok();
    // A manifest with such text is refused; who sends a hostile bundle writes its lock himself.
    let mut lock: Value = serde_json::from_slice(&release.site.read("release.lock")).unwrap();
    (lock["release"], lock["title"]) = (json!(text), json!(text));
    lock["images"][0]["role"] = json!(text);
    lock["images"][0]["groups"] = json!(HOSTILE);
    release.site.write("release.lock", lock.to_string());
    release.site.octobundle(["pull", "--locked", "release.lock", "-o", "release.tar"]).run().assert_ok();
    release
}

/// A release as they are: images that share a base, two platforms, labels.
fn usual_release() -> Release {
    let base = |name: &str| {
        TestImage::new(name)
            .random_layer(1, 400_000)
            .random_layer(2, 150_000)
            .label("org.opencontainers.image.licenses", "Apache-2.0")
            .created("2024-05-01T10:11:12Z")
    };
    let agent = base("octoperf/docker-agent:9.0.0").random_layer(3, 80_000);
    let standard = base("octoperf/jmeter-standard:9.0.1").random_layer(4, 700_000).random_layer(5, 30_000);
    let driver = base("octoperf/jmeter-webdriver:9.0.1").random_layer(4, 700_000).random_layer(6, 900_000);
    let proxy = TestIndex::new("library/haproxy:alpine")
        .image(TestImage::new("-:-").random_layer(7, 60_000).created("2023-01-02T00:00:00Z"))
        .image(TestImage::new("-:-").random_layer(8, 61_000).platform("linux/arm64"));
    let release = Release::of(&[&agent, &standard, &driver, &proxy]);
    let manifest = format!("{}    platforms: all\n", String::from_utf8(release.site.read("release.yaml")).unwrap());
    release.site.write("release.yaml", manifest);
    release
}

fn report(site: &Site, arguments: &str) -> support::cli::Output {
    site.octobundle(["report", "release.tar"]).args(arguments.split_whitespace()).run()
}

fn text(site: &Site, name: &str) -> String {
    String::from_utf8(site.read(name)).unwrap()
}

#[test]
fn the_facts_are_those_of_the_images() {
    let release = usual_release();
    release.bundle();
    report(&release.site, "-o report.json").assert_ok();
    let facts: Value = serde_json::from_slice(&release.site.read("report.json")).unwrap();
    assert_eq!(facts["schema"], "octobundle/report/v1");
    assert_eq!(facts["verification"], json!({ "state": "not-checked" }));
    assert_eq!(facts["bundle"]["bytes"], release.site.read("release.tar").len());
    let sums = release.site.run(Path::new("/bin/tar"), ["-xOf", "release.tar", "SHA256SUMS"]).run().assert_ok().stdout;
    assert_eq!(facts["bundle"]["id"], support::images::digest(sums.as_bytes()));
    let image = &facts["images"][0];
    assert_eq!(image["licences"], json!(["Apache-2.0"]));
    assert_eq!(image["platforms"][0]["created"], "2024-05-01T10:11:12Z");
    // Two layers in three images, one in two: what every image beyond the first need not bring.
    let layers = facts["layers"].as_array().unwrap();
    let (mut shared, mut saved) = (0, 0);
    for layer in layers {
        let users = layer["images"].as_array().unwrap().len() as u64;
        let bytes = layer["bytes"].as_u64().unwrap();
        shared += if users > 1 { bytes } else { 0 };
        saved += bytes * (users - 1);
    }
    assert_eq!((&facts["totals"]["shared_bytes"], &facts["totals"]["saved_bytes"]), (&json!(shared), &json!(saved)));
    assert_eq!(layers.iter().filter(|layer| layer["images"].as_array().unwrap().len() > 1).count(), 3);
    let platforms = facts["images"][3]["platforms"].as_array().unwrap();
    let names: Vec<&Value> = platforms.iter().map(|platform| &platform["platform"]).collect();
    assert_eq!(names, ["linux/amd64", "linux/arm64"]);
}

#[test]
fn one_bundle_gives_one_report_and_only_dated_brings_a_date() {
    let release = usual_release();
    release.bundle();
    for form in ["html", "json", "csv", "txt"] {
        let first = report(&release.site, &format!("--as {form}")).assert_ok().stdout;
        report(&release.site, &format!("-o again.{form}")).assert_ok();
        assert_eq!(first, text(&release.site, &format!("again.{form}")));
        let place = release.site.path("").display().to_string();
        assert!(!first.contains(&place), "SEC-64: the place of the bundle is nobody's business");
    }
    let dated = |epoch: &str| {
        let run = release.site.octobundle(["report", "release.tar", "--as", "json", "--dated"]);
        serde_json::from_str::<Value>(&run.env("SOURCE_DATE_EPOCH", epoch).run().assert_ok().stdout).unwrap()
    };
    assert_eq!(dated("1700000000")["dated"], "2023-11-14T22:13:20Z");
    assert!(dated("")["dated"].as_str().unwrap().ends_with('Z'), "an empty variable is none");
    let wrong = release.site.octobundle(["report", "release.tar", "--dated"]).env("SOURCE_DATE_EPOCH", "soon").run();
    assert!(wrong.assert_code(2).stderr.contains("`SOURCE_DATE_EPOCH` is `soon`"));
}

#[test]
fn only_what_was_really_checked_is_said_to_be() {
    let release = usual_release();
    release.bundle();
    assert!(report(&release.site, "").assert_ok().stdout.contains("not checked here"));
    assert!(report(&release.site, "--verify").assert_ok().stdout.contains("checked    sound: all "));
    let mut bytes = release.site.read("release.tar");
    let place = bytes.len() - 5_000;
    bytes[place] ^= 1;
    release.site.write("release.tar", bytes);
    assert!(report(&release.site, "").assert_ok().stdout.contains("not checked here"));
    let damaged = report(&release.site, "--verify -o damaged.html").assert_code(7);
    assert!(damaged.stderr.contains("wrote damaged.html"), "{}", damaged.stderr);
    let page = text(&release.site, "damaged.html");
    assert!(page.contains("Do not use this file: 1 finding.") && page.contains("the bytes are sha256:"));
}

#[test]
fn a_configuration_with_other_bytes_is_not_reported() {
    let release = usual_release();
    let mut bytes = release.bundle();
    let date = b"2024-05-01T10:11:12Z";
    let place = bytes.windows(date.len()).position(|found| found == date).expect("a configuration has it");
    bytes[place + 3] = b'5';
    release.site.write("release.tar", bytes);
    let refused = report(&release.site, "").assert_code(7);
    assert!(refused.stderr.contains("has other bytes") && !refused.stdout.contains("2025"), "{}", refused.stderr);
}

#[test]
fn changes_since_a_bundle_or_its_lock_are_told() {
    let release = usual_release();
    release.bundle();
    std::fs::copy(release.site.path("release.tar"), release.site.path("old.tar")).unwrap();
    let lock = release.site.octobundle(["inspect", "old.tar", "--lock"]).run().assert_ok().stdout;
    release.site.write("old.lock", &lock);
    let moved = TestImage::new("octoperf/docker-agent:9.0.0").random_layer(1, 400_000).random_layer(33, 10_000);
    release.registry.add(&moved);
    let added = release.registry.add(&TestImage::new("octoperf/new:1").random_layer(34, 10_000));
    let names = [release.name(0).to_owned(), release.name(1).to_owned(), added];
    release.site.write("release.yaml", support::release::manifest(&names));
    release.pull("release.tar").arg("--replace").run().assert_ok();
    for old in ["old.tar", "old.lock"] {
        let facts = report(&release.site, &format!("--since {old} --as json")).assert_ok().json();
        let changes = &facts["changes"];
        assert_eq!(changes["added"], json!([names[2]]));
        assert_eq!(changes["removed"], json!([release.name(2), release.name(3)]));
        assert_eq!(changes["moved"][0]["name"], names[0]);
        assert_eq!(changes["unchanged"], 1);
        let differ = release.site.octobundle(["diff", old, "release.tar", "--json"]).run().assert_code(13).json();
        assert_eq!(changes["moved"][0]["new_bytes"], differ["moved"][0]["new_bytes"]);
        // Layer, configuration and manifest of the one that moved and of the one that came.
        assert_eq!((&changes["new_blobs"], &differ["new_blobs"]), (&json!(6), &json!(6)));
        assert_eq!((&changes["new_bytes"], &changes["kept_bytes"]), (&differ["new_bytes"], &differ["shared_bytes"]));
        let new: u64 = moved.content().root().json()["layers"][1]["size"].as_u64().unwrap();
        assert!(changes["new_bytes"].as_u64().unwrap() > 2 * new, "both new layers have the same length");
    }
}

#[test]
fn signatures_are_told_with_what_they_are_worth() {
    let release = usual_release();
    let whole = release.bundle();
    for name in ["anna", "eve"] {
        release.site.octobundle(["key", "new", &format!("{name}.key"), "--no-password"]).run().assert_ok();
    }
    assert!(report(&release.site, "").assert_ok().stdout.contains("signed     not checked here: 0 signature files"));
    release.site.octobundle(["sign", "release.tar", "--key", "eve.key"]).run().assert_ok();
    assert!(report(&release.site, "").assert_ok().stdout.contains("signed     not checked here: 1 signature file "));
    let refused = report(&release.site, "--trust anna.key.pub -o refused.html").assert_code(8);
    assert!(refused.stderr.contains("wrote refused.html"), "{}", refused.stderr);
    assert!(text(&release.site, "refused.html").contains("<b>Not trusted</b>"));
    release.site.octobundle(["sign", "release.tar", "--key", "anna.key"]).run().assert_ok();
    report(&release.site, "--trust anna.key.pub -o signed.html").assert_ok();
    let page = text(&release.site, "signed.html");
    assert!(page.contains("<b>Signed</b>") && page.contains("signed by key ") && page.contains("does not count: "));
    assert!(!page.contains(&release.site.path("").display().to_string()), "where the files lie is nobody's business");
    let said = report(&release.site, "--trust anna.key.pub").assert_ok().stdout;
    assert!(said.contains("signed     trusted"), "{said}");
    // What a signature says of damaged bytes is not asked.
    let mut damaged = whole.clone();
    damaged[whole.len() - 5_000] ^= 1;
    release.site.write("release.tar", damaged);
    let facts = report(&release.site, "--trust anna.key.pub --verify --json").assert_code(7).json();
    assert_eq!(facts["trust"]["state"], "unchecked");
}

#[test]
fn a_delta_is_called_one_and_of_what() {
    let update = support::update::Update::start();
    update.delta();
    let site = &update.release.site;
    let of = |form: &str| site.octobundle(["report", "update.tar", "--as", form]).run().assert_ok().stdout;
    let facts: Value = serde_json::from_str(&of("json")).unwrap();
    let told = site.octobundle(["inspect", "update.tar", "--json"]).run().assert_ok().json();
    assert_eq!(facts["delta"], told["delta"]);
    assert!(of("txt").contains("delta      it is a delta on sample-1: 3 layers"));
    let page = of("html");
    assert!(page.contains("<b>A delta</b> It is of use only where <bdi>sample-1</bdi> is: 3 layers"));
    let commands = facts["commands"].to_string();
    assert!(
        commands.contains("octobundle load update.tar --base OLD") && !commands.contains("docker load"),
        "{commands}"
    );
}

#[test]
fn what_it_says_to_type_gives_what_it_says() {
    let release = usual_release();
    let whole = release.bundle();
    let cut = whole.len() / 3 * 2;
    release.site.write("volumes/it's.tar.001", &whole[..cut]);
    release.site.write("volumes/it's.tar.002", &whole[cut..]);
    release.site.write("volumes/it's.tar.0123456789abcdef.minisig", "a signature's name may begin with a digit");
    std::fs::copy(release.site.path("release.tar"), release.site.path("it's.tar")).unwrap();
    for (named, folder) in [("it's.tar", "."), ("volumes/it's.tar.001", "volumes")] {
        let facts = release.site.octobundle(["report", named, "--as", "json"]).run().assert_ok().json();
        let lines = |place: usize| facts["commands"][place]["lines"].as_array().unwrap().clone();
        let command = format!("cd {folder} && {}", lines(1)[0].as_str().unwrap());
        let printed = release.site.run(Path::new("/bin/sh"), ["-c", &command]).run().assert_ok().stdout;
        let id = facts["bundle"]["id"].as_str().unwrap().trim_start_matches("sha256:");
        assert!(printed.starts_with(id) && facts["commands"][1]["note"].as_str().unwrap().contains(id), "{printed}");
        let verify = lines(0)[1].as_str().unwrap().replace("octobundle", support::cli::binary().to_str().unwrap());
        release.site.run(Path::new("/bin/sh"), ["-c", &format!("cd {folder} && {verify}")]).run().assert_ok();
    }
}

#[test]
fn a_file_that_is_there_is_replaced_only_on_request_and_needs_a_known_ending() {
    let release = usual_release();
    release.bundle();
    release.site.write("report.html", "mine");
    assert!(report(&release.site, "-o report.html").assert_code(2).stderr.contains("exists already"));
    assert_eq!(text(&release.site, "report.html"), "mine");
    report(&release.site, "-o report.html --replace").assert_ok();
    assert!(text(&release.site, "report.html").starts_with("<!doctype html>"));
    assert!(report(&release.site, "-o report.pdf").assert_code(2).stderr.contains("no form of a report"));
    report(&release.site, "-o report.pdf --as txt").assert_ok();
    std::fs::create_dir(release.site.path("folder.txt")).unwrap();
    assert!(report(&release.site, "-o folder.txt --replace").assert_code(2).stderr.contains("is a folder"));
}

#[test]
fn sec_59_hostile_labels_are_no_formulas_in_the_table() {
    let release = hostile_release();
    let table = report(&release.site, "--as csv").assert_ok().stdout;
    let rows: Vec<&str> = table.split("\r\n").collect();
    assert_eq!(rows.len(), 4, "a head, two rows, an end: {rows:?}");
    assert!(rows[2].contains(",\"'=1+1\","), "{}", rows[2]);
    assert!(table.chars().all(|c| !c.is_control() || c == '\r' || c == '\n'));
}

#[test]
fn sec_57_hostile_labels_do_nothing_to_a_terminal() {
    let release = hostile_release();
    let shown = report(&release.site, "").assert_ok().stdout;
    assert!(shown.contains("\\u{202e}gpj.exe") && shown.contains("\\u{1b}]0;owned"), "{shown}");
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()));
    // A label with a line end makes no line of its own.
    let lying = TestImage::new("octoperf/agent:1")
        .layer(b"x")
        .created("x\nsigned     trusted: who has to")
        .label("license", "x\nsigned     trusted");
    let other = Release::of(&[&lying]);
    other.bundle();
    let lines = report(&other.site, "").assert_ok().stdout;
    assert!(
        !lines.lines().any(|line| line.starts_with("signed     trusted")) && lines.contains("\\u{a}signed"),
        "{lines}"
    );
    let json = report(&release.site, "--json").assert_ok();
    assert!(json.stdout.chars().all(|c| c == '\n' || !c.is_control()));
    assert_eq!(json.json()["images"][0]["platforms"][0]["created"], hostile());
}

#[test]
fn sec_58_a_browser_shows_the_page_whole_asks_for_nothing_and_copies_what_it_should() {
    let Some(mut browser) = Browser::start() else { return };
    let release = usual_release();
    release.bundle();
    std::fs::copy(release.site.path("release.tar"), release.site.path("old.tar")).unwrap();
    let all = "--verify --registry reg.corp:5000/tools --since old.tar -o report.html";
    report(&release.site, all).assert_ok();
    let page = format!("file://{}", release.site.path("report.html").display());
    let stub = "window.copied = []; Object.defineProperty(navigator, 'clipboard', \
                { value: { writeText: text => { copied.push(text); return Promise.resolve(); } }, configurable: true });";
    browser.call("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": stub }));
    let mut papers = Vec::new();
    for (width, height, dark) in [(1280, 900, false), (1280, 900, true), (400, 800, false), (400, 800, true)] {
        browser.look(width, height, dark);
        let events = browser.open(&page);
        let asked = events.iter().any(|event| event["method"] == "Network.requestWillBeSent");
        assert!(asked, "the browser tells of the page itself");
        assert_eq!(unwanted(&events, |address| address == page), [Value::Null; 0], "at {width}, dark: {dark}");
        let wide = browser.evaluate("document.documentElement.scrollWidth");
        assert!(wide.as_u64().unwrap() <= u64::from(width), "{wide} pixels of page in {width}");
        papers.push(browser.evaluate("getComputedStyle(document.body).backgroundColor"));
        browser.keep_picture(&format!("usual-{width}-{}", if dark { "dark" } else { "light" }));
    }
    assert!(papers[0] == papers[2] && papers[1] == papers[3] && papers[0] != papers[1], "{papers:?}");

    // Every button copies the line before it.
    let buttons =
        browser.evaluate("[...document.querySelectorAll('button')].map(b => { b.click(); return b.hidden; })");
    let lines = browser.evaluate("[...document.querySelectorAll('.line code')].map(code => code.textContent)");
    assert_eq!(browser.evaluate("copied"), lines);
    let lines: Vec<&str> = lines.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(buttons.as_array().unwrap(), &vec![Value::from(false); lines.len()]);
    assert!(lines.contains(&"octobundle verify release.tar") && lines.contains(&"docker load -i release.tar"));
    assert!(lines.contains(&"octobundle push release.tar --registry reg.corp:5000/tools"));
    assert!(lines.iter().any(|line| line.starts_with("docker pull reg.corp:5000/tools/octoperf/docker-agent@sha256:")));
    browser.evaluate("new Promise(done => setTimeout(done))");
    assert_eq!(browser.evaluate("document.querySelector('button').textContent"), "Copied");

    // Without a clipboard object, as on plain http, what stands in the line is selected and copied the old way.
    browser.open(&page);
    browser.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })");
    browser.evaluate("document.addEventListener('copy', () => { window.old = getSelection().toString(); })");
    browser.evaluate("document.querySelector('button').click()");
    assert_eq!(browser.evaluate("window.old"), lines[0]);

    // On paper there are no buttons; without scripts neither, and all else stands.
    browser.call("Emulation.setEmulatedMedia", &json!({ "media": "print" }));
    assert_eq!(browser.evaluate("getComputedStyle(document.querySelector('button')).display"), "none");
    browser.look(1280, 900, false);
    browser.call("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    browser.load(&page);
    let hidden = browser.evaluate("[...document.querySelectorAll('button')].every(button => button.hidden)");
    let text = browser.evaluate("document.body.innerText");
    assert!(hidden == true && text.as_str().unwrap().contains("octobundle verify release.tar"));
}

#[test]
fn sec_58_hostile_text_in_every_field_is_shown_and_runs_nothing() {
    let Some(mut browser) = Browser::start() else { return };
    let release = hostile_release();
    let file = "a<img src=x onerror=window.ran=1>\u{202e}'\".tar";
    std::fs::rename(release.site.path("release.tar"), release.site.path(file)).unwrap();
    release.site.octobundle(["report", file, "-o", "report.html"]).run().assert_ok();
    let page = format!("file://{}", release.site.path("report.html").display());
    // With the page's policy, and with a browser that does not heed it: escaping alone must do.
    for bypassed in [false, true] {
        browser.call("Page.setBypassCSP", &json!({ "enabled": bypassed }));
        for (width, dark) in [(1280, false), (400, true)] {
            browser.look(width, 900, dark);
            let events = browser.open(&page);
            assert_eq!(
                unwanted(&events, |address| address == page),
                [Value::Null; 0],
                "at {width}, policy bypassed: {bypassed}"
            );
            browser.evaluate("for (const one of document.querySelectorAll('*')) for (const kind of ['mouseover', 'click', 'focus', 'load', 'error']) one.dispatchEvent(new Event(kind))");
            assert_eq!(browser.evaluate("typeof window.ran"), "undefined");
            let wide = browser.evaluate("document.documentElement.scrollWidth");
            assert!(wide.as_u64().unwrap() <= width.into(), "{wide} pixels of page in {width}");
            browser.keep_picture(&format!("hostile-{width}-{bypassed}"));
        }
    }
    let text = browser.evaluate("document.body.textContent");
    let text = text.as_str().unwrap();
    for hostile in HOSTILE {
        let shown: String = hostile
            .chars()
            .map(|c| if c.is_ascii_graphic() || c == ' ' { c.to_string() } else { c.escape_unicode().to_string() })
            .collect();
        assert!(text.contains(&shown), "{shown} is not in the page");
    }
    assert!(text.contains("999… (10000 characters)"), "long values are cut, and it says so");
    let elements = browser
        .evaluate("document.querySelectorAll('img, iframe, script, link, form, object, [onload], [style]').length");
    assert_eq!(elements, 1, "our one script, and nothing that came from outside");
}

/// The guard itself: were the page careless, the browser would tell.
#[test]
fn the_browser_tells_what_a_careless_page_does() {
    let Some(mut browser) = Browser::start() else { return };
    let site = Site::new();
    let path = site.write("careless.html", "<!doctype html><p>x<img src=gone.png onerror=window.ran=1>");
    let page = format!("file://{}", path.display());
    browser.look(400, 800, false);
    let events = browser.open(&page);
    assert!(!unwanted(&events, |address| address == page).is_empty());
    assert_eq!(browser.evaluate("window.ran"), 1);
}
