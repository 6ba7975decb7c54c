//! The keys of a namespace, and the scripts that change them.
//!
//! All keys of a shard have one hash tag, so they are in one slot of a cluster. Every script names
//! all keys that it touches. Scripts compare and set; they never calculate, because numbers of the
//! server's language have 14 digits as text.
//!
//! | key | type | content |
//! |---|---|---|
//! | `acc` | hash | totals of ended writers; `#born`, `#ver`; `t<writer>`: time of its fold |
//! | `writers` | sorted set | each writer that is not folded, by the time of its last flush |
//! | `slots` | hash | small number → live writer, for the label `gauge_index` |
//! | `w:<writer>` | hash | totals of a writer; `#seq`, `#v`, `#slot`, `#info`, `#whole` |
//! | `g:<writer>` | hash, expires | live gauges of a writer; `#v` |
//! | `x:<writer>` | hash, expires | `w:` of a folded writer, for the writer if it comes back |
//! | `f:<random>` | hash, expires | what a fold sets in `acc`, uploaded in parts |
//!
//! In `acc`, `w:` and `g:`, the field `d<id>` is the description of a family, and `s<id><label
//! text>` the bytes of a series, both as in [`store`](tallies::share::store).

use std::fmt::Display;
use std::sync::LazyLock;

use redis::{RedisResult, Script};

use super::MOST_WRITERS;
use super::connection::Connection;

/// The keys of one shard of a namespace.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    /// Returns the keys of shard `index` of `shards`.
    pub(super) fn new(namespace: &str, index: usize, shards: usize) -> Self {
        let prefix = match shards {
            1 => format!("{{tallies:{namespace}}}:"),
            // Not `:`, so that no other namespace has these keys.
            _ => format!("{{tallies#{index}:{namespace}}}:"),
        };
        Self { prefix }
    }

    pub(super) fn key(&self, name: impl Display) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn acc(&self) -> String {
        self.key("acc")
    }

    pub(super) fn totals(&self, writer: &str) -> String {
        self.key(format_args!("w:{writer}"))
    }

    /// Returns the keys of the two hashes of a writer: totals, and live gauges.
    pub(super) fn hashes(&self, writer: &str) -> [String; 2] {
        [self.totals(writer), self.key(format_args!("g:{writer}"))]
    }

    pub(super) fn folded(&self, writer: &str) -> String {
        self.key(format_args!("x:{writer}"))
    }

    /// Returns the keys with which all scripts about a writer begin: acc, writers, slots, w, g.
    pub(super) fn of(&self, writer: &str) -> Vec<String> {
        let mut keys = vec![self.acc(), self.key("writers"), self.key("slots")];
        keys.extend(self.hashes(writer));
        keys
    }
}

/// Appends one batch of a writer, and says that the writer is alive.
///
/// - Keys: acc, writers, slots, w, g.
/// - Arguments: writer, number of the batch, number of the last acknowledged batch, slot (-1: none
///   yet; -2: none, and no search now), time to live of `g` in ms, of everything else in ms, a
///   random name, 1 if `g` should exist, `#info`, four counts: of arguments that follow for
///   HSET w, HDEL w, HSET g, HDEL g; 1 if the writer has now sent all that it has, 0 if parts are
///   missing, empty if that is as before.
/// - Returns: status, `#seq`, `#born`, slot, time in ms, 1 if `g` has been lost.
///
/// A writer gets no slot if the first 4096 belong to others: the search holds up the server.
///
/// A batch with a number that is not above `#seq` was applied before, or was overtaken by a later
/// one (`STALE`). A `#seq` below the last acknowledged number, or none, says that Redis has lost
/// writes (`LOST`), or that it has forgotten a fold (`GONE`).
pub(super) static FLUSH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local acc, writers, slots, w, g = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local wid, seq, acked = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local born = redis.call('HGET', acc, '#born') or ''
if redis.call('HEXISTS', acc, 't' .. wid) == 1 then
  return {'FENCED', 0, born, -1, now, 0}
end
local have = tonumber(redis.call('HGET', w, '#seq') or '-1')
if have >= seq then return {'STALE', have, born, -1, now, 0} end
if acked > 0 and have < acked then
  local gone = have < 0 and not redis.call('ZSCORE', writers, wid)
  return {gone and 'GONE' or 'LOST', have, born, -1, now, 0}
end
if born == '' then
  born = ARGV[7]
  redis.call('HSET', acc, '#born', born)
end
if ARGV[14] == '1' then redis.call('HSET', w, '#whole', born) end
if ARGV[14] == '0' then redis.call('HDEL', w, '#whole') end
local at = 15
local function apply(command, key, n)
  for from = at, at + n - 1, 4000 do
    redis.call(command, key, unpack(ARGV, from, math.min(from + 3999, at + n - 1)))
  end
  at = at + n
end
local lost = 0
if ARGV[8] == '1' and redis.call('EXISTS', g) == 0 then lost = 1 end
local nw, dw, ng, dg = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
apply('HSET', w, nw)
apply('HDEL', w, dw)
apply('HSET', g, ng)
apply('HDEL', g, dg)
if have < 0 then redis.call('HSET', w, '#info', ARGV[9]) end
if nw + dw > 0 or have < 0 then redis.call('HSET', w, '#v', seq) end
if ng > 0 or dg > 0 and redis.call('EXISTS', g) == 1 then redis.call('HSET', g, '#v', seq) end
redis.call('HSET', w, '#seq', seq)
local slot = tonumber(ARGV[4])
if slot == -2 then
  slot = -1
