//! The content of one hash of a writer, or of the folded totals, as snapshots and back.

use std::collections::{BTreeMap, HashMap};

use redis::Value as Reply;

use crate::share::merge::rounded_sum;
use crate::share::record;
use crate::share::sums::Sums;
use crate::snapshot::ExactSum;
use crate::snapshot::{Family, Snapshot};

/// The content of a `w:`, `g:`, `x:` or `acc` hash.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// What is counted. Usually one snapshot; more if the hash has several descriptions of families
    /// with one name.
    pub(super) snapshots: Vec<Snapshot>,
    /// The exact sums of floats in each snapshot, if the hash has them.
    pub(super) sums: Vec<Sums>,
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

/// Returns the field of the exact sum of a series.
pub(super) fn sum_field(id: [u8; 8], text: &str) -> Vec<u8> {
    [b"e", &id[..], text.as_bytes()].concat()
}

/// Appends the terms of an exact sum, each as eight bytes. A sum that is one float is in the record
/// already.
pub(super) fn write_sum(sum: Option<&ExactSum>, out: &mut Vec<u8>) {
    let terms: Vec<f64> = sum.into_iter().flat_map(ExactSum::terms).collect();
    if terms.len() > 1 {
        terms.iter().for_each(|term| out.extend(term.to_le_bytes()));
    }
}

/// Reads the exact sum of series `i` of `family`. Ignores one that does not belong to its value, as
/// after a fold by an older version.
pub(super) fn read_sum(family: &Family, i: usize, bytes: &[u8]) -> Option<ExactSum> {
    if bytes.is_empty() || bytes.len() % 8 != 0 {
        return None;
    }
    let mut sum = ExactSum::default();
    for term in bytes.chunks_exact(8) {
        sum.add(f64::from_le_bytes(term.try_into().ok()?));
    }
    (sum.value() == rounded_sum(family, i)).then_some(sum)
}

/// Splits the field of a series or of its sum into the number of its family and its label text.
pub(super) fn split_field(field: &[u8]) -> Option<([u8; 8], &str)> {
    let (id, text) = field.get(1..)?.split_first_chunk::<8>()?;
    Some((*id, std::str::from_utf8(text).ok()?))
}

impl Content {
    /// Reads the answer to HGETALL.
    pub(super) fn read(reply: &Reply) -> Self {
        let mut content = Self::default();
        let mut families: HashMap<[u8; 8], Family> = HashMap::new();
        let mut series: Vec<([u8; 8], &str, &[u8])> = Vec::new();
        let mut terms: HashMap<([u8; 8], &str), &[u8]> = HashMap::new();
        let mut sums: HashMap<[u8; 8], Vec<ExactSum>> = HashMap::new();
        for (field, value) in pairs(reply) {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            match field.first() {
                Some(b'#') => _ = content.words.insert(text(field), text(value)),
                Some(b't') => {
                    let time = text(value).parse().unwrap_or(0);
                    content.folds.push((text(&field[1..]), time));
                }
                Some(b'd') => match (field[1..].try_into(), record::read_description(value)) {
                    (Ok(id), Ok(family)) => _ = families.insert(id, family),
                    _ => content.malformed += 1,
                },
                Some(b's') => match split_field(field) {
                    Some((id, text)) => series.push((id, text, value)),
                    None => content.malformed += 1,
                },
                Some(b'e') => match split_field(field) {
                    Some(series) => _ = terms.insert(series, value),
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
            let i = family.len();
            if record::read_record(family, text, value).is_err() {
                content.malformed += 1;
            } else if let Some(sum) = terms
                .get(&(id, text))
                .and_then(|terms| read_sum(family, i, terms))
            {
                let sums = sums.entry(id).or_default();
                sums.resize(i, ExactSum::default());
                sums.push(sum);
            }
        }
        // A description without series is left of a family that was removed. One that took its name
        // since may have another kind.
        let families = families
            .into_iter()
            .filter(|(_, family)| !family.is_empty());
        let families = families.map(|(id, family)| (family, sums.remove(&id).unwrap_or_default()));
        (content.snapshots, content.sums) = distribute(families);
        content
    }

    /// Returns the field `#name`.
    pub(super) fn word(&self, name: &str) -> Option<&str> {
        self.words.get(name).map(String::as_str)
    }
}

/// Distributes families over snapshots in which each name occurs once.
pub(super) fn snapshots(families: impl Iterator<Item = Family>) -> Vec<Snapshot> {
    distribute(families.map(|family| (family, Vec::new()))).0
}

/// The same for families with the exact sums of their series.
fn distribute(
    families: impl Iterator<Item = (Family, Vec<ExactSum>)>,
) -> (Vec<Snapshot>, Vec<Sums>) {
    let mut by_name: BTreeMap<String, Vec<(Family, Vec<ExactSum>)>> = BTreeMap::new();
    for (family, sums) in families {
        by_name
            .entry(family.name().to_owned())
            .or_default()
            .push((family, sums));
    }
    let (mut all, mut all_sums) = (Vec::new(), Vec::new());
    for (name, families) in by_name {
        for (at, (family, sums)) in families.into_iter().enumerate() {
            if at == all.len() {
                all.push(Snapshot::default());
                all_sums.push(Sums::default());
            }
            all[at].families.push(family);
            all_sums[at].set(&name, sums);
        }
    }
    (all, all_sums)
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
