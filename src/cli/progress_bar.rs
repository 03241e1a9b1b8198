//! Progress events drawn on stderr: bars on a terminal, a plain line every ten seconds elsewhere.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use octobundle::oci::Digest;
use octobundle::progress::{Arrival, Event, Phase, Progress};

use crate::cli::output::{plain, plain_json};
use octobundle::wording::size;

/// How often a plain line is written while work goes on.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// Terminals are small; more active blobs than this are counted only.
const MAX_LINES: usize = 8;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressChoice {
    /// Bars on a terminal, plain lines elsewhere
    Auto,
    /// Bars
    Tty,
    /// A line every ten seconds
    Plain,
    /// A JSON object for each event that counts
    Json,
    /// Nothing
    None,
}

/// Draws what the library reports.
pub(crate) struct Display {
    choice: ProgressChoice,
    quiet: bool,
    bars: MultiProgress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    phase: Option<Phase>,
    total_bar: Option<ProgressBar>,
    images: usize,
    images_done: usize,
    blobs: usize,
    blobs_done: usize,
    bytes: u64,
    done_bytes: u64,
    present_bytes: u64,
    adopted_bytes: u64,
    active: HashMap<Digest, Active>,
    last_line: Option<Instant>,
    /// When a wait was last told, by host and reason.
    told_waits: HashMap<(String, String), Instant>,
}

struct Active {
    position: u64,
    bar: Option<ProgressBar>,
}

impl State {
    fn forget_counts(&mut self) {
        (self.images_done, self.blobs_done) = (0, 0);
        (self.done_bytes, self.present_bytes, self.adopted_bytes) = (0, 0, 0);
    }

    fn position(&self) -> u64 {
        self.done_bytes + self.active.values().map(|active| active.position).sum::<u64>()
    }
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Resolving => "resolving",
        Phase::Rereading => "reading what is here already",
        Phase::Downloading => "downloading",
        Phase::Uploading => "uploading",
        Phase::Verifying => "verifying",
        Phase::Loading => "loading",
        Phase::Copying => "copying",
        Phase::Syncing => "syncing to disk",
    }
}

