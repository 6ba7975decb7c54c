//! Compression of the page: chooses a coding by `Accept-Encoding` from those that are compiled in,
//! and compresses a page block by block.
//!
//! The client must ask for a coding by name or with `*`, and a q-value of 0 rejects it. A client
//! that rejects every available coding, `identity` included, still gets the uncompressed page,
//! because that is more useful than an error. Source: RFC 9110, section 12.5.3.
//!
//! No block refers to the text of another one, so a block can be compressed again without those
//! before it. In zstd each block is a frame (RFC 8878, section 3). In gzip all blocks are parts of
//! one member (RFC 1952), since not every client reads several: each part but the last ends at a
//! byte (a flush), and the checksum at the end goes from block to block.

use std::io;
use std::mem::take;

#[cfg(feature = "zstd")]
use zstd::stream::raw::{InBuffer, Operation, OutBuffer};

use crate::encode::accept::ranges;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    #[cfg(feature = "gzip")]
    Gzip,
    #[cfg(feature = "zstd")]
    Zstd,
}

/// The available codings in order of preference, which decides between equal q-values.
const OFFERED: &[(Coding, &str)] = &[
    #[cfg(feature = "zstd")]
    (Coding::Zstd, "zstd"),
    #[cfg(feature = "gzip")]
    (Coding::Gzip, "gzip"),
    (Coding::Identity, "identity"),
];

impl Coding {
    /// Returns the available coding with the highest q-value.
    pub(super) fn negotiate(accept_encoding: &str) -> Self {
        let range = |name: &str| ranges(accept_encoding).find(|range| range.is(name));
        let q = |name: &str| range(name).map(|range| range.q());
        let mut best = (0, Self::Identity);
        for (coding, name) in OFFERED {
            let asked = q(name)
                .or_else(|| (*name == "gzip").then(|| q("x-gzip")).flatten())
                .or_else(|| q("*"))
                .unwrap_or(0);
            if asked > best.0 {
                best = (asked, *coding);
            }
        }
        best.1
    }

    pub(super) fn name(self) -> &'static str {
        let own = OFFERED.iter().find(|(coding, _)| *coding == self);
        own.map_or("identity", |(_, name)| name)
    }
}

/// The level of each coding.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(dead_code, reason = "a coding may not be compiled in")]
pub(super) struct Levels {
    pub(super) gzip: u32,
    pub(super) zstd: i32,
}

impl Default for Levels {
    /// Returns the levels that `docs/benchmarks.md` compares with others.
    fn default() -> Self {
        Self { gzip: 1, zstd: 1 }
    }
}

/// The checksum of a page up to a block, which gzip writes behind the last one.
#[cfg(feature = "gzip")]
pub(super) type Checksum = flate2::Crc;
#[cfg(not(feature = "gzip"))]
pub(super) type Checksum = ();

/// Compresses blocks of a page, one after the other, in memory that it uses again.
pub(super) struct Compressor {
    encoder: Encoder,
    /// The block.
    out: Vec<u8>,
    /// The checksum of the page up to here.
    checksum: Checksum,
}

enum Encoder {
    #[cfg(feature = "gzip")]
    Gzip(flate2::Compress),
    #[cfg(feature = "zstd")]
    Zstd(zstd::stream::raw::Encoder<'static>),
}

/// The head of a gzip member without a name and a time, from an unknown system.
#[cfg(feature = "gzip")]
const GZIP_HEAD: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];

/// The least free memory of `out` for each call of an encoder.
#[cfg(any(feature = "gzip", feature = "zstd"))]
const ROOM: usize = 16 << 10;

#[cfg_attr(
    not(all(feature = "gzip", feature = "zstd")),
    allow(
        unused_variables,
        unreachable_code,
        reason = "the codings need different parameters"
    )
)]
impl Compressor {
    /// Creates a compressor, or returns `None` for `identity`. `len` is the length of the first
    /// block before compression, if it is known.
    pub(super) fn new(
        coding: Coding,
        levels: Levels,
        len: Option<usize>,
    ) -> io::Result<Option<Self>> {
        let encoder = match coding {
            Coding::Identity => return Ok(None),
            #[cfg(feature = "gzip")]
            Coding::Gzip => {
                let level = flate2::Compression::new(levels.gzip.clamp(1, 9));
                Encoder::Gzip(flate2::Compress::new(level, false))
            }
            #[cfg(feature = "zstd")]
            Coding::Zstd => {
                let mut zstd = zstd::stream::raw::Encoder::new(levels.zstd.clamp(1, 19))?;
                // The compressor of a small page needs much less memory.
                zstd.set_pledged_src_size(len.map(|len| len as u64))?;
                Encoder::Zstd(zstd)
            }
        };
        Ok(Some(Self {
            encoder,
            out: Vec::new(),
            checksum: Checksum::default(),
        }))
    }

    /// Begins a block, which is appended to `out`. `before` is the checksum of the page so far, or
    /// `None` for its first block.
    pub(super) fn begin(&mut self, before: Option<&Checksum>, out: Vec<u8>) {
        self.out = out;
        #[cfg(feature = "gzip")]
        if matches!(self.encoder, Encoder::Gzip(_)) {
            self.checksum.reset();
            match before {
                Some(before) => self.checksum.combine(before),
                None => self.out.extend_from_slice(&GZIP_HEAD),
            }
        }
    }

