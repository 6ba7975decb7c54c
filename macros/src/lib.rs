//! The attribute and derive macros of the `tallies` crate. Use them through that crate, for example
//! as `tallies::metric` and `tallies::Labels`.

#![deny(missing_docs, unreachable_pub)]

mod async_trait;
mod count;
mod count_errors;
mod crate_path;
mod derives;
mod fallback;
mod in_progress;
mod instrument;
mod metric;
#[allow(
    dead_code,
    reason = "a copy of a file of `tallies`, which uses all of it"
)]
mod names;
mod shape;
mod timed;

use proc_macro::TokenStream;
use quote::quote;
use syn::{DeriveInput, parse_macro_input};

/// Registers a metric's static at link time, so that it is exported, at zero, from program start.
/// The doc comment of the static becomes the help text.
///
/// Without this attribute, a static is exported from its first use on, or once
/// `tallies::register_all!` names it.
///
/// ```ignore
/// /// Files accepted.
/// #[tallies::metric]
/// static UPLOADS: Counter = Counter::new("file_uploads_total");
/// ```
///
/// # Limitations
///
/// The attribute has no effect in these cases; use `tallies::register_all!` at start-up there:
///
/// - without the feature `link-time`;
/// - in a static library that the linker of another language links, because such a linker takes
///   only the object files that it needs;
/// - in a crate that the rest of the program never names, because the compiler leaves it out.
///
/// `#[tallies::metric(crate = my::path)]` sets the path of this crate, if it is not `::tallies`.
#[proc_macro_attribute]
pub fn metric(args: TokenStream, item: TokenStream) -> TokenStream {
    or_compile_error(metric::expand(args.into(), item.into()))
}

/// Implements `LabelSet` for a struct with named fields. The fields are the labels, in their order.
///
/// `#[label("name")]` on a field changes the name of its label. `#[label(crate = my::path)]` on the
/// struct sets the path of the `tallies` crate, if it is not `::tallies`. The struct may have one
/// lifetime parameter, and no other parameters.
///
/// ```ignore
/// #[derive(tallies::Labels)]
/// struct Request<'a> {
///     route: &'a str,
///     #[label("code")]
///     status: u16,
/// }
///
/// static REQUESTS: Counter<Request> = Counter::new("requests_total");
///
/// REQUESTS.with(Request { route: "/", status: 200 }).inc();
/// ```
#[proc_macro_derive(Labels, attributes(label))]
pub fn labels(item: TokenStream) -> TokenStream {
    derive(item, derives::labels, fallback::labels)
}

/// Implements `LabelValue` for an enum without fields. The values form a closed set: the variants
/// in snake case, or the texts given with `#[label("text")]`.
///
/// `#[label(crate = my::path)]` on the enum sets the path of the `tallies` crate, if it is not
/// `::tallies`.
///
/// ```ignore
/// #[derive(tallies::LabelValue, Clone, Copy)]
/// enum Method {
///     Get,
///     #[label("other")]
///     Unknown,
/// }
///
/// #[derive(tallies::Labels)]
/// struct Request {
///     method: Method,
/// }
/// ```
#[proc_macro_derive(LabelValue, attributes(label))]
pub fn label_value(item: TokenStream) -> TokenStream {
    derive(item, derives::label_value, fallback::label_value)
}

/// Adds a function `register(&registry)` to a struct of metrics, which registers all of them. The
/// doc comments of the fields become help texts.
///
/// A metric has the name of its field, unless `#[metric(name = "..")]` changes it. The attribute
/// also accepts `unit = ".."`, `labels = [".."]`, `buckets = [..]`, `limit = ..`, `hot` and `utf8`.
/// `#[metric(crate = my::path)]` on the struct sets the path of the `tallies` crate, if it is not
/// `::tallies`.
///
/// ```ignore
/// #[derive(tallies::Metrics)]
/// struct Jobs {
///     /// Jobs started.
///     #[metric(name = "jobs_started_total")]
///     started: Counter,
///     /// Jobs in flight.
///     jobs_in_flight: UpDownCounter,
/// }
///
/// let jobs = Jobs::register(tallies::registry())?;
/// jobs.started.inc();
/// ```
#[proc_macro_derive(Metrics, attributes(metric))]
pub fn metrics(item: TokenStream) -> TokenStream {
    derive(item, derives::metrics, fallback::metrics)
}

/// Documented at its re-export, `tallies::timed`.
#[proc_macro_attribute]
pub fn timed(args: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(&timed::KIND, args.into(), item.into()).into()
}

/// Documented at its re-export, `tallies::in_progress`.
#[proc_macro_attribute]
pub fn in_progress(args: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(&in_progress::KIND, args.into(), item.into()).into()
}

/// Documented at its re-export, `tallies::count`.
#[proc_macro_attribute]
pub fn count(args: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(&count::KIND, args.into(), item.into()).into()
}

/// Documented at its re-export, `tallies::count_errors`.
#[proc_macro_attribute]
pub fn count_errors(args: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(&count_errors::KIND, args.into(), item.into()).into()
}

fn or_compile_error(result: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    result.unwrap_or_else(|e| e.into_compile_error()).into()
}

/// Expands a derive. On an error, implements the same items in a way that compiles, so that the
/// compiler reports nothing but this error.
fn derive(
    item: TokenStream,
    expand: fn(&DeriveInput) -> syn::Result<proc_macro2::TokenStream>,
    fallback: fn(&DeriveInput) -> proc_macro2::TokenStream,
) -> TokenStream {
    let item = parse_macro_input!(item as DeriveInput);
    let expanded = expand(&item).unwrap_or_else(|error| {
        let (error, fallback) = (error.into_compile_error(), fallback(&item));
        quote!(#error #fallback)
    });
    expanded.into()
}