impl Display {
    /// A display; logs on the same terminal turn bars into lines.
    pub(crate) fn new(choice: ProgressChoice, quiet: bool, logs: bool) -> Self {
        let choice = match choice {
            _ if quiet => ProgressChoice::None,
            ProgressChoice::Auto if std::io::stderr().is_terminal() && !logs => ProgressChoice::Tty,
            ProgressChoice::Auto => ProgressChoice::Plain,
            chosen => chosen,
        };
        let target =
            if choice == ProgressChoice::Tty { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { choice, quiet, bars: MultiProgress::with_draw_target(target), state: Mutex::new(State::default()) }
    }

    /// Takes the bars away before the result is printed.
    pub(crate) fn finish(&self) {
        let mut state = self.state.lock().expect("no drawing panics");
        state.active.clear();
        state.total_bar = None;
        // A terminal that is gone does not need tidying.
        drop(self.bars.clear());
    }

    fn line(&self, text: &str) {
        let text = plain(text);
        self.bars.suspend(|| drop(writeln!(anstream::stderr(), "{text}")));
    }

    fn json(event: &Event) {
        let value = match event {
            Event::Phase(phase) => serde_json::json!({"event": "phase", "phase": phase_word(*phase)}),
            Event::Planned { images, blobs, bytes } => {
                serde_json::json!({"event": "planned", "images": images, "blobs": blobs, "bytes": bytes})
            }
            Event::BlobStarted { digest, size, image } => {
                serde_json::json!({"event": "blob-started", "digest": digest, "size": size, "image": image})
            }
            Event::BlobDone { digest, size, arrival } => {
                serde_json::json!({"event": "blob-done", "digest": digest, "size": size, "arrival": arrival_word(*arrival)})
            }
            Event::ImageDone { image } => serde_json::json!({"event": "image-done", "image": image}),
            Event::Waiting { host, reason, seconds } => {
                serde_json::json!({"event": "waiting", "host": host, "reason": reason, "seconds": seconds})
            }
            Event::Warning(text) => serde_json::json!({"event": "warning", "message": text}),
            Event::BlobAt { .. } => return,
        };
        drop(writeln!(anstream::stderr(), "{}", plain_json(&value.to_string())));
    }

    /// Keeps count, whatever is drawn.
    fn count(&self, event: &Event, state: &mut State) {
        match event {
            Event::Phase(phase) => self.begin_phase(*phase, state),
            Event::Planned { images, blobs, bytes } => {
                if let Some(earlier) = state.total_bar.take() {
                    // A second plan, as when a bundle that was verified is loaded: its count begins anew.
                    earlier.finish_and_clear();
                    self.bars.remove(&earlier);
                    state.forget_counts();
                }
                (state.images, state.blobs, state.bytes) = (*images, *blobs, *bytes);
                state.total_bar = Some(self.total_bar(*bytes));
            }
            Event::BlobStarted { digest, size, image } => {
                let bar = (state.active.len() < MAX_LINES).then(|| self.blob_bar(digest, *size, image));
                state.active.insert(*digest, Active { position: 0, bar });
            }
            Event::BlobAt { digest, position } => {
                if let Some(active) = state.active.get_mut(digest) {
                    active.position = *position;
                    if let Some(bar) = &active.bar {
                        bar.set_position(*position);
                    }
                }
            }
            Event::BlobDone { digest, size, arrival } => {
                if let Some(bar) = state.active.remove(digest).and_then(|active| active.bar) {
                    bar.finish_and_clear();
                    self.bars.remove(&bar);
                }
                state.blobs_done += 1;
                state.done_bytes += size;
                match arrival {
                    Arrival::Moved => {}
                    Arrival::Present => state.present_bytes += size,
                    Arrival::Mounted => state.adopted_bytes += size,
                }
            }
            Event::ImageDone { .. } => state.images_done += 1,
            Event::Waiting { .. } | Event::Warning(_) => {}
        }
        if let Some(bar) = &state.total_bar {
            bar.set_position(state.position());
            bar.set_message(summary(state));
        }
    }

    fn begin_phase(&self, phase: Phase, state: &mut State) {
        state.phase = Some(phase);
        if self.choice == ProgressChoice::Plain && phase != Phase::Resolving {
            self.line(phase_word(phase));
        }
        state.last_line = Some(Instant::now());
    }

    fn total_bar(&self, bytes: u64) -> ProgressBar {
        let style = ProgressStyle::with_template(
            "{bar:30} {percent:>3}%  {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta}  {msg}",
        );
        let bar = self.bars.insert(0, ProgressBar::new(bytes));
        bar.with_style(style.expect("the template is right"))
    }

    fn blob_bar(&self, digest: &Digest, size: u64, image: &str) -> ProgressBar {
        let style = ProgressStyle::with_template("  {bar:20} {decimal_bytes:>10}/{decimal_total_bytes:<10} {msg}");
        let bar = self.bars.add(ProgressBar::new(size)).with_style(style.expect("the template is right"));
        bar.set_message(format!("{} {}", digest.short(), plain(image)));
        bar
    }

    /// Many copies wait for one reason; it is told once, and again when it lasts.
    fn wait_line(&self, state: &mut State, host: &str, reason: &str, seconds: u64) {
        let key = (host.to_owned(), reason.to_owned());
        let told = state.told_waits.get(&key).is_some_and(|at| at.elapsed() < PLAIN_EVERY);
        if !told {
            state.told_waits.insert(key, Instant::now());
            self.line(&format!("waiting {seconds} s for {host}: {reason}"));
        }
    }

    fn plain_line(&self, state: &mut State) {
        let due = state.last_line.is_none_or(|last| last.elapsed() >= PLAIN_EVERY);
        if due && state.bytes > 0 {
            state.last_line = Some(Instant::now());
            let percent = state.position().min(state.bytes) * 100 / state.bytes;
            let text = format!("{percent}%  {} of {}  {}", size(state.position()), size(state.bytes), summary(state));
            self.line(&text);
        }
    }
}

/// What is behind the numbers, what was skipped included.
fn summary(state: &State) -> String {
    let mut text = format!("{}/{} layers", state.blobs_done, state.blobs);
    if state.images_done > 0 {
        write!(text, ", {}/{} images", state.images_done, state.images).expect("a String takes any text");
    }
    if state.present_bytes > 0 {
        write!(text, ", {} here already", size(state.present_bytes)).expect("a String takes any text");
    }
    if state.adopted_bytes > 0 {
        write!(text, ", {} mounted", size(state.adopted_bytes)).expect("a String takes any text");
    }
    text
}

fn arrival_word(arrival: Arrival) -> &'static str {
    match arrival {
        Arrival::Moved => "moved",
        Arrival::Present => "present",
        Arrival::Mounted => "mounted",
    }
}

impl Progress for Display {
    fn report(&self, event: Event) {
        if self.choice == ProgressChoice::Json {
            Self::json(&event);
            return;
        }
        let mut state = self.state.lock().expect("no drawing panics");
        self.count(&event, &mut state);
        match &event {
            Event::Warning(text) if !self.quiet => self.line(&format!("warning: {text}")),
            Event::Waiting { host, reason, seconds } if self.choice != ProgressChoice::None => {
                self.wait_line(&mut state, host, reason, *seconds);
            }
            _ if self.choice == ProgressChoice::Plain => self.plain_line(&mut state),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loading_is_counted_from_its_own_start_and_not_from_that_of_verifying() {
        let display = Display::new(ProgressChoice::None, false, false);
        let plan = |bytes| display.report(Event::Planned { images: 1, blobs: 1, bytes });
        let done = |size, arrival| display.report(Event::BlobDone { digest: Digest::of(b"x"), size, arrival });
        // What an earlier pull left counts before there is a plan.
        done(10, Arrival::Present);
        plan(100);
        assert_eq!(display.state.lock().unwrap().position(), 10);
        done(90, Arrival::Present);
        plan(120);
        let state = display.state.lock().unwrap();
        assert_eq!((state.position(), state.blobs_done, state.present_bytes), (0, 0, 0));
    }
}