    /// Compresses the next part of the block.
    pub(super) fn write(&mut self, plain: &[u8]) -> io::Result<()> {
        match self.encoder {
            #[cfg(feature = "gzip")]
            Encoder::Gzip(ref mut compress) => {
                self.checksum.update(plain);
                deflate(compress, plain, flate2::FlushCompress::None, &mut self.out)
            }
            #[cfg(feature = "zstd")]
            Encoder::Zstd(ref mut encoder) => {
                let mut plain = InBuffer::around(plain);
                while plain.pos() < plain.src.len() {
                    self.out.reserve(ROOM);
                    let len = self.out.len();
                    encoder.run(&mut plain, &mut OutBuffer::around_pos(&mut self.out, len))?;
                }
                Ok(())
            }
        }
    }

    /// Returns the length of the block so far. The compressor may hold some of it back.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Ends the block. Returns it, and the checksum of the page so far.
    pub(super) fn finish(&mut self, is_last: bool) -> io::Result<(Vec<u8>, Checksum)> {
        match self.encoder {
            #[cfg(feature = "gzip")]
            Encoder::Gzip(ref mut compress) => {
                if is_last {
                    deflate(compress, &[], flate2::FlushCompress::Finish, &mut self.out)?;
                    self.out.extend(self.checksum.sum().to_le_bytes());
                    self.out.extend(self.checksum.amount().to_le_bytes());
                } else {
                    deflate(compress, &[], flate2::FlushCompress::Sync, &mut self.out)?;
                }
                compress.reset();
            }
            #[cfg(feature = "zstd")]
            Encoder::Zstd(ref mut encoder) => {
                let mut left = 1;
                while left > 0 {
                    self.out.reserve(ROOM);
                    let len = self.out.len();
                    left = encoder.finish(&mut OutBuffer::around_pos(&mut self.out, len), true)?;
                }
            }
        }
        Ok((take(&mut self.out), take(&mut self.checksum)))
    }
}

/// Compresses all of `plain` and flushes as `flush` says. The streams of flate2 do not serve here,
/// since their flush can leave out the end of a block.
#[cfg(feature = "gzip")]
fn deflate(
    compress: &mut flate2::Compress,
    mut plain: &[u8],
    flush: flate2::FlushCompress,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    loop {
        out.reserve(ROOM);
        let before = compress.total_in();
        compress.compress_vec(plain, out, flush)?;
        plain = &plain[(compress.total_in() - before) as usize..];
        // While the compressor has something to write, it fills the room.
        if out.len() < out.capacity() {
            debug_assert!(plain.is_empty());
            return Ok(());
        }
    }
}

#[cfg(all(test, feature = "gzip", feature = "zstd"))]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_best_of_what_is_asked_for() {
        for (header, coding) in [
            ("", "identity"),
            ("gzip", "gzip"),
            ("GZIP ; Q=0.5", "gzip"),
            ("x-gzip", "gzip"),
            ("identity", "identity"),
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip;q=0.9, zstd;q=0.8", "gzip"),
            ("gzip;q=0", "identity"),
            ("gzip;q=0.5, identity", "identity"),
            ("gzip, identity", "gzip"),
            ("identity;q=0, gzip;q=0.1", "gzip"),
            ("identity;q=0", "identity"),
            ("*;q=0", "identity"),
            ("*;q=0, gzip", "gzip"),
            ("zstd;q=0, *", "gzip"),
            ("br", "identity"),
            (";;,=\"", "identity"),
        ] {
            assert_eq!(Coding::negotiate(header).name(), coding, "{header}");
        }
    }

    /// Compresses a page in blocks of these parts.
    fn compressed(coding: Coding, blocks: &[&[&[u8]]]) -> Vec<u8> {
        let mut page = Vec::new();
        let mut before = None;
        let len = (blocks[0].len() == 1).then(|| blocks[0][0].len());
        let compressor = Compressor::new(coding, Levels::default(), len);
        let mut compressor = compressor.unwrap().unwrap();
        for (i, block) in blocks.iter().enumerate() {
            compressor.begin(before.as_ref(), Vec::new());
            for part in *block {
                compressor.write(part).unwrap();
            }
            let (block, checksum) = compressor.finish(i + 1 == blocks.len()).unwrap();
            page.extend(block);
            before = Some(checksum);
        }
        page
    }

    #[test]
    fn what_is_compressed_in_blocks_reads_back() {
        let part = b"one_total 1\n".repeat(1000);
        // Its compressed form is longer than the buffers of the compressors.
        let random = |i: u64| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
        let long: Vec<u8> = (0..200_000).map(random).collect();
        let (one, two, empty) = ([&*part], [&*part, b"# more\n"], [&b""[..]]);
        let long = [&*part, &*long];
        for blocks in [
            &[&one[..]][..],
            &[&two, &one, &two],
            &[&one, &empty],
            &[&empty],
            &[&long, &long],
        ] {
            let plain = blocks.concat().concat();
            let packed = compressed(Coding::Gzip, blocks);
            let mut read = Vec::new();
            // Reads one member only, and so does not see what a second one would hold.
            let mut decoder = flate2::bufread::GzDecoder::new(&packed[..]);
            decoder.read_to_end(&mut read).unwrap();
            assert!(read == plain);
            assert!(decoder.into_inner().is_empty(), "it is one member");
            let packed = compressed(Coding::Zstd, blocks);
            assert!(zstd::decode_all(&packed[..]).unwrap() == plain);
        }
    }
}
