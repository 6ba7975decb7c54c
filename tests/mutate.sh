#!/usr/bin/env bash
# Weakens every ordering of the lock-free code to Relaxed, one at a time, and leaves out steps of the protocols; names
# a model, or a test with real threads, that fails for each. Then breaks the sketch at each line marked
# `// mutation: name`, and names a test. What nothing catches is a finding, unless it is argued below. A file with an
# atomic or an unsafe block that nothing here touches is a finding as well. Some ten minutes: what caught a mutation
# before is in mutations.txt, and is tried first. ACCEPT=1 writes that file.
#
#   tests/mutate.sh                    all of it
#   tests/mutate.sh 12 15              only these orderings
#   tests/mutate.sh observe/window.rs  only the orderings and steps of these files
#   tests/mutate.sh sketch             only the sketch
set -uo pipefail
cd "$(dirname "$0")/.."

tree=target/mutate/tree
rm -rf "$tree" && mkdir -p "$tree"
cp -r Cargo.toml Cargo.lock build.rs README.md macros src "$tree"
mkdir -p "$tree/tests/golden" && cp -r tests/golden/share "$tree/tests/golden"
# Neither the other packages of the workspace nor the examples.
perl -0pi -e 's/^members = .*/members = ["macros"]/m; s/^default-members = .*\n//m; s/\[\[(example|test)\]\].*?\n\n//sg' "$tree/Cargo.toml"
sites=$tree/sites
export SITES=$sites
export CARGO_TARGET_DIR=$PWD/target/mutate/target RUSTFLAGS="--cfg loom --cap-lints allow" RUST_BACKTRACE=0 CARGO_INCREMENTAL=1

# Orderings that a model cannot catch, by a text of their line and the reason. An argument holds only if a model has the
# case that it excludes. There is none at present.
argued() {
    case $1 in
    *) return 1 ;;
    esac
}

# Every file that has an ordering, but for the stand-ins that only models use, and for what only exists where files are
# mapped, which loom cannot do: the region, the records of families, the reader in another process. Tests kill
# processes there.
mapfile -t ordered < <(cd "$tree" && grep -rlE '\b(Acquire|Release|AcqRel)\b' src |
    grep -vE '^src/(observe/models|lockfree/epoch\.rs|mapped/region\.rs|family/shared\.rs|share/)|^src/sync/mod\.rs$' | sort)
perl -i -ne '
    BEGIN { $n = 0; open $sites, ">", $ENV{SITES} or die; }
    $models = 1 if /^mod tests|^#\[cfg\(all\(test/;
    $models = 0 if eof;
    $use = 1 if /^\s*(pub\(crate\) )?use /;
    if (!$models && !$use && !/^\s*\/\//) {
        s/\bfence\((Acquire|Release|AcqRel)\)/$n++; print $sites "$n\t$ARGV:$.\t$_"; "crate::sync::weak_fence($n, $1)"/ge
            or s/\b(Acquire|Release|AcqRel)\b/$n++; print $sites "$n\t$ARGV:$.\t$_"; "crate::sync::weak($n, $1)"/ge;
    }
    $use = 0 if /;/;
    print;
    close ARGV if eof;
' "${ordered[@]/#/$tree/}"

# What stands at a line marked `// mutation: name` instead, for the default targets. All are compiled at once; MUTATE
# names the one that runs.
declare -A mutants=(
    # The paper's bound, tested at a tuple's lower rank.
    [v-shaped]='let n = self.lines[0].0 / 0.04; let _ = max_g; [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)].iter().map(|&(phi, eps): &(f64, f64)| { let (fall, rise) = (2.0 * eps / (1.0 - phi), 2.0 * eps / phi); let g = (rise * rank - delta) / (1.0 + rise); if rank - g >= phi * n { g } else { (fall * (n - rank) - delta) / (1.0 - fall) } }).fold(f64::INFINITY, f64::min) as u32'
    # Tuples of several shards laid side by side with the delta they had.
    [naive-merge]='u64::from(tuple.delta)'
    # The value whose interval has its centre nearest.
    [centre-query]='(high + low).abs_diff(2 * rank) / 2'
    # The concave bound at the wrong end of a tuple.
    [lower-rank]='false'
    # A new tuple as certain as if nothing were hidden in the one above.
    [no-inheritance]='self.split(range, 0, lower)'
    # The least value absorbed like any other.
    [minimum]='tuple.g as usize <= self.free()'
    # The first tuple of a run dropped when its halved weight rounds to 0.
    [lost-run]='let floor = if low == n { end } else { low / 2 }; floor.max(1)'
    # A bound a fifth too wide.
    [wide]='self.pack(&bound.capacity(self.n, 1.2), keys, scratch)'
)
marks=$(grep -rhoP '// mutation: \K\S+$' "$tree/src/snapshot")
for name in "${!mutants[@]}"; do
    grep -qx -- "$name" <<<"$marks" || { echo "STALE    no line is marked $name"; exit 1; }
