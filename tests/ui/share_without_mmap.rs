fn main() {
    let _store = tallies::share::dir("/dev/shm/shop");
}
