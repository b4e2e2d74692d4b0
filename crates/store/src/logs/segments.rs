//! The log store: takes lines without blocking, one thread writes them, readers read files.
//!
//! ```text
//!  append -> rate of the group -> buffer (bounded) -> writer thread -> segments of each group
//!                 \-> dropped and counted ----------^ (one visible line)
//! ```
//! Logs are whole after a crash of the platform; a power loss may take the last seconds, never what comes before.

use crate::contract::StoreError;
use crate::lock::DataDirectoryLock;
use crate::logs::group::{self, Description, Group, NewEvent, SegmentBounds, read_description};
use crate::logs::rate::{Bucket, Rate};
use crate::logs::{LogEvent, LogGroupInfo, LogGroupSettings, LogQuery, LogStreamInfo, Logs, record};
use crate::open::{Clock, LogBounds, make_directory};
use async_trait::async_trait;
use lamplight_model::{Scope, Timestamp};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Bytes of all lines waiting to be written, counting `LINE_OVERHEAD_BYTES` for each.
const BUFFER_BYTES: usize = 32 << 20;
const LINE_OVERHEAD_BYTES: usize = 128;
/// How long the writer lets lines gather.
const GATHER: Duration = Duration::from_millis(50);
/// How long the writer waits after a failure.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Between two "dropped" lines of one group.
const BETWEEN_NOTICES: Duration = Duration::from_secs(1);
/// Groups kept open: each holds a descriptor and its indexes.
const OPEN_GROUPS: usize = 512;
/// Rates remembered; idle ones are forgotten beyond it.
const BUCKETS: usize = 4_096;
/// Bytes of a stream's name, as CloudWatch.
const STREAM_NAME_BYTES: usize = 512;
/// A segment, unless a group's bound asks for smaller ones.
const SEGMENT_BYTES: u64 = 16 << 20;

type Key = (Scope, Arc<str>);

#[derive(Default)]
struct Buffer {
    pending: Vec<(Key, NewEvent)>,
    bytes: usize,
    buckets: HashMap<Key, Bucket>,
    flushes: Vec<oneshot::Sender<Result<(), StoreError>>>,
    closed: bool,
}

impl Buffer {
    /// The bucket of a group, filled with what the time since its last use is worth.
    fn bucket(&mut self, rate: Rate, key: &Key, now: Timestamp) -> &mut Bucket {
        if self.buckets.len() >= BUCKETS {
            self.buckets.retain(|_, bucket| {
                bucket.refill(rate, now);
                !bucket.is_idle(rate)
            });
        }
        let bucket = self.buckets.entry(key.clone()).or_insert_with(|| Bucket::full(rate, now));
        bucket.refill(rate, now);
        bucket
    }
}

struct Shared {
    root: PathBuf,
    bounds: LogBounds,
    segment_bounds: SegmentBounds,
    rate: Rate,
    clock: Clock,
    buffer: Mutex<Buffer>,
    woken: Condvar,
    groups: Mutex<HashMap<Key, Arc<Group>>>,
    stored_bytes: AtomicU64,
    changes: watch::Sender<u64>,
}

/// The logs of one data directory.
pub(crate) struct SegmentLogs {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SegmentLogs {
    /// Opens the directory; groups are opened when they are first used.
    pub(crate) fn open(
        root: &Path,
        bounds: LogBounds,
        lock: Arc<DataDirectoryLock>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        make_directory(root)?;
        let segment_bounds = SegmentBounds {
            bytes: (bounds.bytes_per_group / 8).clamp(4_096, SEGMENT_BYTES),
            age: (bounds.retention / 14).max(Duration::from_secs(60)),
        };
        let rate =
            Rate { lines: f64::from(bounds.lines_per_second), bytes: f64::from(bounds.bytes_per_second) };
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            bounds,
            segment_bounds,
            rate,
            clock,
            buffer: Mutex::default(),
            woken: Condvar::new(),
            groups: Mutex::default(),
            stored_bytes: AtomicU64::new(0),
            changes: watch::channel(0).0,
        });
        shared.sweep()?;
        let mut stored_bytes = 0;
        for (directory, _) in shared.all_groups()? {
            stored_bytes += directory_bytes(&directory);
        }
        shared.stored_bytes.store(stored_bytes, Ordering::Relaxed);
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("store-logs".to_owned())
            .spawn(move || {
                of_thread.run();
                drop(lock);
            })
            .map_err(|error| StoreError::io("failed to start the log writer", error))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || work(&shared))
            .await
            .map_err(|error| StoreError::failed("failed to read logs", error))?
    }
}

