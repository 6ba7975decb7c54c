//! Changes of tokens, for code that may hold calls of macros: no syntax tree has their arguments.

use proc_macro2::{Group, TokenStream, TokenTree};

/// Rebuilds tokens, from the inside of each group outwards. `push` appends a token to those before
/// it in its group, or replaces some of them.
pub(crate) fn rebuild(
    tokens: TokenStream,
    push: &dyn Fn(&mut Vec<TokenTree>, TokenTree),
) -> TokenStream {
    let mut out = Vec::new();
    for token in tokens {
        let token = match token {
            TokenTree::Group(group) => {
                let mut rebuilt = Group::new(group.delimiter(), rebuild(group.stream(), push));
                rebuilt.set_span(group.span());
                rebuilt.into()
            }
            token => token,
        };
        push(&mut out, token);
    }
    out.into_iter().collect()
}
