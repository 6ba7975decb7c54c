//! The attributes and derives of the `tallies` crate. Use them through it: `tallies::metric`, `tallies::Labels`.

#![deny(missing_docs, unreachable_pub)]

mod count;
mod count_errors;
mod derives;
mod found;
mod in_progress;
mod instrument;
mod metric;
mod rebound;
mod shape;
mod timed;

use proc_macro::TokenStream;

/// Lists a metric's static at link time, so that it is exported, at zero, from program start; the doc comment is its help
/// text.
///
/// Without it a static is exported from its first use on, or from `tallies::register_all!`.
///
/// ```ignore
/// /// Files accepted.
/// #[tallies::metric]
/// static UPLOADS: Counter = Counter::new("file_uploads_total");
/// ```
///
/// # Where it does nothing
///
/// Without the feature `link-time`; in a static library that another language's linker takes the parts of; in a crate that
/// nothing else of the program names, as the compiler leaves that out. There, name the statics to
/// `tallies::register_all!` at start-up.
///
/// `#[tallies::metric(crate = my::path)]` says where this crate is found, if not at `::tallies`.
#[proc_macro_attribute]
pub fn metric(args: TokenStream, item: TokenStream) -> TokenStream {
    done(metric::expand(args.into(), item.into()))
}

/// Makes a struct with named fields a label set: the fields are the labels, in their order.
///
/// `#[label("name")]` on a field gives it another name; `#[label(crate = my::path)]` on the struct says where the `tallies`
/// crate is found, if not at `::tallies`. The struct may have one lifetime.
#[proc_macro_derive(Labels, attributes(label))]
pub fn labels(item: TokenStream) -> TokenStream {
    done(derives::labels(item.into()))
}

/// Makes an enum without fields a closed set of label values: its variants in snake case, or as `#[label("text")]` says.
///
/// `#[label(crate = my::path)]` on the enum says where the `tallies` crate is found, if not at `::tallies`.
#[proc_macro_derive(LabelValue, attributes(label))]
pub fn label_value(item: TokenStream) -> TokenStream {
    done(derives::label_value(item.into()))
}

/// Gives a struct of metrics a `register(&registry)` that declares all of them; doc comments are help texts.
///
/// A metric has the name of its field, or what `#[metric(name = "..")]` says; beside that there may be `unit = ".."`,
/// `labels = [".."]`, `buckets = [..]`, `limit = ..`, `hot` and `utf8`. `#[metric(crate = my::path)]` on the struct says where
/// the `tallies` crate is found, if not at `::tallies`.
#[proc_macro_derive(Metrics, attributes(metric))]
pub fn metrics(item: TokenStream) -> TokenStream {
    done(derives::metrics(item.into()))
}

/// Documented where it is exported: `tallies::timed`.
#[proc_macro_attribute]
pub fn timed(args: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(&timed::KIND, args.into(), item.into()).into()
}

/// Documented where it is exported: `tallies::in_progress`.
#[proc_macro_attribute]
pub fn in_progress(args: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(&in_progress::KIND, args.into(), item.into()).into()
}

/// Documented where it is exported: `tallies::count`.
#[proc_macro_attribute]
pub fn count(args: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(&count::KIND, args.into(), item.into()).into()
}

/// Documented where it is exported: `tallies::count_errors`.
#[proc_macro_attribute]
pub fn count_errors(args: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(&count_errors::KIND, args.into(), item.into()).into()
}

fn done(result: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    result.unwrap_or_else(|e| e.into_compile_error()).into()
}