impl Drop for SegmentLogs {
    fn drop(&mut self) {
        self.shared.lock_buffer().closed = true;
        self.shared.woken.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Logs for SegmentLogs {
    fn append(&self, scope: &Scope, group: &str, stream: &str, lines: Vec<(Timestamp, String)>) {
        let stream: Arc<str> = stream[..stream.floor_char_boundary(STREAM_NAME_BYTES)].into();
        let ingested_at = (self.shared.clock)();
        let key: Key = (scope.clone(), group.into());
        let mut buffer = self.shared.lock_buffer();
        let was_empty = buffer.pending.is_empty();
        buffer.bucket(self.shared.rate, &key, ingested_at);
        let Buffer { pending, bytes: buffered, buckets, .. } = &mut *buffer;
        let Some(bucket) = buckets.get_mut(&key) else { return };
        for (timestamp, line) in lines {
            let costs = line.len() + LINE_OVERHEAD_BYTES;
            if *buffered + costs > BUFFER_BYTES || !bucket.take(line.len()) {
                bucket.refuse(&stream);
                continue;
            }
            *buffered += costs;
            pending.push((
                key.clone(),
                NewEvent { stream: stream.clone(), timestamp, ingested_at, message: line },
            ));
        }
        drop(buffer);
        if was_empty {
            self.shared.woken.notify_one();
        }
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.shared.lock_buffer().flushes.push(sender);
        self.shared.woken.notify_one();
        receiver.await.map_err(|error| StoreError::failed("failed to flush logs", error))?
    }

    async fn put(
        &self,
        scope: &Scope,
        group: &str,
        stream: &str,
        events: Vec<(Timestamp, String)>,
    ) -> Result<bool, StoreError> {
        let (key, stream): (Key, Arc<str>) = ((scope.clone(), group.into()), stream.into());
        self.blocking(move |shared| {
            if !shared.existing_group(&key)?.has_stream(&stream) {
                return Err(StoreError::NotFound(format!("log stream {stream}")));
            }
            let ingested_at = (shared.clock)();
            let bytes = events.iter().map(|(_, message)| message.len()).sum();
            if !shared.lock_buffer().bucket(shared.rate, &key, ingested_at).take_batch(events.len(), bytes) {
                return Ok(false);
            }
            let event =
                |(timestamp, message)| NewEvent { stream: stream.clone(), timestamp, ingested_at, message };
            shared.write(&key, &events.into_iter().map(event).collect::<Vec<_>>())?;
            shared.changes.send_modify(|count| *count = count.wrapping_add(1));
            Ok(true)
        })
        .await
    }

    async fn create_group(
        &self,
        scope: &Scope,
        group: &str,
        settings: LogGroupSettings,
    ) -> Result<(), StoreError> {
        let key: Key = (scope.clone(), group.into());
        self.blocking(move |shared| {
            let mut created = false;
            shared.open_group(&key, |directory| {
                created = true;
                Group::create(directory, shared.description(&key, settings))
            })?;
            match created {
                true => Ok(()),
                false => Err(StoreError::AlreadyExists(format!("log group {}", key.1))),
            }
        })
        .await
    }

    async fn configure_group(
        &self,
        scope: &Scope,
        group: &str,
        settings: LogGroupSettings,
    ) -> Result<(), StoreError> {
        let key = (scope.clone(), group.into());
        self.blocking(move |shared| shared.existing_group(&key)?.configure(settings)).await
    }

    async fn delete_group(&self, scope: &Scope, group: &str) -> Result<(), StoreError> {
        // What was written before must not make the group again afterwards.
        self.flush().await?;
        let key: Key = (scope.clone(), group.into());
        self.blocking(move |shared| {
            let mut groups = shared.groups.lock().unwrap_or_else(PoisonError::into_inner);
            let directory = shared.group_directory(&key);
            if read_description(&directory).is_none() {
                return Err(StoreError::NotFound(format!("log group {}", key.1)));
            }
            // Who still has it open goes on with files that have no name any more.
            groups.remove(&key);
            let bytes = directory_bytes(&directory);
            group::remove(&directory)?;
            shared.forget_bytes(bytes);
            Ok(())
        })
        .await
    }

    async fn group(&self, scope: &Scope, group: &str) -> Result<LogGroupInfo, StoreError> {
        let key: Key = (scope.clone(), group.into());
        self.blocking(move |shared| {
            let directory = shared.group_directory(&key);
            let description = read_description(&directory)
                .ok_or_else(|| StoreError::NotFound(format!("log group {}", key.1)))?;
            Ok(info(&directory, description))
        })
        .await
    }

    async fn groups(
        &self,
        scope: &Scope,
        prefix: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<LogGroupInfo>, StoreError> {
        let (scope, prefix, after) = (scope.clone(), prefix.map(str::to_owned), after.map(str::to_owned));
        self.blocking(move |shared| {
            let mut found: Vec<(PathBuf, Description)> = shared.groups_of(&shared.scope_directory(&scope))?;
            found.retain(|(_, group)| {
                prefix.as_ref().is_none_or(|prefix| group.name.starts_with(prefix.as_str()))
                    && after.as_ref().is_none_or(|after| group.name > *after)
            });
            found.sort_by(|(_, left), (_, right)| left.name.cmp(&right.name));
            found.truncate(limit);
            Ok(found.into_iter().map(|(path, group)| info(&path, group)).collect())
        })
        .await
    }

    async fn create_stream(&self, scope: &Scope, group: &str, stream: &str) -> Result<(), StoreError> {
        let (key, stream) = ((scope.clone(), group.into()), stream.to_owned());
        self.blocking(move |shared| shared.existing_group(&key)?.create_stream(&stream, (shared.clock)()))
            .await
    }

    async fn delete_stream(&self, scope: &Scope, group: &str, stream: &str) -> Result<(), StoreError> {
        self.flush().await?;
        let (key, stream) = ((scope.clone(), group.into()), stream.to_owned());
        self.blocking(move |shared| shared.existing_group(&key)?.delete_stream(&stream)).await
    }

    async fn last_sequence(&self, scope: &Scope, group: &str) -> Result<u64, StoreError> {
        let key = (scope.clone(), group.into());
        self.blocking(move |shared| Ok(shared.existing_group(&key)?.last_sequence())).await
    }

    async fn streams(&self, scope: &Scope, group: &str) -> Result<Vec<LogStreamInfo>, StoreError> {
        let key = (scope.clone(), group.into());
        self.blocking(move |shared| {
            let group = shared.existing_group(&key)?;
            Ok(group.streams(group.cutoff((shared.clock)(), shared.bounds.retention)))
        })
        .await
    }

    async fn events(&self, scope: &Scope, group: &str, query: LogQuery) -> Result<Vec<LogEvent>, StoreError> {
        let key = (scope.clone(), group.into());
        self.blocking(move |shared| {
            let group = shared.existing_group(&key)?;
            group.events(&query, group.cutoff((shared.clock)(), shared.bounds.retention))
        })
        .await
    }

    async fn retain(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.blocking(move |shared| {
            let mut freed = 0;
            for (_, description) in shared.all_groups()? {
                let group = shared.existing_group(&(description.scope, description.name.into()))?;
                freed += group.retain(group.cutoff(now, shared.bounds.retention))?;
            }
            shared.forget_bytes(freed);
            Ok(freed)
        })
        .await
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }
}

impl Shared {
    fn lock_buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let (batch, flushes, closed) = self.wait_for_batch();
            let mut by_group: BTreeMap<Key, Vec<NewEvent>> = BTreeMap::new();
            for (key, event) in batch {
                by_group.entry(key).or_default().push(event);
            }
            let wrote = !by_group.is_empty();
            let mut failed = Vec::new();
            let mut failure = None;
            for (key, events) in by_group {
                if let Err(error) = self.write_lines(&key, &events) {
                    tracing::warn!(%error, group = %key.1, "failed to write logs; will try again");
                    failure = Some(error);
                    failed.push((key, events));
                }
            }
            if wrote {
                self.changes.send_modify(|count| *count = count.wrapping_add(1));
            }
            for flush in flushes {
                let _ = flush.send(failure.as_ref().map_or(Ok(()), |error| Err(error.repeat())));
            }
            if closed {
                return;
            }
            self.settle(failed);
        }
    }

    /// Frees the buffer of what was written; what was not goes back in front and waits.
    fn settle(&self, failed: Vec<(Key, Vec<NewEvent>)>) {
        let mut buffer = self.lock_buffer();
        let retry = !failed.is_empty();
        if retry {
            let mut again: Vec<(Key, NewEvent)> = Vec::new();
            for (key, events) in failed {
                again.extend(events.into_iter().map(|event| (key.clone(), event)));
            }
            again.append(&mut buffer.pending);
            buffer.pending = again;
        }
        buffer.bytes =
            buffer.pending.iter().map(|(_, event)| event.message.len() + LINE_OVERHEAD_BYTES).sum::<usize>();
        if retry {
            let _ = self.woken.wait_timeout_while(buffer, RETRY_DELAY, |buffer| {
                buffer.flushes.is_empty() && !buffer.closed
            });
        }
    }

    #[allow(clippy::type_complexity)]
    fn wait_for_batch(&self) -> (Vec<(Key, NewEvent)>, Vec<oneshot::Sender<Result<(), StoreError>>>, bool) {
        let urgent = |buffer: &Buffer| !buffer.flushes.is_empty() || buffer.closed;
        let mut buffer = self.lock_buffer();
        while buffer.pending.is_empty() && !urgent(&buffer) {
            if buffer.buckets.values().any(Bucket::owes_notice) {
                buffer = self
                    .woken
                    .wait_timeout(buffer, BETWEEN_NOTICES)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                break;
            }
            buffer = self.woken.wait(buffer).unwrap_or_else(PoisonError::into_inner);
        }
        let gathered = self.woken.wait_timeout_while(buffer, GATHER, |buffer| !urgent(buffer));
        let mut buffer = gathered.unwrap_or_else(PoisonError::into_inner).0;
        let now = (self.clock)();
        let urgent = urgent(&buffer);
        let Buffer { pending, buckets, .. } = &mut *buffer;
        for (key, bucket) in buckets {
            if let Some((count, stream)) = bucket.take_dropped(now, BETWEEN_NOTICES, urgent) {
                let message = format!(
                    "[lamplight] dropped {count} lines: this group wrote more than {} lines or {} bytes per second\n",
                    self.bounds.lines_per_second, self.bounds.bytes_per_second
                );
                pending.push((
                    key.clone(),
                    NewEvent { stream: stream.into(), timestamp: now, ingested_at: now, message },
                ));
            }
        }
        (std::mem::take(pending), std::mem::take(&mut buffer.flushes), buffer.closed)
    }

    /// Writes lines of functions, long ones in pieces.
    fn write_lines(&self, key: &Key, events: &[NewEvent]) -> Result<(), StoreError> {
        if events.iter().any(|event| event.message.len() > record::EVENT_TEXT_BYTES) {
            return self.write(key, &events.iter().flat_map(pieces_of).collect::<Vec<_>>());
        }
        self.write(key, events)
    }

    fn write(&self, key: &Key, events: &[NewEvent]) -> Result<(), StoreError> {
        let group = self.group(key)?;
        let before = group.stored_bytes();
        group.append(events, self.segment_bounds)?;
        self.stored_bytes.fetch_add(group.stored_bytes().saturating_sub(before), Ordering::Relaxed);
        while group.stored_bytes() > self.bounds.bytes_per_group && group.oldest_sealed().is_some() {
            self.forget_bytes(group.remove_oldest()?);
        }
        drop(group);
        if self.stored_bytes.load(Ordering::Relaxed) > self.bounds.bytes_in_all
            && let Err(error) = self.shrink()
        {
            // The lines are written; the bound is tried again with the next ones.
            tracing::warn!(%error, "failed to delete old logs");
        }
        Ok(())
    }

    /// Deletes the oldest sealed segments of all groups until the bound on all logs holds.
    fn shrink(&self) -> Result<(), StoreError> {
        while self.stored_bytes.load(Ordering::Relaxed) > self.bounds.bytes_in_all {
            let mut oldest: Option<(Timestamp, Arc<Group>)> = None;
            for (_, description) in self.all_groups()? {
                let group = self.existing_group(&(description.scope, description.name.into()))?;
                if let Some(at) = group.oldest_sealed()
                    && oldest.as_ref().is_none_or(|(known, _)| at < *known)
                {
                    oldest = Some((at, group));
                }
            }
            let Some((_, group)) = oldest else { return Ok(()) };
            self.forget_bytes(group.remove_oldest()?);
        }
        Ok(())
    }

    fn forget_bytes(&self, freed: u64) {
        let _ = self
            .stored_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bytes| Some(bytes.saturating_sub(freed)));
    }

