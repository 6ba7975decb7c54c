//! The attribute `#[tallies::metric]` on a static.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{Attribute, Expr, ExprCall, ExprLit, ExprMethodCall, Ident, ItemStatic, Lit, Meta, Type};

use tallies_names as names;

use super::crate_path;

pub(crate) fn expand(args: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let tallies = crate_path::parse_only.parse2(args)?;
    let what = "this attribute can only be put on a `static`, as in `static X: Counter = \
                Counter::new(\"x_total\");`";
    let item = syn::parse2(item);
    let mut item: ItemStatic = item.map_err(|error| syn::Error::new(error.span(), what))?;
    let mistake = take_help_argument(&mut item);
    let help = help(&item.attrs);
    let mut notes = TokenStream::new();
    // Calls through a lock would only add errors to the one that says that it is no metric.
    if !is_type(&item.ty, &["LazyLock", "Lazy", "OnceLock", "OnceCell"]) {
        // The fields of an event have names and help texts of their own.
        let is_event = is_type(&item.ty, &["Events"]);
        if !is_event {
            notes = self::notes(&item, &help);
        }
        let expr = &item.expr;
        let help = (!is_event && !help.is_empty() && method_call(expr, "help").is_none())
            .then(|| quote!(.help(#help)));
        // The compiler says here that the number of label names is not that of the type.
        let labels = first_call(expr).and_then(|call| call.args.last());
        let span = Span::call_site().located_at(labels.map_or_else(Span::call_site, Spanned::span));
        let declared_in = quote_spanned!(span=> .__declared_in(::core::module_path!()));
        item.expr = syn::parse2(quote!(#expr #help #declared_in))?;
    }
    let name = &item.ident;
    let cfgs: Vec<_> = attributes(&item, &["cfg"]).collect();
    let mistake = mistake.map(|error| {
        let error = error.into_compile_error();
        quote!(#(#cfgs)* #error)
    });
    Ok(quote! {
        #mistake
        #item
        #(#cfgs)*
        #tallies::__list!(#name);
        #notes
    })
}

fn attributes<'a>(item: &'a ItemStatic, names: &'a [&str]) -> impl Iterator<Item = &'a Attribute> {
    let is_one = |attr: &&Attribute| names.iter().any(|name| attr.path().is_ident(name));
    item.attrs.iter().filter(is_one)
}

/// Returns items that make the compiler note what `promtool check metrics` would say about the
/// name: warnings about deprecated items, because a macro can make no others.
fn notes(item: &ItemStatic, help: &str) -> TokenStream {
    let mut notes = Vec::new();
    if help.is_empty() && method_call(&item.expr, "help").is_none() {
        let note = "a metric should have a help text: its doc comment".to_owned();
        notes.push((item.ident.span(), "help", note));
    }
    if let Some((span, name)) = name(&item.expr) {
        let family = names::Described {
            name: &name,
            kind: kind(&item.ty),
            unit: &unit(&item.expr).unwrap_or_default(),
            // Checked above, with a span and words of its own.
            help: "-",
        };
        let of_family = names::of_family(family).into_iter();
        notes.extend(of_family.map(|note| (span, "name", format!("`{name}`: {}", note.text))));
    }
    let attributes: Vec<_> = attributes(item, &["cfg", "allow", "expect"]).collect();
    let notes = notes.into_iter().map(|(span, of, note)| {
        let note = format!(
            "{note} (nothing is deprecated: `#[tallies::metric]` has no other way to warn; \
             `#[allow(deprecated)]` on the static switches this note off)"
        );
        // The warning begins with the name of the constant.
        let constant = Ident::new(&format!("{of}_of_{}", item.ident), span);
        quote_spanned! {span=>
            #(#attributes)*
            const _: () = {
                #[allow(non_upper_case_globals)]
                #[deprecated(note = #note)]
                const #constant: () = ();
                #constant
            };
        }
    });
    notes.collect()
}

/// Returns the kind of a type's families, as the text format calls it; `info` of an info.
fn kind(ty: &Type) -> &'static str {
    let kinds = [
        ("Counter", "counter"),
        ("Gauge", "gauge"),
        ("UpDownCounter", "gauge"),
        ("Info", "info"),
        ("StateSet", "gauge"),
        ("Histogram", "histogram"),
        ("Summary", "summary"),
    ];
    let found = kinds.iter().find(|(name, _)| is_type(ty, &[name]));
    found.map_or("untyped", |(_, kind)| kind)
}

/// Returns whether the last name of a type's path is one of these.
pub(crate) fn is_type(ty: &Type, names: &[&str]) -> bool {
    last_name(ty).is_some_and(|last| names.iter().any(|name| last == name))
}

/// Returns the name of a type without its path.
fn last_name(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| &segment.ident),
        _ => None,
    }
}

/// Returns the name that a chain of calls gives to its metric: the first argument of the first
/// call. `None` for an invalid name, which is an error: a better name beside it would confuse.
fn name(expr: &Expr) -> Option<(Span, String)> {
    let call = first_call(expr)?;
    let is_utf8 = matches!(&*call.func, Expr::Path(path)
        if path.path.segments.last().is_some_and(|last| last.ident == "new_utf8"));
    let is_valid = |name: &str| {
        let mut bytes = name.bytes();
        !name.starts_with(|c: char| c.is_ascii_digit())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte))
    };
    literal(call.args.first()?).filter(|(_, name)| is_utf8 || is_valid(name))
}

/// Returns the call with which a chain of calls begins.
fn first_call(expr: &Expr) -> Option<&ExprCall> {
    match expr {
        Expr::MethodCall(call) => first_call(&call.receiver),
        Expr::Call(call) => Some(call),
        _ => None,
    }
}

/// Returns the last call of this method in a chain of calls.
fn method_call<'a>(expr: &'a Expr, name: &str) -> Option<&'a ExprMethodCall> {
    match expr {
        Expr::MethodCall(call) if call.method == name => Some(call),
        Expr::MethodCall(call) => method_call(&call.receiver, name),
        _ => None,
    }
}

