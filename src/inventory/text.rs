//! A line a package, for people and for `grep`.

use crate::inventory::{ImagePackages, Inventory, Kind};
use crate::wording::{count, line};

/// The whole text.
pub(super) fn text(inventory: &Inventory) -> String {
    let lines = inventory.images.iter().flat_map(about);
    lines.map(|text| line(text.trim_end()) + "\n").collect()
}

fn about(image: &ImagePackages) -> Vec<String> {
    let os = image.os.as_ref().map(|os| if os.name.is_empty() { os.id.clone() } else { os.name.clone() });
    let mut lines = vec![format!(
        "{} ({}): {}, {}",
        image.image,
        image.platform,
        os.unwrap_or_else(|| "no distribution named".to_owned()),
        count(image.packages.len() as u64, "package")
    )];
    lines.extend(image.packages.iter().map(|package| {
        let kind = match package.kind {
            Kind::Deb => "deb",
            Kind::Apk => "apk",
            Kind::Rpm => "rpm",
            Kind::Java => "java",
        };
        let group = package.group.as_ref().map(|group| format!("{group}:")).unwrap_or_default();
        let architecture = package.architecture.as_deref().unwrap_or_default();
        let place = if package.kind == Kind::Java { &package.found_in } else { architecture };
        let version = if package.version.is_empty() { "-" } else { &package.version };
        format!("  {kind:<4} {group}{} {version} {place}", package.name)
    }));
    lines.extend(image.gaps.iter().map(|gap| {
        let path = gap.path.as_ref().map(|path| format!(", `{path}`")).unwrap_or_default();
        format!("  NOT READ: layer {}{path}: {}", gap.layer.short(), gap.reason)
    }));
    lines.push(String::new());
    lines
}
