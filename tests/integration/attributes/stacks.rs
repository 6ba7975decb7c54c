//! Four attributes in several orders or all, over a shape given as a macro.
//!
//! The statics `T`, `G`, `C` and `E` are items, so the macro of a shape can name them.

/// Calls `$then!` with orders of four attributes, with the type of the timing metric, and with a
/// number: four orders, in which each attribute has each place once and follows each other one
/// once. With the environment variable `TALLIES_EVERY_ORDER` at build time, all 24.
macro_rules! in_every_order {
    ($then:ident!($($with:tt)*) $a:tt $b:tt $c:tt $d:tt) => {
        $then!($($with)* Summary "2" $a $b $d $c);
        $then!($($with)* Summary "9" $b $c $a $d);
        $then!($($with)* Summary "18" $c $d $b $a);
        $then!($($with)* Histogram "20" $d $a $c $b);
        #[cfg(every_order)]
        {
            $then!($($with)* Histogram "1" $a $b $c $d);
            $then!($($with)* Histogram "3" $a $c $b $d);
            $then!($($with)* Summary "4" $a $c $d $b);
            $then!($($with)* Histogram "5" $a $d $b $c);
            $then!($($with)* Summary "6" $a $d $c $b);
            $then!($($with)* Summary "7" $b $a $c $d);
            $then!($($with)* Histogram "8" $b $a $d $c);
            $then!($($with)* Histogram "10" $b $c $d $a);
            $then!($($with)* Summary "11" $b $d $a $c);
            $then!($($with)* Histogram "12" $b $d $c $a);
            $then!($($with)* Histogram "13" $c $a $b $d);
            $then!($($with)* Summary "14" $c $a $d $b);
            $then!($($with)* Histogram "15" $c $b $a $d);
            $then!($($with)* Summary "16" $c $b $d $a);
            $then!($($with)* Histogram "17" $c $d $a $b);
            $then!($($with)* Summary "19" $d $a $b $c);
            $then!($($with)* Summary "21" $d $b $a $c);
            $then!($($with)* Histogram "22" $d $b $c $a);
            $then!($($with)* Summary "23" $d $c $a $b);
            $then!($($with)* Histogram "24" $d $c $b $a);
        }
    };
}
pub(crate) use in_every_order;

/// Runs `$shape!` under these orders of the attributes and checks all counts. Functions that cannot
/// fail count `panics`.
macro_rules! orders {
    ($shape:ident: $calls:literal calls, $errors:literal errors) => {
        #[test]
        fn $shape() {
            crate::stacks::in_every_order!(orders!(@ $shape $calls $errors)
                [timed(T)] [in_progress(G)] [count(C)] [count_errors(E)]);
        }
    };
    ($shape:ident: $calls:literal calls, $panics:literal panics) => {
        #[test]
        fn $shape() {
            crate::stacks::in_every_order!(orders!(@ $shape $calls $panics)
                [timed(T)] [in_progress(G)] [count(C)] [count_errors(E, on(panic))]);
        }
    };
    (@ $shape:ident $calls:literal $errors:literal $times:ident $order:literal $([$($attribute:tt)*])*) => {{
        use tallies::{Counter, UpDownCounter};
        static T: tallies::$times = tallies::$times::new(concat!(stringify!($shape), "_", $order, "_seconds"));
        static G: UpDownCounter = UpDownCounter::new(concat!(stringify!($shape), "_", $order, "_in_progress"));
        static C: Counter = Counter::new(concat!(stringify!($shape), "_", $order, "_total"));
        static E: Counter = Counter::new(concat!(stringify!($shape), "_", $order, "_errors_total"));
        {
            $shape!($(#[tallies::$($attribute)*])*);
        }
        assert_eq!(
            crate::counted(&T, &G, &C, &E),
            crate::Counted { timed: $calls, in_progress: 0, count: $calls, errors: $errors },
            "{}", stringify!($shape: $([$($attribute)*])*)
        );
    }};
}
pub(crate) use orders;
