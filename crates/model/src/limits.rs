//! Named bounds of the API. Source: Lambda quotas page and the API model.

/// Largest synchronous request or response payload, bytes (6 MiB; AWS prints 100 bytes more).
pub const SYNC_PAYLOAD_BYTES: usize = 6_291_556;
/// Largest streamed response, bytes.
pub const STREAM_BYTES: usize = 200 << 20;
/// What passes of a streamed response as fast as its caller reads, bytes.
pub const STREAM_UNHINDERED_BYTES: usize = 6 << 20;
/// How fast the rest of a streamed response passes.
pub const STREAM_BYTES_PER_SECOND: usize = 2 << 20;
/// Largest payload of the deprecated InvokeAsync, bytes.
pub const INVOKE_ASYNC_PAYLOAD_BYTES: usize = 262_144;
/// Largest asynchronous payload, bytes.
pub const ASYNC_PAYLOAD_BYTES: usize = 1_048_576;
/// Largest ZIP in a request, bytes.
pub const ZIP_BYTES: usize = 52_428_800;
/// Largest unpacked code including layers, bytes.
pub const UNZIPPED_BYTES: u64 = 262_144_000;
/// Layers of a function.
pub const LAYERS: usize = 5;
/// Most entries in a package: our own bound against archives of millions of empty files.
pub const ZIP_ENTRIES: usize = 100_000;
/// Largest CreateFunction or UpdateFunctionCode request body, bytes.
pub const REQUEST_BYTES: usize = 70_167_211;
/// Largest environment as JSON, bytes.
pub const ENVIRONMENT_BYTES: usize = 4_096;
/// Memory of a function, MiB.
pub const MEMORY_MIB: std::ops::RangeInclusive<u32> = 128..=10_240;
/// Timeout of a function, seconds.
pub const TIMEOUT_SECONDS: std::ops::RangeInclusive<u32> = 1..=900;
/// `/tmp` of a function, MiB.
pub const EPHEMERAL_STORAGE_MIB: std::ops::RangeInclusive<u32> = 512..=10_240;
/// The initialisation phase of an on-demand instance, seconds.
pub const INIT_SECONDS: u64 = 10;
/// The initialisation phase of a provisioned instance, seconds; a longer timeout of its function counts instead.
pub const PROVISIONED_INIT_SECONDS: u64 = 130;
/// Bytes of log returned by `X-Amz-Log-Result`.
pub const LOG_TAIL_BYTES: usize = 4_096;
/// Decoded client context, bytes.
pub const CLIENT_CONTEXT_BYTES: usize = 3_583;
/// Memory that buys one whole processor, MiB.
pub const MEMORY_MIB_PER_CPU: u32 = 1_769;
/// Concurrent executions of an account that reserved and provisioned concurrency must leave to all functions.
pub const UNRESERVED_CONCURRENCY: usize = 100;
/// Account-wide concurrent executions by default.
pub const ACCOUNT_CONCURRENCY: usize = 1_000;
/// Synchronous calls a second for each of an account's or a function's reserved concurrent executions. Source: Lambda
/// developer guide, "Understanding concurrency and requests per second".
pub const CALLS_PER_SECOND_AND_CONCURRENCY: u64 = 10;
/// New instances of one function in ten seconds. Source: Lambda developer guide, "Concurrency scaling rate".
pub const STARTS_PER_TEN_SECONDS: u64 = 1_000;