    fn scope_directory(&self, scope: &Scope) -> PathBuf {
        self.root.join(file_name(&scope.key()))
    }

    /// The group, made when it is absent.
    fn group(&self, key: &Key) -> Result<Arc<Group>, StoreError> {
        self.open_group(key, |directory| {
            Group::create(directory, self.description(key, LogGroupSettings::default()))
        })
    }

    fn description(&self, key: &Key, settings: LogGroupSettings) -> Description {
        Description { scope: key.0.clone(), name: key.1.to_string(), created_at: (self.clock)(), settings }
    }

    fn group_directory(&self, key: &Key) -> PathBuf {
        self.scope_directory(&key.0).join(file_name(&key.1))
    }

    fn existing_group(&self, key: &Key) -> Result<Arc<Group>, StoreError> {
        self.open_group(key, |_| Err(StoreError::NotFound(format!("log group {}", key.1))))
    }

    fn open_group(
        &self,
        key: &Key,
        absent: impl FnOnce(&Path) -> Result<Group, StoreError>,
    ) -> Result<Arc<Group>, StoreError> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = groups.get(key) {
            return Ok(group.clone());
        }
        let directory = self.group_directory(key);
        let group = match read_description(&directory) {
            Some(description) => Group::open(&directory, &description.settings)?,
            None => absent(&directory)?,
        };
        if groups.len() >= OPEN_GROUPS {
            // Only what nobody holds: a group must never be open twice.
            groups.retain(|_, group| Arc::strong_count(group) > 1);
        }
        let group = Arc::new(group);
        groups.insert(key.clone(), group.clone());
        Ok(group)
    }

    /// Ends the removals that a crash interrupted. What cannot be removed stays and is read by nobody.
    fn sweep(&self) -> Result<(), StoreError> {
        for scope in sub_directories(&self.root)? {
            for directory in sub_directories(&scope)?.into_iter().filter(|path| is_removed(path)) {
                if let Err(error) = std::fs::remove_dir_all(&directory) {
                    tracing::warn!(%error, directory = %directory.display(), "failed to end the removal of a log group");
                }
            }
        }
        Ok(())
    }

    fn all_groups(&self) -> Result<Vec<(PathBuf, Description)>, StoreError> {
        let mut found = Vec::new();
        for scope in sub_directories(&self.root)? {
            found.extend(self.groups_of(&scope)?);
        }
        Ok(found)
    }

    fn groups_of(&self, scope_directory: &Path) -> Result<Vec<(PathBuf, Description)>, StoreError> {
        let directories = sub_directories(scope_directory)?;
        let described = directories
            .into_iter()
            .filter(|path| !is_removed(path))
            .filter_map(|path| Some((read_description(&path)?, path)));
        Ok(described.map(|(description, path)| (path, description)).collect())
    }
}

