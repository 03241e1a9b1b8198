//! Sets of images as a command line names them: a bundle, a lock, a registry.

use std::path::Path;

use octobundle::bundle::Bundle;
use octobundle::failure::Failure;
use octobundle::images::{Have, Held, Lock, MAX_HAVE_BYTES};
use octobundle::plan::{SourceHost, Target};
use octobundle::workflow::Side;

use crate::cli::input::{read_limited, read_lock};

/// Far more than stands before a lock's schema, which is its first field.
const SCHEMA_WITHIN: u64 = 256;

/// Reads one side of a comparison: a file, or a place in a registry where no such file is.
pub(crate) fn side(text: &str, source_host: SourceHost) -> Result<Side, Failure> {
    let path = Path::new(text);
    let looks_like_a_file = path.extension().is_some_and(|ending| ending == "tar" || ending == "lock");
    if path.exists() || looks_like_a_file {
        return Ok(Side::Set(Box::new(locked_set(path)?)));
    }
    match Target::parse(text, source_host) {
        Ok(target) => Ok(Side::Registry(target)),
        Err(error) => Err(Failure::from(error).within(format!("`{text}` is no file, and no place in a registry"))),
    }
}

/// The set that a bundle or a lock names.
pub(crate) fn locked_set(path: &Path) -> Result<Lock, Failure> {
    if path.is_file() && begins_as(&read_limited(path, SCHEMA_WITHIN)?, "octobundle/lock/") {
        return read_lock(path);
    }
    Ok(Bundle::open(path)?.lock().clone())
}

/// Whether a file begins with a schema of this kind, in any version.
fn begins_as(start: &[u8], schema: &str) -> bool {
    let text = String::from_utf8_lossy(start);
    let without_blanks: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    without_blanks.starts_with(&format!(r#"{{"schema":"{schema}"#))
}

/// What the far side has, by the file that tells.
pub(crate) fn held(path: &Path) -> Result<Held, Failure> {
    if path.is_file() && begins_as(&read_limited(path, SCHEMA_WITHIN)?, "octobundle/have/") {
        let have = Have::parse(&read_limited(path, MAX_HAVE_BYTES + 1)?);
        let have = have.map_err(|error| Failure::from(error).within(format!("failed to use `{}`", path.display())))?;
        return Ok(Held::of_have(&have));
    }
    Ok(Held::of_lock(&locked_set(path)?))
}
