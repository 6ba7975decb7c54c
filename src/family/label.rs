//! Label sets as a user types them: a derived struct, an array whose names come from data, or any
//! set of names and values.
//!
//! All of them become texts in the order of the label names. The [family](super) looks up a series
//! by those texts.
//!
//! A part of the crate also without the feature `enabled`.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

pub use super::scratch::Scratch;

/// The label names of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Every series has these labels, in this order.
    Fixed(&'static [&'static str]),
    /// Every series has its own labels.
    Any,
}

/// A type whose values can be label values.
///
/// `#[derive(LabelValue)]` implements it for enums without fields. A label value is the variant's
/// name in snake case, or the text of `#[label("GET")]`. Integers, `bool`, `char`, IP addresses and
/// string types implement it, too. `None` is the empty text, which to Prometheus is the same as no
/// label.
///
/// Each update formats the text of a `char` or of an address, which allocates. A label with
/// addresses can reach the family's limit.
///
/// ```
/// use tallies::{LabelValue, label::Scratch};
///
/// #[derive(LabelValue)]
/// enum Method {
///     Get,
///     #[label("M-SEARCH")]
///     Search,
/// }
/// assert_eq!(Method::Get.text(&mut Scratch::default()), "get");
/// assert_eq!(Method::VALUES, ["get", "M-SEARCH"]);
/// # let _ = Method::Search;
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a label value",
    label = "not a label value",
    note = "label values are enums with `#[derive(LabelValue)]`, strings, integers, `bool`, `char`, IP addresses, and `Option`s of and references to these",
    note = "for any other type, pass a text with few different values: a label with many values makes many series"
)]
pub trait LabelValue {
    /// Every possible text if the type has finitely many, else empty.
    const VALUES: &'static [&'static str] = &[];

    /// Returns the text of the value. A value that has to be formatted is written to `scratch`.
    fn text<'a>(&'a self, scratch: &'a mut Scratch) -> &'a str;

    /// Returns the index of the text in [`VALUES`](Self::VALUES). Without meaning if that list is
    /// empty.
    #[inline]
    fn index(&self) -> usize {
        0
    }
}

macro_rules! label_values {
    ($($ty:ty),* => |$value:ident, $scratch:ident| $text:expr) => {$(
        impl LabelValue for $ty {
            #[inline]
            fn text<'a>(&'a self, $scratch: &'a mut Scratch) -> &'a str {
                let $value = self;
                $text
            }
        }
    )*};
}

label_values!(str, String, Cow<'_, str>, Box<str>, Arc<str> => |value, _scratch| value);

label_values!(
    u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize
    => |value, scratch| scratch.integer(*value)
);

// The text of an address is the canonical one; for IPv6 that is the form of RFC 5952.
label_values!(
    char, IpAddr, Ipv4Addr, Ipv6Addr => |value, scratch| scratch.display(value)
);

impl LabelValue for bool {
    const VALUES: &'static [&'static str] = &["false", "true"];

    #[inline]
    fn text<'a>(&'a self, _: &'a mut Scratch) -> &'a str {
        Self::VALUES[usize::from(*self)]
    }

    #[inline]
    fn index(&self) -> usize {
        usize::from(*self)
    }
}

impl<T: LabelValue + ?Sized> LabelValue for &T {
    const VALUES: &'static [&'static str] = T::VALUES;

    #[inline]
    fn text<'a>(&'a self, scratch: &'a mut Scratch) -> &'a str {
        (**self).text(scratch)
    }

    #[inline]
    fn index(&self) -> usize {
        (**self).index()
    }
}

impl<T: LabelValue> LabelValue for Option<T> {
    #[inline]
    fn text<'a>(&'a self, scratch: &'a mut Scratch) -> &'a str {
        self.as_ref().map_or("", |value| value.text(scratch))
    }
}

