//! `#[tallies::in_progress]`.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;

use crate::instrument::{Args, Kind};
use crate::shape::Call;

pub(crate) const KIND: Kind = Kind {
    name: "in_progress",
    wrap,
};

/// One more in flight; the guard takes it away again when the call ends, however that comes about.
fn wrap(args: &Args, call: &Call) -> syn::Result<TokenStream> {
    args.before_the_call(KIND.name)?;
    let guard = args.call("enter", &args.target());
    let body = &call.body;
    Ok(quote_spanned!(Span::mixed_site()=>
        let _in_flight = #guard;
        #body
    ))
}
