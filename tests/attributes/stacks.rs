//! Four attributes in all their orders, over a shape given as a macro.
//!
//! The statics `T`, `G`, `C` and `E` are items, and so the shape's macro can name them.

/// Runs `$shape!` under every order of the attributes, and checks what each of them counted.
macro_rules! orders {
    ($shape:ident: $calls:literal calls, $errors:literal errors) => {
        #[test]
        fn $shape() {
            orders!(@ $shape $calls $errors Histogram "1"
                [timed(T)] [in_progress(G)] [count(C)] [count_errors(E)]);
            orders!(@ $shape $calls $errors Summary "2"
                [timed(T)] [in_progress(G)] [count_errors(E)] [count(C)]);
            orders!(@ $shape $calls $errors Histogram "3"
                [timed(T)] [count(C)] [in_progress(G)] [count_errors(E)]);
            orders!(@ $shape $calls $errors Summary "4"
                [timed(T)] [count(C)] [count_errors(E)] [in_progress(G)]);
            orders!(@ $shape $calls $errors Histogram "5"
                [timed(T)] [count_errors(E)] [in_progress(G)] [count(C)]);
            orders!(@ $shape $calls $errors Summary "6"
                [timed(T)] [count_errors(E)] [count(C)] [in_progress(G)]);
            orders!(@ $shape $calls $errors Summary "7"
                [in_progress(G)] [timed(T)] [count(C)] [count_errors(E)]);
            orders!(@ $shape $calls $errors Histogram "8"
                [in_progress(G)] [timed(T)] [count_errors(E)] [count(C)]);
            orders!(@ $shape $calls $errors Summary "9"
                [in_progress(G)] [count(C)] [timed(T)] [count_errors(E)]);
            orders!(@ $shape $calls $errors Histogram "10"
                [in_progress(G)] [count(C)] [count_errors(E)] [timed(T)]);
            orders!(@ $shape $calls $errors Summary "11"
                [in_progress(G)] [count_errors(E)] [timed(T)] [count(C)]);
            orders!(@ $shape $calls $errors Histogram "12"
                [in_progress(G)] [count_errors(E)] [count(C)] [timed(T)]);
            orders!(@ $shape $calls $errors Histogram "13"
                [count(C)] [timed(T)] [in_progress(G)] [count_errors(E)]);
            orders!(@ $shape $calls $errors Summary "14"
                [count(C)] [timed(T)] [count_errors(E)] [in_progress(G)]);
            orders!(@ $shape $calls $errors Histogram "15"
                [count(C)] [in_progress(G)] [timed(T)] [count_errors(E)]);
            orders!(@ $shape $calls $errors Summary "16"
                [count(C)] [in_progress(G)] [count_errors(E)] [timed(T)]);
            orders!(@ $shape $calls $errors Histogram "17"
                [count(C)] [count_errors(E)] [timed(T)] [in_progress(G)]);
            orders!(@ $shape $calls $errors Summary "18"
                [count(C)] [count_errors(E)] [in_progress(G)] [timed(T)]);
            orders!(@ $shape $calls $errors Summary "19"
                [count_errors(E)] [timed(T)] [in_progress(G)] [count(C)]);
            orders!(@ $shape $calls $errors Histogram "20"
                [count_errors(E)] [timed(T)] [count(C)] [in_progress(G)]);
            orders!(@ $shape $calls $errors Summary "21"
                [count_errors(E)] [in_progress(G)] [timed(T)] [count(C)]);
            orders!(@ $shape $calls $errors Histogram "22"
                [count_errors(E)] [in_progress(G)] [count(C)] [timed(T)]);
            orders!(@ $shape $calls $errors Summary "23"
                [count_errors(E)] [count(C)] [timed(T)] [in_progress(G)]);
            orders!(@ $shape $calls $errors Histogram "24"
                [count_errors(E)] [count(C)] [in_progress(G)] [timed(T)]);
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