/// The label names of a family, and how an update gives their values.
///
/// `#[derive(Labels)]` implements it for structs with named fields: the fields are the labels.
/// `()`, arrays of texts (their names come from data) and [`AnyLabels`] implement it, too.
///
/// A set whose values are all closed (enums, `bool`) and that has up to 4 096 combinations is a
/// *closed label set*: every combination is exported from the start, and a look-up is arithmetic.
///
/// If all combinations together take at most 1 024 cells, an update reads no more memory than for a
/// series without labels. A series of a counter or a summary takes one cell and one of an up-down
/// counter takes two. One of a histogram takes four more than it has bounds, rounded up to a power
/// of two or a multiple of 16, so 64 combinations fit with 11 bounds. With more cells, an update
/// reads the family first, which for a histogram takes a dozen instructions more.
///
/// ```
/// use tallies::{Counter, LabelValue, Labels};
///
/// #[derive(Labels)]
/// struct Request<'a> {
///     method: Method,
///     route: &'a str,
/// }
///
/// #[derive(LabelValue)]
/// enum Method {
///     Get,
///     Post,
/// }
///
/// static REQUESTS: Counter<Request> = Counter::new("requests_total").help("Requests served.");
///
/// REQUESTS.with(Request { method: Method::Get, route: "/" }).inc();
/// REQUESTS.with(Request { method: Method::Post, route: "/users" }).add(2);
/// let labels = [("method", "post"), ("route", "/users")];
/// assert_eq!(tallies::snapshot().get("requests_total", &labels), Some(2.0));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a label set",
    label = "not a label set",
    note = "a label set is a struct with `#[derive(Labels)]`, `()`, an array of texts such as `[&'static str; 2]`, or `AnyLabels`",
    note = "a label value, such as an enum with `#[derive(LabelValue)]`, is the type of a field of such a struct, and the field's name is the label name"
)]
pub trait LabelSet: 'static {
    /// A label set as an update gives it, with borrowed values.
    type Borrowed<'a>;

    /// The label names, if the type determines them.
    #[doc(hidden)]
    const NAMES: Names = Names::Fixed(&[]);

    /// The number of label names that have to come from data.
    #[doc(hidden)]
    const FROM_DATA: usize = 0;

    /// The number of combinations of a closed label set, else 0.
    const DENSE: usize = combinations(Self::VALUES);

    /// The values of each label, in the order of the names; none for an open label.
    #[doc(hidden)]
    const VALUES: &'static [&'static [&'static str]] = &[];

    /// Calls `f` with the texts of the values, in the order of the names.
    fn with_texts<R>(labels: &Self::Borrowed<'_>, f: impl FnOnce(&[&str]) -> R) -> R;

    /// Returns the index of these labels among all combinations of a closed label set.
    #[inline]
    fn dense_index(_: &Self::Borrowed<'_>) -> usize {
        0
    }

    /// Returns the texts of the combination at `index` of a closed label set.
    fn dense_texts(mut index: usize) -> Vec<&'static str> {
        let mut texts = Vec::new();
        for values in Self::VALUES.iter().rev() {
            texts.push(values[index % values.len()]);
            index /= values.len();
        }
        texts.reverse();
        texts
    }
}

/// A [`LabelSet`] that has its names. A family of such a set can be declared in a `static` by its
/// type alone.
#[diagnostic::on_unimplemented(
    message = "the label names of `{Self}` are unknown",
    label = "label names are missing",
    note = "a struct needs `#[derive(Labels)]`: its fields are the labels; an enum with `#[derive(LabelValue)]` is the type of such a field",
    note = "an array of texts needs names: `labelled(\"name\", &[\"a\", \"b\"])` in a `static`, `Counter::builder(\"name\", \"help\").labels([\"a\", \"b\"])` at run time"
)]
pub trait NamedLabels: LabelSet {}

/// The label set of a metric without labels: `()`.
///
/// A metric with labels has no `inc` or `observe` of its own; the series that `with(..)` returns
/// has.
#[diagnostic::on_unimplemented(
    message = "a metric with the labels `{Self}` is updated and read through its series",
    label = "this metric has labels",
    note = "call `.with(..)` with the label values first: `REQUESTS.with(..).inc()`, `REQUESTS.with(..).get()`"
)]
pub trait Unlabelled: LabelSet {}

impl Unlabelled for () {}

impl LabelSet for () {
    type Borrowed<'a> = ();

    fn with_texts<R>((): &(), f: impl FnOnce(&[&str]) -> R) -> R {
        f(&[])
    }
}

impl NamedLabels for () {}

impl<const N: usize> LabelSet for [&'static str; N] {
    type Borrowed<'a> = [&'a str; N];

    const FROM_DATA: usize = N;

    #[inline]
    fn with_texts<R>(labels: &[&str; N], f: impl FnOnce(&[&str]) -> R) -> R {
        f(labels)
    }
}

/// Label values in the order of label names that were given at run time, in a slice.
///
/// The type of families that [`Builder::labels`](crate::Builder::labels) declares with a slice or a
/// `Vec` of names. With a number of values other than the number of names, `with` returns the
/// overflow series and counts the update as rejected.
///
/// ```
/// use tallies::{Counter, Registry, label::DynLabels};
///
/// let names = ["method", "status"];
/// let registry = Registry::new();
/// let requests: Counter<DynLabels> =
///     Counter::builder("requests_total", "Requests.").labels(&names[..]).register(&registry)?;
/// requests.with(&["get", "200"]).inc();
/// assert_eq!(requests.with(&["get", "200"]).get(), 1);
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Debug)]
pub struct DynLabels(());

