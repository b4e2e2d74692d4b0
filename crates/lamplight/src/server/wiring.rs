//! Puts the parts together: store, sandboxes, pool, funnel, front door. No rule of the product is here.

use super::Listeners;
use super::doors::{Doors, inside_peer};
use super::gateway::{self, OwnListener};
use super::housekeeping;
use super::otel::{ExportedLogs, Exporter, Exporting};
use super::runtimes::RuntimeTable;
use crate::config::Config;
use crate::failure::Failure;
use lamplight_api::{ApiConfig, ApiState};
use lamplight_event_sources::EventSources;
use lamplight_gateway::{Gateway, GatewayConfig, GatewayParts};
use lamplight_invoke::{
    AdmissionLimits, DurableConfiguration, DurableExecutions, Invoker, InvokerConfig, NodeWorkers,
    converge_functions,
};
use lamplight_listener::{Limits, Listener, Memory};
use lamplight_model::{GatewayUrl, Live, PriceBook, ServiceError};
use lamplight_pool::{CredentialSource, PlatformEndpoint, Pool, PoolConfig, StreamLimits};
use lamplight_sandbox::linux::{DaemonSockets, LinuxBackend, Readiness};
use lamplight_services::metrics::MetricStore;
use lamplight_services::objects::{self, ObjectStore};
use lamplight_services::queues::{self, Queues};
use lamplight_store::{Opened, Options, Store, StoreError, function_sessions, system_clock};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What the last telemetry gets at least at the end.
const EXPORT_TIME: Duration = Duration::from_secs(2);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Itself, and the nests it keeps ready.
const SANDBOXES_OF_A_VERSION_ZYGOTE: usize = 3;
/// Sandboxes beside the instances and blanks: those being built or torn down.
const SPARE_SANDBOXES: usize = 64;

/// A running server.
pub struct Server {
    opened: Opened,
    pool: Arc<Pool>,
    invoker: Arc<Invoker>,
    queues: Queues,
    metrics: MetricStore,
    event_sources: EventSources,
    durable: Arc<DurableExecutions>,
    front_door: JoinHandle<()>,
    gateway: Option<OwnListener>,
    gateway_port: Option<u16>,
    live: LiveSettings,
    exporting: Option<Exporting>,
    stop: CancellationToken,
    /// Held so that it answers as long as there are instances.
    _inside: Arc<Inside>,
}

/// Settings of the front door that `Server::apply` changes.
struct LiveSettings {
    hosts: Arc<Live<Vec<String>>>,
    gateway_hosts: Arc<Live<Vec<String>>>,
    gateway_memory: Arc<Memory>,
    gateway_url: Arc<Live<GatewayUrl>>,
    concurrency: Arc<Live<usize>>,
    prices: Arc<Live<PriceBook>>,
}

