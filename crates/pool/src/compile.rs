//! Compiles packages and layers in the background, one at a time, each by its own interpreter in a sandbox of its own.
//!
//! What comes out is mounted beside the code at every later start (`/var/compiled`). Nothing waits for it and nothing
//! needs it: without it an interpreter compiles what it imports, each time.

use crate::code::layers_of;
use crate::environment::startup_environment;
use crate::plan::RuntimePlan;
use crate::pool::Pool;
use bytes::Bytes;
use lamplight_model::{CodeDigest, FunctionVersion};
use lamplight_runtime::managed::{Compiled, compile_command, sized_command};
use lamplight_sandbox::{Code, Companions, Limits, Protocol, SandboxSpec, Started, Temporary};
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, info};

/// Bytes of a result: a package of 250 MiB with nothing but Python has less.
const OUTPUT_BYTES: u64 = 64 * 1024 * 1024;
/// What the sandbox may use: half a processor, so that calls keep theirs.
const LIMITS: Limits =
    Limits { memory_bytes: 512 * 1024 * 1024, cpu_millis: 500, processes: 16, open_files: 64 };
/// Its `/tmp`, MiB: the size that is always ready.
const TEMPORARY_MIB: u32 = 512;
/// How long a new function's first call has the processors for itself.
const FIRST_CALL_GOES_FIRST: Duration = Duration::from_millis(500);
/// Packages remembered as asked for or failed. Beyond it they are forgotten, and may be tried again.
const REMEMBERED: usize = 10_000;

/// What is under way, and what was tried.
pub struct Compilations {
    /// Packages compiled since the start, and those that could not be.
    done: AtomicU64,
    failed: AtomicU64,
    tried: Mutex<HashSet<(CodeDigest, String)>>,
    /// Background work that takes a processor: compiling, importing for all instances of a version.
    pub(crate) one_at_a_time: Semaphore,
}

impl Default for Compilations {
    fn default() -> Self {
        Self {
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            tried: Mutex::default(),
            one_at_a_time: Semaphore::new(1),
        }
    }
}

impl Compilations {
    /// Packages compiled since the start, and those that could not be.
    pub fn counts(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// Whether this is the first time it is asked for.
    fn begin(&self, digest: &CodeDigest, compiler: &str) -> bool {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if tried.len() >= REMEMBERED {
            tried.clear();
        }
        tried.insert((digest.clone(), compiler.to_owned()))
    }
}

impl Pool {
    /// Names of what was compiled of a version's layers and package. What is not there yet is made for later starts.
    pub(crate) fn compiled(self: &Arc<Self>, version: &FunctionVersion, plan: &RuntimePlan) -> Vec<String> {
        let layers = layers_of(version).map(|layer| (layer, Compiled::Layer));
        let parts = layers.chain([(&version.code, Compiled::Package)]);
        parts.filter_map(|(digest, what)| self.compiled_part(version, plan, digest, what)).collect()
    }

    fn compiled_part(
        self: &Arc<Self>,
        version: &FunctionVersion,
        plan: &RuntimePlan,
        digest: &CodeDigest,
        what: Compiled,
    ) -> Option<String> {
        let sized = sized_command(&plan.command, plan.family, version.memory_mib);
        let command = compile_command(plan.family, &sized, what)?;
        let mut compiler = plan.compiler();
        if what == Compiled::Layer {
            // One archive may be both.
            compiler.push_str("-layer");
        }
        if sized != plan.command {
            // The heap's size is among the options that what is compiled depends on.
            compiler.push_str(&format!("-{}", version.memory_mib));
        }
        let name = self.code.compiled(digest, &compiler);
        if name.is_none()
            && !self.config.compile_limit.is_zero()
            && self.compilations.begin(digest, &compiler)
        {
            self.compile_later(version, plan, digest.clone(), what, command, compiler);
        }
        name
    }

    fn compile_later(
        self: &Arc<Self>,
        version: &FunctionVersion,
        plan: &RuntimePlan,
        digest: CodeDigest,
        what: Compiled,
        command: Vec<String>,
        compiler: String,
    ) {
        let function = version.name.clone();
        let root = plan.root.clone();
        let environment = startup_environment(version, plan).unwrap_or_default();
        let pool = Arc::clone(self);
        self.tasks.spawn(async move {
            let work = async {
                tokio::time::sleep(FIRST_CALL_GOES_FIRST).await;
                let _alone = pool.compilations.one_at_a_time.acquire().await.map_err(|error| error.to_string())?;
                let package = pool.code.unpacked(&digest).await.map_err(|error| error.to_string())?;
                let code = match what {
                    Compiled::Package => Code::of(package),
                    Compiled::Layer => Code { layers: vec![package.clone()], ..Code::of(package) },
                };
                let archive = pool.compile(root, code, command, environment).await?;
                let bytes = archive.len();
                pool.code
                    .put_compiled(&digest, &compiler, archive)
                    .await
                    .map_err(|error| error.to_string())?;
                Ok::<_, String>(bytes)
            };
            tokio::select! {
                result = work => match result {
                    Ok(bytes) => {
                        pool.compilations.done.fetch_add(1, Ordering::Relaxed);
                        debug!(%function, compiler, bytes, "compiled a package");
                    }
                    Err(error) => {
                        pool.compilations.failed.fetch_add(1, Ordering::Relaxed);
                        info!(%function, compiler, error, "a package was not compiled, its starts compile what they import");
                    }
                },
                () = pool.abort.cancelled() => {}
            }
        });
    }

    /// The archive that a sandbox around `command` writes to its standard output.
    async fn compile(
        &self,
        root: String,
        code: Code,
        command: Vec<String>,
        environment: Vec<(String, String)>,
    ) -> Result<Bytes, String> {
        let spec = SandboxSpec {
            root,
            code: Some(code),
            file_systems: Vec::new(),
            temporary: Temporary::New { size_mib: TEMPORARY_MIB },
            limits: LIMITS,
            egress: false,
            command,
            environment,
            protocol: Protocol::HttpRuntimeApi,
            companions: Companions::default(),
        };
        let Started { sandbox, output, runtime_api, platform_api, .. } =
            self.backend.start(spec).await.map_err(|error| error.to_string())?;
        drop((runtime_api, platform_api));
        let work = async {
            sandbox.apply_limits(LIMITS).map_err(|error| error.to_string())?;
            let archive = read_all(output).await?;
            let exit = sandbox.exited().await;
            match exit.status {
                Some(0) => Ok(archive),
                _ => Err(format!("it ended with {exit:?}")),
            }
        };
        let result = timeout(self.config.compile_limit, work)
            .await
            .unwrap_or_else(|_| Err("it took too long".to_owned()));
        sandbox.stop().await;
        result
    }
}

/// Reads until every writer is gone, a bounded number of bytes.
async fn read_all(output: OwnedFd) -> Result<Bytes, String> {
    let failed = |error: std::io::Error| format!("failed to read what was compiled: {error}");
    let output = pipe::Receiver::from_owned_fd(output).map_err(failed)?;
    let mut archive = Vec::new();
    output.take(OUTPUT_BYTES + 1).read_to_end(&mut archive).await.map_err(failed)?;
    if archive.len() as u64 > OUTPUT_BYTES {
        return Err("it is too long".to_owned());
    }
    Ok(archive.into())
}
