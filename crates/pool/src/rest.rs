//! What is left to do of a run: done by whoever waits for its answer, and without them by a task of its own.
//!
//! A call in three tasks (connection, funnel, run) is woken, queued and looked for three times as often as one in a
//! single task. So the waiting caller polls the run. The run is the node's all the same: a caller that goes away
//! drops the answer, and the run goes on where it was, in a task that is made at that moment.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tokio::runtime::Handle;

/// The rest of a run. Dropping it lets the run go on in a task of its own.
#[derive(Default)]
pub struct Rest(Option<(Work, Handle)>);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl std::fmt::Debug for Rest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Rest").field(&self.0.is_some()).finish()
    }
}

impl Rest {
    /// A run that has not begun: it begins when it is driven or dropped. To be called within a tokio runtime.
    pub fn new(run: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some((Box::pin(run), Handle::current())))
    }

    /// Works on the run until `wanted` resolves, which anyone may make ready. Cancel-safe.
    pub async fn drive<Wanted>(&mut self, wanted: impl Future<Output = Wanted>) -> Wanted {
        let mut wanted = pin!(wanted);
        poll_fn(|context| {
            self.work(context);
            wanted.as_mut().poll(context)
        })
        .await
    }

    /// As `drive`, for what nobody but the run itself makes ready: it is looked at after each step of the run, and
    /// need not wake the task that is taking this step.
    pub async fn drive_alone<Wanted>(&mut self, wanted: impl Future<Output = Wanted>) -> Wanted {
        let mut wanted = pin!(wanted);
        poll_fn(|context| {
            self.work(context);
            let waker = if self.0.is_some() { Waker::noop() } else { context.waker() };
            wanted.as_mut().poll(&mut Context::from_waker(waker))
        })
        .await
    }

    fn work(&mut self, context: &mut Context<'_>) {
        if let Some((run, _)) = &mut self.0
            && run.as_mut().poll(context) == Poll::Ready(())
        {
            self.0 = None;
        }
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        if let Some((run, runtime)) = self.0.take() {
            runtime.spawn(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::{Notify, mpsc, oneshot};

    #[tokio::test]
    async fn a_run_goes_on_without_its_caller() {
        let (go, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (go_of_run, end_of_run) = (go.clone(), end.clone());
        let mut rest = Rest::new(async move {
            go_of_run.notified().await;
            end_of_run.notify_one();
        });
        // The run has noted the waker of this task; the caller leaves in the middle.
        {
            let waiting = rest.drive(std::future::pending::<()>());
            tokio::select! {
                biased;
                () = waiting => {}
                () = std::future::ready(()) => {}
            }
        }
        drop(rest);
        go.notify_one();
        end.notified().await;
    }

    #[tokio::test]
    async fn a_run_that_nobody_waits_for_begins_all_the_same() {
        let (sender, ended) = oneshot::channel();
        drop(Rest::new(async move {
            let _ = sender.send(());
        }));
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn what_others_make_ready_is_noticed() {
        let (sender, mut pieces) = mpsc::channel(1);
        let mut rest = Rest::new(std::future::pending());
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            sender.send(7).await.unwrap();
        });
        assert_eq!(rest.drive(pieces.recv()).await, Some(7));
    }

    #[tokio::test]
    async fn a_run_waits_for_room_in_its_answer_and_goes_on() {
        let (sender, mut pieces) = mpsc::channel(1);
        let mut rest = Rest::new(async move {
            for number in 0..100 {
                sender.send(number).await.unwrap();
            }
        });
        let all = rest.drive_alone(async {
            let mut all = Vec::new();
            while let Some(piece) = pieces.recv().await {
                all.push(piece);
            }
            all
        });
        assert_eq!(all.await, (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn an_answer_may_come_before_the_end_of_the_run() {
        let (sender, answer) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let go = Arc::new(Notify::new());
        let go_of_run = go.clone();
        let mut rest = Rest::new(async move {
            let _ = sender.send("answer");
            go_of_run.notified().await;
            let _ = end.send(());
        });
        assert_eq!(rest.drive_alone(answer).await, Ok("answer"));
        drop(rest);
        go.notify_one();
        ended.await.unwrap();
    }
}