elseif slot < 0 or redis.call('HGET', slots, slot) ~= wid then
  slot = -1
  for i = 0, 4095 do
    local owner = redis.call('HGET', slots, i)
    local heard = owner and owner ~= wid and redis.call('ZSCORE', writers, owner)
    if not heard or tonumber(heard) + tonumber(ARGV[5]) < now then
      slot = i
      break
    end
  end
  if slot >= 0 then
    redis.call('HSET', slots, slot, wid)
    redis.call('HSET', w, '#slot', slot)
  end
end
redis.call('ZADD', writers, now, wid)
redis.call('PEXPIRE', g, ARGV[5])
for i = 1, 4 do redis.call('PEXPIRE', KEYS[i], ARGV[6]) end
return {'OK', seq, born, slot, now, lost}
",
    )
});

/// Removes the gauges of a writer that closes, and lets everybody fold it.
///
/// - Keys: acc, writers, slots, w, g.
/// - Arguments: writer.
pub(super) static LEAVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local writers, slots, w, g = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local wid = ARGV[1]
redis.call('DEL', g)
local slot = redis.call('HGET', w, '#slot')
if slot and redis.call('HGET', slots, slot) == wid then redis.call('HDEL', slots, slot) end
if redis.call('ZSCORE', writers, wid) then redis.call('ZADD', writers, 0, wid) end
return 'OK'
",
    )
});

/// The writers of a shard.
pub(super) struct WriterList {
    /// The time of the list, by the clock of Redis, in milliseconds.
    pub(super) now: u64,
    /// `#ver` and `#born` of the folded totals.
    pub(super) version: Option<String>,
    pub(super) born: Option<String>,
    /// The number of writers, of which the list may have fewer.
    pub(super) count: usize,
    /// Each writer and the time of its last flush, those that are silent for the longest time
    /// first.
    pub(super) writers: Vec<(String, u64)>,
}

/// Lists the writers of a shard.
pub(super) async fn list_writers(
    connection: &mut Connection,
    keys: &Keys,
) -> RedisResult<WriterList> {
    let mut script = LIST.key(keys.acc());
    script.key(keys.key("writers")).arg(MOST_WRITERS);
    let (now, (version, born), count, writers): (_, _, _, Vec<(String, f64)>) =
        connection.script(&script, 1).await?;
    let writers = writers.into_iter();
    Ok(WriterList {
        now,
        version,
        born,
        count,
        writers: writers.map(|(name, heard)| (name, heard as u64)).collect(),
    })
}

/// Lists the writers of a shard, those that are silent for the longest time first.
///
/// - Keys: acc, writers.
/// - Arguments: the most writers to list.
/// - Returns: time in ms, `#ver` and `#born`, number of writers, then each writer and the time of
///   its last flush.
static LIST: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local t = redis.call('TIME')
local head = redis.call('HMGET', KEYS[1], '#ver', '#born')
local count = redis.call('ZCARD', KEYS[2])
local all = redis.call('ZRANGE', KEYS[2], 0, ARGV[1] - 1, 'WITHSCORES')
return {t[1] * 1000 + math.floor(t[2] / 1000), head, count, all}
",
    )
});

/// Commits the fold of a writer.
///
/// - Keys: acc, writers, slots, w, g, x, f.
/// - Arguments: writer, `#ver` and `#seq` that the fold is based on, time in ms since the last
///   flush that the writer has to exceed (-1: it folds itself), time to live of `x`, of everything
///   else, a random name, the number of fields in `f`.
/// - Returns: status.
///
/// `#ver` grows by a random step. After a failover that loses folds, other folds follow, and with
/// steps of one they would lead to a number that readers know already.
pub(super) static FOLD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local acc, writers, slots, w, g, x, f = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local wid = ARGV[1]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local staged = redis.call('HGETALL', f)
redis.call('DEL', f)
if redis.call('HEXISTS', acc, 't' .. wid) == 1 then return 'ALREADY' end
local head = redis.call('HMGET', acc, '#ver', '#born')
if (head[1] or '0') ~= ARGV[2] then return 'CHANGED' end
if (redis.call('HGET', w, '#seq') or '-1') ~= ARGV[3] then return 'CHANGED' end
local heard = redis.call('ZSCORE', writers, wid)
if tonumber(ARGV[4]) >= 0 and heard and tonumber(heard) + tonumber(ARGV[4]) >= now then
  return 'ALIVE'
end
if #staged ~= 2 * tonumber(ARGV[8]) then return 'CHANGED' end
for at = 1, #staged, 4000 do
  redis.call('HSET', acc, unpack(staged, at, math.min(at + 3999, #staged)))
end
redis.call('HSET', acc, 't' .. wid, now)
redis.call('HINCRBY', acc, '#ver', 1 + tonumber(string.sub(ARGV[7], 1, 6), 16))
if not head[2] then redis.call('HSET', acc, '#born', ARGV[7]) end
local slot = redis.call('HGET', w, '#slot')
if slot and redis.call('HGET', slots, slot) == wid then redis.call('HDEL', slots, slot) end
if redis.call('EXISTS', w) == 1 then
  redis.call('RENAME', w, x)
  redis.call('PEXPIRE', x, ARGV[5])
end
redis.call('DEL', g)
redis.call('ZREM', writers, wid)
for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], ARGV[6]) end
return 'OK'
",
    )
});
