//! Run-time switches: how one build has all mutations. A weakened ordering is a call that returns
//! `Relaxed` if the mutation is on; a patch is a second body of a function.

use std::ops::Range;

use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::visit_mut::VisitMut;

/// Text in place of a range of a file.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    pub(crate) at: Range<usize>,
    pub(crate) text: String,
}

/// Replaces all these ranges, which do not overlap. Insertions at one place keep their order.
pub(crate) fn replace(file: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| edit.at.start);
    let (mut text, mut end) = (String::new(), 0);
    for edit in edits {
        text += &file[end..edit.at.start];
        text += &edit.text;
        end = edit.at.end;
    }
    text + &file[end..]
}

/// The lines that are added to `src/sync/mod.rs`.
pub(crate) const FUNCTIONS: &str = r#"
pub(crate) fn mutated(mutation: u64) -> bool {
    static MUTATION: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *MUTATION.get_or_init(|| std::env::var("MUTATION").ok().and_then(|n| n.parse().ok()).unwrap_or(0)) == mutation
}

use std::sync::atomic::Ordering as Any;

pub(crate) fn weak(mutations: &[(u64, Any)], ordering: Any) -> Any {
    mutations.iter().find(|(number, _)| mutated(*number)).map_or(ordering, |(_, weak)| *weak)
}

pub(crate) fn weak_fence(mutation: u64, ordering: Any) {
    if !mutated(mutation) {
        fence(ordering);
    }
}
"#;

/// A number for a mutation, by its name (FNV-1a).
pub(crate) fn number(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

// ---- Orderings ----

/// An Acquire, Release or AcqRel, or a fence.
#[derive(Debug)]
pub(crate) struct Ordering {
    /// Its file, its function, and what has the ordering; for each weaker one that takes its place.
    pub(crate) names: Vec<String>,
    pub(crate) line: usize,
    pub(crate) edit: Edit,
}

/// Finds every ordering of a file that is not in its tests, and those that it cannot reach: in the
/// arguments of macros, and under other names.
pub(crate) fn orderings(path: &str, ast: &syn::File) -> (Vec<Ordering>, Vec<String>) {
    let mut found = Orderings {
        path,
        ..Orderings::default()
    };
    found.visit_file(ast);
    (found.orderings, found.hidden)
}

fn is_ordering(word: &str) -> bool {
    ["Acquire", "Release", "AcqRel"].contains(&word)
}

#[derive(Default)]
struct Orderings<'a> {
    path: &'a str,
    /// The type of the `impl` block, then the function.
    inside: Vec<String>,
    /// The call whose argument is visited.
    call: String,
    orderings: Vec<Ordering>,
    hidden: Vec<String>,
}

impl Orderings<'_> {
    fn within(&mut self, name: String, visit: impl FnOnce(&mut Self)) {
        self.inside.push(name);
        visit(self);
        self.inside.pop();
    }

    fn push(&mut self, ordering: &str, at: Range<usize>, line: usize, function: &str) {
        let call = if self.call.is_empty() { "" } else { &self.call };
        let base = format!(
            "{} {}: {call}({ordering})",
            self.path,
            self.inside.join("::")
        );
        let same = |other: &&Ordering| {
            other.names[0] == base || other.names[0].starts_with(&format!("{base} #"))
        };
        let name = match self.orderings.iter().filter(same).count() {
            0 => base,
            n => format!("{base} #{}", n + 1),
        };
        let mut names = vec![name.clone()];
        let text = if function == "weak_fence" {
            format!("crate::sync::weak_fence({}, {ordering})", number(&name))
        } else {
            let mut weaker = vec!["Relaxed"];
            if ordering == "AcqRel" {
                weaker.extend(["Acquire", "Release"]);
                names.extend(weaker[1..].iter().map(|weak| format!("{name} as {weak}")));
            }
            let pairs: String = names
                .iter()
                .zip(weaker)
                .map(|(name, weak)| {
                    format!("({}, std::sync::atomic::Ordering::{weak}), ", number(name))
                })
                .collect();
            format!("crate::sync::weak(&[{pairs}], {ordering})")
        };
        self.orderings.push(Ordering {
            names,
            line,
            edit: Edit { at, text },
        });
    }
}

