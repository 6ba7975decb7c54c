//! Compression of the page: chooses a coding by `Accept-Encoding` from those that are compiled in.
//!
//! The client must ask for a coding by name or with `*`, and a q-value of 0 rejects it. A client
//! that rejects every available coding, `identity` included, still gets the uncompressed page,
//! because that is more useful than an error. Source: RFC 9110, section 12.5.3.

use std::io;

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

    /// Appends the compressed page to `out`. It uses the fastest level, because scrapes are
    /// frequent and the text of a page is very repetitive.
    pub(super) fn encode(self, page: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Identity => out.extend_from_slice(page),
            #[cfg(feature = "gzip")]
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
                io::Write::write_all(&mut encoder, page)?;
                encoder.finish()?;
            }
            #[cfg(feature = "zstd")]
            Self::Zstd => zstd::stream::copy_encode(page, out, 1)?,
        }
        Ok(())
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

    #[test]
    fn what_is_compressed_reads_back() {
        let page = b"one_total 1\n".repeat(1000);
        let mut packed = Vec::new();
        Coding::Gzip.encode(&page, &mut packed).unwrap();
        let mut read = Vec::new();
        flate2::read::GzDecoder::new(&packed[..])
            .read_to_end(&mut read)
            .unwrap();
        assert!(read == page && packed.len() < 1000);
        packed.clear();
        Coding::Zstd.encode(&page, &mut packed).unwrap();
        assert!(zstd::decode_all(&packed[..]).unwrap() == page && packed.len() < 1000);
    }
}
