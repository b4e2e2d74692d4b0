//! A segment file and its index: where the blocks begin, what times and streams are in them.
//!
//! The index is rebuilt by reading the segment (at start, for the newest one); a sealed segment has it in
//! a file beside it. A query reads only blocks that can hold what it wants.

use crate::contract::StoreError;
use crate::logs::record::{self, Kind, MAGIC, Record};
use crate::logs::streams::Deleted;
use crate::logs::{LogEvent, LogQuery};
use lamplight_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A block ends with the record that brings it to this many bytes.
pub(crate) const BLOCK_BYTES: u64 = 64 * 1024;

/// What is known of a stream within one segment. Its place in the list is its number there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentStream {
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    pub(crate) first_event_at: Option<Timestamp>,
    pub(crate) last_event_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) last_ingested_at: Option<Timestamp>,
    pub(crate) stored_bytes: u64,
}

/// A stretch of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    start: u64,
    end: u64,
    first_sequence: u64,
    last_sequence: u64,
    earliest: Timestamp,
    latest: Timestamp,
    streams: Vec<u32>,
}

/// All that is known of a segment without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct SegmentIndex {
    pub(crate) streams: Vec<SegmentStream>,
    pub(crate) blocks: Vec<Block>,
    /// Bytes of the file that are whole records.
    pub(crate) length: u64,
    /// When its first and its newest event came.
    pub(crate) first_ingested_at: Option<Timestamp>,
    pub(crate) last_ingested_at: Option<Timestamp>,
}

impl SegmentIndex {
    /// Of a segment that holds its head only.
    pub(crate) fn empty() -> Self {
        Self { length: MAGIC.len() as u64, ..Self::default() }
    }

    /// Notes a record that was (or is about to be) written at the end, `bytes` long. What `deleted` hides is not counted.
    pub(crate) fn add(&mut self, record: &Record<'_>, bytes: u64, deleted: &Deleted) {
        let start = self.length;
        self.length += bytes;
        if record.kind == Kind::Stream {
            self.streams.push(SegmentStream {
                name: record.text.to_owned(),
                created_at: record.ingested_at,
                first_event_at: None,
                last_event_at: None,
                last_ingested_at: None,
                stored_bytes: 0,
            });
            return;
        }
        self.first_ingested_at.get_or_insert(record.ingested_at);
        self.last_ingested_at = self.last_ingested_at.max(Some(record.ingested_at));
        if let Some(stream) = self.streams.get_mut(record.stream as usize)
            && deleted.get(&stream.name).is_none_or(|through| record.sequence > *through)
        {
            if stream.first_event_at.is_none() {
                stream.created_at = record.ingested_at;
            }
            let first = stream.first_event_at.get_or_insert(record.timestamp);
            *first = record.timestamp.min(*first);
            stream.last_event_at = stream.last_event_at.max(Some(record.timestamp));
            stream.last_ingested_at = stream.last_ingested_at.max(Some(record.ingested_at));
            stream.stored_bytes += record.text.len() as u64;
        }
        match self.blocks.last_mut() {
            Some(block) if block.end - block.start < BLOCK_BYTES => {
                block.end = self.length;
                block.last_sequence = record.sequence;
                block.earliest = block.earliest.min(record.timestamp);
                block.latest = block.latest.max(record.timestamp);
                if !block.streams.contains(&record.stream) {
                    block.streams.push(record.stream);
                }
            }
            _ => self.blocks.push(Block {
                start,
                end: self.length,
                first_sequence: record.sequence,
                last_sequence: record.sequence,
                earliest: record.timestamp,
                latest: record.timestamp,
                streams: vec![record.stream],
            }),
        }
    }

    /// Counts nothing of a stream any more that was deleted now.
    pub(crate) fn forget_stream(&mut self, name: &str) {
        for stream in self.streams.iter_mut().filter(|stream| stream.name == name) {
            (stream.first_event_at, stream.last_event_at, stream.last_ingested_at) = (None, None, None);
            stream.stored_bytes = 0;
        }
    }

    /// The newest event's number.
    pub(crate) fn last_sequence(&self) -> Option<u64> {
        self.blocks.last().map(|block| block.last_sequence)
    }
}

/// A segment's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentPath {
    /// Number of its first event; names order like numbers.
    pub(crate) first_sequence: u64,
    pub(crate) log: PathBuf,
    pub(crate) index: PathBuf,
}

impl SegmentPath {
    pub(crate) fn new(directory: &Path, first_sequence: u64) -> Self {
        let name = |extension: &str| directory.join(format!("{first_sequence:020}.{extension}"));
        Self { first_sequence, log: name("log"), index: name("index") }
    }

    /// Reads the segment and indexes it up to the first record that is not whole.
    pub(crate) fn scan(&self, deleted: &Deleted) -> Result<SegmentIndex, StoreError> {
        let doing = || format!("failed to read {}", self.log.display());
        let bytes = std::fs::read(&self.log).map_err(|error| StoreError::io(doing(), error))?;
        if bytes.len() < MAGIC.len() {
            // Torn at birth.
            return Ok(SegmentIndex::default());
        }
        if !bytes.starts_with(MAGIC) {
            return Err(StoreError::NewerFormat(format!(
                "{} is not a log segment of a format this release of Lamplight knows",
                self.log.display()
            )));
        }
        let mut index = SegmentIndex::empty();
        while let Some((record, length)) = record::parse(&bytes[index.length as usize..]) {
            index.add(&record, length as u64, deleted);
        }
        Ok(index)
    }

