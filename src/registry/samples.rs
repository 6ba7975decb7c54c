//! Samples that this crate reads at scrape time, with the help texts of their families.

use super::Collected;

pub(crate) type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The samples of a collector, whose names begin with `prefix` and an underscore.
pub(crate) struct Samples<'a> {
    pub(crate) out: &'a mut Collected,
    pub(crate) prefix: &'a str,
}

impl Samples<'_> {
    /// Writes a sample of a counter if the name ends in `_total`, otherwise of a gauge.
    pub(crate) fn write(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) -> Fallible<()> {
        let (full, help) = (format!("{}_{name}", self.prefix), help(name));
        match name.ends_with("_total") {
            true => self.out.counter(&full, help, labels, value)?,
            false => self.out.gauge(&full, help, labels, value)?,
        }
        Ok(())
    }
}

/// Returns the help text of a family.
pub(crate) fn help(name: &str) -> &'static str {
    match name {
        "cpu_seconds_total" => "User and system CPU time of the process.",
        "resident_memory_bytes" => "Resident memory: in use and not swapped out.",
        "virtual_memory_bytes" => "Virtual memory: reserved address space.",
        "virtual_memory_max_bytes" => "Maximum amount of virtual memory.",
        "threads" => "Threads of the process.",
        "page_faults_total" => "Page faults. Major ones had to read from a disk.",
        "start_time_seconds" => "Start time of the process, in seconds since 1970.",
        "open_fds" => "Open file descriptors.",
        "max_fds" => "Maximum number of open file descriptors.",
        "context_switches_total" => {
            "Context switches of the main thread: voluntary when it waits, involuntary when it is \
             preempted."
        }
        "disk_bytes_total" => "Bytes that storage read or wrote for the process.",
        "allocated_bytes" => "Bytes that the program allocated and has not freed yet.",
        "allocations_total" => "Allocations of the program.",

        "families" => {
            "Families in this registry: those of callbacks and collectors included, these self-metrics not."
        }
        "series" => {
            "Series in this registry, those of callbacks and collectors included, self-metrics excluded."
        }
        "shards" => {
            "Shards in this process: one for each thread that updates metrics. New threads reuse \
             those of ended threads."
        }
        "shard_bytes" => {
            "Address space reserved for cells. The system commits only the pages in use."
        }
        "shard_limit_bytes" => {
            "Limit of tallies_shard_bytes. At the limit, further series count in one cold cell each."
        }
        "snapshot_bytes" => {
            "Memory of the last snapshot, with label texts that other snapshots share."
        }
        "scrape_duration_seconds" => "Duration of the last snapshot.",
        "stream_bytes" => "Memory of the quantile streams of all summaries.",
        "stream_limit_bytes" => {
            "Limit of tallies_stream_bytes. From half of it, streams have small buffers; above it, \
             threads share streams."
        }
        "stream_mode" => {
            "Current effect of the limit: 0 none, 1 small buffers, 2 no new streams, so that \
             threads share them."
        }
        "degraded_series" => {
            "Series of summaries whose sketch reached its maximum size: quantile errors may exceed \
             the objectives, but not the certified bounds."
        }
        "rejected_updates_total" => {
            "Rejected updates: NaN, negative increments of counters, infinities that would make a \
             sum NaN, invalid labels. Families without any have no series."
        }
        "overflowed_updates_total" => {
            "Updates counted in an overflow series instead of a series of their own. Families \
             without any have no series."
        }
        "cells_not_shared_total" => {
            "Words of 8 bytes that are not in this process' mapped file, because the file was full."
        }
        "rejected_families_total" => {
            "Families that are not exported, because their name was taken."
        }
        "requested_copies_total" => {
            "Copies of histograms that scrapes requested from threads, because they could not read them directly."
        }
        "collect_errors_total" => {
            "Scrapes without families or series of a collector, because it failed or they conflict."
        }
        "merge_conflicts_total" => {
            "Families left out of pages, pushes and sends of several registries, because they \
             conflict. Each page counts."
        }
        "share_writers" => "Live processes that share their metrics.",
        "share_files_skipped" => "Files in the shared directory that could not be read.",
        "share_conflicts" => {
            "Families of single processes that are left out because other processes have another \
             kind or shape under the same name."
        }
        "share_words_not_shared" => {
            "Words that live processes keep in private memory, because the disk of the shared \
             directory is full. What they count is missing here."
        }
        "pushes_total" => "Pushes to gateways, including failed ones.",
        "push_failures_total" => "Failed pushes.",
        "last_push_timestamp_seconds" => {
            "Time of the last successful push, in seconds since 1970. 0: none."
        }

        "workers" => "Worker threads of the runtime.",
        "alive_tasks" => "Tasks that have not completed.",
        "global_queue_depth" => "Tasks in the global queue, ready to run.",
        "worker_busy_seconds_total" => "Time that the worker spent on tasks.",
        "worker_parks_total" => "Times that the worker went to sleep.",
        "spawned_tasks_total" => "Tasks spawned.",
        "budget_forced_yields_total" => "Forced yields: tasks that had used up their budget.",
        "blocking_threads" => "Threads for blocking tasks.",
        "idle_blocking_threads" => "Idle threads for blocking tasks.",
        "blocking_queue_depth" => "Blocking tasks that wait for a thread.",
        "worker_polls_total" => "Times that the worker polled a task.",
        "worker_steals_total" => "Tasks that the worker stole from other workers.",
        "worker_local_queue_depth" => "Tasks ready to run in the worker's own queue.",
        _ => "",
    }
}
