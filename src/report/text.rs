//! Plain text, for a ticket or a mail.

use crate::report::{Changes, ImageFacts, Report, ScanFacts, Verification};
use crate::wording::{count, cut, line, size};

/// The whole text; lines are made of words that a terminal and a ticket show as they are.
pub(super) fn text(report: &Report) -> String {
    let mut lines = vec![
        format!("{}: {}", report.release, report.title),
        String::new(),
        format!("file       {}", report.bundle.file),
        format!("size       {} ({} bytes)", size(report.bundle.bytes), report.bundle.bytes),
        format!("id         {}", report.bundle.id),
        format!(
            "contents   {}, {}, {}",
            count(report.totals.images as u64, "image"),
            count(report.totals.layers as u64, "layer"),
            size(report.totals.layer_bytes)
        ),
        format!(
            "shared     {} in layers of several images, which saves {}",
            size(report.totals.shared_bytes),
            size(report.totals.saved_bytes)
        ),
    ];
    lines.extend(report.dated.iter().map(|dated| format!("dated      {dated}")));
    lines.extend(report.delta.iter().map(|delta| format!("delta      it is {}", delta.line())));
    lines.extend(verification(&report.verification));
    lines.extend(trust(report));
    lines.extend(report.scan.iter().flat_map(scan));
    for image in &report.images {
        lines.push(String::new());
        lines.extend(about(image));
    }
    lines.extend(report.changes.iter().flat_map(changes));
    for commands in &report.commands {
        lines.extend([String::new(), format!("{}:", commands.purpose)]);
        lines.extend(commands.lines.iter().map(|line| format!("  {line}")));
        lines.extend(commands.note.iter().map(|note| format!("  ({note})")));
    }
    lines.iter().map(|text| cut(line(text).trim_end()) + "\n").collect()
}

fn about(image: &ImageFacts) -> Vec<String> {
    let mut lines = vec![
        format!("{}  ({})", image.name, image.role),
        format!("  digest     {}", image.digest),
        format!("  size       {}, {} of it in no other image", size(image.bytes), size(image.own_bytes)),
        format!("  source     {}", image.source),
    ];
    if image.insecure {
        lines.push("  warning    it came over a connection that anyone on the way could have changed".to_owned());
    }
    lines.extend(image.private_name.iter().map(|name| format!("  private    {name}")));
    lines.extend(image.licences.iter().map(|licence| format!("  licence    {licence}")));
    for platform in &image.platforms {
        let name = platform.platform.as_deref().unwrap_or("attestation");
        let created = platform.created.as_deref().unwrap_or("no date");
        lines.push(format!(
            "  {name:<10} {}, {}, created: {created}",
            count(platform.layers.len() as u64, "layer"),
            size(platform.bytes)
        ));
    }
    lines
}

fn changes(changes: &Changes) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        format!(
            "since {}: {} new, {}; {} as before",
            changes.since,
            count(changes.new_blobs as u64, "blob"),
            size(changes.new_bytes),
            size(changes.kept_bytes)
        ),
    ];
    lines.extend(changes.added.iter().map(|name| format!("  added      {name}")));
    lines.extend(changes.removed.iter().map(|name| format!("  removed    {name}")));
    lines.extend(changes.moved.iter().map(|moved| {
        format!(
            "  moved      {}: {} to {}, {} new",
            moved.name,
            moved.from.short(),
            moved.to.short(),
            size(moved.new_bytes)
        )
    }));
    lines.push(format!("  the same   {}", count(changes.unchanged as u64, "image")));
    lines
}

fn verification(verification: &Verification) -> Vec<String> {
    match verification {
        Verification::NotChecked => {
            vec!["checked    not checked here: the layers were not read for this report".to_owned()]
        }
        Verification::Sound { bytes } => {
            vec![format!("checked    sound: all {} were read and agree with their digests", size(*bytes))]
        }
        Verification::Damaged { findings, .. } => {
            let mut lines = vec![format!("checked    DAMAGED: {}", count(findings.len() as u64, "finding"))];
            lines.extend(findings.iter().map(|finding| format!("  {finding}")));
            lines
        }
    }
}

fn trust(report: &Report) -> Vec<String> {
    let trust = &report.trust;
    let said = match trust.state {
        "trusted" => "trusted: who has to have signed it has".to_owned(),
        "untrusted" => "NOT TRUSTED: too few of those who have to have signed it have".to_owned(),
        "older" => "OLDER than what was accepted before".to_owned(),
        _ => format!("not checked here: {} beside it", count(report.signature_files.len() as u64, "signature file")),
    };
    let signed = trust.signers.iter().map(|signer| {
        let name = signer.name.as_ref().map_or_else(String::new, |name| format!("{name}, "));
        format!("  signed by {name}key {}: {}", signer.key, signer.trusted_comment)
    });
    let refused =
        trust.refused.iter().map(|refused| format!("  does not count: {}: {}", refused.file, refused.message));
    std::iter::once(format!("signed     {said}")).chain(signed).chain(refused).collect()
}

fn scan(scan: &ScanFacts) -> Vec<String> {
    let mut lines = vec![format!(
        "scanned    {}, {}, by `{}`: {} found, {} failed{}",
        count(scan.scanned, &scan.each),
        size(scan.bytes),
        scan.command.join(" "),
        scan.found.len(),
        scan.failed.len(),
        if scan.complete { "" } else { "; NOT COMPLETE" },
    )];
    let told = scan
        .found
        .iter()
        .map(|finding| ("found", finding))
        .chain(scan.failed.iter().map(|finding| ("failed", finding)));
    lines.extend(told.map(|(what, finding)| {
        format!("  {what}: {} {}: {}", finding.layer, finding.path.as_deref().unwrap_or_default(), finding.message)
    }));
    lines
}
