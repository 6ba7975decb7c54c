//! The attribute `#[tallies::metric]` on a static.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Expr, ExprLit, ItemStatic, Lit, Meta};

use crate::crate_path;

pub(crate) fn expand(args: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let tallies = crate_path::from_args(args)?;
    let mut item: ItemStatic = syn::parse2(item).map_err(|e| {
        syn::Error::new(
            e.span(),
            "this attribute can only be put on a `static`, as in `static X: Counter = \
             Counter::new(\"x_total\");`",
        )
    })?;
    let help = help(&item.attrs);
    if !help.is_empty() && !calls_help(&item.expr) {
        let expr = &item.expr;
        item.expr = syn::parse2(quote!(#expr.help(#help)))?;
    }
    let name = &item.ident;
    let cfgs = item.attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
    Ok(quote! {
        #item
        #(#cfgs)*
        #tallies::__list!(#name);
    })
}

/// Returns the first paragraph of the doc comment as one line.
pub(crate) fn help(attrs: &[Attribute]) -> String {
    let lines = attrs.iter().filter_map(|attr| match &attr.meta {
        Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    let lines: Vec<String> = lines
        .flat_map(|line| {
            line.split('\n')
                .map(|line| line.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    lines
        .iter()
        .skip_while(|line| line.is_empty())
        .take_while(|line| !line.is_empty())
        .cloned()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns whether the method chain already calls `help`.
fn calls_help(expr: &Expr) -> bool {
    match expr {
        Expr::MethodCall(call) => call.method == "help" || calls_help(&call.receiver),
        _ => false,
    }
}
