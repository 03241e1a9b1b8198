//! Work done on several items at once, each a task of its own, so that hashing uses every core.

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
    let mut waiting = items.into_iter().enumerate();
    let mut running = JoinSet::new();
    let mut results: Vec<(usize, R)> = Vec::new();
    loop {
        while running.len() < jobs.max(1) {
            let Some((index, item)) = waiting.next() else { break };
            let work = work(item);
            running.spawn(async move { (index, work.await) });
        }
        let Some(ended) = running.join_next().await else { break };
        match ended {
            Ok((index, result)) => {
                let stop = ends_all(&result);
                results.push((index, result));
                if stop {
                    // Dropping the set ends what still runs.
                    break;
                }
            }
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => unreachable!("nobody aborts these tasks"),
        }
    }
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
