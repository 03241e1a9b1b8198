//! How many requests a host is asked at once.
//!
//! It starts with a few, grows while answers come, and halves when the host says that it is too much; from then on it
//! grows slowly: additive increase, multiplicative decrease, as TCP does it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::registry::sync::lock;
use tokio::sync::Notify;
use tokio::time::Instant;

const AT_FIRST: f64 = 8.0;
/// How many more each answer lets in, as long as there was no complaint. Over a long line every round of fewer requests
/// than the host would take costs as much as a full one.
const GROWTH: f64 = 2.0;

/// The requests under way, by host.
pub(super) struct Crowd {
    most: f64,
    hosts: Mutex<HashMap<String, Arc<Line>>>,
}

struct Line {
    state: Mutex<State>,
    freed: Notify,
}

struct State {
    allowed: f64,
    inside: u32,
    halved: Option<Instant>,
}

/// A place among a host's requests, until dropped.
pub(super) struct Place {
    line: Arc<Line>,
    most: f64,
    since: Instant,
}

impl Crowd {
    pub(super) fn new(most: usize) -> Self {
        let most = f64::from(u32::try_from(most.max(1)).unwrap_or(u32::MAX));
        Self { most, hosts: Mutex::default() }
    }

    /// Waits for a place. Whoever holds one asks for no other of the same host.
    pub(super) async fn enter(&self, host: &str) -> Place {
        let line = self.line(host);
        loop {
            let freed = line.freed.notified();
            if line.try_enter() {
                return Place { line: line.clone(), most: self.most, since: Instant::now() };
            }
            freed.await;
        }
    }

    fn line(&self, host: &str) -> Arc<Line> {
        let mut hosts = lock(&self.hosts);
        let new = || {
            let state = State { allowed: AT_FIRST.min(self.most), inside: 0, halved: None };
            Arc::new(Line { state: Mutex::new(state), freed: Notify::new() })
        };
        hosts.entry(host.to_owned()).or_insert_with(new).clone()
    }
}

impl Line {
    fn try_enter(&self) -> bool {
        let mut state = lock(&self.state);
        let room = f64::from(state.inside) + 1.0 <= state.allowed;
        state.inside += u32::from(room);
        if room && f64::from(state.inside) + 1.0 <= state.allowed {
            // One who was let in calls the next: an answer may make room for several.
            self.freed.notify_one();
        }
        room
    }
}

impl Place {
    /// The host answered: more may come, and slowly so once there were too many.
    pub(super) fn went_well(&self) {
        let mut state = lock(&self.line.state);
        let more = if state.halved.is_some() { 1.0 / state.allowed } else { GROWTH };
        state.allowed = (state.allowed + more).min(self.most);
        drop(state);
        self.line.freed.notify_one();
    }

    /// The host says that it is too much. All who were inside hear that at once; it counts once.
    pub(super) fn was_too_much(&self) {
        let mut state = lock(&self.line.state);
        if state.halved.is_none_or(|halved| self.since > halved) {
            state.allowed = (state.allowed / 2.0).max(1.0);
            state.halved = Some(Instant::now());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.line.state);
        state.inside -= 1;
        drop(state);
        self.line.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::FutureExt as _;
    use futures_util::stream::{FuturesUnordered, StreamExt as _};

    use super::*;

    /// How many get in without waiting.
    async fn room(crowd: &Crowd) -> usize {
        let mut inside = Vec::new();
        while let Ok(place) = tokio::time::timeout(Duration::from_millis(1), crowd.enter("reg.corp")).await {
            inside.push(place);
        }
        inside.len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_is_asked_more_while_it_answers_and_half_as_much_when_it_complains() {
        let crowd = Crowd::new(16);
        assert_eq!(room(&crowd).await, 8);
        for _ in 0..20 {
            crowd.enter("reg.corp").await.went_well();
        }
        assert_eq!(room(&crowd).await, 16);
        let (one, other) = (crowd.enter("reg.corp").await, crowd.enter("reg.corp").await);
        tokio::time::advance(Duration::from_secs(1)).await;
        one.was_too_much();
        other.was_too_much();
        drop((one, other));
        assert_eq!(room(&crowd).await, 8, "two complaints of the same time count once");
        for _ in 0..100 {
            tokio::time::advance(Duration::from_secs(1)).await;
            crowd.enter("reg.corp").await.was_too_much();
        }
        assert_eq!(room(&crowd).await, 1, "one is always possible");
    }

    #[tokio::test]
    async fn an_answer_lets_in_two_of_those_who_wait() {
        let crowd = Crowd::new(16);
        let mut inside = Vec::new();
        for _ in 0..8 {
            inside.push(crowd.enter("reg.corp").await);
        }
        let mut waiting: FuturesUnordered<_> = (0..4).map(|_| crowd.enter("reg.corp")).collect();
        assert!(waiting.next().now_or_never().is_none(), "all places are taken");
        inside[0].went_well();
        let mut let_in = Vec::new();
        while let Some(place) = waiting.next().now_or_never() {
            let_in.push(place);
        }
        assert_eq!(let_in.len(), 2);
    }

    #[tokio::test]
    async fn who_waits_gets_the_place_that_is_freed() {
        let crowd = Arc::new(Crowd::new(1));
        let first = crowd.enter("reg.corp").await;
        let waiting = tokio::spawn({
            let crowd = crowd.clone();
            async move { drop(crowd.enter("reg.corp").await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
    }
}