/// Opens and starts everything. Must be called within a tokio runtime.
pub fn start(config: &Config, listeners: Listeners, sockets: DaemonSockets) -> Result<Server, Failure> {
    let clock = system_clock();
    let mut opened =
        lamplight_store::open(store_options(config)).map_err(|error| store_failure(config, &error))?;
    let exporter = Exporter::new(&config.otel)?;
    if let Some((lines, lost)) = exporter.as_ref().and_then(Exporter::line_sender) {
        opened.logs = ExportedLogs::new(Arc::clone(&opened.logs), lines, lost);
    }
    let objects = ObjectStore::open(&opened.directory, object_bounds(config), Arc::clone(&clock))
        .map_err(|error| store_failure(config, &error))?;
    let queue_bounds = queues::Bounds { bytes_in_all: config.queues.mib << 20, ..queues::Bounds::default() };
    let queues = Queues::open(&opened.directory, queue_bounds, Arc::clone(&clock))
        .map_err(|error| store_failure(config, &error))?;
    let metrics = MetricStore::open(&opened.directory, Arc::clone(&clock))
        .map_err(|error| store_failure(config, &error))?;
    let readiness = Readiness {
        shells: config.instances.ready,
        volumes: config.instances.ready,
        sandboxes: config.instances.most
            + config.instances.blanks
            + config.instances.version_zygotes * SANDBOXES_OF_A_VERSION_ZYGOTE
            + config.instances.ready
            + SPARE_SANDBOXES,
        ..Readiness::default()
    };
    let backend = LinuxBackend::new(sockets, readiness)
        .map_err(|error| Failure::usage("failed to reach the sandbox host").because(error))?;
    let runtimes = RuntimeTable::new(&config.data_dir);
    // An instance's own listener answers with the same doors, which are only there once all is wired.
    let inside: Arc<OnceLock<Weak<Inside>>> = Arc::default();
    let pool = Pool::new(
        pool_config(config),
        Arc::new(backend.clone()),
        Arc::clone(&opened.code),
        Arc::clone(&opened.logs),
        {
            let runtimes = Arc::clone(&runtimes);
            Arc::new(move |identifier| runtimes.plan(identifier))
        },
        platform_endpoint(Arc::clone(&inside)),
        credential_source(Arc::clone(&opened.store), Arc::clone(&clock)),
        Arc::clone(&clock),
    );
    let invoker = Invoker::new(
        InvokerConfig {
            account_concurrency: config.instances.concurrency,
            calls_per_second_each: config.instances.calls_per_second_each,
            ..InvokerConfig::default()
        },
        Arc::clone(&opened.store),
        Arc::new(NodeWorkers(Arc::clone(&pool))),
        Arc::clone(&opened.ledger),
        Arc::clone(&clock),
    );
    let durable = DurableExecutions::new(
        DurableConfiguration::default(),
        Arc::clone(&opened.executions),
        Arc::clone(&invoker),
        Arc::clone(&clock),
    );
    let gateway_port = listeners.gateway.as_ref().and_then(|socket| Some(socket.local_addr().ok()?.port()));
    let live = LiveSettings {
        hosts: Arc::new(config.hosts.clone().into()),
        gateway_hosts: Arc::new(gateway::hosts(config)?.into()),
        gateway_memory: Arc::new(Memory::new(config.gateway.memory_bytes())),
        gateway_url: Arc::new(config.gateway.url(gateway_port)?.into()),
        concurrency: Arc::new(config.instances.concurrency.into()),
        prices: Arc::new(config.prices.clone().into()),
    };
    let event_source_parts = lamplight_event_sources::Parts {
        store: Arc::clone(&opened.store),
        queues: queues.clone(),
        metrics: metrics.clone(),
        invoker: Arc::clone(&invoker),
        clock: Arc::clone(&clock),
        node: InvokerConfig::default().asynchronous.node,
    };
    let state = ApiState::new(
        Arc::clone(&opened.store),
        Arc::clone(&opened.code),
        Arc::clone(&invoker),
        Arc::clone(&durable),
        Arc::clone(&opened.logs),
        Arc::clone(&opened.ledger),
        objects,
        queues.clone(),
        metrics.clone(),
        ApiConfig {
            allowed_hosts: Arc::clone(&live.hosts),
            gateway_url: Arc::clone(&live.gateway_url),
            account_concurrency: Arc::clone(&live.concurrency),
            price_book: Arc::clone(&live.prices),
            runtimes: {
                let runtimes = Arc::clone(&runtimes);
                Arc::new(move || runtimes.rows())
            },
            trouble: Arc::new(move || match backend.living_spawners() {
                0 => Some("no process that starts instances is alive".to_owned()),
                _ => None,
            }),
            ..ApiConfig::default()
        },
        Arc::clone(&clock),
    );
    let gateway = Gateway::new(GatewayParts {
        store: Arc::clone(&opened.store),
        invoker: Arc::clone(&invoker),
        metrics: metrics.clone(),
        logs: Arc::clone(&opened.logs),
        config: GatewayConfig {
            hosts: Arc::clone(&live.gateway_hosts),
            memory: Arc::clone(&live.gateway_memory),
        },
        clock: Arc::clone(&clock),
    });
    let answers_inside = Arc::new(Inside { api: Arc::clone(&state), gateway: gateway.clone() });
    let _ = inside.set(Arc::downgrade(&answers_inside));
    let listener = tokio::net::TcpListener::from_std(listeners.api)
        .map_err(|error| Failure::usage("failed to listen").because(error))?;
    let stop = CancellationToken::new();
    // Before anything is begun: a certificate may be wrong.
    let own = match listeners.gateway {
        Some(socket) => Some(OwnListener::start(config, socket, gateway.clone(), Arc::clone(&clock), &stop)?),
        None => None,
    };
    let exporting = exporter.map(|exporter| exporter.start(&invoker, metrics.clone(), Arc::clone(&clock)));
    invoker.send_letters_to(queues.clone());
    invoker.start();
    durable.run();
    let event_sources = EventSources::start(event_source_parts);
    tokio::spawn(converge_functions(
        Arc::clone(&opened.store),
        Arc::clone(&opened.code),
        {
            let pool = Arc::clone(&pool);
            Arc::new(move |version| {
                pool.expect(version);
                runtimes.warning(&version.runtime)
            })
        },
        stop.clone(),
    ));
    tokio::spawn(lamplight_api::cloudwatch::record(Arc::clone(&state), stop.clone()));
    tokio::spawn(lamplight_invoke::subscriptions::deliver(
        Arc::clone(&opened.store),
        Arc::clone(&opened.logs),
        Arc::clone(&invoker),
        stop.clone(),
    ));
    tokio::spawn(housekeeping::expect_calls(Arc::clone(&opened.store), Arc::clone(&pool)));
    let dead_letters = DAY * u32::try_from(config.keep.dead_letter_days).unwrap_or(u32::MAX);
    tokio::spawn(housekeeping::collect(opened.clone(), Arc::clone(&pool), clock, dead_letters, stop.clone()));
    tokio::spawn(housekeeping::retire_deleted(Arc::clone(&opened.store), Arc::clone(&pool), stop.clone()));
    tokio::spawn(queues.clone().run(stop.clone().cancelled_owned()));
    tokio::spawn(housekeeping::forget_expired(Arc::clone(&state), stop.clone()));
    let doors = Doors { gateway: own.is_none().then_some(gateway), api: lamplight_api::router(state) };
    let listener = Listener::plain(listener, Limits::api(), Duration::from_secs(config.drain_seconds));
    let answer = move |request, peer| doors.clone().answer(request, peer);
    let front_door =
        tokio::spawn(lamplight_listener::serve(listener, answer, stop.clone().cancelled_owned()));
    Ok(Server {
        opened,
        pool,
        invoker,
        queues,
        metrics,
        event_sources,
        durable,
        front_door,
        gateway: own,
        gateway_port,
        live,
        exporting,
        stop,
        _inside: answers_inside,
    })
}

