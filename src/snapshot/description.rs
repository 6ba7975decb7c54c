//! The description of a family as bytes: what all its series have in common, but for its constant
//! labels. Every store has it in this form, and `share::record` reads it.
//!
//! Equal families have equal descriptions. All numbers are little-endian. A *varint* has seven bits
//! per byte, the lowest first; a byte of 128 or more says that another one follows.
//!
//! ```text
//! version, kind, mode, flags         1 byte each
//! name, help, unit                   varint length, UTF-8
//! seconds, nanoseconds               varints: the time to live, if declared
//! histogram: varint n, n bounds      8 bytes each
//! summary: varint n, n pairs         quantile and error, 8 bytes each
//!          seconds, nanoseconds      varints: the window, if it has one
//! ```

use std::time::Duration;

use super::{Meta, Values};

/// The version of the form. Other versions are not read.
pub(crate) const VERSION: u8 = 2;

/// The bits of the flags.
pub(crate) const UTF8: u8 = 1;
pub(crate) const NATIVE: u8 = 2;
pub(crate) const WINDOW: u8 = 4;
pub(crate) const PAGE: u8 = 8;
pub(crate) const TTL: u8 = 16;

/// Appends the description of a family with values of this shape.
pub(crate) fn write(meta: &Meta, values: &Values, out: &mut Vec<u8>) {
    let mut flags = if meta.utf8 { UTF8 } else { 0 };
    if meta.shared_ttl.is_some() {
        flags |= TTL;
    }
    match values {
        Values::Histogram(all) if all.natives.is_some() => flags |= NATIVE,
        Values::Summary(objectives, _) if objectives.max_age.is_some() => flags |= WINDOW,
        Values::PageSummary(_) => flags |= PAGE,
        _ => {}
    }
    out.extend([VERSION, meta.kind as u8, meta.mode as u8, flags]);
    for text in [&meta.name, &meta.help, &meta.unit] {
        write_sized(text.as_bytes(), out);
    }
    if let Some(ttl) = meta.shared_ttl {
        write_duration(ttl, out);
    }
    match values {
        Values::Histogram(all) => {
            write_varint(all.bounds.len() as u64, out);
            all.bounds.iter().for_each(|bound| write_float(*bound, out));
        }
        Values::Summary(objectives, _) => {
            let targets = objectives.targets.as_slice();
            write_varint(targets.len() as u64, out);
            for (phi, eps) in targets {
                write_float(*phi, out);
                write_float(*eps, out);
            }
            if let Some(age) = objectives.max_age {
                write_duration(age, out);
            }
        }
        Values::Counter(_) | Values::Gauge(_) | Values::PageSummary(_) => {}
    }
}

/// Appends a varint.
pub(crate) fn write_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 128 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

pub(crate) fn write_float(x: f64, out: &mut Vec<u8>) {
    out.extend(x.to_le_bytes());
}

fn write_duration(duration: Duration, out: &mut Vec<u8>) {
    write_varint(duration.as_secs(), out);
    write_varint(u64::from(duration.subsec_nanos()), out);
}

/// Appends bytes after their number.
pub(crate) fn write_sized(bytes: &[u8], out: &mut Vec<u8>) {
    write_varint(bytes.len() as u64, out);
    out.extend(bytes);
}
