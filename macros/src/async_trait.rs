//! Recognizes function bodies that `async_trait` has rewritten: it binds the arguments to new
//! variables, `self` to `__self`, and puts the original body into a block after these bindings.
//!
//! Only that inner block is measured. If the bindings were measured too, a metric that is a field
//! of `self` would be borrowed while `self` moves into `__self`.

use syn::{Block, Expr, Ident, Local, Pat, Stmt};

/// Matches `{ let __self = self; let name = name; let __ret: T = { .. }; __ret }`. Returns the
/// variables that the arguments are bound to, and the original body.
pub(crate) fn original_body(block: &mut Block) -> Option<(Vec<Ident>, &mut Block)> {
    let index = block.stmts.iter().position(holds_body)?;
    let (before, rest) = block.stmts.split_at_mut(index);
    let [Stmt::Local(body), after @ ..] = rest else {
        return None;
    };
    if after.len() > 1 || !before.iter().all(is_binding) {
        return None;
    }
    let mut names = Vec::new();
    for stmt in before {
        if let Stmt::Local(local) = stmt {
            bound_names(&local.pat, &mut names);
        }
    }
    match &mut *body.init.as_mut()?.expr {
        Expr::Block(body) => Some((names, &mut body.block)),
        _ => None,
    }
}

/// Returns whether the statement is `let __ret: T = { .. };` or `let _: () = { .. };`.
fn holds_body(stmt: &Stmt) -> bool {
    let Stmt::Local(Local {
        pat: Pat::Type(pat),
        init: Some(init),
        ..
    }) = stmt
    else {
        return false;
    };
    let named = match &*pat.pat {
        Pat::Ident(pat) => pat.ident == "__ret",
        pat => matches!(pat, Pat::Wild(_)),
    };
    named && matches!(&*init.expr, Expr::Block(body) if body.label.is_none())
}

/// Returns whether the statement is `let name = name;`, `let pattern = { .. };`, or the `if` that
/// never runs and only fixes the return type.
fn is_binding(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Local(Local {
            init: Some(init), ..
        }) => match &*init.expr {
            Expr::Path(_) => true,
            Expr::Block(block) => matches!(
                block.block.stmts.last(),
                Some(Stmt::Expr(Expr::Path(path), None))
                    if path.path.get_ident().is_some_and(|name| name.to_string().starts_with("__arg"))
            ),
            _ => false,
        },
        Stmt::Expr(Expr::If(_), None) => true,
        _ => false,
    }
}

/// Adds the names that the pattern binds.
pub(crate) fn bound_names(pat: &Pat, names: &mut Vec<Ident>) {
    let mut all = |pats: &mut dyn Iterator<Item = &Pat>| {
        pats.for_each(|pat| bound_names(pat, names));
    };
    match pat {
        Pat::Guard(pat) => bound_names(&pat.pat, names),
        Pat::Ident(pat) => {
            names.push(pat.ident.clone());
            if let Some((_, pat)) = &pat.subpat {
                bound_names(pat, names);
            }
        }
        Pat::Or(pat) => all(&mut pat.cases.iter()),
        Pat::Paren(pat) => bound_names(&pat.pat, names),
        Pat::Reference(pat) => bound_names(&pat.pat, names),
        Pat::Slice(pat) => all(&mut pat.elems.iter()),
        Pat::Struct(pat) => all(&mut pat.fields.iter().map(|field| &*field.pat)),
        Pat::Tuple(pat) => all(&mut pat.elems.iter()),
        Pat::TupleStruct(pat) => all(&mut pat.elems.iter()),
        Pat::Type(pat) => bound_names(&pat.pat, names),
        _ => {}
    }
}
