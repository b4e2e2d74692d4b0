//! One log group: a directory of segments, the newest of which grows.
//!
//! Used by the one writing thread and by readers; what both need is behind the group's own lock, held for
//! moments (readers copy the index, then read files without it).

use crate::contract::StoreError;
use crate::logs::record::{Kind, MAGIC, Record};
use crate::logs::segment::{SegmentIndex, SegmentPath};
use crate::logs::{LogEvent, LogQuery, LogStreamInfo};
use lamplight_model::{Scope, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Name of the file that says which group a directory holds.
const DESCRIPTION: &str = "group.json";

/// What `group.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) scope: Scope,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
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

impl Group {
    /// Makes the directory of a new group.
    pub(crate) fn create(directory: &Path, description: Description) -> Result<Self, StoreError> {
        let doing = || format!("failed to create log group {}", description.name);
        let bytes = serde_json::to_vec(&description).map_err(|error| StoreError::failed(doing(), error))?;
        let write = || -> std::io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            let temporary = directory.join("group.new");
            std::fs::write(&temporary, bytes)?;
            std::fs::rename(temporary, directory.join(DESCRIPTION))
        };
        write().map_err(|error| StoreError::io(doing(), error))?;
        Self::open(directory)
    }

    /// Opens a group; cuts a torn tail off its newest segment.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
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
        let newest = numbers.len() - 1;
        let mut segments = Vec::with_capacity(numbers.len());
        for (at, number) in numbers.into_iter().enumerate() {
            let path = SegmentPath::new(directory, number);
            let index = match at == newest {
                false => path.sealed_index()?,
                true if path.log.exists() => path.scan()?,
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
        let state = Mutex::new(State { segments, file, next_sequence, streams });
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
        let State { segments, file, next_sequence, streams } = &mut *state;
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
            index.add(&record, bytes);
        }
        *next_sequence = sequence;
        Ok(())
    }

    fn roll_if_full(&self, now: Timestamp, bounds: SegmentBounds) -> Result<(), StoreError> {
        let mut state = self.lock();
        let Some(newest) = state.segments.last() else { return Ok(()) };
        let old = newest.index.first_ingested_at.is_some_and(|first| first.plus(bounds.age) <= now);
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

    fn snapshot(&self) -> Vec<(SegmentPath, Arc<SegmentIndex>)> {
        self.lock().segments.iter().map(|segment| (segment.path.clone(), segment.index.clone())).collect()
    }

    /// Events that came at `cutoff` or later, as `query` wants them. Reads files: not for an async thread.
    pub(crate) fn events(&self, query: &LogQuery, cutoff: Timestamp) -> Result<Vec<LogEvent>, StoreError> {
        let mut segments = self.snapshot();
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
                path.read(&index, &LogQuery { limit: usize::MAX, ..query.clone() }, &mut all)?;
                all.retain(|event| event.ingested_at >= cutoff);
                all.truncate(query.limit.saturating_sub(found.len()));
                found.append(&mut all);
            } else {
                path.read(&index, query, &mut found)?;
            }
            if found.len() >= query.limit {
                break;
            }
        }
        Ok(found)
    }

    /// Streams in name order.
    pub(crate) fn streams(&self, cutoff: Timestamp) -> Vec<LogStreamInfo> {
        let mut streams: BTreeMap<String, LogStreamInfo> = BTreeMap::new();
        for (_, index) in self.snapshot() {
            if index.last_ingested_at.is_none_or(|newest| newest < cutoff) {
                continue;
            }
            for stream in &index.streams {
                let info = streams.entry(stream.name.clone()).or_insert_with(|| LogStreamInfo {
                    name: stream.name.clone(),
                    created_at: stream.created_at,
                    first_event_at: None,
                    last_event_at: None,
                    stored_bytes: 0,
                });
                info.first_event_at = match (info.first_event_at, stream.first_event_at) {
                    (Some(known), Some(first)) => Some(known.min(first)),
                    (known, first) => known.or(first),
                };
                info.last_event_at = info.last_event_at.max(stream.last_event_at);
                info.stored_bytes += stream.stored_bytes;
            }
        }
        streams.into_values().collect()
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