    /// The index of a sealed segment: from its file, or by reading the segment when that is absent or damaged.
    pub(crate) fn sealed_index(&self, deleted: &Deleted) -> Result<SegmentIndex, StoreError> {
        let length = std::fs::metadata(&self.log).map(|metadata| metadata.len()).unwrap_or(0);
        let stored: Option<SegmentIndex> =
            std::fs::read(&self.index).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        match stored {
            Some(index) if index.length <= length => Ok(index),
            _ => self.scan(deleted),
        }
    }

    /// Writes the index of a segment that gets no more records. Losing it costs time only, so it is not synced.
    pub(crate) fn seal(&self, index: &SegmentIndex) -> Result<(), StoreError> {
        let doing = || format!("failed to write {}", self.index.display());
        let bytes = serde_json::to_vec(index).map_err(|error| StoreError::failed(doing(), error))?;
        std::fs::write(&self.index, bytes).map_err(|error| StoreError::io(doing(), error))
    }

    /// Removes segment and index; gives back the bytes freed.
    pub(crate) fn remove(&self) -> Result<u64, StoreError> {
        let doing = || format!("failed to remove {}", self.log.display());
        let bytes = std::fs::metadata(&self.log).map(|metadata| metadata.len()).unwrap_or(0);
        match std::fs::remove_file(&self.log) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io(doing(), error));
            }
            _ => {}
        }
        // An index without its segment is found by nobody; the group's next opening removes it.
        let _ = std::fs::remove_file(&self.index);
        Ok(bytes)
    }

    /// Appends to `found` the events that `query` wants, in its order, until its limit is reached.
    pub(crate) fn read(
        &self,
        index: &SegmentIndex,
        query: &LogQuery,
        deleted: &Deleted,
        found: &mut Vec<LogEvent>,
    ) -> Result<(), StoreError> {
        // Of each stream: the number after which its events are wanted.
        let wanted: Vec<Option<u64>> = index
            .streams
            .iter()
            .map(|stream| {
                wants_stream(query, &stream.name).then(|| deleted.get(&stream.name).copied().unwrap_or(0))
            })
            .collect();
        let wants = |stream: u32, sequence: u64| {
            wanted.get(stream as usize).copied().flatten().is_some_and(|after| sequence > after)
        };
        let mut file = None;
        for at in 0..index.blocks.len() {
            if found.len() >= query.limit {
                return Ok(());
            }
            let at = if query.backward { index.blocks.len() - 1 - at } else { at };
            let block = &index.blocks[at];
            let outside = query.from.is_some_and(|from| block.latest < from)
                || query.until.is_some_and(|until| block.earliest >= until)
                || query.after_sequence.is_some_and(|after| match query.backward {
                    true => block.first_sequence >= after,
                    false => block.last_sequence <= after,
                });
            if outside || !block.streams.iter().any(|stream| wants(*stream, block.last_sequence)) {
                continue;
            }
            let file = match &mut file {
                Some(file) => file,
                none => {
                    let opened = match File::open(&self.log) {
                        Ok(opened) => opened,
                        // Retention took it since the query began.
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                        Err(error) => {
                            return Err(StoreError::io(
                                format!("failed to open {}", self.log.display()),
                                error,
                            ));
                        }
                    };
                    none.insert(opened)
                }
            };
            self.read_block(file, index, block, query, &wants, found)?;
        }
        Ok(())
    }

    fn read_block(
        &self,
        file: &File,
        index: &SegmentIndex,
        block: &Block,
        query: &LogQuery,
        wants: &impl Fn(u32, u64) -> bool,
        found: &mut Vec<LogEvent>,
    ) -> Result<(), StoreError> {
        let mut bytes = vec![0; (block.end - block.start) as usize];
        file.read_exact_at(&mut bytes, block.start)
            .map_err(|error| StoreError::io(format!("failed to read {}", self.log.display()), error))?;
        let mut events = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((record, length)) = record::parse(rest) {
            rest = &rest[length..];
            if record.kind == Kind::Event
                && wants(record.stream, record.sequence)
                && wants_event(query, &record)
            {
                events.push(LogEvent {
                    stream: index.streams[record.stream as usize].name.clone(),
                    timestamp: record.timestamp,
                    ingested_at: record.ingested_at,
                    message: record.text.to_owned(),
                    sequence: record.sequence,
                });
            }
        }
        if query.backward {
            events.reverse();
        }
        events.truncate(query.limit - found.len());
        found.append(&mut events);
        Ok(())
    }
}

fn wants_stream(query: &LogQuery, name: &str) -> bool {
    (query.streams.is_empty() || query.streams.iter().any(|stream| stream == name))
        && query.stream_prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix.as_str()))
}

fn wants_event(query: &LogQuery, record: &Record<'_>) -> bool {
    query.from.is_none_or(|from| record.timestamp >= from)
        && query.until.is_none_or(|until| record.timestamp < until)
        && query.after_sequence.is_none_or(|after| match query.backward {
            true => record.sequence < after,
            false => record.sequence > after,
        })
}
