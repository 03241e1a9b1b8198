//! Secrets that are planted in tests, and the search for them in what was said.

use super::cli::{Output, Run};

/// Stands in every planted secret and nowhere else.
pub(crate) const CANARY: &str = "CANARY";

/// Whether a planted secret stands there, plain or in one of its three forms in base64.
pub(crate) fn shows_secret(bytes: &[u8]) -> bool {
    const FORMS: [&[u8]; 4] = [CANARY.as_bytes(), b"Q0FOQVJZ", b"NBTkFSW", b"DQU5BUl"];
    FORMS.iter().any(|form| bytes.windows(form.len()).any(|window| window == *form))
}

/// Runs to the end; no secret may be in what is said.
#[track_caller]
pub(crate) fn discreetly(run: Run) -> Output {
    let output = run.run();
    for said in [&output.stdout, &output.stderr] {
        assert!(!shows_secret(said.as_bytes()), "{said}");
    }
    output
}
