//! Counters, and their text for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::serve::lock;

/// What has happened since the start.
#[derive(Default)]
pub(crate) struct Metrics {
    answers: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// Bytes of bodies that the kernel took.
    pub(crate) sent: Counter,
    /// Connections that found no seat.
    pub(crate) refused: Counter,
    /// Answers that were cut: the client left, was too slow, or the blob turned out wrong.
    pub(crate) cut: Counter,
    /// Blobs whose bytes are not what their digest says.
    pub(crate) damaged: Counter,
    /// Logins that were refused.
    pub(crate) denied: Counter,
}

/// Counts up.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is true now.
pub(crate) struct Gauges {
    pub(crate) connections: usize,
    /// Each bundle by its place, and whether it can be read.
    pub(crate) bundles: Vec<bool>,
    pub(crate) log_lines_dropped: u64,
}

impl Metrics {
    pub(crate) fn answered(&self, kind: &'static str, status: u16) {
        *lock(&self.answers).entry((kind, status)).or_default() += 1;
    }

    /// The text exposition format, version 0.0.4.
    pub(crate) fn text(&self, gauges: &Gauges) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
            write!(text, "# HELP octobundle_{name} {help}\n# TYPE octobundle_{name} {kind}\n")
                .expect("a String takes any text");
            for (labels, value) in samples {
                writeln!(text, "octobundle_{name}{labels} {value}").expect("a String takes any text");
            }
        };
        let one = |value| vec![(String::new(), value)];
        let answers = lock(&self.answers);
        let answers: Vec<(String, u64)> = answers
            .iter()
            .map(|((kind, status), count)| (format!("{{kind=\"{kind}\",code=\"{status}\"}}"), *count))
            .collect();
        family("answers_total", "counter", "Answers by what was asked for and status.", &answers);
        family("sent_bytes_total", "counter", "Bytes of answers' bodies.", &one(self.sent.get()));
        family("connections", "gauge", "Open connections.", &one(gauges.connections as u64));
        family("connections_refused_total", "counter", "Connections beyond a limit.", &one(self.refused.get()));
        family("answers_cut_total", "counter", "Answers that did not reach their end.", &one(self.cut.get()));
        family("blobs_damaged_total", "counter", "Requests for damaged content.", &one(self.damaged.get()));
        family("logins_refused_total", "counter", "Requests with a wrong login.", &one(self.denied.get()));
        let lost = one(gauges.log_lines_dropped);
        family("log_lines_dropped_total", "counter", "Lines of the access log that were lost.", &lost);
        let bundle = |(place, up): (usize, &bool)| (format!("{{bundle=\"{}\"}}", place + 1), u64::from(*up));
        let bundles: Vec<(String, u64)> = gauges.bundles.iter().enumerate().map(bundle).collect();
        family("bundle_readable", "gauge", "Whether each bundle can be read, in the order given.", &bundles);
        text
    }
}
