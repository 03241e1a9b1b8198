//! SPDX 2.3 as JSON (<https://spdx.github.io/spdx-spec/v2.3/>).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::inventory::{Gap, ImagePackages, Inventory, Os, Package, package_url};
use crate::wording::plain_json;

/// The document: every image a package that contains those inside of it.
pub(super) fn document(inventory: &Inventory) -> String {
    let numbers = numbers(inventory);
    let (mut packages, mut relationships) = (Vec::new(), Vec::new());
    for (place, image) in inventory.images.iter().enumerate() {
        let id = format!("SPDXRef-Image-{}", place + 1);
        packages.push(image_package(image, &id));
        relationships.push(relationship("SPDXRef-DOCUMENT", "DESCRIBES", &id));
        for package in &image.packages {
            relationships.push(relationship(&id, "CONTAINS", &package_id(numbers[&(package, image.os.as_ref())])));
        }
    }
    let mut ordered: Vec<_> = numbers.into_iter().collect();
    ordered.sort_by_key(|(_, number)| *number);
    packages.extend(ordered.into_iter().map(|((package, os), number)| inner_package(package, os, number)));
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": inventory.release,
        // A name of its own for each bundle, that needs no server.
        "documentNamespace": format!("urn:octobundle:inventory:{}", inventory.bundle),
        "creationInfo": {
            "created": inventory.created,
            "creators": [format!("Tool: {}", inventory.made_by.replace(' ', "-"))],
        },
        "packages": packages,
        "relationships": relationships,
    });
    let text = serde_json::to_string_pretty(&document).expect("a document holds only text, numbers and lists");
    format!("{}\n", plain_json(&text))
}

/// Every different package with the distribution that it is of, numbered in their order.
fn numbers(inventory: &Inventory) -> BTreeMap<(&Package, Option<&Os>), usize> {
    let all =
        inventory.images.iter().flat_map(|image| image.packages.iter().map(|package| (package, image.os.as_ref())));
    let mut numbers: BTreeMap<_, usize> = all.map(|key| (key, 0)).collect();
    for (place, number) in numbers.values_mut().enumerate() {
        *number = place + 1;
    }
    numbers
}

fn package_id(number: usize) -> String {
    format!("SPDXRef-Package-{number}")
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

fn image_package(image: &ImagePackages, id: &str) -> Value {
    let mut package = json!({
        "SPDXID": id,
        "name": image.image,
        "versionInfo": image.digest,
        "primaryPackagePurpose": "CONTAINER",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "checksums": [{ "algorithm": "SHA256", "checksumValue": image.digest.hex() }],
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "comment": comment(image),
    });
    if image.gaps.is_empty() {
        package.as_object_mut().expect("it was made as one").shift_remove("comment");
    }
    package
}

/// What a reader must know who would take silence for absence.
fn comment(image: &ImagePackages) -> String {
    let told = image.gaps.iter().map(|Gap { layer, path, reason }| {
        let path = path.as_ref().map(|path| format!(", {path}")).unwrap_or_default();
        format!("not read: layer {layer}{path}: {reason}")
    });
    told.collect::<Vec<_>>().join("; ")
}

fn inner_package(package: &Package, os: Option<&Os>, number: usize) -> Value {
    let mut value = json!({
        "SPDXID": package_id(number),
        "name": package.name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "sourceInfo": format!("found in {}", package.found_in),
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    });
    if !package.version.is_empty() {
        value["versionInfo"] = json!(package.version);
    }
    if let Some(licence) = &package.licence {
        value["licenseComments"] = json!(format!("the package says: {licence}"));
    }
    if let Some(url) = package_url(package, os) {
        value["externalRefs"] = json!([{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": url,
        }]);
    }
    value
}