/// Returns the unit that a chain of calls sets.
fn unit(expr: &Expr) -> Option<String> {
    Some(literal(method_call(expr, "unit")?.args.first()?)?.1)
}

fn literal(expr: &Expr) -> Option<(Span, String)> {
    match expr {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Some((text.span(), text.value())),
        _ => None,
    }
}

/// Returns the first paragraph of the doc comment as one line.
pub(crate) fn help(attrs: &[Attribute]) -> String {
    let text = attrs.iter().filter_map(|attr| match &attr.meta {
        Meta::NameValue(doc) if doc.path.is_ident("doc") => Some(literal(&doc.value)?.1 + "\n"),
        _ => None,
    });
    let text: String = text.collect();
    let lines = text.split('\n').map(str::trim);
    let lines = lines.skip_while(|line| line.is_empty());
    let paragraph: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    paragraph.join(" ")
}

/// Removes a help text that stands behind the name, where other crates take it. Returns the error
/// for it.
///
/// The compiler only says that the argument is one too many.
fn take_help_argument(item: &mut ItemStatic) -> Option<syn::Error> {
    let kind = last_name(&item.ty)?.clone();
    let mut expr = &mut *item.expr;
    while let Expr::MethodCall(call) = expr {
        expr = &mut *call.receiver;
    }
    let Expr::Call(call) = expr else { return None };
    let Expr::Path(path) = &*call.func else {
        return None;
    };
    let mut names = path.path.segments.iter().rev();
    let function = names.next()?.ident.clone();
    if names.next()?.ident != kind {
        return None;
    }
    let most = match &*function.to_string() {
        "new" | "new_utf8" => 1,
        "labelled" => 2,
        _ => return None,
    };
    let (span, help) = literal(call.args.iter().nth(1)?)?;
    if call.args.len() <= most {
        return None;
    }
    let arguments = std::mem::take(&mut call.args).into_iter().enumerate();
    let others = arguments.filter(|(i, _)| *i != 1);
    call.args = others.map(|(_, argument)| argument).collect();
    let chain = &item.expr;
    *item.expr = syn::parse_quote!(#chain.help(#help));
    let message = format!(
        "`{function}` takes no help text; write it as the doc comment of the static, or append \
         `.help(\"..\")`"
    );
    Some(syn::Error::new(span, message))
}
