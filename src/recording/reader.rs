//! The reading side: blocks one after the other, whatever state the file is in.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use super::format::{self, BLOCK_HEADER, BadHeader, BlockHeader, BlockType, FILE_HEADER, MAX_STREAM};
use super::head::{End, Head};
use crate::{Error, Result, ResultExt};

/// A recording that is open for reading. Its head has been read.
pub struct Recording {
    head: Head,
    pub(super) name: String,
    pub(super) blocks: Blocks,
    pub(super) times: u64,
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Recording {
    /// Opens the recording at `path`, which may be a pipe.
    ///
    /// # Errors
    ///
    /// It cannot be read, is no recording, one of another version, or damaged or cut off within its head.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("recording {name}"))?;
        Self::read(Box::new(BufReader::new(file)), name)
    }

    /// A recording in memory.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: impl AsRef<[u8]> + Send + 'static) -> Result<Self> {
        Self::read(Box::new(Cursor::new(bytes)), "in memory".to_owned())
    }

    /// Replays the events so many times, from memory. What becomes known about containers, and losses, are replayed once.
    #[must_use]
    pub fn repeated(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// What the recording says about itself.
    pub fn head(&self) -> &Head {
        &self.head
    }

    fn read(mut input: Box<dyn Read + Send>, name: String) -> Result<Self> {
        let read = |input: &mut dyn Read| {
            let mut start = Vec::with_capacity(FILE_HEADER);
            input.take(FILE_HEADER as u64).read_to_end(&mut start)?;
            format::check_file_header(&start)
        };
        let mut blocks = read(&mut input)
            .and_then(|()| Blocks::new(input))
            .with_context(|| format!("recording {name}"))?;
        let head = blocks.head().with_context(|| format!("recording {name}"))?;
        Ok(Self {
            head,
            name,
            blocks,
            times: 1,
        })
    }
}

/// What comes next in a recording.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A block of entries, which is now the [payload](Blocks::payload).
    Stream,
    /// A block that was skipped.
    Skipped,
    /// The end, in order.
    End(End),
    /// The file ends without having been ended.
    CutOff { offset: u64 },
    /// A block cannot be used, but what follows can be read.
    Damaged { offset: u64, events: u32, why: String },
    /// Nothing that follows can be read.
    Lost { offset: u64, why: String },
}

/// The blocks of a recording.
pub(super) struct Blocks {
    input: Box<dyn Read + Send>,
    unpacker: zstd::bulk::Decompressor<'static>,
    /// Where the next block begins.
    offset: u64,
    stored: Vec<u8>,
    unpacked: Vec<u8>,
    is_packed: bool,
}

impl Blocks {
    fn new(input: Box<dyn Read + Send>) -> Result<Self> {
        Ok(Self {
            input,
            unpacker: zstd::bulk::Decompressor::new().context("starting zstd")?,
            offset: FILE_HEADER as u64,
            stored: Vec::new(),
            unpacked: Vec::new(),
            is_packed: false,
        })
    }

    /// Entries of the last block.
    pub(super) fn payload(&self) -> &[u8] {
        if self.is_packed { &self.unpacked } else { &self.stored }
    }

    /// Where the next block begins, in bytes from the start of the file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    fn head(&mut self) -> Result<Head> {
        let damaged = |offset: u64, why: &str| Err(Error::invalid(format!("damaged at byte {offset}: {why}")));
        let offset = self.offset;
        let header = match self.header()? {
            Ok(header) => header,
            Err(Next::Lost { offset, why }) => return damaged(offset, &why),
            Err(_) => return Err(Error::invalid(format!("cut off at byte {offset}, within its head"))),
        };
        if header.block_type != BlockType::Head {
            return damaged(offset, "it does not begin with its head");
        }
        match self.body(&header, offset)? {
            None => Head::parse(self.payload()).with_context(|| format!("damaged at byte {offset}")),
            Some(Next::Damaged { why, .. }) => damaged(offset, &why),
            Some(_) => Err(Error::invalid(format!("cut off at byte {offset}, within its head"))),
        }
    }

    /// Goes on to the next block.
    ///
    /// # Errors
    ///
    /// The operating system cannot read the file. Everything that is wrong with the recording is [`Next`]'s to say.
    pub(super) fn next(&mut self) -> Result<Next> {
        let offset = self.offset;
        let header = match self.header()? {
            Ok(header) => header,
            Err(next) => return Ok(next),
        };
        let lost = |why: String| Ok(Next::Lost { offset, why });
        match header.block_type {
            BlockType::Unknown(_) if header.optional => return self.skip(&header, offset),
            BlockType::Unknown(number) => {
                return lost(format!(
                    "a block of type {number}, which this version of ig does not know"
                ));
            }
            BlockType::Head => return lost("a second head".to_owned()),
            BlockType::Stream | BlockType::End => {}
        }
        if let Some(next) = self.body(&header, offset)? {
            return Ok(next);
        }
        if header.block_type == BlockType::Stream {
            return Ok(Next::Stream);
        }
        Ok(match serde_json::from_slice(self.payload()) {
            Ok(end) => Next::End(end),
            Err(error) => Next::Lost {
                offset,
                why: format!("its end: {error}"),
            },
        })
    }

    fn header(&mut self) -> Result<std::result::Result<BlockHeader, Next>> {
        let offset = self.offset;
        let mut bytes = [0; BLOCK_HEADER];
        let mut filled = 0;
        while filled < BLOCK_HEADER {
            match self.input.read(&mut bytes[filled..]) {
                Ok(0) => return Ok(Err(Next::CutOff { offset })),
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.offset += BLOCK_HEADER as u64;
        Ok(match BlockHeader::decode(&bytes) {
            Ok(header) => Ok(header),
            Err(BadHeader::Zeroes) => Err(Next::CutOff { offset }),
            Err(BadHeader::Damaged) => Err(Next::Lost {
                offset,
                why: "the checksum of a block's header is wrong".to_owned(),
            }),
        })
    }

    /// Reads the payload; says what is wrong with it if something is. `offset` is where the block began.
    fn body(&mut self, header: &BlockHeader, offset: u64) -> Result<Option<Next>> {
        self.stored.clear();
        self.stored.shrink_to(MAX_STREAM as usize);
        // Takes memory only for bytes that are there.
        let input = &mut self.input;
        let count = input.take(u64::from(header.stored)).read_to_end(&mut self.stored)?;
        if count < header.stored as usize {
            return Ok(Some(Next::CutOff { offset }));
        }
        self.offset += u64::from(header.stored);
        let damaged = |why: String| {
            Ok(Some(Next::Damaged {
                offset,
                events: header.events,
                why,
            }))
        };
        if crc32fast::hash(&self.stored) != header.crc {
            return damaged("the checksum of a block is wrong".to_owned());
        }
        self.is_packed = header.packed;
        if header.packed {
            self.unpacked.clear();
            self.unpacked.reserve(header.length as usize);
            if let Err(error) = self.unpacker.decompress_to_buffer(&self.stored, &mut self.unpacked) {
                return damaged(format!("unpacking a block: {error}"));
            }
            if self.unpacked.len() != header.length as usize {
                return damaged("a block has another length than it says".to_owned());
            }
        }
        Ok(None)
    }

    fn skip(&mut self, header: &BlockHeader, offset: u64) -> Result<Next> {
        let length = u64::from(header.stored);
        let count = std::io::copy(&mut Read::by_ref(&mut self.input).take(length), &mut std::io::sink())?;
        if count < length {
            return Ok(Next::CutOff { offset });
        }
        self.offset += length;
        Ok(Next::Skipped)
    }
}
