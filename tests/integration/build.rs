//! Sets `cfg(every_order)`, with which `attributes/stacks.rs` has all orders of four attributes.

fn main() {
    println!("cargo:rustc-check-cfg=cfg(every_order)");
    println!("cargo:rerun-if-env-changed=TALLIES_EVERY_ORDER");
    if std::env::var_os("TALLIES_EVERY_ORDER").is_some() {
        println!("cargo:rustc-cfg=every_order");
    }
}