impl Server {
    /// Takes the settings over that can change while the server runs (`config::reload`), and reads certificates again. Fails
    /// before anything is changed.
    pub fn apply(&self, config: &Config) -> Result<(), Failure> {
        let gateway_url = config.gateway.url(self.gateway_port)?;
        let gateway_hosts = gateway::hosts(config)?;
        if let Some(gateway) = &self.gateway {
            gateway.apply(config, gateway.prepare(config)?);
        }
        self.live.gateway_url.set(gateway_url);
        self.live.gateway_hosts.set(gateway_hosts);
        self.live.gateway_memory.set(config.gateway.memory_bytes());
        self.live.hosts.set(config.hosts.clone());
        self.live.concurrency.set(config.instances.concurrency);
        self.live.prices.set(config.prices.clone());
        self.invoker.set_limits(AdmissionLimits {
            concurrency: config.instances.concurrency,
            calls_per_second_each: config.instances.calls_per_second_each,
        });
        let pool = pool_config(config);
        self.pool.set_bounds(pool.keep_alive, pool.starts_of_a_function);
        Ok(())
    }

    /// Takes no new calls, lets those in flight finish for `patience`, stops all instances, makes everything
    /// durable. Gives back whether every run finished.
    pub async fn drain(self, patience: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + patience;
        self.stop.cancel();
        // Also those of pollers, which are told to stop by then.
        let (polled, invoked, executed) = tokio::join!(
            self.event_sources.drain(patience),
            async {
                self.queues.stop_waiting();
                self.invoker.drain(patience).await
            },
            self.durable.drain(patience)
        );
        let finished = polled && invoked && executed;
        self.pool.drain(deadline).await;
        // Answers of finished runs are still on their way to their callers.
        let answered = async {
            let _ = self.front_door.await;
            if let Some(gateway) = self.gateway {
                let _ = gateway.serving.await;
            }
        };
        if tokio::time::timeout_at(deadline, answered).await.is_err() {
            tracing::warn!("connections were still open at the end of the drain");
        }
        if let Some(exporting) = self.exporting {
            // The deadline of the drain may have passed; a collector that works needs a moment only.
            exporting.end(deadline.max(tokio::time::Instant::now() + EXPORT_TIME)).await;
        }
        if let Err(error) = self.metrics.store_gathered().await {
            tracing::error!(%error, "failed to store what was measured of the last requests");
        }
        if let Err(error) = self.opened.flush().await {
            tracing::error!(%error, "failed to write the last logs and records");
        }
        finished
    }
}