impl<'ast> Visit<'ast> for Orderings<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let name = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        self.within(name.unwrap_or_default(), |this| {
            visit::visit_item_impl(this, item)
        });
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let name = item.sig.ident.to_string();
        self.within(name, |this| visit::visit_item_fn(this, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        let name = item.sig.ident.to_string();
        self.within(name, |this| visit::visit_impl_item_fn(this, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        let name = item.sig.ident.to_string();
        self.within(name, |this| visit::visit_trait_item_fn(this, item));
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.visit_expr(&call.receiver);
        let receiver = match &*call.receiver {
            syn::Expr::Field(field) => format!("{}.", field.member.to_token_stream()),
            syn::Expr::Path(path) => format!("{}.", path.path.to_token_stream()),
            syn::Expr::MethodCall(call) => format!("{}().", call.method),
            _ => String::new(),
        };
        let outer = std::mem::replace(&mut self.call, format!("{receiver}{}", call.method));
        call.args
            .iter()
            .for_each(|argument| self.visit_expr(argument));
        self.call = outer;
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let function = call.func.to_token_stream().to_string();
        if function == "fence" {
            let (ordering, span) = (call.args.to_token_stream().to_string(), call.span());
            let outer = std::mem::replace(&mut self.call, function);
            self.push(
                &ordering,
                span.byte_range(),
                span.start().line,
                "weak_fence",
            );
            self.call = outer;
        } else {
            let outer = std::mem::replace(&mut self.call, function);
            visit::visit_expr_call(self, call);
            self.call = outer;
        }
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        let last = path.path.segments.last().map(|last| last.ident.to_string());
        if let Some(ordering) = last.filter(|last| is_ordering(last)) {
            let span = path.span();
            self.push(&ordering, span.byte_range(), span.start().line, "weak");
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let tokens = call.tokens.to_string();
        if tokens
            .split(|c: char| !c.is_alphanumeric())
            .any(is_ordering)
        {
            let line = call.span().start().line;
            self.hidden
                .push(format!("{}:{line}: an ordering in a macro", self.path));
        }
    }

    fn visit_use_rename(&mut self, rename: &'ast syn::UseRename) {
        if is_ordering(&rename.ident.to_string()) {
            let line = rename.span().start().line;
            self.hidden.push(format!(
                "{}:{line}: an ordering with another name",
                self.path
            ));
        }
    }
}

// ---- Patches ----

/// Switches between the functions of a file and those of the same file with a patch.
pub(crate) fn patched(file: &syn::File, patched: &str, number: u64) -> Result<Vec<Edit>, String> {
    let other = syn::parse_file(patched).map_err(|error| format!("is no longer Rust: {error}"))?;
    let skeleton = |file: &syn::File| {
        let mut file = file.clone();
        Hollow.visit_file_mut(&mut file);
        file.to_token_stream().to_string()
    };
    if skeleton(file) != skeleton(&other) {
        return Err("changes more than what is in functions: one build has them all".to_owned());
    }
    let mut edits = Vec::new();
    for (old, new) in functions(file).into_iter().zip(functions(&other)) {
        let (is_opaque, old, new) = (old.is_opaque, old.block, new.block);
        if old.to_token_stream().to_string() == new.to_token_stream().to_string() {
            continue;
        }
        let pieces = if is_opaque {
            initializers(old, new).ok_or(
                "changes more than what `let` assigns, in a function that returns `impl Trait`",
            )?
        } else {
            vec![(old.span().byte_range(), new.span().byte_range())]
        };
        for (old, new) in pieces {
            let begin = format!(
                "{{ if crate::sync::mutated({number}) {{ {} }} else {{ ",
                &patched[new]
            );
            edits.push(Edit {
                at: old.start..old.start,
                text: begin,
            });
            edits.push(Edit {
                at: old.end..old.end,
                text: " } }".to_owned(),
            });
        }
    }
    if edits.is_empty() {
        return Err("changes nothing".to_owned());
    }
    Ok(edits)
}

/// The pairs of differing expressions, if the bodies differ only in what is assigned by `let`.
fn initializers(old: &syn::Block, new: &syn::Block) -> Option<Vec<(Range<usize>, Range<usize>)>> {
    let mut pairs = Vec::new();
    for (old, new) in old.stmts.iter().zip(&new.stmts) {
        if old.to_token_stream().to_string() == new.to_token_stream().to_string() {
            continue;
        }
        let (syn::Stmt::Local(old), syn::Stmt::Local(new)) = (old, new) else {
            return None;
        };
        let (old_init, new_init) = (old.init.as_ref()?, new.init.as_ref()?);
        let is_plain = old_init.diverge.is_none() && new_init.diverge.is_none();
        if !is_plain
            || old.pat.to_token_stream().to_string() != new.pat.to_token_stream().to_string()
        {
            return None;
        }
        pairs.push((
            old_init.expr.span().byte_range(),
            new_init.expr.span().byte_range(),
        ));
    }
    (old.stmts.len() == new.stmts.len()).then_some(pairs)
}

fn functions(file: &syn::File) -> Vec<Body<'_>> {
    let mut functions = Functions::default();
    functions.visit_file(file);
    functions.bodies
}

struct Body<'a> {
    block: &'a syn::Block,
    /// Whether it returns an `impl Trait`, which is one type.
    is_opaque: bool,
}

/// Finds the bodies of functions that are in no other function.
#[derive(Default)]
struct Functions<'a> {
    bodies: Vec<Body<'a>>,
    is_opaque: bool,
}

impl<'a> Visit<'a> for Functions<'a> {
    fn visit_signature(&mut self, signature: &'a syn::Signature) {
        let output = signature.output.to_token_stream().to_string();
        self.is_opaque = output.split_whitespace().any(|word| word == "impl");
    }

    fn visit_block(&mut self, block: &'a syn::Block) {
        self.bodies.push(Body {
            block,
            is_opaque: self.is_opaque,
        });
    }
}

/// Empties the bodies of functions.
struct Hollow;

impl VisitMut for Hollow {
    fn visit_block_mut(&mut self, block: &mut syn::Block) {
        block.stmts.clear();
    }

    fn visit_attributes_mut(&mut self, attributes: &mut Vec<syn::Attribute>) {
        attributes.retain(|attribute| !attribute.path().is_ident("doc"));
    }
}
