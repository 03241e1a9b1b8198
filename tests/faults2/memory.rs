//! How much memory a command needs at most, as the kernel counts it.

use std::time::{Duration, Instant};

use crate::support::cli::{Output, Run};

/// What a command left behind and cost.
pub(crate) struct Measured {
    pub(crate) output: Output,
    /// The most memory it held, in MiB.
    pub(crate) peak: u64,
    pub(crate) took: Duration,
    /// Its arguments while it ran, as everyone on the machine can see them.
    pub(crate) command_line: String,
}

/// Runs a command and watches it.
pub(crate) fn measured(run: Run) -> Measured {
    let begun = Instant::now();
    let mut running = run.spawn();
    let at = |name: &str| format!("/proc/{}/{name}", running.id());
    let (status, arguments) = (at("status"), at("cmdline"));
    let (mut peak, mut command_line) = (0, String::new());
    while !running.has_ended() {
        // It may end between the question and the answer; then the last one counts.
        peak = std::fs::read_to_string(&status).ok().and_then(|text| high_water(&text)).unwrap_or(0).max(peak);
        if let Ok(text) = std::fs::read_to_string(&arguments)
            && !text.is_empty()
        {
            command_line = text.replace('\0', " ");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Measured { output: running.wait(), peak: peak / 1024, took: begun.elapsed(), command_line }
}

/// `VmHWM:  12345 kB`.
fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