fn is_removed(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(group::REMOVED))
}

fn info(directory: &Path, description: Description) -> LogGroupInfo {
    LogGroupInfo {
        name: description.name,
        created_at: description.created_at,
        stored_bytes: directory_bytes(directory),
        settings: description.settings,
    }
}

fn pieces_of(event: &NewEvent) -> impl Iterator<Item = NewEvent> {
    record::split(&event.message).map(|piece| NewEvent {
        stream: event.stream.clone(),
        timestamp: event.timestamp,
        ingested_at: event.ingested_at,
        message: piece.to_owned(),
    })
}

fn sub_directories(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let doing = || format!("failed to list {}", path.display());
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io(doing(), error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        found.push(entry.map_err(|error| StoreError::io(doing(), error))?.path());
    }
    Ok(found)
}

/// Bytes of the segments in a group's directory; what vanishes meanwhile counts nothing.
fn directory_bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log"))
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

/// A file name for any text: letters, digits, `-` and `_` as they are, other bytes as `%41`; a long one is cut
/// and ends with its digest after `~`, which no short one contains.
fn file_name(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut name = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            byte => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.len() <= LONGEST && !name.is_empty() {
        return name;
    }
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let digest = lamplight_model::CodeDigest::from_bytes(&digest);
    name.truncate(100);
    format!("{name}~{}", digest.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_plain_and_differ() {
        assert_eq!(file_name("/aws/lambda/hello"), "%2faws%2flambda%2fhello");
        let hostile = ["", ".", "..", "../../etc", "a\0b", "a/b", "a%2fb", "~", "CON", "ä"];
        let long: Vec<String> = vec!["x".repeat(5_000), "x".repeat(5_001), "/".repeat(300)];
        let names: std::collections::HashSet<String> = hostile
            .iter()
            .map(|text| file_name(text))
            .chain(long.iter().map(|text| file_name(text)))
            .collect();
        assert_eq!(names.len(), hostile.len() + long.len());
        for name in names {
            assert!(name.len() <= 255 && !name.is_empty(), "{name}");
            assert!(
                name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_%~".contains(&byte)),
                "{name}"
            );
        }
    }
}
