//! The content of one hash of a writer, or of the folded totals.

use std::collections::HashMap;

use redis::Value as Reply;
use tallies::share::store;
use tallies::snapshot::Family;

/// The content of a `w:`, `g:`, `x:` or `acc` hash.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The families, in the order of their names. Several have one name if the hash has several
    /// descriptions with it.
    pub(super) families: Vec<Family>,
    /// The fields that begin with `#`.
    words: HashMap<String, String>,
    /// The fields that begin with `t`: folded writers, and the times of their folds.
    pub(super) folds: Vec<(String, u64)>,
    /// The number of fields that could not be read.
    pub(super) malformed: usize,
}

/// The number that stands for a description: 64-bit FNV-1a.
pub(super) fn family_id(description: &[u8]) -> [u8; 8] {
    let hash = description
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    hash.to_be_bytes()
}

/// Returns the field of a family's description.
pub(super) fn description_field(id: [u8; 8]) -> Vec<u8> {
    [b"d", &id[..]].concat()
}

/// Returns the field of a series.
pub(super) fn series_field(id: [u8; 8], text: &str) -> Vec<u8> {
    [b"s", &id[..], text.as_bytes()].concat()
}

/// Splits the field of a series into the number of its family and its label text.
fn split_field(field: &[u8]) -> Option<([u8; 8], &str)> {
    let (id, text) = field.get(1..)?.split_first_chunk::<8>()?;
    Some((*id, std::str::from_utf8(text).ok()?))
}

impl Content {
    /// Reads the answer to HGETALL.
    pub(super) fn read(reply: &Reply) -> Self {
        let mut content = Self::default();
        let mut families: HashMap<[u8; 8], Family> = HashMap::new();
        let mut series: Vec<([u8; 8], &str, &[u8])> = Vec::new();
        for (field, value) in pairs(reply) {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            match field.first() {
                Some(b'#') => _ = content.words.insert(text(field), text(value)),
                Some(b't') => {
                    let time = text(value).parse().unwrap_or(0);
                    content.folds.push((text(&field[1..]), time));
                }
                Some(b'd') => match (field[1..].try_into(), store::read_description(value)) {
                    (Ok(id), Ok(family)) => _ = families.insert(id, family),
                    _ => content.malformed += 1,
                },
                Some(b's') => match split_field(field) {
                    Some((id, text)) => series.push((id, text, value)),
                    None => content.malformed += 1,
                },
                _ => content.malformed += 1,
            }
        }
        // Redis has no order. A page has the same order each time.
        series.sort_unstable();
        for (id, text, value) in series {
            let Some(family) = families.get_mut(&id) else {
                content.malformed += 1;
                continue;
            };
            if store::read_series(family, text, value).is_err() {
                content.malformed += 1;
            }
        }
        // A description without series is left of a family that was removed. One that took its name
        // since may have another kind.
        let families = families.into_iter();
        let mut families: Vec<_> = families.filter(|(_, family)| !family.is_empty()).collect();
        families.sort_by(|(id, one), (other_id, other)| {
            (one.name(), id).cmp(&(other.name(), other_id))
        });
        content.families = families.into_iter().map(|(_, family)| family).collect();
        content
    }

    /// Returns the field `#name`.
    pub(super) fn word(&self, name: &str) -> Option<&str> {
        self.words.get(name).map(String::as_str)
    }
}

/// Iterates over the fields and values of a hash, in RESP2 or RESP3.
pub(super) fn pairs(reply: &Reply) -> impl Iterator<Item = (&[u8], &[u8])> {
    let map = match reply {
        Reply::Map(map) => &map[..],
        _ => &[],
    };
    let array = match reply {
        Reply::Array(array) => &array[..],
        _ => &[],
    };
    let array = array.chunks_exact(2).map(|pair| (&pair[0], &pair[1]));
    map.iter()
        .map(|(field, value)| (field, value))
        .chain(array)
        .filter_map(|(field, value)| Some((bytes(field)?, bytes(value)?)))
}

pub(super) fn bytes(reply: &Reply) -> Option<&[u8]> {
    match reply {
        Reply::BulkString(bytes) => Some(bytes),
        Reply::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}
