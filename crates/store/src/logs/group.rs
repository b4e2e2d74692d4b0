//! One log group: a directory of segments, the newest of which grows.
//!
//! Used by the one writing thread and by readers; what both need is behind the group's own lock, held for
//! moments (readers copy the index, then read files without it).

use crate::contract::StoreError;
use crate::logs::record::{Kind, MAGIC, Record};
use crate::logs::segment::{SegmentIndex, SegmentPath, SegmentStream};
use crate::logs::streams::{Deleted, Streams};
use crate::logs::{LogEvent, LogGroupSettings, LogQuery, LogStreamInfo};
use lamplight_model::{Scope, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Name of the file that says which group a directory holds.
const DESCRIPTION: &str = "group.json";
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// What `group.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) scope: Scope,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    #[serde(flatten)]
    pub(crate) settings: LogGroupSettings,
}

/// When a segment is full.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentBounds {
    pub(crate) bytes: u64,
    /// Segments are deleted whole, so none may span a large part of the retention.
    pub(crate) age: Duration,
}

/// An event to be written.
#[derive(Debug)]
pub(crate) struct NewEvent {
    pub(crate) stream: Arc<str>,
    pub(crate) timestamp: Timestamp,
    pub(crate) ingested_at: Timestamp,
    pub(crate) message: String,
}

#[derive(Debug)]
struct Segment {
    path: SegmentPath,
    index: Arc<SegmentIndex>,
}

