//! Says what a file looks like that is no bundle, so that the message can name the likely mix-up.

/// A phrase for the first bytes of a file of `length` bytes.
pub(crate) fn looks_like(start: &[u8], length: u64) -> &'static str {
    let magic: [(&[u8], &str); 8] = [
        (b"\x1f\x8b", "a gzip file (a compressed tar? unpack it first: `gunzip`)"),
        (b"\x28\xb5\x2f\xfd", "a zstd file (unpack it first: `unzstd`)"),
        (b"\xfd7zXZ", "an xz file (unpack it first: `unxz`)"),
        (b"PK\x03\x04", "a zip file (unpack it first)"),
        (b"\x7fELF", "a program"),
        (b"schema:", "a release manifest (`octobundle pull` reads those)"),
        (b"<", "a web page, perhaps a proxy's answer saved as a file"),
        (b"{", "a JSON file, perhaps a lock (`octobundle pull --locked` reads those)"),
    ];
    if length == 0 {
        return "an empty file";
    }
    if let Some((_, name)) = magic.iter().find(|(bytes, _)| start.starts_with(bytes)) {
        return name;
    }
    if start.iter().all(|&byte| byte == 0) {
        return "a file that begins with zeros, as a copy that was cut does";
    }
    if start.get(257..262) == Some(b"ustar") {
        let name = start.split(|&byte| byte == 0).next().unwrap_or_default();
        return match name {
            b"oci-layout" | b"index.json" | b"blobs/" => "an OCI image archive that another tool wrote",
            b"manifest.json" | b"repositories" => "a docker archive (`docker save`)",
            _ => "a tar that another tool wrote",
        };
    }
    "a file of unknown kind"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_mix_ups_are_named() {
        for (start, expected) in [
            (&b""[..], "empty"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"PK\x03\x04x", "zip"),
            (b"<!DOCTYPE html>", "web page"),
            (b"{\"schema\":", "JSON"),
            (&[0; 512], "zeros"),
            (b"hello", "unknown"),
        ] {
            assert!(looks_like(start, start.len() as u64).contains(expected), "{expected}");
        }
    }
}