impl LabelSet for DynLabels {
    type Borrowed<'a> = &'a [&'a str];

    const FROM_DATA: usize = usize::MAX;

    #[inline]
    fn with_texts<R>(labels: &Self::Borrowed<'_>, f: impl FnOnce(&[&str]) -> R) -> R {
        f(labels)
    }
}

/// The label names that [`Builder::labels`](crate::Builder::labels) takes: arrays, slices and
/// `Vec`s of texts.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no list of label names",
    label = "not an array of `&str`, a slice or a `Vec`",
    note = "pass an array, `labels([\"peer\"])`, or a slice, `labels(&names[..])`"
)]
pub trait LabelNames {
    /// The type of the family's label sets.
    type Set: LabelSet;

    #[doc(hidden)]
    fn names(&self) -> Vec<&str>;
}

impl<const N: usize> LabelNames for [&str; N] {
    type Set = [&'static str; N];

    fn names(&self) -> Vec<&str> {
        self.to_vec()
    }
}

impl<const N: usize> LabelNames for &[&str; N] {
    type Set = [&'static str; N];

    fn names(&self) -> Vec<&str> {
        self.to_vec()
    }
}

macro_rules! dynamic_names {
    ($($ty:ty),*) => {$(
        impl<T: AsRef<str>> LabelNames for $ty {
            type Set = DynLabels;

            fn names(&self) -> Vec<&str> {
                self.iter().map(AsRef::as_ref).collect()
            }
        }
    )*};
}

dynamic_names!(&[T], Vec<T>, &Vec<T>, Box<[T]>);

/// Any label set per call, as names and values: `{}`, `{a}` and `{a,b}` can be series of one
/// family. The order of the names does not matter. A label with an empty value is left out.
///
/// If the registry or the family has a constant label of the same name, the value given here is
/// exported. Each call sorts its labels, so this is slower than fixed names. Use it for label sets
/// that really differ.
///
/// ```
/// use tallies::{label::AnyLabels, Counter};
///
/// static EVENTS: Counter<AnyLabels> = Counter::new("events_total").help("Things that happened.");
///
/// EVENTS.with(&[]).inc();
/// EVENTS.with(&[("kind", "timer"), ("shard", "1")]).inc();
/// EVENTS.with(&[("shard", &1.to_string()), ("kind", "timer")]).inc();
/// assert_eq!(EVENTS.with(&[("kind", "timer"), ("shard", "1")]).get(), 2);
/// ```
#[derive(Debug)]
pub struct AnyLabels(());

impl LabelSet for AnyLabels {
    type Borrowed<'a> = &'a [(&'a str, &'a str)];

    const NAMES: Names = Names::Any;

    /// Passes names and values in turn, sorted by name, without labels whose value is empty.
    fn with_texts<R>(labels: &Self::Borrowed<'_>, f: impl FnOnce(&[&str]) -> R) -> R {
        let given = labels.iter().copied();
        let mut pairs: Vec<_> = given.filter(|(_, value)| !value.is_empty()).collect();
        pairs.sort_unstable();
        let texts = pairs.into_iter().flat_map(|(name, value)| [name, value]);
        f(&texts.collect::<Vec<_>>())
    }
}

impl NamedLabels for AnyLabels {}

/// The most combinations of a closed label set.
const MOST_COMBINATIONS: usize = 4096;

/// Returns the number of combinations of values. Returns 0 if one label is open (it has no values)
/// or if the combinations are more than the limit.
const fn combinations(values: &[&[&str]]) -> usize {
    let mut product = 1;
    let mut i = 0;
    while i < values.len() {
        if values[i].is_empty() || product > MOST_COMBINATIONS {
            return 0;
        }
        product *= values[i].len();
        i += 1;
    }
    if product > MOST_COMBINATIONS || values.is_empty() {
        0
    } else {
        product
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_order_one_series() {
        let texts = |labels| AnyLabels::with_texts(&labels, |texts| texts.join("|"));
        assert_eq!(texts(&[("b", "1"), ("a", "x"), ("c", "")]), "a|x|b|1");
        assert_eq!(texts(&[("a", "x"), ("b", "1")]), "a|x|b|1");
    }

    #[test]
    fn closed_sets_count_the_last_label_fastest() {
        const A: &[&str] = &["x", "y"];
        const B: &[&str] = &["1", "2", "3"];
        enum Closed {}
        impl LabelSet for Closed {
            type Borrowed<'a> = ();
            const VALUES: &'static [&'static [&'static str]] = &[A, B];

            fn with_texts<R>((): &(), f: impl FnOnce(&[&str]) -> R) -> R {
                f(&[])
            }
        }
        assert_eq!(combinations(&[A, B]), 6);
        assert_eq!(combinations(&[A, &[]]), 0);
        assert_eq!(combinations(&[&["x"; 64], &["x"; 65]]), 0);
        assert_eq!(Closed::dense_texts(4), ["y", "2"]);
    }
}