#[derive(Debug)]
struct State {
    /// Oldest first; the last one grows.
    segments: Vec<Segment>,
    file: File,
    next_sequence: u64,
    /// Numbers of the streams within the growing segment.
    streams: HashMap<String, u32>,
    /// What clients made and deleted.
    named: Streams,
    retention: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Group {
    directory: PathBuf,
    state: Mutex<State>,
}

/// The group a directory holds; `None` when it holds none (half made, or not ours).
pub(crate) fn read_description(directory: &Path) -> Option<Description> {
    serde_json::from_slice(&std::fs::read(directory.join(DESCRIPTION)).ok()?).ok()
}

/// Writes the description of the group in `directory`; durable when it returns.
fn write_description(directory: &Path, description: &Description) -> Result<(), StoreError> {
    let doing = || format!("failed to describe log group {}", description.name);
    let bytes = serde_json::to_vec(description).map_err(|error| StoreError::failed(doing(), error))?;
    let write = || -> std::io::Result<()> {
        let temporary = directory.join("group.new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(temporary, directory.join(DESCRIPTION))?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|error| StoreError::io(doing(), error))
}

/// How the directories of groups that are being removed begin. No group's own does: names of files have no dots.
pub(crate) const REMOVED: &str = "removed.";

/// Removes a group: first its name, so that a crash in between leaves nothing that is read.
pub(crate) fn remove(directory: &Path) -> Result<(), StoreError> {
    let doing = || format!("failed to remove {}", directory.display());
    let remove = || -> std::io::Result<()> {
        let removed = directory.with_file_name(format!("{REMOVED}{}", uuid::Uuid::new_v4().simple()));
        std::fs::rename(directory, &removed)?;
        if let Some(parent) = directory.parent() {
            File::open(parent)?.sync_all()?;
        }
        std::fs::remove_dir_all(removed)
    };
    remove().map_err(|error| StoreError::io(doing(), error))
}

fn retention_of(settings: &LogGroupSettings) -> Option<Duration> {
    settings.retention_days.map(|days| DAY * days)
}

impl Group {
    /// Makes the directory of a new group.
    pub(crate) fn create(directory: &Path, description: Description) -> Result<Self, StoreError> {
        let doing = || format!("failed to create log group {}", description.name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| StoreError::io(doing(), error))?;
        write_description(directory, &description)?;
        Self::open(directory, &description.settings)
    }

    /// Replaces the settings; durable when it returns.
    pub(crate) fn configure(&self, settings: LogGroupSettings) -> Result<(), StoreError> {
        let mut state = self.lock();
        let description = read_description(&self.directory)
            .ok_or_else(|| StoreError::NotFound(format!("log group {}", self.directory.display())))?;
        state.retention = retention_of(&settings);
        write_description(&self.directory, &Description { settings, ..description })
    }

    /// Events that came before this are expired: by the group's own retention, or else by `default`.
    pub(crate) fn cutoff(&self, now: Timestamp, default: Duration) -> Timestamp {
        let retention = self.lock().retention.unwrap_or(default);
        Timestamp(now.0.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Makes a stream without events.
    pub(crate) fn create_stream(&self, name: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.has_stream(name) {
            return Err(StoreError::AlreadyExists(format!("log stream {name}")));
        }
        state.named.create(name, now)
    }

    /// Deletes a stream with the events it has.
    pub(crate) fn delete_stream(&self, name: &str) -> Result<(), StoreError> {
        let mut state = self.lock();
        if !state.has_stream(name) {
            return Err(StoreError::NotFound(format!("log stream {name}")));
        }
        let through = state.next_sequence.saturating_sub(1);
        state.named.delete(name, through)?;
        if let Some(newest) = state.segments.last_mut() {
            Arc::make_mut(&mut newest.index).forget_stream(name);
        }
        Ok(())
    }

    /// Whether there is such a stream, with events or made by a client.
    pub(crate) fn has_stream(&self, name: &str) -> bool {
        self.lock().has_stream(name)
    }

    /// The number of the newest event; 0 before the first.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.lock().next_sequence.saturating_sub(1)
    }

    /// Opens a group; cuts a torn tail off its newest segment.
    pub(crate) fn open(directory: &Path, settings: &LogGroupSettings) -> Result<Self, StoreError> {
        let doing = || format!("failed to open {}", directory.display());
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(|error| StoreError::io(doing(), error))? {
            let name = entry.map_err(|error| StoreError::io(doing(), error))?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_suffix(".log"))
                .and_then(|name| name.parse::<u64>().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        if numbers.is_empty() {
            numbers.push(1);
        }
        let named = Streams::open(directory, numbers[0])?;
        let newest = numbers.len() - 1;
        let mut segments = Vec::with_capacity(numbers.len());
        for (at, number) in numbers.into_iter().enumerate() {
            let path = SegmentPath::new(directory, number);
            let index = match at == newest {
                false => path.sealed_index(&named.deleted)?,
                true if path.log.exists() => path.scan(&named.deleted)?,
                true => SegmentIndex::default(),
            };
            segments.push(Segment { path, index: Arc::new(index) });
        }
        let last = &mut segments[newest];
        let (file, index) = open_newest(&last.path, &last.index)?;
        last.index = Arc::new(index);
        let next_sequence =
            last.index.last_sequence().map_or(last.path.first_sequence, |sequence| sequence + 1);
        let streams =
            (0..).zip(&last.index.streams).map(|(number, stream)| (stream.name.clone(), number)).collect();
        let state = Mutex::new(State {
            segments,
            file,
            next_sequence,
            streams,
            named,
            retention: retention_of(settings),
        });
        Ok(Self { directory: directory.to_owned(), state })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes events at the end. On error nothing was added and the same events may be brought again.
    pub(crate) fn append(&self, events: &[NewEvent], bounds: SegmentBounds) -> Result<(), StoreError> {
        let Some(first) = events.first() else { return Ok(()) };
        self.roll_if_full(first.ingested_at, bounds)?;
        let mut state = self.lock();
        let State { segments, file, next_sequence, streams, named, .. } = &mut *state;
        let Some(segment) = segments.last_mut() else { return Ok(()) };
        let known_streams = segment.index.streams.len();
        let (mut buffer, mut records) = (Vec::new(), Vec::with_capacity(events.len()));
        let mut sequence = *next_sequence;
        for event in events {
            let mut add = |kind, stream, text| {
                let (timestamp, ingested_at) = (event.timestamp, event.ingested_at);
                let record = Record { kind, stream, timestamp, ingested_at, sequence, text };
                let bytes = record.write(&mut buffer);
                records.push((record, bytes));
            };
            let stream = match streams.get(&*event.stream) {
                Some(stream) => *stream,
                None => {
                    let stream = streams.len() as u32;
                    streams.insert(event.stream.to_string(), stream);
                    add(Kind::Stream, stream, &event.stream);
                    stream
                }
            };
            add(Kind::Event, stream, event.message.as_str());
            sequence += 1;
        }
        let start = segment.index.length;
        if let Err(error) = file.write_all_at(&buffer, start) {
            // A part may have been written; the next attempt writes over it, and a reader never looks there.
            let _ = file.set_len(start);
            streams.retain(|_, stream| (*stream as usize) < known_streams);
            return Err(StoreError::io(format!("failed to write {}", segment.path.log.display()), error));
        }
        // Copies the index only while a reader holds the old one.
        let index = Arc::make_mut(&mut segment.index);
        for (record, bytes) in records {
            index.add(&record, bytes, &named.deleted);
        }
        *next_sequence = sequence;
        Ok(())
    }

    fn roll_if_full(&self, now: Timestamp, bounds: SegmentBounds) -> Result<(), StoreError> {
        let mut state = self.lock();
        let Some(newest) = state.segments.last() else { return Ok(()) };
        let age = state.retention.map_or(bounds.age, |retention| bounds.age.min(retention / 14));
        let old = newest.index.first_ingested_at.is_some_and(|first| first.plus(age) <= now);
        if old || newest.index.length >= bounds.bytes { self.roll(&mut state) } else { Ok(()) }
    }

    /// Seals the newest segment and begins another, whose name carries the next number (so numbers
    /// never begin again, even when everything older is deleted).
    fn roll(&self, state: &mut State) -> Result<(), StoreError> {
        let path = SegmentPath::new(&self.directory, state.next_sequence);
        let (file, index) = open_newest(&path, &SegmentIndex::default())?;
        if let Some(newest) = state.segments.last() {
            newest.path.seal(&newest.index)?;
            state.file.sync_data().map_err(|error| {
                StoreError::io(format!("failed to sync {}", newest.path.log.display()), error)
            })?;
        }
        state.file = file;
        state.streams.clear();
        state.segments.push(Segment { path, index: Arc::new(index) });
        Ok(())
    }

    /// Bytes of all segments.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.lock().segments.iter().map(|segment| segment.index.length).sum()
    }

    /// When the oldest sealed segment got its last event; `None` when only the growing one is left.
    pub(crate) fn oldest_sealed(&self) -> Option<Timestamp> {
        let state = self.lock();
        let (_, sealed) = state.segments.split_last()?;
        sealed.first().map(|segment| segment.index.last_ingested_at.unwrap_or_default())
    }

    /// Deletes the oldest sealed segment; gives back the bytes freed.
    pub(crate) fn remove_oldest(&self) -> Result<u64, StoreError> {
        let mut state = self.lock();
        if state.segments.len() < 2 {
            return Ok(0);
        }
        let freed = state.segments[0].path.remove()?;
        state.segments.remove(0);
        Ok(freed)
    }

    /// Deletes segments whose newest event came before `cutoff`; gives back the bytes freed.
    pub(crate) fn retain(&self, cutoff: Timestamp) -> Result<u64, StoreError> {
        {
            let mut state = self.lock();
            let newest = state.segments.last().and_then(|segment| segment.index.last_ingested_at);
            if newest.is_some_and(|newest| newest < cutoff) {
                self.roll(&mut state)?;
            }
        }
        let mut freed = 0;
        while self.oldest_sealed().is_some_and(|newest| newest < cutoff) {
            freed += self.remove_oldest()?;
        }
        Ok(freed)
    }

    fn snapshot(&self) -> (Vec<(SegmentPath, Arc<SegmentIndex>)>, Arc<Deleted>) {
        let state = self.lock();
        let segments = state.segments.iter().map(|segment| (segment.path.clone(), segment.index.clone()));
        (segments.collect(), Arc::clone(&state.named.deleted))
    }

    /// Events that came at `cutoff` or later, as `query` wants them. Reads files: not for an async thread.
    pub(crate) fn events(&self, query: &LogQuery, cutoff: Timestamp) -> Result<Vec<LogEvent>, StoreError> {
        let (mut segments, deleted) = self.snapshot();
        if query.backward {
            segments.reverse();
        }
        let mut found = Vec::new();
        for (path, index) in segments {
            if index.last_ingested_at.is_none_or(|newest| newest < cutoff) {
                continue;
            }
            // A segment at the edge of the retention: what is filtered out here must not use up the limit.
            if index.first_ingested_at.is_some_and(|first| first < cutoff) {
                let mut all = Vec::new();
                path.read(&index, &LogQuery { limit: usize::MAX, ..query.clone() }, &deleted, &mut all)?;
                all.retain(|event| event.ingested_at >= cutoff);
                all.truncate(query.limit.saturating_sub(found.len()));
                found.append(&mut all);
            } else {
                path.read(&index, query, &deleted, &mut found)?;
            }
            if found.len() >= query.limit {
                break;
            }
        }
        Ok(found)
    }

    /// Streams in name order: those with events that are not expired, and those that clients made.
    pub(crate) fn streams(&self, cutoff: Timestamp) -> Vec<LogStreamInfo> {
        let created = Arc::clone(&self.lock().named.created);
        let (segments, deleted) = self.snapshot();
        let empty = |name: &str, created_at| LogStreamInfo {
            name: name.to_owned(),
            created_at,
            first_event_at: None,
            last_event_at: None,
            last_ingested_at: None,
            stored_bytes: 0,
        };
        let mut streams: BTreeMap<String, LogStreamInfo> =
            created.iter().map(|(name, at)| (name.clone(), empty(name, *at))).collect();
        for (_, index) in segments {
            if index.last_ingested_at.is_none_or(|newest| newest < cutoff) {
                continue;
            }
            for stream in index.streams.iter().filter(|stream| is_counted(&index, stream, &deleted)) {
                let info = streams
                    .entry(stream.name.clone())
                    .or_insert_with(|| empty(&stream.name, stream.created_at));
                info.first_event_at = match (info.first_event_at, stream.first_event_at) {
                    (Some(known), Some(first)) => Some(known.min(first)),
                    (known, first) => known.or(first),
                };
                info.last_event_at = info.last_event_at.max(stream.last_event_at);
                // Segments of older releases do not say it.
                let ingested_at = stream.last_ingested_at.or(stream.last_event_at);
                info.last_ingested_at = info.last_ingested_at.max(ingested_at);
                info.stored_bytes += stream.stored_bytes;
            }
        }
        streams.into_values().collect()
    }
}

/// Whether a segment has events of a stream that were not deleted.
fn is_counted(index: &SegmentIndex, stream: &SegmentStream, deleted: &Deleted) -> bool {
    let hidden = deleted
        .get(&stream.name)
        .is_some_and(|through| index.last_sequence().is_none_or(|last| last <= *through));
    stream.last_event_at.is_some() && !hidden
}

impl State {
    fn has_stream(&self, name: &str) -> bool {
        self.named.created.contains_key(name)
            || self.segments.iter().any(|segment| {
                let mut streams = segment.index.streams.iter();
                streams.any(|stream| {
                    stream.name == name && is_counted(&segment.index, stream, &self.named.deleted)
                })
            })
    }
}

/// The growing segment, cut to its whole records, with its head written if it had none.
fn open_newest(path: &SegmentPath, index: &SegmentIndex) -> Result<(File, SegmentIndex), StoreError> {
    let empty = index.length == 0;
    let index = if empty { SegmentIndex::empty() } else { index.clone() };
    let open = || -> std::io::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path.log)?;
        if file.metadata()?.len() > index.length {
            file.set_len(index.length)?;
        }
        if empty {
            file.write_all_at(MAGIC, 0)?;
        }
        Ok(file)
    };
    let file = match open() {
        // What is there is read all the same; appending says that nothing can be written.
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => File::open(&path.log),
        other => other,
    };
    let file =
        file.map_err(|error| StoreError::io(format!("failed to open {}", path.log.display()), error))?;
    Ok((file, index))
}