done
for name in $marks; do
    [ -n "${mutants[$name]:-}" ] || { echo "STALE    what to do at the line marked $name?"; exit 1; }
    file=$(grep -rl "// mutation: $name\$" "$tree/src/snapshot")
    NAME=$name BODY=${mutants[$name]} perl -i -pe \
        's|^(\s*)(let \w+ = )?(.*?)(;?) // mutation: $ENV{NAME}$|$1 . ($2 // "") . "if crate::sync::mutated(\"$ENV{NAME}\") { $ENV{BODY} } else { $3 }$4"|e' "$file"
done
# The sketch has no atomics: its tests run in the program of the models.
perl -0pi -e 's/#\[cfg\(all\(test, not\(loom\), not\(miri\)\)\)\]\nmod tests;/#[cfg(test)]\nmod tests;/' "$tree/src/snapshot/sketch/mod.rs"
cat >> "$tree/src/sync/mod.rs" <<'RUST'

pub(crate) fn mutated(name: &str) -> bool {
    static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    NAME.get_or_init(|| std::env::var("MUTATE").unwrap_or_default()) == name
}

pub(crate) fn weakened(site: u32) -> bool {
    static SITE: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *SITE.get_or_init(|| std::env::var("WEAKEN").ok().and_then(|s| s.parse().ok()).unwrap_or(0)) == site
}

pub(crate) fn weak(site: u32, ordering: std::sync::atomic::Ordering) -> std::sync::atomic::Ordering {
    if weakened(site) { Relaxed } else { ordering }
}

pub(crate) fn weak_fence(site: u32, ordering: std::sync::atomic::Ordering) {
    if !weakened(site) {
        fence(ordering);
    }
}
RUST

# Tests with real threads need no framework: the same tree, without the other dev-dependencies.
real=target/mutate/real
rm -rf "$real" && cp -r "$tree" "$real"
perl -0pi -e 's/\[target\.\x27cfg\(not\(loom\)\)\x27\.dev-dependencies\]\n.*?\n\n//s; s/\[profile\.release\.package\]\n.*?(\n\n|\z)//s' "$real/Cargo.toml"
build_real() { # prints the test program
    (cd "$real" && CARGO_TARGET_DIR=$CARGO_TARGET_DIR/real RUSTFLAGS="--cap-lints allow" \
        cargo test -p tallies --lib --no-run --features process,mmap 2>&1) | tee "$work/build.log" |
        sed -n 's/.*Executable.*(\(.*\))/\1/p'
}

build() { # prints the test program
    (cd "$tree" && cargo test -p tallies --release --lib --no-run 2>&1) | tee "$work/build.log" |
        sed -n 's/.*Executable.*(\(.*\))/\1/p'
}
# From the quickest to the slowest: the first that fails is enough.
quick="buckets::a_histogram_read_is_a_prefix buckets::histogram_reads_never_go_back buckets::a_histogram_takes_many_at_once
    slots::a_new_thread_gets_the_request_or_finds_it_retired totals::totals_never_go_back_across_growth
    buckets::an_owner_makes_a_requested_copy buckets::a_copy_request_comes_with_its_buffer passes::a_shared_pass_has_the_update_of_who_asked
    totals::an_adopted_shard_goes_on_where_it_was slots::an_idle_shard_is_folded_or_taken_up
    slots::an_idle_shard_that_is_not_empty_stays slots::a_cold_series_is_used_again
    slots::a_shard_that_ends_below_a_slot_need_not_acknowledge slots::a_cleared_slot_is_read_where_it_was_cleared
    buckets::a_fold_and_a_cold_writer_take_turns buckets::a_cold_histogram_has_one_writer_at_a_time
    slots::a_slot_of_a_free_shard_is_used_again slots::a_slot_of_a_dropped_family_is_used_again totals::in_flight_is_never_below_zero
    totals::in_flight_is_never_below_zero_when_cold totals::in_flight_is_never_below_zero_in_shared_cells totals::in_flight_is_never_below_zero_across_retirement
    totals::in_flight_is_never_below_zero_across_retirement_when_cold slots::a_copied_slot_word_carries_the_zeroes slots::a_slot_is_used_again
    slots::a_slot_is_used_again_under_two_requests
    slots::a_slot_is_used_again_while_its_shard_grows slots::a_gauge_is_used_again slots::a_gauge_without_a_slot_is_used_again
    closing::a_slot_that_is_closing_is_folded_beside_a_cold_writer closing::a_slot_that_is_closing_is_used_again"
