//! Work that takes long: on threads of its own, a few at a time.

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::changes::broke_off;
use super::problem::Problem;
use super::routes::Context;

/// Threads for it.
pub(super) const THREADS: usize = 2;

/// Jobs that run or wait for a thread; who wants more is told to come again.
const JOBS_MAX: usize = 2 * THREADS;

/// The jobs at present.
#[derive(Clone, Debug)]
pub(super) struct Jobs(Arc<Semaphore>);

impl Default for Jobs {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(JOBS_MAX)))
    }
}

impl Jobs {
    /// Does one, called `name` for those who are told that it broke off. It goes on if nobody waits for
    /// it any more, and keeps its place as long.
    async fn run<T: Send + 'static>(
        &self,
        name: &str,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let Ok(place) = Arc::clone(&self.0).try_acquire_owned() else {
            let detail = format!(
                "{JOBS_MAX} requests that take long are being answered, which is as many as may be; try again"
            );
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry());
        };
        let done = spawn_blocking(move || {
            let done = job();
            drop(place);
            done
        });
        done.await.map_err(|_| broke_off(name))
    }
}

impl Context {
    /// Does something that takes long ([`Jobs`]).
    pub(super) async fn job<T: Send + 'static>(
        &self,
        name: &str,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.jobs.run(name, job).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use axum::http::header;
    use axum::response::IntoResponse;
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn beyond_a_few_who_asks_is_told_to_come_again() {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let jobs = Jobs::default();
            let mut under_way = Vec::new();
            for number in 0..JOBS_MAX {
                let (lets_go, waits) = mpsc::sync_channel::<()>(1);
                let jobs = jobs.clone();
                let job = tokio::spawn(async move {
                    let job = move || {
                        let _ = waits.recv();
                        number
                    };
                    jobs.run("it", job).await.unwrap()
                });
                under_way.push((lets_go, job));
            }
            while jobs.0.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
            let refused = jobs.run("it", || ()).await.unwrap_err().into_response();
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
            for (number, (lets_go, job)) in under_way.into_iter().enumerate() {
                drop(lets_go);
                assert_eq!(job.await.unwrap(), number);
            }
            jobs.run("it", || ()).await.unwrap();
        });
    }
}
