//! Work done on several items at once, each a task of its own, so that hashing uses every core.

use std::collections::VecDeque;
use std::future::Future;

use tokio::task::JoinSet;

/// Runs `work` on every item, `jobs` at a time, and gives the results in the items' order. After a result that
/// `ends_all`, nothing new is begun and what runs is dropped; the results so far are given.
pub async fn side_by_side<T, R, F>(
    jobs: usize,
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> F,
    ends_all: impl Fn(&R) -> bool,
) -> Vec<R>
where
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    with_few_large((jobs, jobs), items, |_| false, work, ends_all).await
}

/// The same with a limit of its own for large items: `(jobs, large)` at a time. Small ones pass by large ones that wait.
pub(super) async fn with_few_large<T, R, F>(
    (jobs, large): (usize, usize),
    items: impl IntoIterator<Item = T>,
    is_large: impl Fn(&T) -> bool,
    work: impl Fn(T) -> F,
    ends_all: impl Fn(&R) -> bool,
) -> Vec<R>
where
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let mut waiting = Waiting::new(items, is_large, large.max(1));
    let mut running = JoinSet::new();
    let mut results: Vec<(usize, R)> = Vec::new();
    loop {
        while running.len() < jobs.max(1) {
            let Some((index, size, item)) = waiting.next() else { break };
            let work = work(item);
            running.spawn(async move { (index, size, work.await) });
        }
        let Some(ended) = running.join_next().await else { break };
        match ended {
            Ok((index, size, result)) => {
                waiting.ended(size);
                let stop = ends_all(&result);
                results.push((index, result));
                if stop {
                    // Dropping the set ends what still runs.
                    break;
                }
            }
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime ends, as after Ctrl-C, and this task with it.
            Err(_) => std::future::pending().await,
        }
    }
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Small,
    Large,
}

/// What is not begun, in order, and how many large ones may be begun.
struct Waiting<T> {
    small: VecDeque<(usize, T)>,
    large: VecDeque<(usize, T)>,
    room_for_large: usize,
}

impl<T> Waiting<T> {
    fn new(items: impl IntoIterator<Item = T>, is_large: impl Fn(&T) -> bool, room_for_large: usize) -> Self {
        let (large, small) = items.into_iter().enumerate().partition(|(_, item)| is_large(item));
        Self { small, large, room_for_large }
    }

    /// The first that may begin now, with its place in the order.
    fn next(&mut self) -> Option<(usize, Size, T)> {
        let place = |queue: &VecDeque<(usize, T)>| queue.front().map_or(usize::MAX, |(index, _)| *index);
        if self.room_for_large > 0 && place(&self.large) < place(&self.small) {
            self.room_for_large -= 1;
            self.large.pop_front().map(|(index, item)| (index, Size::Large, item))
        } else {
            self.small.pop_front().map(|(index, item)| (index, Size::Small, item))
        }
    }

    fn ended(&mut self, size: Size) {
        self.room_for_large += usize::from(size == Size::Large);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::future::FutureExt as _;
    use tokio::sync::Barrier;

    use super::*;

    #[test]
    fn small_ones_pass_by_large_ones_that_wait_and_else_the_order_is_kept() {
        let mut waiting = Waiting::new([90, 80, 1, 70, 2], |size| *size > 50, 2);
        let mut next = || waiting.next().map(|(index, _, size)| (index, size));
        assert_eq!(
            [next(), next(), next(), next(), next()],
            [Some((0, 90)), Some((1, 80)), Some((2, 1)), Some((4, 2)), None]
        );
        waiting.ended(Size::Small);
        assert!(waiting.next().is_none(), "a small one makes no room for a large one");
        waiting.ended(Size::Large);
        assert_eq!(waiting.next().map(|(index, _, size)| (index, size)), Some((3, 70)));
    }

    #[test]
    fn when_the_runtime_ends_under_it_nothing_panics() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut work = Box::pin(side_by_side(2, [1, 2], |_| std::future::pending::<()>(), |()| false));
        let entered = runtime.enter();
        assert!((&mut work).now_or_never().is_none());
        drop(entered);
        drop(runtime);
        assert!((&mut work).now_or_never().is_none());
    }

    #[tokio::test]
    async fn no_more_run_at_once_than_asked_for_and_results_keep_the_order() {
        let items = [90, 80, 1, 70, 2, 3, 60];
        // Three meet before any ends: two of them are large.
        let (meeting, begun) = (Arc::new(Barrier::new(3)), Arc::new(Mutex::new(Vec::new())));
        let work = |size: u32| {
            let (meeting, begun) = (meeting.clone(), begun.clone());
            async move {
                let nth = {
                    let mut begun = begun.lock().unwrap();
                    begun.push(size);
                    begun.len()
                };
                if nth <= 3 {
                    meeting.wait().await;
                }
                size
            }
        };
        let results = with_few_large((3, 2), items, |size| *size > 50, work, |_| false).await;
        assert_eq!(results, items);
        let mut first = begun.lock().unwrap()[..3].to_vec();
        first.sort_unstable();
        assert_eq!(first, [1, 80, 90]);
    }
}
