//! Errors of the compiler: each file beside this folder, and what the compiler says of it.

#[test]
fn compile_time_errors() {
    let t = trybuild::TestCases::new();
    t.compile_fail("*.rs");
}
