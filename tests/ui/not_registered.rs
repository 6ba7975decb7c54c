fn main() {
    let sent = tallies::Counter::builder("sent_total", "Messages sent.");
    sent.inc();
    sent.add(3);
    tallies::Gauge::builder("length", "Jobs waiting.").set(3);
    tallies::Histogram::builder("wait_seconds", "Time waited.").observe(0.5);
}
