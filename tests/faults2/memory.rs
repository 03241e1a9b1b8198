//! How much memory a command needs at most, and how much of a processor, as the kernel counts it.

use std::time::{Duration, Instant};

use crate::support::cli::{Output, Run};

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a command left behind and cost.
pub(crate) struct Measured {
    pub(crate) output: Output,
    /// The most memory it held, in MiB.
    pub(crate) peak: u64,
    /// Processor time: how long it took depends on what else the machine does.
    pub(crate) worked: Duration,
    /// Its arguments while it ran, as everyone on the machine can see them.
    pub(crate) command_line: String,
}

/// Runs a command and watches it.
pub(crate) fn measured(run: Run) -> Measured {
    let begun = Instant::now();
    let mut running = run.spawn();
    let at = |name: &str| format!("/proc/{}/{name}", running.id());
    let (status, times, arguments) = (at("status"), at("stat"), at("cmdline"));
    let (mut peak, mut worked, mut command_line) = (0, Duration::ZERO, String::new());
    while !running.has_ended() {
        assert!(begun.elapsed() < PATIENCE, "it does not end");
        // It may end between the question and the answer; then the last one counts.
        peak = std::fs::read_to_string(&status).ok().and_then(|text| high_water(&text)).unwrap_or(0).max(peak);
        worked = std::fs::read_to_string(&times).ok().and_then(|text| processor_time(&text)).unwrap_or(worked);
        if let Ok(text) = std::fs::read_to_string(&arguments)
            && !text.is_empty()
        {
            command_line = text.replace('\0', " ");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Measured { output: running.wait(), peak: peak / 1024, worked, command_line }
}

/// User and system time are the 14th and 15th of the fields, the second of which may hold spaces and ends in `)`.
fn processor_time(stat: &str) -> Option<Duration> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // Linux tells them in hundredths of a second on all machines.
    Some(Duration::from_millis(ticks * 10))
}

/// `VmHWM:  12345 kB`.
fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