/// What answers inside instances, which do not keep it alive.
struct Inside {
    api: Arc<ApiState>,
    gateway: Gateway,
}

/// Serves one instance, as the function it belongs to: the platform's API, and URLs and APIs to whoever it says it is.
fn platform_endpoint(inside: Arc<OnceLock<Weak<Inside>>>) -> PlatformEndpoint {
    Arc::new(move |listener, caller| {
        let inside = inside.get().and_then(Weak::upgrade);
        tokio::spawn(async move {
            let Some(inside) = inside else { return };
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    let inside_peer = inside_peer(&caller);
                    let api = lamplight_api::function_endpoint(Arc::clone(&inside.api), caller);
                    let doors = Doors { gateway: Some(inside.gateway.clone()), api };
                    let answer = move |request, peer| doors.clone().answer(request, inside_peer(peer));
                    let listener = Listener::plain(listener, Limits::instance(), Duration::ZERO);
                    lamplight_listener::serve(listener, answer, std::future::pending()).await;
                }
                Err(error) => tracing::warn!(%error, "failed to serve the platform's API to an instance"),
            }
        })
    })
}

/// Makes the credentials of an instance: those of a session of its function's role, named as the function, as on AWS.
fn credential_source(store: Arc<dyn Store>, clock: lamplight_store::Clock) -> CredentialSource {
    Arc::new(move |version| {
        let (store, now) = (Arc::clone(&store), clock());
        let (account, role, name) =
            (version.scope.account.clone(), version.role.clone(), version.name.to_string());
        Box::pin(async move {
            let issued = function_sessions::issue(&*store, &account, &role, &name, now).await;
            issued.map_err(|error| {
                tracing::error!(function = name, %error, "failed to make the credentials of an instance");
                ServiceError::internal("The credentials of the function could not be made.")
            })
        })
    })
}

fn store_options(config: &Config) -> Options {
    let mut options = Options::new(&config.data_dir);
    let keep = &config.keep;
    options.logs.retention = DAY * u32::try_from(keep.log_days).unwrap_or(u32::MAX);
    options.logs.bytes_per_group = keep.log_mib_per_group << 20;
    options.logs.bytes_in_all = keep.log_mib << 20;
    options.ledger.age = DAY * u32::try_from(keep.ledger_days).unwrap_or(u32::MAX);
    options.ledger.rows = keep.ledger_records;
    options.code_bytes = keep.code_mib << 20;
    options
}

fn object_bounds(config: &Config) -> objects::Bounds {
    objects::Bounds {
        body_bytes: config.objects.body_mib << 20,
        bytes_in_all: config.objects.mib << 20,
        concurrent_uploads: config.objects.uploads,
    }
}

fn pool_config(config: &Config) -> PoolConfig {
    let mut pool = PoolConfig::for_host(0);
    pool.keep_alive = Duration::from_secs(config.instances.keep_alive_seconds);
    pool.budget.memory_bytes = super::memory_bytes(config);
    pool.budget.instances = config.instances.most;
    pool.starts_of_a_function.count = config.instances.starts_per_ten_seconds;
    pool.billing_granularity_ms = config.prices.granularity_ms;
    pool.egress_by_default = config.instances.egress;
    pool.blanks.most = config.instances.blanks;
    pool.zygotes = config.instances.zygotes;
    pool.version_zygotes.most = config.instances.version_zygotes;
    pool.stream = StreamLimits {
        bytes: config.streaming.most_kib.saturating_mul(1024),
        unhindered_bytes: config.streaming.unhindered_kib.saturating_mul(1024),
        bytes_per_second: config.streaming.kib_per_second.saturating_mul(1024),
    };
    pool
}

fn store_failure(config: &Config, error: &StoreError) -> Failure {
    let failure = Failure::usage(format!("failed to open the data directory {}", config.data_dir.display()))
        .because(crate::failure::chain(error));
    match error {
        StoreError::Locked(_) => {
            failure.then("--data-dir DIRECTORY --listen 127.0.0.1:0   for a second server")
        }
        StoreError::NewerFormat(_) => failure.then("run the newer lamplight that wrote it"),
        StoreError::Unwritable(_) => failure.then("make room, or check that the disk is mounted read-write"),
        _ => failure,
    }
}
