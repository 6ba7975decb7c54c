//! The attribute `#[tallies::count_errors]`.
//!
//! The expansion has to inspect the result. So the body becomes a closure that is called once, or
//! an `async` block that is awaited, and `return` and `?` leave only that closure or block. It
//! captures no more of the arguments than the body uses, so the metric and the labels of the error
//! can use the rest. A guard detects panics; the expansion forgets it after the call. A wrapper
//! future detects how a future ends.

use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{ExprClosure, Token};

use super::instrument::{Args, located};
use super::shape::{Call, Output};

/// The kinds of failures that count.
#[derive(Default)]
struct On {
    error: bool,
    none: bool,
    panic: bool,
    cancel: bool,
}

impl On {
    fn of(args: &Args, by_error: bool) -> syn::Result<Self> {
        let Some(kinds) = &args.on else {
            return Ok(Self {
                error: true,
                panic: !by_error,
                ..Self::default()
            });
        };
        let Some(first) = kinds.first() else {
            let what = "`on()` counts nothing; name at least one of `error`, `none`, `panic` and \
                        `cancel`";
            return Err(syn::Error::new(Span::call_site(), what));
        };
        let mut on = Self::default();
        for kind in kinds {
            match &*kind.to_string() {
                "error" => on.error = true,
                "none" => on.none = true,
                "panic" => on.panic = true,
                "cancel" => on.cancel = true,
                unknown => {
                    let known = "it takes `error`, `none`, `panic` and `cancel`";
                    let what = format!("`on(..)` does not know `{unknown}`; {known}");
                    return Err(syn::Error::new(kind.span(), what));
                }
            }
        }
        if by_error && !(on.error && kinds.len() == 1) {
            let what = "only errors can be labelled by a closure, because it takes the error; \
                        count the other outcomes with a second attribute";
            return Err(syn::Error::new(first.span(), what));
        }
        Ok(on)
    }
}

