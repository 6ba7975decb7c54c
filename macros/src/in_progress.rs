//! The attribute `#[tallies::in_progress]`.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;

use crate::instrument::{Args, Kind};
use crate::shape::Call;

pub(crate) const KIND: Kind = Kind {
    name: "in_progress",
    wrap,
};

/// Creates a guard before the body. The guard decrements when it is dropped, so every way to leave
/// the body counts.
fn wrap(args: &Args, call: &Call) -> syn::Result<TokenStream> {
    args.reject_error_arguments(KIND.name)?;
    let guard = args.guard("_in_flight", "enter");
    let body = &call.body;
    Ok(quote_spanned!(Span::mixed_site()=>
        #guard
        #body
    ))
}
