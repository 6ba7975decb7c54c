//! The live page in a real Chromium.

#[test]
fn placeholder() {
    let _ = thirtyfour::DesiredCapabilities::chrome();
}
