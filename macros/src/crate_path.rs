//! The path of the `tallies` crate: `::tallies`, or the path in `crate = path`.

use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Ident, Path, Token, parse_quote};

/// Returns the default path.
pub(crate) fn usual() -> Path {
    parse_quote!(::tallies)
}

/// Parses the `= path` after `crate`.
pub(crate) fn path(input: ParseStream<'_>) -> syn::Result<Path> {
    input.parse::<Token![=]>()?;
    input.call(Path::parse_mod_style)
}

/// Parses the arguments of an attribute that accepts nothing but `crate = path`.
pub(crate) fn only(input: ParseStream<'_>) -> syn::Result<Path> {
    if input.is_empty() {
        return Ok(usual());
    }
    let at = input.span();
    if !input.call(Ident::parse_any).is_ok_and(|key| key == "crate") {
        return Err(syn::Error::new(
            at,
            "here there is only `crate = path`: where the `tallies` crate is found",
        ));
    }
    let path = path(input)?;
    input.parse::<Option<Token![,]>>()?;
    Ok(path)
}

/// Returns the path from the helper attribute on a derive's struct or enum.
pub(crate) fn of_item(attrs: &[Attribute], helper: &str) -> syn::Result<Path> {
    attrs
        .iter()
        .find(|attr| attr.path().is_ident(helper))
        .map_or_else(|| Ok(usual()), |attr| attr.parse_args_with(only))
}

/// Returns the path from the arguments of `#[tallies::metric]`.
pub(crate) fn of_args(args: proc_macro2::TokenStream) -> syn::Result<Path> {
    only.parse2(args)
}