tables="native::a_table_read_is_a_prefix native::an_owner_copies_its_table_on_request native::a_replaced_table_outlives_its_readers
    native::a_slot_with_a_table_is_used_again native::a_native_histogram_starts_over_beside_a_writer"
published="published::an_exemplar_is_never_torn published::a_text_is_whole_or_absent published::the_last_owner_frees_a_text"
stream="streams::a_stream_read_is_a_prefix streams::a_stream_read_is_a_prefix_while_it_grows"
summary="summary::a_shared_stream_has_one_writer_at_a_time summary::a_stream_is_seen_as_it_was_made
    summary::a_summary_starts_over_beside_a_writer
    summary::a_slot_with_a_stream_is_used_again"
cached="cached_ref::a_cached_word_has_its_part cached_ref::a_replaced_word_does_not_come_back
    cached_ref::a_part_that_is_found_is_complete"
mapped="mapped::a_record_that_is_found_is_complete mapped::a_label_text_that_is_found_is_complete mapped::a_slab_that_is_found_is_complete mapped::a_move_that_was_cut_is_done mapped::a_move_is_one_step
    mapped::a_word_without_a_slot_comes_after_the_move"
some="$cached $published $mapped $quick $tables"
every="$some $summary $stream streams::a_window_read_has_every_value_once totals::totals_never_go_back_across_promotion"
# Where one mutation at a time leaves its notes.
work=target/mutate
: >target/mutate/missed
# What caught a mutation before, one line each: its name, a tab, a model or test.
before() { # name
    awk -F '\t' -v name="$1" '$1 == name { print $2 }' tests/mutations.txt
}
: >target/mutate/caught
# A test that fails says so; one that is out of time says nothing of the code.
failing() { # test program, models; prints the first that fails
    local program=$1 model
    shift
    for model in "$@"; do
        if timeout 300 "$program" --exact "observe::models::$model" >$work/run.log 2>&1; then
            continue
        elif [ $? = 124 ]; then
            echo "$model" >>$work/late
        else
            echo "$model"
            return
        fi
    done
}

models=$(build)
[ -n "$models" ] || { cat target/mutate/build.log; echo "the models do not compile"; exit 1; }
listed=$("$models" --list | sed -n 's/^observe::models::\(.*\): test$/\1/p')
for model in $listed; do
    [[ " $(echo $every) " == *" $model "* ]] || { echo "MISSED   the model $model is in no list above"; echo >>target/mutate/missed; }
done
for model in $every $(cut -f 2 tests/mutations.txt | grep -E '^(buckets|cached_ref|closing|mapped|native|passes|published|slots|streams|summary|totals)::'); do
    [[ " $(echo $listed) " == *" $model "* ]] || { echo "STALE    there is no model $model"; exit 1; }
done
: >$work/late
report() { # name, tests that fail, reason if argued, name in mutations.txt if it is another one
    local late
    late=$(xargs <$work/late)
    : >$work/late
    if [ -z "$2" ] && [ -n "$late" ]; then
        echo "LATE     $1: $late"
        echo >>target/mutate/missed
    elif [ -n "$2" ]; then
        echo "caught   $1: $2 (${SECONDS}s)"
        printf '%s\t%s\n' "${4:-$1}" "${2%% *}" >>target/mutate/caught
    elif [ -n "$3" ]; then
        echo "argued   $1: $3"
    else
        echo "MISSED   $1"
        echo >>target/mutate/missed
    fi
}

