//! Pages: the families of one scrape in one format and coding, block by block.
//!
//! A page is never whole in memory. A reader asks for one block after another, and each block is
//! made when its first reader asks for it. It depends only on the scrape and on its [`Position`].
//! So readers need no common state:
//!
//! - Readers that are close to each other share blocks: a page keeps the last [`RECENT`] of them.
//!   If several want a block that is being made, they wait for it.
//! - A reader further behind makes its blocks again. It holds up no other reader.
//! - A reader that does not read holds one block, and the scrape.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use crate::encode::{Cursor, Format, Options, Syntax};
use crate::snapshot::MergedSnapshot;
use crate::sync::lock;

use super::coding::{Checksum, Coding, Compressor, Levels};
use super::scrape::{HeldBytes, PageMemory};

/// The length of a block of a plain page, and of the parts that are compressed one after the other.
/// A block is longer by a few series, which mostly fit in a buffer of 128 KiB as well.
const PLAIN: usize = 124 << 10;

/// The length at which a compressed block ends.
const COMPRESSED: usize = 64 << 10;

/// The most parts of a compressed block. They bound the time that its first reader waits.
const PARTS: usize = 16;

/// The number of blocks that a page keeps for readers that are a little behind.
const RECENT: usize = 8;

/// How pages are written. The same for all pages of a service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Style {
    pub(super) options: Options,
    pub(super) levels: Levels,
    /// Whether clients that prefer OpenMetrics get it.
    pub(super) open_metrics: bool,
}

impl Style {
    pub(super) fn new() -> Self {
        Self {
            options: Options::new(),
            levels: Levels::default(),
            open_metrics: true,
        }
    }

    /// Returns the format for an Accept header.
    pub(super) fn format(self, accept: &str) -> Format {
        if self.open_metrics {
            Format::negotiate(accept)
        } else {
            Format::negotiate_without_open_metrics(accept)
        }
    }
}

/// How one page is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    pub(super) style: Style,
    pub(super) format: Format,
    pub(super) coding: Coding,
}

/// A page that readers share.
pub(super) struct SharedPage {
    look: Look,
    /// The families of the page, by their indices in the scrape.
    families: Vec<usize>,
    /// The blocks that were made last, and those that are being made, with their numbers.
    recent: Mutex<VecDeque<(usize, Arc<Slot>)>>,
    /// Compressors that make no block now, until the last block is made.
    compressors: Mutex<Vec<Compressor>>,
}

/// A block that may have yet to be made. Locked by the reader that makes it, so that others wait
/// for it.
type Slot = Mutex<Option<Arc<PageBlock>>>;

/// The start of a block.
#[derive(Default)]
pub(super) struct Position {
    /// The number of blocks before it.
    number: usize,
    cursor: Cursor,
    /// The checksum of the blocks before it.
    checksum: Checksum,
}

/// A part of a page. Its memory is reused after its last reader has dropped it.
pub(super) struct PageBlock {
    pub(super) bytes: Vec<u8>,
    /// The start of the next block, or `None` at the end of the page.
    pub(super) next: Option<Arc<Position>>,
    /// The kind of its buffer: 0 if plain, 1 if compressed.
    kind: usize,
    memory: Arc<PageMemory>,
    _held: HeldBytes,
}

impl Drop for PageBlock {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.bytes);
        self.memory.reuse(self.kind, buffer);
    }
}

impl SharedPage {
    pub(super) fn new(look: Look, families: Vec<usize>) -> Self {
        Self {
            look,
            families,
            recent: Mutex::default(),
            compressors: Mutex::default(),
        }
    }

    /// Returns whether this is the page of these families, written so.
    pub(super) fn is(&self, look: Look, families: &[usize]) -> bool {
        self.look == look && self.families == families
    }

