//! Provisioned concurrency as the front door sees it, on workers that count.

use super::*;
use crate::workers::fake::FakeRun;
use crate::{ProvisionedStatus, Provisioning};
use lamplight_model::ErrorCode;
use lamplight_pool::{ProvisionedFailure, ProvisionedTarget};
use std::sync::atomic::Ordering;
use tokio::sync::Semaphore;

fn version(name: &str, number: u64) -> FunctionVersion {
    FunctionVersion { version: VersionNumber::Published(number), ..function(name) }
}

impl Funnel {
    /// Creates versions and begins to converge.
    async fn with_versions(workers: Arc<FakeWorkers>, config: InvokerConfig, names: &[(&str, u64)]) -> Self {
        let funnel = Self::with(workers, config);
        for (name, number) in names {
            funnel.create(version(name, *number)).await;
        }
        funnel.invoker.start();
        funnel
    }

    fn provisioning(&self) -> &Provisioning {
        self.invoker.provisioning()
    }

    /// Waits until the workers were told exactly this: names and counts.
    async fn until_told(&self, expected: &[(&str, usize)]) {
        let mut targets = self.workers.targets();
        let told = targets.wait_for(|targets: &Vec<ProvisionedTarget>| {
            let told: Vec<_> =
                targets.iter().map(|target| (target.version.name.as_str(), target.instances)).collect();
            told == expected
        });
        tokio::time::timeout(Duration::from_secs(120), told).await.expect("never told").unwrap();
    }

    async fn status(&self, name: &str, number: u64) -> Option<(usize, ProvisionedStatus)> {
        let found = self.provisioning().get(&Scope::default(), &super::name(name), number).await.unwrap();
        found.map(|found| (found.ready, found.status))
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_reaches_the_workers_and_their_count_is_the_status() {
    let funnel =
        Funnel::with_versions(FakeWorkers::echo(), InvokerConfig::default(), &[("a", 1), ("b", 7)]).await;
    let put = funnel.provisioning().put(&version("a", 1), 3).await.unwrap();
    assert_eq!((put.ready, put.status, put.config.last_modified), (0, ProvisionedStatus::InProgress, START));
    funnel.until_told(&[("a", 3)]).await;
    assert_eq!(funnel.status("a", 1).await, Some((3, ProvisionedStatus::Ready)));
    assert_eq!(funnel.status("a", 2).await, None);

    funnel.provisioning().put(&version("b", 7), 2).await.unwrap();
    funnel.until_told(&[("a", 3), ("b", 2)]).await;
    assert_eq!(funnel.provisioning().unreserved(&Scope::default()).await.unwrap(), 995);
    funnel.workers.start_provisioned(|_| Err(ProvisionedFailure::Init));
    let failed = ProvisionedStatus::Failed("FUNCTION_ERROR_INIT_FAILURE".to_owned());
    assert_eq!(funnel.status("b", 7).await, Some((0, failed)));

    funnel.provisioning().delete(&Scope::default(), &name("a"), 1).await.unwrap();
    funnel.until_told(&[("b", 2)]).await;
    // A configuration that is not there is deleted, too.
    funnel.provisioning().delete(&Scope::default(), &name("a"), 1).await.unwrap();
    // A deleted function takes its configurations along.
    funnel.store.delete_function(&Scope::default(), &name("b")).await.unwrap();
    funnel.until_told(&[]).await;
    assert_eq!(funnel.status("b", 7).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_restart_and_a_disk_that_refuses_lose_nothing() {
    let store = Arc::new(MemoryStore::default());
    let before = Funnel::on(Arc::clone(&store), FakeWorkers::echo(), InvokerConfig::default());
    before.create(version("a", 1)).await;
    before.provisioning().put(&version("a", 1), 3).await.unwrap();
    store.refuse_writes.store(true, Ordering::SeqCst);
    let refused = before.provisioning().put(&version("a", 1), 4).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::ServiceException);
    drop(before);
    let after = Funnel::on(store, FakeWorkers::echo(), InvokerConfig::default());
    after.invoker.start();
    after.until_told(&[("a", 3)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_version_is_provisioned_when_it_is_active() {
    let funnel = Funnel::with_versions(FakeWorkers::echo(), InvokerConfig::default(), &[("b", 1)]).await;
    let pending = FunctionVersion {
        lifecycle: Lifecycle { state: FunctionState::Pending, ..active() },
        ..version("a", 1)
    };
    funnel.create(pending.clone()).await;
    funnel.provisioning().put(&pending, 1).await.unwrap();
    funnel.provisioning().put(&version("b", 1), 1).await.unwrap();
    funnel.until_told(&[("b", 1)]).await;
    funnel.create(version("a", 1)).await;
    funnel.until_told(&[("a", 1), ("b", 1)]).await;
}

#[tokio::test(start_paused = true)]
async fn bounds_are_those_of_the_account() {
    let funnel = Funnel::with(FakeWorkers::echo(), InvokerConfig::default());
    let put = async |version, executions| {
        let refused: Result<_, lamplight_model::ServiceError> =
            funnel.provisioning().put(&version, executions).await;
        refused.err().map(|error| error.message)
    };
    assert!(put(function("a"), 1).await.unwrap().contains("unpublished function versions"));
    assert_eq!(put(version("a", 1), 500).await, None);
    assert!(put(version("b", 1), 401).await.unwrap().contains("minimum value of [100]"));
    assert_eq!(put(version("b", 1), 400).await, None);
    // What a version has already does not stand in the way of its change.
    assert_eq!(put(version("a", 1), 499).await, None);
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_provisioned_version_are_admitted_whatever_else_runs() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let workers = FakeWorkers::new(move |invocation| {
        FakeRun::After(Arc::clone(&held), Box::new(FakeRun::Return(invocation.payload.clone())))
    });
    let config = InvokerConfig { account_concurrency: 103, ..InvokerConfig::default() };
    let funnel = Funnel::with_versions(workers, config, &[("a", 1)]).await;
    funnel.create(function("b")).await;
    funnel.provisioning().put(&version("a", 1), 2).await.unwrap();
    funnel.until_told(&[("a", 2)]).await;
    let mut running = Vec::new();
    for _ in 0..101 {
        running.push(funnel.invoker.invoke(request("b", None, "1")).await.unwrap().answer.detach());
    }
    let throttled = funnel.invoker.invoke(request("b", None, "1")).await.unwrap_err();
    assert_eq!(throttled.code, ErrorCode::TooManyRequestsException);
    for _ in 0..2 {
        let run = funnel.invoker.invoke(request("a", Some(Qualifier::Version(1)), "1")).await.unwrap();
        running.push(run.answer.detach());
    }
    // Beyond what is provisioned it shares with all others.
    let spilled = funnel.invoker.invoke(request("a", Some(Qualifier::Version(1)), "1")).await;
    assert_eq!(spilled.unwrap_err().code, ErrorCode::TooManyRequestsException);
    gate.add_permits(running.len());
    for run in running {
        run.finished.await.unwrap();
    }
    assert_eq!(funnel.invoker.metrics().concurrent, 0);
}
