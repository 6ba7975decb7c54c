//! Folding: adds the totals of a writer that has ended to those of all ended writers.
//!
//! The client calculates, and a script commits: only if the writer has flushed nothing since, no
//! other writer has been folded since, and this one has not been folded. So any number of processes
//! may fold the same writer, and one of them does.

use std::collections::{HashMap, HashSet};

use redis::{RedisResult, Value as Reply};

use crate::share::merge::{Writer, has_floats, is_live_only, merge_exact};
use crate::share::record;
use crate::share::sums::Sums;
use crate::snapshot::ExactSum;
use crate::snapshot::sketch::{Bound, Scratch, Sketch};
use crate::snapshot::{Family, Snapshot, Values};

use super::connection::Connection;
use super::content::{
    Content, bytes, description_field, family_id, read_sum, series_field, sum_field, write_sum,
};
use super::scripts::{FOLD, Keys};
use super::writer::random_name;

/// The most fields that are sent in one command.
const CHUNK: usize = 1000;

/// The result of an attempt to fold a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folded {
    /// It is folded now.
    Yes,
    /// It was folded already.
    Already,
    /// It has flushed since.
    Alive,
    /// Not now: other writers are folded all the time, or a newer version of this crate wrote
    /// something that this one cannot read.
    Later,
}

/// Folds a writer. `silence` is the time in milliseconds for which it has to have been silent;
/// `None` if this process folds itself.
pub(super) async fn fold(
    connection: &mut Connection,
    keys: &Keys,
    writer: &str,
    silence: Option<u64>,
) -> RedisResult<Folded> {
    for _ in 0..20 {
        if let Some(folded) = try_fold(connection, keys, writer, silence).await? {
            return Ok(folded);
        }
    }
    Ok(Folded::Later)
}

/// Returns `None` if something changed in between.
async fn try_fold(
    connection: &mut Connection,
    keys: &Keys,
    writer: &str,
    silence: Option<u64>,
) -> RedisResult<Option<Folded>> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("HGET").arg(keys.acc()).arg("#ver");
    pipeline.cmd("HGETALL").arg(keys.totals(writer));
    let replies: Vec<Reply> = connection.pipeline(&pipeline, 10).await?;
    let [version, totals] = &replies[..] else {
        return Ok(None);
    };
    let version = bytes(version).map_or("0".into(), String::from_utf8_lossy);
    let ended = Content::read(totals);
    let seq = ended.word("#seq").unwrap_or("-1");
    if ended.malformed > 0 {
        return Ok(Some(Folded::Later));
    }

    // Only the series that the writer has are read and written.
    let mut fields = Fields::default();
    for family in ended
        .snapshots
        .iter()
        .flat_map(|snapshot| &snapshot.families)
    {
        if !is_live_only(&family.meta) && !fields.add(connection, keys, family).await? {
            // Until a version comes that can: else its totals would expire.
            let mut keep = redis::cmd("PEXPIRE");
            keep.arg(keys.totals(writer))
                .arg(super::KEEP.as_millis() as u64);
            connection.command::<()>(&keep, 1).await?;
            return Ok(Some(Folded::Later));
        }
    }
    let all = fields.all;
    let is_staged = all.len() > CHUNK;
    let staged = keys.staged(&random_name());
    if is_staged {
        for chunk in all.chunks(CHUNK) {
            let mut pipeline = redis::pipe();
            let command = pipeline.cmd("HSET").arg(&staged);
            for (field, value) in chunk {
                command.arg(&field[..]).arg(&value[..]);
            }
            pipeline.cmd("PEXPIRE").arg(&staged).arg(60_000);
            connection.pipeline::<()>(&pipeline, 2).await?;
        }
    }
    let mut script = FOLD.key(keys.acc());
    script
        .key(keys.writers())
        .key(keys.slots())
        .key(keys.totals(writer))
        .key(keys.gauges(writer))
        .key(keys.folded(writer))
        .key(&staged)
        .arg(writer)
        .arg(&*version)
        .arg(seq)
        .arg(silence.map_or(-1, |silence| silence as i64))
        .arg(super::REMEMBER.as_millis() as u64)
        .arg(super::KEEP.as_millis() as u64)
        .arg(random_name())
        .arg(if is_staged { all.len() } else { 0 });
    if !is_staged {
        for (field, value) in &all {
            script.arg(&field[..]).arg(&value[..]);
        }
    }
    let status: String = connection.script(&script, 10).await?;
    Ok(match &*status {
        "OK" => Some(Folded::Yes),
        "ALREADY" => Some(Folded::Already),
        "ALIVE" => Some(Folded::Alive),
        _ => None,
    })
}

