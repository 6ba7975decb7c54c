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
#[cfg(feature = "zstd")]
use std::io::Write;

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
const OFFERED: &[Coding] = &[
    #[cfg(feature = "zstd")]
    Coding::Zstd,
    #[cfg(feature = "gzip")]
    Coding::Gzip,
    Coding::Identity,
];

impl Coding {
    /// Returns the available coding with the highest q-value.
    pub(super) fn negotiate(accept_encoding: &str) -> Self {
        let q = |name: &str| {
            ranges(accept_encoding)
                .find(|range| range.is(name))
                .map(|range| range.q())
        };
        let mut best = (0.0, Self::Identity);
        for coding in OFFERED {
            let asked = q(coding.name())
                .or_else(|| (coding.name() == "gzip").then(|| q("x-gzip")).flatten())
                .or_else(|| q("*"))
                .unwrap_or(0.0);
            if asked > best.0 {
                best = (asked, *coding);
            }
        }
        best.1
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            #[cfg(feature = "gzip")]
            Self::Gzip => "gzip",
            #[cfg(feature = "zstd")]
            Self::Zstd => "zstd",
        }
    }
}

/// The level of each coding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Levels {
    #[cfg(feature = "gzip")]
    gzip: u32,
    #[cfg(feature = "zstd")]
    zstd: i32,
}

impl Levels {
    #[cfg(feature = "gzip")]
    pub(super) fn set_gzip(&mut self, level: u32) {
        self.gzip = level.clamp(1, 9);
    }

    #[cfg(feature = "zstd")]
    pub(super) fn set_zstd(&mut self, level: i32) {
        self.zstd = level.clamp(1, 19);
    }
}

impl Default for Levels {
    /// Returns the levels that `docs/benchmarks.md` compares with others.
    fn default() -> Self {
        Self {
            #[cfg(feature = "gzip")]
            gzip: 1,
            #[cfg(feature = "zstd")]
            zstd: 1,
        }
    }
}

/// The checksum of a page up to a block, which gzip writes behind the last one.
#[derive(Debug, Default)]
pub(super) struct Checksum {
    #[cfg(feature = "gzip")]
    crc: flate2::Crc,
}

/// Compresses one block of a page.
pub(super) enum Compressor {
    #[cfg(feature = "gzip")]
    Gzip(Deflate, flate2::Crc),
    #[cfg(feature = "zstd")]
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

/// A stream of DEFLATE (RFC 1951). The streams of flate2 do not serve here, since their flush can
/// leave out the end of a block.
#[cfg(feature = "gzip")]
pub(super) struct Deflate {
    compress: flate2::Compress,
    out: Vec<u8>,
}

#[cfg(feature = "gzip")]
impl Deflate {
    /// Compresses all of `plain`, and flushes as `flush` says.
    fn write(&mut self, mut plain: &[u8], flush: flate2::FlushCompress) -> io::Result<()> {
        const ROOM: usize = 16 << 10;
        loop {
            self.out.reserve(ROOM);
            let before = self.compress.total_in();
            self.compress.compress_vec(plain, &mut self.out, flush)?;
            plain = &plain[(self.compress.total_in() - before) as usize..];
            // While the compressor has something to write, it fills the room.
            if self.out.len() < self.out.capacity() {
                debug_assert!(plain.is_empty());
                return Ok(());
            }
        }
    }
}

#[cfg(feature = "gzip")]
impl Compressor {
    /// A member without a name and a time, from an unknown system.
    const GZIP_HEAD: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
}

impl Compressor {
    /// Creates a compressor that appends to `out`, or returns `None` for `identity`. `before` is
    /// the checksum of the page so far, or `None` for its first block. `len` is the length of the
    /// block before compression, if it is known.
    #[cfg_attr(
        not(any(feature = "gzip", feature = "zstd")),
        expect(unused_variables, reason = "there is nothing to compress with")
    )]
    pub(super) fn new(
        coding: Coding,
        levels: Levels,
        before: Option<&Checksum>,
        len: Option<usize>,
        mut out: Vec<u8>,
    ) -> io::Result<Option<Self>> {
        Ok(match coding {
            Coding::Identity => None,
            #[cfg(feature = "gzip")]
            Coding::Gzip => {
                let mut crc = flate2::Crc::new();
                match before {
                    Some(before) => crc.combine(&before.crc),
                    None => out.extend_from_slice(&Self::GZIP_HEAD),
                }
                let level = flate2::Compression::new(levels.gzip);
                let compress = flate2::Compress::new(level, false);
                Some(Self::Gzip(Deflate { compress, out }, crc))
            }
            #[cfg(feature = "zstd")]
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, levels.zstd)?;
                // The compressor of a small page needs much less memory.
                encoder.set_pledged_src_size(len.map(|len| len as u64))?;
                Some(Self::Zstd(Box::new(encoder)))
            }
        })
    }

    /// Compresses the next part of the block.
    pub(super) fn write(&mut self, plain: &[u8]) -> io::Result<()> {
        match *self {
            #[cfg(feature = "gzip")]
            Self::Gzip(ref mut deflate, ref mut crc) => {
                crc.update(plain);
                deflate.write(plain, flate2::FlushCompress::None)
            }
            #[cfg(feature = "zstd")]
            Self::Zstd(ref mut encoder) => encoder.write_all(plain),
        }
    }

    /// Returns the length of what was compressed so far. The compressor may hold some of it back.
    pub(super) fn len(&self) -> usize {
        match *self {
            #[cfg(feature = "gzip")]
            Self::Gzip(ref deflate, _) => deflate.out.len(),
            #[cfg(feature = "zstd")]
            Self::Zstd(ref encoder) => encoder.get_ref().len(),
        }
    }

    /// Ends the block. Returns it, and the checksum of the page so far.
    pub(super) fn finish(self, is_last: bool) -> io::Result<(Vec<u8>, Checksum)> {
        match self {
            #[cfg(feature = "gzip")]
            Self::Gzip(mut deflate, crc) => {
                if is_last {
                    deflate.write(&[], flate2::FlushCompress::Finish)?;
                    deflate.out.extend_from_slice(&crc.sum().to_le_bytes());
                    deflate.out.extend_from_slice(&crc.amount().to_le_bytes());
                } else {
                    deflate.write(&[], flate2::FlushCompress::Sync)?;
                }
                Ok((deflate.out, Checksum { crc }))
            }
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => {
                let _ = is_last;
                Ok((encoder.finish()?, Checksum::default()))
            }
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
        for (i, block) in blocks.iter().enumerate() {
            let len = (block.len() == 1).then(|| block[0].len());
            let levels = Levels::default();
            let compressor = Compressor::new(coding, levels, before.as_ref(), len, Vec::new());
            let mut compressor = compressor.unwrap().unwrap();
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
        let (one, two, empty) = ([&*part], [&*part, b"# more\n"], [&b""[..]]);
        for blocks in [
            &[&one[..]][..],
            &[&two, &one, &two],
            &[&one, &empty],
            &[&empty],
        ] {
            let plain = blocks.concat().concat();
            let packed = compressed(Coding::Gzip, blocks);
            let mut read = Vec::new();
            // Reads one member only, and so does not see what a second one would hold.
            let mut decoder = flate2::bufread::GzDecoder::new(&packed[..]);
            decoder.read_to_end(&mut read).unwrap();
            assert!(read == plain && packed.len() < 1000);
            assert!(decoder.into_inner().is_empty(), "it is one member");
            let packed = compressed(Coding::Zstd, blocks);
            assert!(zstd::decode_all(&packed[..]).unwrap() == plain && packed.len() < 1000);
        }
    }
}