/// Returns the statements and the final expression that replace the body.
pub(crate) fn wrap(args: &Args, call: &Call) -> syn::Result<TokenStream> {
    let labels = args.labels_of_error();
    let on = On::of(args, labels.is_some())?;
    let by_kind = args.error_label.is_some();
    if let Some(closure) = &args.error_label {
        check_error_label(args, closure, &on)?;
    }
    let closure = labels.as_ref().or(args.error_label.as_ref());
    if call.future.is_none() && on.cancel && !(on.error || on.none || on.panic) {
        let what = "`on(cancel)` needs a function that returns a future, because only a future can \
                    be cancelled";
        return Err(syn::Error::new(call.span, what));
    }
    let can_fail = require_failure(args, call, &on)?;
    let span = Span::mixed_site();
    let tallies = &args.tallies;
    let (before, counted) = match closure {
        None => counting_tokens(args, call),
        Some(_) => Default::default(),
    };
    // The statement that counts a failure without an error.
    let count = |kind: &str| {
        if by_kind {
            args.call("counted", &args.series(&quote_spanned!(span=> [#kind])))
        } else {
            counted.clone()
        }
    };
    let check_kinds = |error: bool, none: bool| {
        let count = count("none");
        (error || none).then(|| {
            quote_spanned!(span=>
                if #tallies::__private::Fallible::new(&result).failed(#error, #none) {
                    #count;
                }
            )
        })
    };
    let has_result = !matches!(call.output, Output::Unit | Output::Never);
    let check = match closure {
        _ if !has_result => TokenStream::new(),
        Some(closure) => {
            let (error, none) = (count_error(args, closure)?, check_kinds(false, on.none));
            quote_spanned!(span=> #error #none)
        }
        None => {
            let kinds = check_kinds(on.error, on.none);
            quote!(#can_fail #kinds)
        }
    };
    let panic = on.panic.then(|| count("panic"));
    let Some(capture) = call.future else {
        let attr = call.track_caller.as_ref();
        if let Some(attr) = attr.filter(|_| on.panic || has_result) {
            let what = "`count_errors` cannot be combined with `#[track_caller]`: it moves the \
                        body into a closure, which has a location of its own; count in the \
                        callers, or in a function that this one calls";
            return Err(syn::Error::new_spanned(attr, what));
        }
        let wrapped = wrap_call(args, call, panic.as_ref(), &check);
        return Ok(quote_spanned!(span=> #before #wrapped));
    };
    let body = &call.body;
    let ty = type_tokens(&call.output).map(
        |ty| quote_spanned!(span=> if false { return #tallies::__private::nothing::<#ty>(); }),
    );
    let mut future = wrap_future(args, call, capture, &quote_spanned!(span=> #ty #body));
    if on.panic || on.cancel {
        let cancel = on.cancel.then(|| count("cancelled"));
        future = quote_spanned!(span=>
            #tallies::__private::watch(#future, |how| match how {
                #tallies::instrument::Failure::Panic => { #panic }
                #tallies::instrument::Failure::Cancel => { #cancel }
                _ => {}
            })
        );
    }
    Ok(if has_result {
        quote_spanned!(span=>
            #before
            let result = #future.await;
            #check
            result
        )
    } else {
        quote_spanned!(span=> #before #future.await)
    })
}

/// Rejects a function whose result cannot be an error. Returns the statement that lets the compiler
/// do so where it depends on the type.
///
/// On an `impl` block, methods that cannot fail are fine beside others.
fn require_failure(args: &Args, call: &Call, on: &On) -> syn::Result<TokenStream> {
    if args.whole_impl || !(on.error || on.none) {
        return Ok(TokenStream::new());
    }
    let what = match &call.output {
        Output::Unit => "returns nothing",
        Output::Never => "never returns",
        Output::Type(_) | Output::Unknown => {
            if !call.concrete {
                return Ok(TokenStream::new());
            }
            let (span, tallies) = (located(call.output_span), &args.tallies);
            let check = quote_spanned!(span=> #tallies::__private::Fallible::new(&result).check(););
            return Ok(check);
        }
    };
    let others = match call.future {
        Some(_) => "`on(panic)` or `on(panic, cancel)` to count other failures",
        None => "`on(panic)` to count panics only",
    };
    let why = "so there is no error to count; return a `Result`, or use";
    let what = format!("this function {what}, {why} {others}");
    Err(syn::Error::new(call.output_span, what))
}

/// Wraps the body of a function that is not a future. The body becomes a closure, unless neither
/// its result nor a panic matters.
fn wrap_call(
    args: &Args,
    call: &Call,
    on_panic: Option<&TokenStream>,
    check: &TokenStream,
) -> TokenStream {
    let span = Span::mixed_site();
    let tallies = &args.tallies;
    let body = &call.body;
    let guard = on_panic.map(
        |count| quote_spanned!(span=> let unwinding = #tallies::__private::Unwinding(|| #count);),
    );
    let disarm = on_panic.map(|_| quote_spanned!(span=> #tallies::__private::disarm(unwinding);));
    let ty = type_tokens(&call.output).map(|ty| quote_spanned!(span=> -> #ty));
    let called = quote_spanned!(span=> #tallies::__private::call(|| #ty #body));
    match (&call.output, on_panic) {
        (Output::Unit | Output::Never, None) => body.clone(),
        (Output::Never, Some(_)) => quote_spanned!(span=> #guard #body),
        (Output::Unit, Some(_)) => quote_spanned!(span=> #guard #called; #disarm),
        _ => quote_spanned!(span=>
            #guard
            let result = #called;
            #disarm
            #check
            result
        ),
    }
}

/// Wraps the body of a future in a future of its own.
///
/// The inner future owns the values that the body uses, so that it is `Send` whenever the
/// function's own future would be. It borrows only those parameters that later code needs as well:
/// the metric and labels of this attribute, or an attribute written below, which wraps this one.
fn wrap_future(
    args: &Args,
    call: &Call,
    capture: Option<Token![move]>,
    body: &TokenStream,
) -> TokenStream {
    let span = Span::mixed_site();
    let tallies = &args.tallies;
    let mut later_uses = args.used_after_start();
    later_uses.extend(args.below.clone());
    let names = call.parameters.iter();
    let used = names.filter(|name| mentions(&call.body, name));
    let (borrowed, owned): (Vec<_>, Vec<_>) = used.partition(|name| mentions(&later_uses, name));
    if borrowed.is_empty() || capture.is_none() {
        return quote_spanned!(span=> async #capture { #body });
    }
    quote_spanned!(span=> async {
        if false {
            #tallies::__private::owned((#(#owned,)*));
        }
        #body
    })
}

fn type_tokens(output: &Output) -> Option<TokenStream> {
    match output {
        Output::Type(ty) => Some(ty.to_token_stream()),
        Output::Unit | Output::Never | Output::Unknown => None,
    }
}

/// Returns the statements before the call, and the expression that counts one failure.
fn counting_tokens(args: &Args, call: &Call) -> (TokenStream, TokenStream) {
    let span = Span::mixed_site();
    let tallies = &args.tallies;
    let at_metric = located(args.metric.span());
    // A series is looked up only after a failure, because a look-up makes it.
    let mut before = TokenStream::new();
    let metric = match &args.labels {
        Some(labels) if constant(labels, &call.parameters) => {
            let counted = args.call("counted", &args.series(labels));
            return (TokenStream::new(), counted);
        }
        Some(labels) => {
            before =
                quote_spanned!(span=> let mut texts = #tallies::__private::TextCopies::default(););
            args.labelled("__defer", &quote_spanned!(at_metric=> #labels, &mut texts))
        }
        None => args.target(),
    };
    // Both arguments have one location, so that the compiler reports an unsuitable metric only
    // once. See `Args::guard`.
    let checked = args.call("counts", &quote_spanned!(at_metric=> metric));
    (
        quote_spanned!(span=> #before let metric = #metric; let metric = #checked;),
        args.call("counted", &quote_spanned!(at_metric=> &metric)),
    )
}

/// Rejects `error_label` beside `labels`, and if `on(..)` excludes errors.
fn check_error_label(args: &Args, closure: &ExprClosure, on: &On) -> syn::Result<()> {
    let what = if args.labels.is_some() {
        "`error_label` and `labels` exclude each other: `error_label` is for counters with one \
         label; for more labels, use `labels = |error| [..]`, and count panics with a second \
         attribute"
    } else if !on.error {
        "`error_label` needs `error` in `on(..)`, because it takes the error; use `labels = ..` \
         for other outcomes"
    } else {
        return Ok(());
    };
    Err(syn::Error::new(closure.span(), what))
}

/// Returns the expression that counts an error, in the series that the closure selects.
fn count_error(args: &Args, closure: &ExprClosure) -> syn::Result<TokenStream> {
    let (Some(error), 1) = (closure.inputs.first(), closure.inputs.len()) else {
        let what = "the closure takes one argument, the error, as in `labels = |error| \
                    [error.kind()]` or `error_label = |error| error.kind()`";
        return Err(syn::Error::new_spanned(closure, what));
    };
    let tallies = &args.tallies;
    let body = &closure.body;
    let series = if args.error_label.is_some() {
        let span = located(body.span());
        let counted = args.call("counted", &args.series(&quote_spanned!(span=> [kind])));
        quote_spanned!(span=> #tallies::__private::error_label(#body, |kind| #counted))
    } else {
        args.call("counted", &args.series(&body.to_token_stream()))
    };
    Ok(quote_spanned!(Span::mixed_site()=>
        #tallies::__private::error(&result, |#error| #series);
    ))
}

/// Returns whether labels have the same value before and after the body. A function call may return
/// something else each time, and a macro may expand to anything, so both count as not constant.
fn constant(labels: &TokenStream, parameters: &[Ident]) -> bool {
    // Parentheses after a comma or an opening bracket are those of a pair, not of a call.
    let mut pair = true;
    labels.clone().into_iter().all(|token| {
        let is_pair = std::mem::take(&mut pair);
        match token {
            TokenTree::Group(group) => {
                (is_pair || group.delimiter() != Delimiter::Parenthesis)
                    && constant(&group.stream(), parameters)
            }
            TokenTree::Ident(ident) => !parameters.contains(&ident),
            TokenTree::Punct(punct) => {
                pair = matches!(punct.as_char(), ',' | '&');
                punct.as_char() != '!'
            }
            TokenTree::Literal(_) => true,
        }
    })
}

/// Returns whether the tokens use a parameter, including in a format string. A field or a method of
/// the same name does not count.
fn mentions(tokens: &TokenStream, parameter: &Ident) -> bool {
    // The number of dots before the token: one precedes a field, two are a range.
    let mut dots = 0;
    tokens.clone().into_iter().any(|token| {
        let before = std::mem::take(&mut dots);
        match token {
            TokenTree::Group(group) => mentions(&group.stream(), parameter),
            TokenTree::Ident(ident) => before != 1 && ident == *parameter,
            TokenTree::Punct(punct) => {
                if punct.as_char() == '.' {
                    dots = before + 1;
                }
                false
            }
            TokenTree::Literal(text) => {
                let text = text.to_string();
                text.contains(&format!("{{{parameter}")) || text.contains(&format!("{parameter}$"))
            }
        }
    })
}