# In the copy, where proptest leaves what it finds. The tests of many orders are the slow ones: only for what the laws
# let through.
sketch() { # mutation; prints the first tests that fail
    local tests code bad
    for tests in $(before "sketch, $1") "laws:: --skip merging_and" "laws::merging_and" orders::; do
        (cd "$tree" && MUTATE=$1 PROPTEST_MAX_SHRINK_ITERS=0 timeout 300 "$models" snapshot::sketch::tests::$tests) >$work/run.log 2>&1 && continue
        code=$?
        bad=$(sed -n 's/^test snapshot::sketch::tests::\(.*\) \.\.\. FAILED$/\1/p' $work/run.log | xargs)
        if [ -n "$bad" ]; then
            echo "$bad"
            return
        fi
        echo "${tests%% *} (exit $code)" >>$work/late
    done
}
# Two at a time, each with its own notes.
beside() { # directory of the notes, command
    [ "$(jobs -rp | wc -l)" -lt 2 ] || wait -n
    (
        work=target/mutate/$1
        mkdir -p "$work" && : >"$work/late"
        shift
        SECONDS=0
        "$@"
    ) &
}
# A whole run of the tests has run the models already.
if [ -z "${MODELS_PASSED:-}" ] && [ "$*" != sketch ]; then
    [ $# -gt 0 ] || some=$every
    bad=$(failing "$models" $some)
    [ -z "$bad" ] || { echo "fail as they are: $bad"; exit 1; }
fi

# The only run of the sketch's tests with optimizations, which have more and longer orders then.
try_none() {
    local bad
    bad=$(sketch none)
    [ -z "$bad" ] && [ ! -s "$work/late" ] && return
    echo "FAIL     as they are: $bad $(xargs <"$work/late")"
    echo >>target/mutate/missed
}
try_mark() { # mark
    report "sketch, $1" "$(sketch "$1")" ""
}
if [ $# -eq 0 ] || [ "$*" = sketch ]; then
    grep -q "tests::laws::" <("$models" --list) || { echo "there are no tests of the sketch"; exit 1; }
    beside none try_none
    for name in $marks; do
        beside "mark.$name" try_mark "$name"
    done
    [ "$*" != sketch ] || { wait; exit $(($(wc -l <target/mutate/missed) > 0)); }
fi

try_site() { # site, place, line, models
    local name key reason
    name="$1 ${2#"$tree"/} $(echo "$3" | xargs -0 | tr -s ' \n' ' ')"
    # Without numbers, which change.
    key="${name#* }"
    key="${key%%:*}:${key#* }"
    if reason=$(argued "$3"); then
        report "$name" "" "$reason"
    else
        report "$name" "$(WEAKEN=$1 failing "$models" $(before "$key") $4)" "" "$key"
    fi
}
while IFS=$'\t' read -r site place line; do
    file=${place%:*}
    [ $# -eq 0 ] || [[ " $* " == *" $site "* || " $* " == *" ${file#*/src/} "* ]] || continue
    case $place in
    *stream.rs*) which="$stream streams::a_window_read_has_every_value_once" ;;
    *summary.rs*) which=$summary ;;
    *cached_ref.rs* | *part_ref.rs*) which=$cached ;;
    *native/mod.rs*) which=$tables ;;
    *published.rs* | *owners.rs*) which=$published ;;
    *mapped/*) which=$mapped ;;
    *) which=$quick ;;
    esac
    beside "site.$site" try_site "$site" "$place" "$line" "$which"
done <"$sites"
wait
only=" $* "

# Steps left out or done wrong: a name, a file, and what perl does to it. Each is a file of the queue.
stepped=
queue=target/mutate/queue
rm -rf "$queue" && mkdir -p "$queue"
queued=100
step() {
    stepped+=" src/$2 "
    [[ $only == "  " || $only == *" $2 "* ]] || return
    queued=$((queued + 1))
    printf '%s\0' "$@" >"$queue/$queued"
}
# The same, found by tests with real threads: their names are given.
real_step() { # name, file, perl, tests
    step "$@"
}
step "ups are read before downs" observe/tally.rs \
    's/(            let downs = self\.downs\(pass, slot\);\n)(.*?)(            least = )/$2$1$3/s; s/            pass\.reload\(\);\n(            let slot = .*?;\n)(.*?)(            let downs)/            pass.reload();\n$1$2$3/s'
step "retired series are read before the overflow series" observe/cells.rs \
    's/(    overflow\.read\(pass, overflow\.slot_word\(\)\.slot\(\), total\);\n)(    for \(series, retired\).*?\n    \}\n)/$2$1/s'
step "shards are not looked for again before ups" observe/tally.rs 's/            pass\.reload\(\);\n//'
step "the slot word is not read again after an acknowledgement" observe/thread.rs \
    's/(pub\(super\) fn resolve.*?\{\n)/$1        let early = slot_word.last(generation);\n/s; s/let last = slot_word\.last\(generation\);/let last = early;/'
step "a shard is taken and stays in the pool" observe/shard.rs \
    's/if let Some\(unowned\) = pool\.unowned\.pop\(\)/if let Some(unowned) = pool.unowned.last()/'
step "the collector acknowledges for no shard" observe/pass.rs 's/self\.engine\.shards\.acknowledge_for_unowned\(last_safepoint\);//'
step "an idle shard stays in the pool" observe/shard.rs 's/            !taken\n        \}\);/            true\n        });/'
step "what was folded is not zeroed" observe/tally.rs 's/    moved\.set\(from, N::default\(\)\.to_cell\(\)\);\n//'
step "a shard that holds something is taken for empty" observe/pass.rs 's/let is_empty = \|idle: &Idle\| idle\.shard\.slab\(\)\.is_zero\(\)/let is_empty = |_: &Idle| true/'
step "an empty shard is still read" observe/pass.rs 's/self\.collector\.members\.retain\(\|member\| !was_emptied\(member\)\);//'
step "a dropped family's slots are cleared without a look for new shards" observe/pass.rs \
    's/(take\(&mut \*lock\(&self\.engine\.abandoned\)\);\n.*?)        self\.collector\.join\(&self\.engine\.shards\);\n/$1/s'
step "a native histogram starts over without the lock" observe/cells.rs 's/None if C::is_plain\(shape\) =>/None =>/'
step "requests do not wait for shards that have the slot" observe/pass.rs 's/with_slot == 0 \|\| lagging/true || lagging/'
step "shards are looked for by a load before a request" observe/shard.rs \
    's/let mut next = (self\.joined\.swap\(null_mut\(\), .*?\));\n/let mut next = self.joined.load(Acquire); if !next.is_null() { next = $1; }\n/'
step "slots are free before slabs are looked for again" observe/pass.rs \
    's/(self\.engine\.slots\.free_later\(self\.cleared\.drain\(\.\.\)\);.*?)        self\.reload\(\);/$1/s'
step "a slot that is closing does not wait for acknowledgements" observe/cells.rs 's/if !pass\.is_closed\(closing\)/if false/'
step "a slot that is closing is cleared without the lock" observe/cells.rs \
    's/(pub fn end_closing.*?)series\.shared_lock\(\)\.lock_any\(\) else/$1Some(series.shared_lock().take()) else/s'
step "a slot that is closing is not read" observe/slot.rs 's/\(word & NOT_LIVE == 0\)\.then_some/(word \& CLOSING == 0).then_some/'
step "a slot that is closing is still written" observe/slot.rs 's/(has a slot\.\n\s*)self\.0\.fetch_or\(CLOSING, Relaxed\);/$1/'
step "a series is never promoted" observe/shared_lock.rs 's/promote\(engine, slot_word, generation, cells\);//'
step "a cold update takes the lock of whichever series" observe/shared_lock.rs 's/if word \^ generation\.word\(\) >= LOCKED/if word \& LOCKED != 0/'
step "the lock of the shared cells keeps the old generation" observe/cells.rs 's/own\.hand_over\(series\.slot_word\(\)\.generation\(\)\)/own.release()/'
step "a series is reclaimed without its lock" observe/cells.rs 's/series\.shared_lock\(\)\.lock_any\(\) else/Some(series.shared_lock().take()) else/'
step "a fold does not lock the overflow series" observe/cells.rs 's/match overflow\.shared_lock\(\)\.lock_any\(\)/match Some(overflow.shared_lock().take())/'
step "an idle shard is folded without the lock" observe/cells.rs \
    's/(pub fn fold_idle.*?)series\.shared_lock\(\)\.lock_any\(\) else/$1Some(series.shared_lock().take()) else/s'
step "a slab is published before the copy" observe/thread.rs \
    's/(            unsafe \{ new\.copy_from\(old\) \};)/            shard.end_growth(Some(*new));\n$1/'
step "the slot is not zeroed" observe/pass.rs 's/unsafe \{ block\.cell\(i\) \}\.store\(0, Relaxed\);//'
step "the collector does not wait for acknowledgements" observe/cells.rs 's/if !pass\.is_acknowledged\(retired\)/if false/'
step "the growth flag is ignored" observe/thread.rs 's/ \|\| !shard\.begin_growth\(\)//'
step "the length before the request" observe/shard.rs \
    's/slab\.len\(\)\.swap\(slab\.capacity\(\), ([^)]*\))\);\n        self\.acknowledge\(slab\);/self.acknowledge(slab); slab.len().store(slab.capacity(), Relaxed);/'
step "growth does not acknowledge" observe/thread.rs 's/            shard\.acknowledge\(new\);\n//'
step "a series is looked up before the word is read" lockfree/cached_ref.rs \
    's/(        let old = .*?;\n)(        let \(part, key\) = .*?;\n)/$2$1/'
step "a histogram has one sum" observe/buckets.rs 's/sum_cell\(block, side \^ 1\)\.store\(sum/sum_cell(block, side).store(sum/'
step "the shared cells are not locked" observe/shared_lock.rs 's/let result = .*?;/let result = Ok::<u64, u64>(word);/s'
step "a key is written after its count" observe/native/mod.rs \
    's/(        table\.key\(entry\)\.store\(key\.0, Relaxed\);\n)(.*?added, times\) \};\n)/$2$1/s'
step "a table is published before the copy" observe/native/mod.rs \
    's/(        fresh\.copy_from\(old, &entries\);\n)/        unsafe { block.cell(0) }.store((&raw const *fresh).expose_provenance() as u64, Release);\n$1/'
step "a table is freed at once" observe/retired.rs 's/soon\(move \|\| \{(.*?)\}\);/{$1}/s'
step "a table is given back before it is folded" observe/cells.rs \
    's/Some\(overflow\) => overflow\.fold\(shape, block\),/Some(overflow) => { release(block); overflow.fold(shape, block) }/'
step "what is published is freed at once" lockfree/published.rs 's/later\(move \|\| T::free\(old\)\)/T::free(old)/'
step "what is published is replaced by load and store" lockfree/published.rs \
    's/self\.0\.swap\(fresh, [^)]*\)\)/{ let old = self.0.load(Acquire); self.0.store(fresh, Release); old }/'
step "a pass that has begun is good enough" sync/passes.rs 's/let wanted = state\.started \+ 1;/let wanted = state.started.max(1);/'
step "passes do not wait" sync/passes.rs 's/if !state\.running \{/if true {/'
step "promotion empties the shared cell" observe/tally.rs \
    's/add_own\(&self\.shared, n\);\n/add_own(&self.shared, n); self.shared.store(0, Relaxed);\n/'
step "a push gives up where a scrape closes its buffer again" observe/stream.rs \
    's/while !self\.push\(value\) \{\n\s*flush\(\);\n\s*\}/if !self.push(value) { flush(); let _ = self.push(value); }/'
step "a gauge is set whatever its slot word says" observe/gauge.rs 's/let may = thread\.has_cell\(self\.slot_word\.last\(generation\)\);/let may = true;/'
step "passes wake one who waits" sync/passes.rs 's/notify_all/notify_one/'
step "a copy leaves out cells" observe/memory.rs 's/for i in 0\.\.old\.capacity\(\)/for i in 2..old.capacity()/'
step "nobody is asked for a gauge" observe/pass.rs 's/let ticket = slot\.map_or\(0, \|_\|/let ticket = slot.filter(|_| false).map_or(0, |_: u64|/'
step "an age that has ended stays in the sketch" observe/stream.rs 's/flush\.sketch\.load\(\[\]\.into_iter\(\), false\);//'
step "the sketches of earlier ages are published before their generation" observe/stream.rs \
    's/(        self\.seq\.store\(2 \* generation \+ 1,)/        page.history.store(history, Relaxed);\n$1/'
step "an earlier age is written without its tuples" observe/window.rs 's/\.for_each\(&mut put\)/.take(0).for_each(\&mut put)/'
real_step "no series is ever promoted" observe/shared_lock.rs 's/promote\(engine, slot_word, generation, cells\);//' \
    observe::tests::every_kind_gets_slots_after_enough_updates
real_step "threads do not count for the limit of cells" observe/shard.rs 's/slots\.count_shards\(1\);//' \
    observe::tests::the_cells_of_all_threads_are_limited
real_step "a slot that is closing is never opened again" family/quiet.rs 's/            if !is_quiet \{/            if false {/' \
    family::quiet::tests::a_series_that_is_busy_again_keeps_its_slot
real_step "nobody asks threads to look for requests" observe/pass.rs 's/self\.engine\.ask_threads\(asks\);//' \
    observe::tests::a_thread_that_runs_only_cold_updates_acknowledges
real_step "a minute never ends" observe/engine.rs 's/let over = now - began >= 60_000;/let over = false;/' \
    observe::tests::updates_of_several_minutes_promote_nothing
real_step "the updates of the last minute count" observe/shared_lock.rs 's/\(MINUTES \| PROMOTE_AFTER\)/PROMOTE_AFTER/; s/let is_same = .*?;/let is_same = true;/' \
    observe::tests::updates_of_several_minutes_promote_nothing
real_step "a reader never requests a copy" observe/pass.rs 's/        shard\.request_copy\(ticket, last, cells, copy\);\n//' \
    observe::tests::a_reader_requests_a_copy_from_the_owner
real_step "a thread that left its shard goes on writing it" observe/thread.rs 's/            self\.slab\.set\(SlabRef::EMPTY\);\n//' \
    observe::tests::a_thread_that_left_its_shard_has_no_cells
real_step "slots of dropped families stay unreclaimed" observe/pass.rs \
    's/            if unreclaimed \{\n\s*self\.engine\.slots\.waiting\(-1\);\n\s*\}\n//' \
    observe::tests::slots_of_dropped_families_are_reclaimed
real_step "a request on every pass" observe/pass.rs 's/if std::mem::take\(&mut self\.collector\.request_due\)/if true/' \
    observe::tests::owners_get_requests_only_after_a_retirement
real_step "a new owner does not acknowledge for the last one" observe/thread.rs \
    's/            if slab\.len\(\)\.load\(Relaxed\) == 0 \{\n                shard\.restore\(slab\);\n            \}\n//' \
    observe::tests::a_new_owner_acknowledges_an_open_request
real_step "a sleeper holds up every slot" observe/pass.rs 's/let Some\(slot\) = slot else/let Some(slot) = slot.map(|_| 0) else/' \
    observe::tests::a_sleeper_holds_up_the_slots_that_it_has
real_step "a pass clears as much as there is" observe/pass.rs 's/self\.cleared\.push\(\(last, cells as u64\)\);//' \
    observe::tests::slots_of_a_large_family_are_freed_in_several_passes
real_step "tables can be reached while they are written" lockfree/label_cache.rs 's/            TABLES\.with\(\|tables\| tables\.set\(&\[\]\)\);\n            while/            while/' \
    lockfree::label_cache::tests::arenas_that_come_and_go
real_step "indexes of tables are not given back" lockfree/label_cache.rs 's/        TABLE_INDEXES\.give_back\(self\.table\);\n//' \
    lockfree::label_cache::tests::table_indexes_are_used_again
real_step "a table of another arena is believed" lockfree/label_cache.rs 's/table\.id != self\.id/false/' \
    lockfree::label_cache::tests::arenas_that_come_and_go
real_step "label sets are compared by their hash" lockfree/label_cache.rs 's/entry\.hash == hash && unsafe \{ self\.has_values\(entry, len, texts\) \}/entry.hash == hash/' \
    lockfree::label_cache::tests::remembers_and_grows
real_step "a copy request acknowledges for new threads" observe/pass.rs 's/let since = self\.last_safepoint;/let since = self.last_ticket;/' \
    observe::tests::a_copy_request_acknowledges_nothing_for_a_new_thread
real_step "a series that is made is not marked as live" lockfree/arena.rs 's/state\.live\.fetch_or\(bit, Relaxed\);//' \
    registry::tests::a_removed_series_is_gone_from_a_snapshot_that_is_used_again
real_step "slots of dropped families are not handed to a pass" observe/engine.rs 's/abandoned\.extend\(slots\.map\(.*?\)\)\);//' \
    observe::tests::slots_of_dropped_families_are_reclaimed
real_step "a removed series stays on a snapshot" lockfree/arena.rs 's/state\.live\.fetch_and\(!bit, Relaxed\);//' \
    lockfree::arena::tests::a_group_has_a_bit_for_each_live_series
real_step "a removed series stays on a label page" family/pages.rs 's/\*old != version \|\| self/old.live < version.live || self/' \
    registry::tests::a_removed_series_is_gone_from_a_snapshot_that_is_used_again
real_step "a number that is used again has its old labels" lockfree/arena.rs 's/state\.removals\.fetch_add\(1, Relaxed\);//' \
    registry::tests::a_number_that_is_used_again_never_shows_its_old_labels
real_step "exemplars outlive their series" family/retire.rs 's/exemplars\.clear\(retired\.index\);//' \
    family::retire::tests::exemplars_are_freed_with_their_series
real_step "an exemplar is read whatever series has the number by now" lockfree/exemplars.rs 's/if stamped\.generation == key\.generation\(\)/if true/' \
    declare::exemplar::tests::an_exemplar_that_comes_late_is_dropped
real_step "a text is copied without its last byte" lockfree/shared_text.rs 's/text\.len\(\)\);\n        \}\n        head/text.len().saturating_sub(1));\n        }\n        head/' \
    lockfree::shared_text::tests::readers_see_a_whole_text_or_none
real_step "what is freed was not counted" observe/allocator.rs 's/        count_down\(layout\.size\(\)\);\n//' \
    observe::allocator::tests::allocations_and_frees_are_counted
floats=observe::float_tests
real_step "a fold rounds floats to the nearest" snapshot/float_sum.rs 's/if lost > 0\.0 && nearest\.is_finite\(\)/if false/' \
    $floats::a_float_counter_never_goes_down
real_step "a read rounds after each float" snapshot/float_sum.rs 's/let \(lost, rest\) = two_sum\(low, lost\);/let (lost, rest) = (0.0, lost * 0.0);/' \
    $floats::the_sum_of_a_histogram_never_goes_down
real_step "two floats hold every sum" snapshot/float_sum.rs 's/fits &= rest == 0\.0;/fits &= rest.is_finite();/' \
    snapshot::float_sum::tests::the_order_does_not_matter_next_to_a_tie
real_step "a summary folds its sum to the nearest" observe/summary.rs 's/total\.sum\.round_up\(\)/total.sum.value()/' \
    $floats::the_sum_of_a_summary_never_goes_down
files=share::files::tests::schedules
real_step "a reader does not look for later totals" share/files/view.rs 's/if again\.generations\.last\(\) == listing\.generations\.last\(\)/if true/' \
    $files::folds_and_a_reader_in_every_order_have_the_same_total
real_step "totals do not list the files that they include" share/files/view.rs 's/folded: earlier.*?\.collect\(\),/folded: std::collections::BTreeSet::new(),/' \
    $files::folds_and_a_reader_in_every_order_have_the_same_total
real_step "files are removed before their totals are published" share/files/view.rs \
    's/(            let bytes = totals\.to_bytes\(\);)/            for name in &listing.writers { self.directory.remove(name)?; }\n$1/' \
    $files::a_fold_that_is_killed_beside_another_and_a_reader_changes_no_total
real_step "two processes fold at once" share/files/directory.rs 's/        rustix::fs::flock\(&own, FlockOperation::NonBlockingLockExclusive\)\.ok\(\)\?;\n//' \
    $files::folds_and_a_reader_in_every_order_have_the_same_total

# Two workers, each with its own copies of the trees and of what was built in them.
run_step() { # name, file, perl, tests with real threads or none
    local tree=$tree$1 real=$real$1 target=$CARGO_TARGET_DIR$1 work=target/mutate/work$1 program test bad=
    shift
    SECONDS=0
    local file=$tree/src/$2
    [ $# -lt 4 ] || file=$real/src/$2
    cp -p "$file" "$work/kept"
    perl -0pi -e "$3" "$file"
    if cmp -s "$file" "$work/kept"; then
        echo "STALE    $1: $2 no longer has that text"
        echo >>target/mutate/missed
        return
    fi
    if [ $# -lt 4 ]; then
        program=$(CARGO_TARGET_DIR=$target build)
    else
        program=$(CARGO_TARGET_DIR=$target build_real)
    fi
    if [ -z "$program" ]; then
        echo "STALE    $1: does not compile"
        echo >>target/mutate/missed
    elif [ $# -lt 4 ]; then
        report "$1" "$(failing "$program" $(before "$1") $every)" ""
    else
        for test in $4; do
            timeout 120 "$program" --exact "$test" >"$work/run.log" 2>&1
            case $? in
            0) grep -q "1 passed" "$work/run.log" || { bad="there is no test $test"; echo "STALE    $bad"; echo >>target/mutate/missed; } ;;
            124) echo "$test" >>"$work/late" ;;
            *) bad=$test && break ;;
            esac
        done
        report "$1" "$bad" ""
    fi
    cp "$work/kept" "$file"
}
worker() {
    local entry arguments
    rm -rf "$tree$1" "$real$1" "${CARGO_TARGET_DIR:?}$1"
    cp -rp "$tree" "$tree$1" && cp -rp "$real" "$real$1" && cp -rp "$CARGO_TARGET_DIR" "$CARGO_TARGET_DIR$1"
    mkdir -p "target/mutate/work$1" && : >"target/mutate/work$1/late"
    for entry in "$queue"/???; do
        # Who makes the directory has the entry.
        mkdir "$entry.taken" 2>/dev/null || continue
        mapfile -d '' -t arguments <"$entry"
        run_step "$1" "${arguments[@]}"
    done
}
if [ $queued -gt 100 ]; then
    build_real >/dev/null
    worker a &
    worker b &
    wait
fi

# Nothing with an atomic of its own or an unsafe block goes untouched.
if [ $# -eq 0 ]; then
    for file in $(cd "$tree" && grep -rlE 'unsafe (\{|fn|impl)|Atomic(Ptr|U64|Bool)' src/lockfree src/observe src/sync | grep -vE '^src/observe/(models|tests)|^src/sync/(mod|pushes)\.rs$|^src/observe/mod\.rs$|^src/lockfree/(mod|epoch)\.rs$'); do
        [[ " ${ordered[*]} $stepped " == *" $file "* ]] || { echo "MISSED   $file has atomics or unsafe code, and nothing here touches it"; echo >>target/mutate/missed; }
    done
fi
missed=$(wc -l <target/mutate/missed)
if [ -n "${ACCEPT:-}" ] && [ $# -eq 0 ]; then LC_ALL=C sort -u target/mutate/caught >tests/mutations.txt; fi
echo "$missed missed"
exit $((missed > 0))
