//! `octobundle upgrade-path`: a bundle for each major on the way, and the vendor's words about it.

mod support;

use support::cli::Site;

const USAGE: i32 = 2;

#[test]
fn an_upgrade_over_several_majors_needs_a_bundle_each() {
    let site = Site::new();
    let path = |from: &str, to: &str| site.octobundle(["upgrade-path", from, to]);
    let shown = path("13.2.2", "octoperf-16.2.1").run().assert_ok().stdout;
    assert!(shown.starts_with("from 13.2.2 to 16.2.1: 3 bundles, one after the other\n"), "{shown}");
    for part in [
        "\n1. 14.x  `octobundle pull octoperf-14.5.1`\n",
        "\n2. 15.x  `octobundle pull octoperf-15.4.1`\n",
        "\n3. 16.2.1  `octobundle pull octoperf-16.2.1`\n",
        "the chart goes from Elasticsearch 7.17 to 8.19\n     https://",
        "there is no way back",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let report = path("10.2.0", "11.9.4").arg("--json").run().assert_ok().json();
    let stops: Vec<&str> =
        report["steps"].as_array().unwrap().iter().map(|step| step["to"].as_str().unwrap()).collect();
    assert_eq!(stops, ["10.6.x", "11.9.4"]);
    assert!(report["steps"][0].get("release").is_none(), "none of 10 comes with the tool");
}

#[test]
fn what_is_no_upgrade_is_refused_with_a_next_step() {
    let site = Site::new();
    for (from, to, said) in [
        ("16.2.1", "15.4.1", "restore the backup"),
        ("16.2.1", "16.2.1", "runs already"),
        ("16.2.1", "next", "is no version"),
    ] {
        let failed = site.octobundle(["upgrade-path", from, to]).run().assert_code(USAGE);
        assert!(failed.stderr.contains(said) && failed.stderr.contains("help:"), "{}", failed.stderr);
    }
}
