//! The attribute `#[tallies::count]`.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;

use crate::instrument::{Args, Kind};
use crate::shape::Call;

pub(crate) const KIND: Kind = Kind {
    name: "count",
    wrap,
};

/// Counts the call before the body runs.
fn wrap(args: &Args, call: &Call) -> syn::Result<TokenStream> {
    args.reject_error_arguments(KIND.name)?;
    let counted = args.call("counted", &args.target());
    let body = &call.body;
    Ok(quote_spanned!(Span::mixed_site()=>
        #counted;
        #body
    ))
}