    /// Returns whether a block takes only some 40 µs, so that it may be made in async code. It does
    /// unless it is compressed, or begins with the length of a family.
    pub(super) fn is_quick(&self) -> bool {
        self.look.coding == Coding::Identity && self.look.format.syntax() != Syntax::Protobuf
    }

    /// Returns the block at this position if it was made recently.
    pub(super) fn recent(&self, position: &Position) -> Option<Arc<PageBlock>> {
        let recent = lock(&self.recent);
        let (_, slot) = recent
            .iter()
            .find(|(number, _)| *number == position.number)?;
        // A locked slot is being filled.
        slot.try_lock().ok()?.clone()
    }

    /// Returns the block at this position. Makes it, unless another reader makes it or has made it
    /// recently.
    ///
    /// # Errors
    ///
    /// Returns an error if the compressor gets no memory.
    pub(super) fn block(
        &self,
        position: &Position,
        scrape: &MergedSnapshot,
        memory: &Arc<PageMemory>,
    ) -> io::Result<Arc<PageBlock>> {
        let slot = self.slot(position.number);
        let mut block = lock(&slot);
        if let Some(block) = &*block {
            return Ok(Arc::clone(block));
        }
        let made = Arc::new(self.make(position, scrape, memory)?);
        *block = Some(Arc::clone(&made));
        Ok(made)
    }

    fn slot(&self, number: usize) -> Arc<Slot> {
        let mut recent = lock(&self.recent);
        if let Some((_, slot)) = recent.iter().find(|(own, _)| *own == number) {
            return Arc::clone(slot);
        }
        if recent.len() == RECENT {
            recent.pop_front();
        }
        let slot = Arc::default();
        recent.push_back((number, Arc::clone(&slot)));
        slot
    }

    fn make(
        &self,
        position: &Position,
        scrape: &MergedSnapshot,
        memory: &Arc<PageMemory>,
    ) -> io::Result<PageBlock> {
        let write = |cursor: Cursor, out: &mut Vec<u8>| {
            let families = self.families.get(cursor.family..).unwrap_or_default();
            let families = families.iter().map(|at| scrape.family(*at));
            let (options, format) = (self.look.style.options, self.look.format);
            options.render_block(families, scrape.taken(), format, cursor, PLAIN, out)
        };
        let mut plain = memory.buffer(0);
        let mut next = write(position.cursor, &mut plain);
        let (kind, mut bytes, checksum) = match self.compressor(next, plain.len())? {
            None => (0, plain, Checksum::default()),
            Some(mut compressor) => {
                let before = (position.number > 0).then_some(&position.checksum);
                compressor.begin(before, memory.buffer(1));
                compressor.write(&plain)?;
                for _ in 1..PARTS {
                    let Some(cursor) = next.filter(|_| compressor.len() < COMPRESSED) else {
                        break;
                    };
                    plain.clear();
                    next = write(cursor, &mut plain);
                    compressor.write(&plain)?;
                }
                memory.reuse(0, plain);
                let (bytes, checksum) = compressor.finish(next.is_none())?;
                let mut idle = lock(&self.compressors);
                match next {
                    Some(_) => idle.push(compressor),
                    None => idle.clear(),
                }
                (1, bytes, checksum)
            }
        };
        let next = next.map(|cursor| {
            Arc::new(Position {
                number: position.number + 1,
                cursor,
                checksum,
            })
        });
        Ok(PageBlock {
            _held: memory.hold(&mut bytes),
            bytes,
            next,
            kind,
            memory: Arc::clone(memory),
        })
    }

    /// Returns a compressor for a block that begins with `len` bytes, or `None` for `identity`. If
    /// there is nothing `next`, these bytes are the whole block.
    fn compressor(&self, next: Option<Cursor>, len: usize) -> io::Result<Option<Compressor>> {
        if let Some(idle) = lock(&self.compressors).pop() {
            return Ok(Some(idle));
        }
        let len = next.is_none().then_some(len);
        Compressor::new(self.look.coding, self.look.style.levels, len)
    }
}
