//! `CycloneDX` 1.5 as JSON (<https://cyclonedx.org/docs/1.5/json/>).

use serde_json::{Value, json};

use crate::inventory::{ImagePackages, Inventory, Package, package_url};
use crate::oci::Digest;
use crate::wording::plain_json;

/// The document: every image a component with those inside of it.
pub(super) fn document(inventory: &Inventory) -> String {
    let images = inventory.images.iter().enumerate();
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": serial(&inventory.bundle),
        "version": 1,
        "metadata": {
            "timestamp": inventory.created,
            "tools": { "components": [{ "type": "application", "name": inventory.made_by }] },
            "component": { "type": "file", "bom-ref": "bundle", "name": inventory.release, "version": inventory.bundle },
        },
        "components": images.map(|(place, image)| image_component(place + 1, image)).collect::<Vec<_>>(),
    });
    let text = serde_json::to_string_pretty(&document).expect("a document holds only text, numbers and lists");
    format!("{}\n", plain_json(&text))
}

/// A UUID that is a function of the bundle: version 8, "custom" (RFC 9562).
fn serial(bundle: &Digest) -> String {
    let hex = bundle.hex();
    format!("urn:uuid:{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30])
}

fn image_component(number: usize, image: &ImagePackages) -> Value {
    let inner = image.packages.iter().enumerate();
    let mut properties = vec![property("octobundle:platform", &image.platform)];
    properties.extend(image.gaps.iter().map(|gap| {
        let path = gap.path.as_ref().map(|path| format!(", {path}")).unwrap_or_default();
        property("octobundle:not-read", &format!("layer {}{path}: {}", gap.layer, gap.reason))
    }));
    json!({
        "type": "container",
        "bom-ref": format!("image-{number}"),
        "name": image.image,
        "version": image.digest,
        "hashes": [{ "alg": "SHA-256", "content": image.digest.hex() }],
        "properties": properties,
        "components": inner.map(|(place, package)| component(number, place + 1, package, image)).collect::<Vec<_>>(),
    })
}

fn component(image_number: usize, number: usize, package: &Package, image: &ImagePackages) -> Value {
    let mut value = json!({
        "type": "library",
        "bom-ref": format!("image-{image_number}-package-{number}"),
        "name": package.name,
        "version": package.version,
        "properties": [property("octobundle:found-in", &package.found_in)],
    });
    if let Some(group) = &package.group {
        value["group"] = json!(group);
    }
    if let Some(licence) = &package.licence {
        value["licenses"] = json!([{ "license": { "name": licence } }]);
    }
    if let Some(url) = package_url(package, image.os.as_ref()) {
        value["purl"] = json!(url);
    }
    value
}

fn property(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}
