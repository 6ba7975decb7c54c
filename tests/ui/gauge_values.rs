use tallies::Gauge;

static QUEUE: Gauge = Gauge::new("queue_length");

fn main() {
    QUEUE.set("3");
    QUEUE.set(std::time::Duration::ZERO);
}