/// The fields of the folded totals that change.
#[derive(Default)]
struct Fields {
    all: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Fields {
    /// Adds the series of a family of the ended writer to those in `acc`. Returns `false` if one of
    /// these cannot be read: replacing it would lose its total.
    async fn add(
        &mut self,
        connection: &mut Connection,
        keys: &Keys,
        ended: &Family,
    ) -> RedisResult<bool> {
        let mut description = Vec::new();
        record::write_description(ended, &mut description);
        let id = family_id(&description);
        let Ok(empty) = record::read_description(&description) else {
            return Ok(true);
        };
        let mut before = empty;
        let mut sums_before: Vec<ExactSum> = Vec::new();
        // A series of which the exact sum is there gets a new one, even if that is one float.
        let mut had_sum: HashSet<String> = HashSet::new();
        let texts: Vec<String> = ended.texts.iter().map(str::to_owned).collect();
        for chunk in texts.chunks(CHUNK) {
            let mut command = redis::cmd("HMGET");
            command.arg(keys.acc());
            for text in chunk {
                command.arg(series_field(id, text));
            }
            // Sums of integers and gauges are not rounded.
            let floats = if has_floats(ended) { chunk } else { &[] };
            for text in floats {
                command.arg(sum_field(id, text));
            }
            let values: Vec<Option<Vec<u8>>> = connection.command(&command, 2).await?;
            let (values, terms) = values.split_at(chunk.len().min(values.len()));
            for (at, (text, value)) in chunk.iter().zip(values).enumerate() {
                let terms = terms.get(at).and_then(Option::as_deref);
                if terms.is_some() {
                    had_sum.insert(text.clone());
                }
                let i = before.len();
                let Some(value) = value else { continue };
                if record::read_record(&mut before, text, value).is_err() {
                    return Ok(false);
                }
                let sum = terms.and_then(|terms| read_sum(&before, i, terms));
                sums_before.push(sum.unwrap_or_default());
            }
        }
        self.all.push((description_field(id), description));
        let (mut folded, sums) = sum(before, sums_before, ended);
        compress(&mut folded);
        for i in 0..folded.len() {
            let text = folded.texts.get(i);
            let (mut value, mut terms) = (Vec::new(), Vec::new());
            record::write_record(&folded, i, &mut value);
            self.all.push((series_field(id, text), value));
            write_sum(sums.of(folded.name()).get(i), &mut terms);
            if !terms.is_empty() || had_sum.contains(text) {
                self.all.push((sum_field(id, text), terms));
            }
        }
        Ok(true)
    }
}

/// Adds two families of one description. The sums of floats are not rounded from fold to fold: that
/// could lower a sum in its last bit, and Prometheus takes a lower sum for a restart.
fn sum(before: Family, sums_before: Vec<ExactSum>, ended: &Family) -> (Family, Sums) {
    let of = |family: Family| Snapshot {
        families: vec![family],
        ..Snapshot::default()
    };
    let exemplars = later_exemplars(&before, ended);
    let mut all_before = Sums::default();
    all_before.set(before.name(), sums_before);
    let (before, ended) = (of(before), of(ended.clone()));
    let writer = |snapshot| Writer {
        snapshot,
        index: None,
    };
    // They have one shape, so nothing is left out.
    let writers = [(writer(&before), Some(&all_before)), (writer(&ended), None)];
    let (mut merged, sums) = merge_exact(&writers, |_| {});
    let mut merged = merged.families.swap_remove(0);
    let index: HashMap<_, u32> = merged.texts.iter().zip(0..).collect();
    let mut exemplars: Vec<_> = exemplars
        .into_iter()
        .filter_map(|((text, bucket), exemplar)| Some((*index.get(&*text)?, bucket, exemplar)))
        .collect();
    exemplars.sort_by_key(|(i, bucket, _)| (*i, *bucket));
    merged.exemplars = exemplars;
    (merged, sums)
}

/// Returns the exemplar of each bucket that was observed last.
fn later_exemplars(
    before: &Family,
    ended: &Family,
) -> HashMap<(String, u32), crate::snapshot::Exemplar> {
    let mut latest: HashMap<(String, u32), crate::snapshot::Exemplar> = HashMap::new();
    for family in [before, ended] {
        for (i, bucket, exemplar) in &family.exemplars {
            let key = (family.texts.get(*i as usize).to_owned(), *bucket);
            let known = latest.get(&key);
            if known.is_none_or(|known| known.time <= exemplar.time) {
                latest.insert(key, exemplar.clone());
            }
        }
    }
    latest
}

/// Makes merged sketches as small as their objectives allow. A window shows recent observations, so
/// those of an ended writer are dropped.
fn compress(family: &mut Family) {
    let Values::Summary {
        targets,
        max_age,
        values,
        ..
    } = &mut family.values
    else {
        return;
    };
    let bound = Bound::new(targets);
    let mut scratch = Scratch::new();
    for value in values {
        if max_age.is_some() {
            value.sketch = Sketch::new();
        } else {
            value.sketch.compress(&bound, &mut scratch);
        }
    }
}
