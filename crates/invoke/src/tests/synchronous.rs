use super::*;
use crate::workers::InstanceCounts;
use crate::workers::fake::FakeRun;
use crate::workers::{Workers, contract};
use lamplight_model::{ErrorCode, Invocation, OutcomeStatus, ServiceError, TenantId};
use lamplight_pool::{Answer, AnswerParts, ProvisionedState, ProvisionedTarget};
use tokio::sync::Semaphore;

async fn body(answer: &mut AnswerParts) -> String {
    let mut body = Vec::new();
    while let Some(piece) = answer.body.recv().await {
        body.extend_from_slice(&piece);
    }
    String::from_utf8(body).unwrap()
}

async fn check_refused(funnel: &Funnel, request: InvokeRequest, code: ErrorCode, message: &str) {
    let error = funnel.invoker.invoke(request.clone()).await.map(|_| ()).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (code, message));
    let dry = funnel.invoker.dry_run(&request).await;
    assert_eq!(dry, Err(error.clone()), "a dry run says the same");
    assert_eq!(funnel.invoker.enqueue(request).await, Err(error), "so does an event");
    assert!(funnel.workers.begun().is_empty());
    assert_eq!(funnel.store.counts().accepted, 0);
}

#[tokio::test]
async fn a_call_runs_the_version_asked_for_and_is_recorded() {
    let funnel = Funnel::new(FakeWorkers::echo());
    funnel.create(function("hello")).await;
    funnel.create(FunctionVersion { version: VersionNumber::Published(7), ..function("hello") }).await;

    let mut call = request("hello", Some(Qualifier::Version(7)), r#"{"a":1}"#);
    call.client_context = Some("{}".to_owned());
    call.trace_header = Some("Root=1-2-3".to_owned());
    call.log_tail = true;
    let running = funnel.invoker.invoke(call.clone()).await.unwrap();
    assert_eq!(running.executed_version, VersionNumber::Published(7));
    let mut answer = running.answer.detach();
    assert_eq!(body(&mut answer).await, r#"{"a":1}"#);
    assert!(!answer.ended.await.unwrap().unwrap().outcome.is_function_error());
    let finished = answer.finished.await.unwrap();
    assert!(finished.log_tail.is_some());

    let invocation = funnel.workers.begun().remove(0);
    assert_eq!(invocation.request_id, call.request_id);
    assert_eq!(invocation.invoked_arn, "arn:aws:lambda:us-east-1:000000000000:function:hello:7");
    assert_eq!(invocation.client_context.as_deref(), Some("{}"));
    let header = invocation.trace_header.unwrap();
    assert_eq!(lamplight_model::lineage::without(&header), "Root=1-2-3");
    assert_eq!(invocation.arrived_at, START);
    assert_eq!(*funnel.ledger.0.lock().unwrap(), [finished.report]);
    let metrics = funnel.invoker.metrics();
    assert_eq!(metrics.concurrent, 0, "the place is free before the caller hears of the end");
    assert_eq!(metrics.functions[0].metrics.invocations, 1);
    assert_eq!(metrics.functions[0].metrics.starts_warm, 1);
    assert_eq!(metrics.functions[0].metrics.errors, 0);
}

#[tokio::test]
async fn no_qualifier_is_latest_with_an_unqualified_arn_and_no_payload_is_an_empty_object() {
    let funnel = Funnel::new(FakeWorkers::echo());
    funnel.create(function("hello")).await;
    let running = funnel.invoker.invoke(request("hello", None, "")).await.unwrap();
    assert_eq!(running.executed_version, VersionNumber::Latest);
    assert_eq!(body(&mut running.answer.detach()).await, "{}");
    let arn = &funnel.workers.begun()[0].invoked_arn;
    assert_eq!(arn, "arn:aws:lambda:us-east-1:000000000000:function:hello");
}

#[tokio::test]
async fn what_does_not_exist_is_named_with_its_qualifier() {
    let funnel = Funnel::new(FakeWorkers::echo());
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:hello";
    for (qualifier, suffix) in [
        (None, ""),
        (Some(Qualifier::Latest), ":$LATEST"),
        (Some(Qualifier::Version(3)), ":3"),
        (Some(Qualifier::Alias("live".to_owned())), ":live"),
    ] {
        let message = format!("Function not found: {arn}{suffix}");
        let call = request("hello", qualifier, "{}");
        check_refused(&funnel, call, ErrorCode::ResourceNotFoundException, &message).await;
    }
}

#[tokio::test]
async fn a_function_that_is_not_active_says_its_state() {
    let funnel = Funnel::new(FakeWorkers::echo());
    for (state, word) in [(FunctionState::Pending, "Pending"), (FunctionState::Failed, "Failed")] {
        funnel
            .create(FunctionVersion { lifecycle: Lifecycle { state, ..active() }, ..function("hello") })
            .await;
        let message = format!(
            "The operation cannot be performed at this time. The function is currently in the following state: {word}"
        );
        check_refused(&funnel, request("hello", None, "{}"), ErrorCode::ResourceConflictException, &message)
            .await;
    }
    // An update in progress does not stand in the way.
    let updating = Lifecycle { last_update_status: Some(UpdateStatus::InProgress), ..active() };
    funnel.create(FunctionVersion { lifecycle: updating, ..function("hello") }).await;
    funnel.invoker.invoke(request("hello", None, "{}")).await.unwrap();
}

#[tokio::test]
async fn a_failing_function_is_an_outcome_not_an_error() {
    let funnel = Funnel::new(FakeWorkers::new(|_| FakeRun::handler_error("no")));
    funnel.create(function("hello")).await;
    let mut answer = funnel.invoker.invoke(request("hello", None, "{}")).await.unwrap().answer.detach();
    assert_eq!(body(&mut answer).await, "");
    let ended = answer.ended.await.unwrap().unwrap();
    let document = String::from_utf8(ended.document.unwrap().to_vec()).unwrap();
    assert!(document.contains("\"errorMessage\":\"no\""));
    assert_eq!(ended.outcome.status, OutcomeStatus::Error);
    answer.finished.await.unwrap();
    assert_eq!(funnel.invoker.metrics().functions[0].metrics.errors, 1);
}

#[tokio::test]
async fn one_call_more_than_the_account_may_run_is_refused_until_one_ends() {
    let gate = Arc::new(Semaphore::new(0));
    let workers = {
        let gate = Arc::clone(&gate);
        FakeWorkers::new(move |invocation| {
            FakeRun::After(Arc::clone(&gate), Box::new(FakeRun::Return(invocation.payload.clone())))
        })
    };
    let funnel = Funnel::with(workers, InvokerConfig { account_concurrency: 2, ..InvokerConfig::default() });
    funnel.create(function("hello")).await;
    let first = funnel.invoker.invoke(request("hello", None, "{}")).await.unwrap().answer.detach();
    let second = funnel.invoker.invoke(request("hello", None, "{}")).await.unwrap().answer.detach();
    let error = funnel.invoker.invoke(request("hello", None, "{}")).await.map(|_| ()).unwrap_err();
    assert_eq!(error, ServiceError::throttled("ConcurrentInvocationLimitExceeded"));
    assert_eq!(funnel.invoker.metrics().concurrent, 2);
    assert_eq!(funnel.workers.begun().len(), 2);
    // An event is accepted all the same: it waits in the queue.
    funnel.invoker.enqueue(request("hello", None, "{}")).await.unwrap();

    gate.add_permits(2);
    first.finished.await.unwrap();
    second.finished.await.unwrap();
    funnel.invoker.invoke(request("hello", None, "{}")).await.unwrap();
    assert_eq!(funnel.invoker.metrics().functions[0].metrics.throttles, 1);
}

#[tokio::test]
async fn what_the_workers_refuse_gives_its_place_back() {
    let refusal = ServiceError::new(ErrorCode::InvalidRuntimeException, "no python3.13 here");
    let workers = {
        let refusal = refusal.clone();
        FakeWorkers::new(move |_| FakeRun::Refuse(refusal.clone()))
    };
    let funnel = Funnel::new(workers);
    funnel.create(function("hello")).await;
    let error = funnel.invoker.invoke(request("hello", None, "{}")).await.map(|_| ()).unwrap_err();
    assert_eq!(error, refusal);
    let metrics = funnel.invoker.metrics();
    assert_eq!(metrics.concurrent, 0);
    assert_eq!(metrics.functions[0].metrics.platform_errors, 1);
    assert_eq!(metrics.functions[0].metrics.invocations, 0, "it never ran");
    assert!(funnel.ledger.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_caller_that_goes_away_before_there_is_an_instance_does_not_end_the_run() {
    /// Hands an invocation to the fake only when the gate opens, as a pool does that is full.
    struct Slow(Arc<Semaphore>, Arc<FakeWorkers>);
    #[async_trait::async_trait]
    impl Workers for Slow {
        async fn run(&self, invocation: Invocation) -> Result<Answer, ServiceError> {
            self.0.acquire().await.unwrap().forget();
            self.1.run(invocation).await
        }
        fn provision(&self, targets: &[ProvisionedTarget]) {
            self.1.provision(targets);
        }
        fn provisioned(
            &self,
            scope: &Scope,
            name: &FunctionName,
            version: VersionNumber,
        ) -> ProvisionedState {
            self.1.provisioned(scope, name, version)
        }
        fn instances(&self) -> InstanceCounts {
            self.1.instances()
        }
    }
    let (gate, fake) = (Arc::new(Semaphore::new(0)), FakeWorkers::echo());
    let funnel = Funnel::new(Arc::clone(&fake));
    funnel.create(function("hello")).await;
    let invoker = Invoker::new(
        InvokerConfig::default(),
        Arc::clone(&funnel.store) as Arc<dyn Store>,
        Arc::new(Slow(Arc::clone(&gate), Arc::clone(&fake))),
        Arc::clone(&funnel.ledger) as Arc<dyn lamplight_store::Ledger>,
        Arc::new(|| START),
    );
    let mut call = Box::pin(invoker.invoke(request("hello", None, "{}")));
    // Polled until it waits for the instance, then dropped as a server drops a closed connection's request.
    tokio::select! {
        biased;
        _ = &mut call => panic!("there is no instance yet"),
        () = async { while invoker.metrics().concurrent == 0 { tokio::task::yield_now().await } } => {}
    }
    drop(call);
    gate.add_permits(1);
    assert!(invoker.drain(Duration::from_secs(20)).await, "the run ends");
    assert_eq!(fake.begun().len(), 1);
    assert_eq!(funnel.ledger.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_worker_that_goes_away_without_a_word_leaves_a_record_and_no_place() {
    let funnel = Funnel::new(FakeWorkers::new(|_| FakeRun::Vanish));
    funnel.create(function("hello")).await;
    let answer = funnel.invoker.invoke(request("hello", None, "{}")).await.unwrap().answer.detach();
    assert!(answer.ended.await.is_err());
    let report = answer.finished.await.unwrap().report;
    assert_eq!(report.outcome.error_type.as_deref(), Some("ServiceException"));
    assert_eq!(report.billed_ms, 0);
    assert_eq!(*funnel.ledger.0.lock().unwrap(), [report]);
    assert_eq!(funnel.invoker.metrics().concurrent, 0);
}

#[tokio::test]
async fn draining_waits_for_what_runs_and_refuses_what_comes() {
    let gate = Arc::new(Semaphore::new(0));
    let workers = {
        let gate = Arc::clone(&gate);
        FakeWorkers::new(move |_| {
            FakeRun::After(Arc::clone(&gate), Box::new(FakeRun::Return(Bytes::from_static(b"1"))))
        })
    };
    let funnel = Funnel::new(workers);
    funnel.create(function("hello")).await;
    let answer = funnel.invoker.invoke(request("hello", None, "{}")).await.unwrap().answer.detach();
    let invoker = Arc::clone(&funnel.invoker);
    let draining = tokio::spawn(async move { invoker.drain(Duration::from_secs(20)).await });
    loop {
        match funnel.invoker.invoke(request("hello", None, "{}")).await {
            Err(error) => {
                assert_eq!(error.code, ErrorCode::ServiceException);
                break;
            }
            // The drain has not begun yet; this one will be waited for.
            Ok(_) => tokio::task::yield_now().await,
        }
    }
    assert!(!draining.is_finished());
    gate.add_permits(1_000);
    assert!(draining.await.unwrap());
    assert!(answer.finished.await.is_ok());
}

#[tokio::test]
async fn the_fake_keeps_the_contract() {
    let version = Arc::new(function("hello"));
    let workers = FakeWorkers::echo();
    contract::check(&*workers, || Invocation {
        request_id: RequestId(uuid::Uuid::new_v4()),
        version: Arc::clone(&version),
        invoked_arn: version.unqualified_arn(),
        payload: Bytes::from_static(b"{\"n\":1}"),
        client_context: None,
        trace_header: None,
        tenant_id: None,
        arrived_at: START,
        log_tail: false,
        place: Default::default(),
    })
    .await;
}

#[tokio::test]
async fn a_tenant_is_named_exactly_where_tenants_are_kept_apart() {
    let funnel = Funnel::new(FakeWorkers::echo());
    let mut isolated = function("isolated");
    isolated.per_tenant = true;
    funnel.create(isolated).await;
    funnel.create(function("plain")).await;
    for (name, tenant, text) in [
        ("isolated", None, "is enabled with tenancy configuration. Add a valid tenant ID"),
        ("plain", Some("blue"), "is not enabled with tenancy configuration. Remove the tenant ID"),
        ("isolated", Some("blue"), ""),
        ("plain", None, ""),
    ] {
        let mut call = request(name, None, "{}");
        call.tenant_id = tenant.and_then(TenantId::parse);
        let refusals = [
            funnel.invoker.dry_run(&call).await.err(),
            funnel
                .invoker
                .enqueue(InvokeRequest { request_id: RequestId(uuid::Uuid::new_v4()), ..call.clone() })
                .await
                .err(),
            funnel.invoker.invoke(call).await.err(),
        ];
        for refusal in refusals {
            match refusal {
                None => assert_eq!(text, "", "{name} for {tenant:?}"),
                Some(error) => {
                    assert_eq!(error.code, ErrorCode::InvalidParameterValueException);
                    assert!(
                        !text.is_empty() && error.message.contains(text),
                        "{name} for {tenant:?}: {error}"
                    );
                }
            }
        }
    }
    let tenants: Vec<_> = funnel.workers.begun().into_iter().map(|begun| begun.tenant_id).collect();
    assert_eq!(tenants, [TenantId::parse("blue"), None]);
}
