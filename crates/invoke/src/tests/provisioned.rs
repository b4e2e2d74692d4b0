//! Provisioned concurrency as the front door sees it, on workers that count.

use super::*;
use crate::workers::fake::FakeRun;
use crate::{Provisioned, ProvisionedQualifier, ProvisionedStatus, Provisioning};
use lamplight_model::{AdditionalVersion, Alias, ErrorCode, ServiceError};
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

    /// Asks for instances of a version.
    async fn put(&self, name: &str, number: u64, executions: usize) -> Result<Provisioned, ServiceError> {
        let version = ProvisionedQualifier::Version(number);
        self.provisioning().put(&Scope::default(), &super::name(name), version, executions).await
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
        let version = ProvisionedQualifier::Version(number);
        let found = self.provisioning().get(&Scope::default(), &super::name(name), &version).await.unwrap();
        found.map(|found| (found.ready, found.status))
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_reaches_the_workers_and_their_count_is_the_status() {
    let funnel =
        Funnel::with_versions(FakeWorkers::echo(), InvokerConfig::default(), &[("a", 1), ("b", 7)]).await;
    let put = funnel.put("a", 1, 3).await.unwrap();
    assert_eq!((put.ready, put.status, put.config.last_modified), (0, ProvisionedStatus::InProgress, START));
    funnel.until_told(&[("a", 3)]).await;
    assert_eq!(funnel.status("a", 1).await, Some((3, ProvisionedStatus::Ready)));
    assert_eq!(funnel.status("a", 2).await, None);

    funnel.put("b", 7, 2).await.unwrap();
    funnel.until_told(&[("a", 3), ("b", 2)]).await;
    assert_eq!(funnel.provisioning().unreserved(&Scope::default()).await.unwrap(), 995);
    funnel.workers.start_provisioned(|_| Err(ProvisionedFailure::Init));
    let failed = ProvisionedStatus::Failed("FUNCTION_ERROR_INIT_FAILURE".to_owned());
    assert_eq!(funnel.status("b", 7).await, Some((0, failed)));

    funnel
        .provisioning()
        .delete(&Scope::default(), &name("a"), &ProvisionedQualifier::Version(1))
        .await
        .unwrap();
    funnel.until_told(&[("b", 2)]).await;
    // A configuration that is not there is deleted, too.
    funnel
        .provisioning()
        .delete(&Scope::default(), &name("a"), &ProvisionedQualifier::Version(1))
        .await
        .unwrap();
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
    before.put("a", 1, 3).await.unwrap();
    store.refuse_writes.store(true, Ordering::SeqCst);
    let refused = before.put("a", 1, 4).await.unwrap_err();
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
    funnel.put("a", 1, 1).await.unwrap();
    funnel.put("b", 1, 1).await.unwrap();
    funnel.until_told(&[("b", 1)]).await;
    funnel.create(version("a", 1)).await;
    funnel.until_told(&[("a", 1), ("b", 1)]).await;
}

#[tokio::test(start_paused = true)]
async fn bounds_are_those_of_the_account() {
    let funnel = Funnel::with(FakeWorkers::echo(), InvokerConfig::default());
    let put =
        async |name: &str, executions| funnel.put(name, 1, executions).await.err().map(|error| error.message);
    assert_eq!(put("a", 500).await, None);
    assert!(put("b", 401).await.unwrap().contains("minimum value of [100]"));
    assert_eq!(put("b", 400).await, None);
    // What a version has already does not stand in the way of its change.
    assert_eq!(put("a", 499).await, None);
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
    funnel.put("a", 1, 2).await.unwrap();
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

fn alias(name: &str, version: u64, additional: Option<(u64, f64)>) -> Alias {
    Alias {
        scope: Scope::default(),
        function: super::name("a"),
        name: name.to_owned(),
        version: VersionNumber::Published(version),
        additional: additional.map(|(version, weight)| AdditionalVersion { version, weight }),
        description: String::new(),
        revision_id: "r".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_alias_moves_its_instances_with_its_weights() {
    let versions = [("a", 1), ("a", 2), ("a", 3)];
    let funnel = Funnel::with_versions(FakeWorkers::echo(), InvokerConfig::default(), &versions).await;
    let (scope, name) = (Scope::default(), name("a"));
    let point = async |alias: Alias| funnel.store.put_alias(alias, Expect::Anything).await.unwrap();
    let live = || ProvisionedQualifier::Alias("live".to_owned());
    let put = async |qualifier, executions| {
        let put = funnel.provisioning().put(&scope, &name, qualifier, executions).await;
        put.err().map(|error| error.message)
    };
    let missing = "Cannot find alias arn: arn:aws:lambda:us-east-1:000000000000:function:a:live";
    assert_eq!(put(live(), 10).await.as_deref(), Some(missing));
    point(alias("live", 1, None)).await;
    assert_eq!(put(live(), 10).await, None);
    funnel.until_told(&[("a", 10)]).await;
    point(alias("live", 1, Some((2, 0.3)))).await;
    funnel.until_told(&[("a", 7), ("a", 3)]).await;
    let stands = funnel.provisioning().get(&scope, &name, &live()).await.unwrap().unwrap();
    assert_eq!((stands.ready, stands.status), (10, ProvisionedStatus::Ready));

    // Not both an alias and the version it points to, whichever comes first.
    assert_eq!(
        put(ProvisionedQualifier::Version(2), 1).await.as_deref(),
        Some("Version is pointed by a Provisioned Concurrency alias")
    );
    assert_eq!(put(ProvisionedQualifier::Version(3), 1).await, None);
    let already =
        "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version";
    point(alias("next", 3, None)).await;
    assert_eq!(put(ProvisionedQualifier::Alias("next".to_owned()), 1).await.as_deref(), Some(already));
    let moved = funnel.provisioning().check_alias(&alias("live", 3, None)).await;
    assert_eq!(moved.unwrap_err().message, already);
    funnel.provisioning().check_alias(&alias("live", 2, None)).await.unwrap();
    let latest = Alias { version: VersionNumber::Latest, ..alias("live", 1, None) };
    assert!(funnel.provisioning().check_alias(&latest).await.unwrap_err().message.contains("unpublished"));

    // A deleted alias takes its configuration along.
    assert!(funnel.store.delete_alias(&scope, &name, "live").await.unwrap());
    funnel.until_told(&[("a", 1)]).await;
    assert_eq!(funnel.provisioning().get(&scope, &name, &live()).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_reserved_holds_at_once_and_after_a_restart() {
    let store = Arc::new(MemoryStore::default());
    let funnel = Funnel::on(Arc::clone(&store), FakeWorkers::echo(), InvokerConfig::default());
    funnel.create(function("a")).await;
    let (scope, function_name) = (Scope::default(), name("a"));
    let call = async |funnel: &Funnel| {
        let called = funnel.invoker.invoke(request("a", None, "1")).await;
        called.map(drop).map_err(|error| error.reason)
    };
    let stopped = Err(Some("ReservedFunctionConcurrentInvocationLimitExceeded"));
    call(&funnel).await.unwrap();
    funnel.provisioning().reserve(&scope, &function_name, 0).await.unwrap();
    assert_eq!(call(&funnel).await, stopped);
    assert_eq!(funnel.provisioning().reserved(&scope, &function_name).await.unwrap(), Some(0));
    // Nothing converges here: the first call itself learns what is reserved.
    let restarted = Funnel::on(store, FakeWorkers::echo(), InvokerConfig::default());
    assert_eq!(call(&restarted).await, stopped);
    restarted.provisioning().unreserve(&scope, &function_name).await.unwrap();
    call(&restarted).await.unwrap();
    assert_eq!(restarted.provisioning().reserved(&scope, &function_name).await.unwrap(), None);
}

#[tokio::test]
async fn a_full_account_leaves_what_is_reserved_free() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let workers = FakeWorkers::new(move |invocation| {
        FakeRun::After(Arc::clone(&held), Box::new(FakeRun::Return(invocation.payload.clone())))
    });
    let config = InvokerConfig { account_concurrency: 102, ..InvokerConfig::default() };
    let funnel = Funnel::with(workers, config);
    for text in ["own", "other"] {
        funnel.create(function(text)).await;
    }
    funnel.provisioning().reserve(&Scope::default(), &name("own"), 2).await.unwrap();
    let call = async |text: &str| {
        let called = funnel.invoker.invoke(request(text, None, "1")).await;
        called.map(|running| running.answer.detach()).map_err(|error| error.reason)
    };
    let mut running = Vec::new();
    for text in ["other"; 100].into_iter().chain(["own"; 2]) {
        running.push(call(text).await.unwrap());
    }
    assert_eq!(call("other").await.map(drop), Err(Some("ConcurrentInvocationLimitExceeded")));
    let reserved = Err(Some("ReservedFunctionConcurrentInvocationLimitExceeded"));
    assert_eq!(call("own").await.map(drop), reserved);
    gate.add_permits(running.len());
    for run in running {
        run.finished.await.unwrap();
    }
    assert_eq!(funnel.invoker.metrics().concurrent, 0);
}
