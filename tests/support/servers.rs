//! The servers of others, in two releases: that of Debian 12, and today's. tests/run.sh installs
//! the first and unpacks the second into `target/servers`.

use std::process::Command;

/// A release of Prometheus, promtool, Pushgateway and VictoriaMetrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Prometheus 2.42, Pushgateway 1.5, VictoriaMetrics 1.79.
    Debian,
    /// Prometheus 3.5, Pushgateway 1.11, VictoriaMetrics 1.145, or newer.
    Today,
}

impl Release {
    /// Returns the command of a program.
    pub fn command(self, program: &str) -> Command {
        let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/servers/usr/bin");
        match self {
            Self::Debian => Command::new(program),
            Self::Today => Command::new(format!("{unpacked}/{program}")),
        }
    }
}

/// Makes two tests of each function: one for each release.
#[allow(unused_macros, reason = "tests of servers use it")]
macro_rules! with_each_release {
    ($($test:ident),+ $(,)?) => {
        mod debian {
            $(#[test]
            fn $test() {
                super::$test(super::Release::Debian);
            })+
        }
        mod today {
            $(#[test]
            fn $test() {
                super::$test(super::Release::Today);
            })+
        }
    };
}
#[allow(unused_imports, reason = "tests of servers use it")]
pub(crate) use with_each_release;
