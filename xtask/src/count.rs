//! The size of the crates, counted from their sources in one way: `cargo xtask count`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::Visit;
use syn::visit_mut::VisitMut;

use crate::tree::Result;

/// The parts of a crate. Tests, models, comments and documentation do not count.
#[derive(Debug, Default)]
struct Size {
    /// Lines with at least one token.
    lines: usize,
    files: usize,
    /// `cfg`, `cfg_attr` and `cfg!`, but for those of tests.
    cfgs: usize,
    /// Those that name the feature `mmap`.
    mmap: usize,
    features: usize,
    /// The function with the most lines.
    longest: (usize, String),
}

pub fn main(root: &Path) -> Result<bool> {
    let mut total = 0;
    println!("| crate | files | lines | features | cfgs | of `mmap` | longest function |");
    println!("|---|---|---|---|---|---|---|");
    let crates = std::fs::read_dir(root.join("crates")).map_err(|error| error.to_string())?;
    let mut folders: Vec<_> = crates.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    for folder in [root.to_owned(), root.join("macros")]
        .iter()
        .chain(&folders)
    {
        let size = measure(folder)?;
        total += size.lines;
        let (lines, function) = &size.longest;
        println!(
            "| `{}` | {} | {} | {} | {} | {} | {lines}: `{function}` |",
            name(folder)?,
            size.files,
            size.lines,
            size.features,
            size.cfgs,
            size.mmap
        );
    }
    println!("\n{total} lines of code in all");
    let api = read(&root.join("tests/public-api/tallies.txt"))?;
    println!(
        "{} names at the root of `tallies`",
        names_at_root(&api).len()
    );
    Ok(true)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn name(folder: &Path) -> Result<String> {
    let manifest = read(&folder.join("Cargo.toml"))?;
    let line = manifest
        .lines()
        .find_map(|line| line.strip_prefix("name = "));
    Ok(line.unwrap_or("?").trim_matches('"').to_owned())
}

/// Items, macros and modules that users reach as `tallies::NAME`.
fn names_at_root(api: &str) -> BTreeSet<&str> {
    let is_item = |line: &&str| !line.starts_with("impl") && !line.starts_with('#');
    let paths = api.lines().filter(is_item).filter_map(|line| {
        let at = line.find("tallies::")?;
        let path = line[at + "tallies::".len()..]
            .split(|c: char| c != '_' && c != ':' && !c.is_alphanumeric())
            .next()?
            .trim_end_matches(':');
        (!path.contains("::") && !path.is_empty()).then_some(path)
    });
    paths.collect()
}

fn measure(folder: &Path) -> Result<Size> {
    let mut size = Size::default();
    let manifest = read(&folder.join("Cargo.toml"))?;
    let features = manifest.split("\n[features]\n").nth(1).unwrap_or_default();
    let features = features.split("\n[").next().unwrap_or_default();
    let is_feature = |line: &&str| line.contains(" = [") && !line.starts_with("default ");
    size.features = features.lines().filter(is_feature).count();
    let mut files = Vec::new();
    sources(&folder.join("src"), &mut files)?;
    for path in files {
        let text = read(&path)?;
        let mut file =
            syn::parse_file(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Strip.visit_file_mut(&mut file);
        size.files += 1;
        size.lines += lines(&file);
        Cfgs(&mut size).visit_file(&file);
        Functions(&mut size).visit_file(&file);
    }
    Ok(size)
}

/// The sources below a folder that are no tests and no models.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        if stem.starts_with("tests") || stem.starts_with("models") || stem == "laws" {
            continue;
        }
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Removes what is for tests only, and documentation outside of macros.
struct Strip;

impl VisitMut for Strip {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.items.retain(|item| !is_test(attributes(item)));
        syn::visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut module.content {
            items.retain(|item| !is_test(attributes(item)));
        }
        syn::visit_mut::visit_item_mod_mut(self, module);
    }

    fn visit_attributes_mut(&mut self, attributes: &mut Vec<syn::Attribute>) {
        attributes.retain(|attribute| !attribute.path().is_ident("doc"));
    }
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        _ => &[],
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text = attribute.to_token_stream().to_string();
        text.starts_with("# [cfg (test") || text.starts_with("# [cfg (all (test")
    })
}

/// Returns the number of lines with at least one token.
fn lines(part: &impl ToTokens) -> usize {
    let mut lines = BTreeSet::new();
    occupied(part.to_token_stream(), &mut lines);
    lines.len()
}

/// Adds the lines on which a token begins or ends. Leaves out documentation in macros, where it is
/// tokens like any others.
fn occupied(tokens: TokenStream, lines: &mut BTreeSet<usize>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_hash = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '#');
        if is_hash && tokens.next_if(is_documentation).is_some() {
            continue;
        }
        let spans: &[Span] = match &token {
            TokenTree::Group(group) => {
                occupied(group.stream(), lines);
                &[group.span_open(), group.span_close()]
            }
            token => &[token.span()],
        };
        for span in spans {
            lines.extend(span.start().line..=span.end().line);
        }
    }
}

/// Returns whether a token is the part of an attribute after its `#`, and the attribute is `doc`.
fn is_documentation(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else {
        return false;
    };
    let first = group.stream().into_iter().next();
    let is_doc = matches!(first, Some(TokenTree::Ident(name)) if name == "doc");
    group.delimiter() == Delimiter::Bracket && is_doc
}

struct Cfgs<'a>(&'a mut Size);

impl Cfgs<'_> {
    fn add(&mut self, text: &str) {
        self.0.cfgs += 1;
        self.0.mmap += usize::from(text.contains("\"mmap\""));
    }
}

impl<'ast> Visit<'ast> for Cfgs<'_> {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
            self.add(&attribute.to_token_stream().to_string());
        }
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        if called.path.is_ident("cfg") {
            self.add(&called.to_token_stream().to_string());
        }
    }
}

struct Functions<'a>(&'a mut Size);

impl Functions<'_> {
    fn add(&mut self, name: &syn::Ident, block: &syn::Block) {
        let lines = lines(block);
        if lines > self.0.longest.0 {
            self.0.longest = (lines, name.to_string());
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig.ident, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig.ident, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_does_not_count_in_macros_either() {
        let text = r#"
            //! A module.

            /// A macro.
            macro_rules! counted {
                ($(#[$doc:meta])* $name:ident) => {
                    /// A function.
                    ///
                    #[doc = concat!("About `", stringify!($name), "`.")]
                    #[must_use]
                    pub fn $name() {
                        let [doc, _] = [1, 2];
                        forward! {
                            /// An item.
                            fn other();
                        }
                    }
                };
            }

            /// Documentation.
            #[doc(hidden)]
            counted!(one);

            #[cfg(test)]
            mod tests {}
        "#;
        let mut file = syn::parse_file(text).unwrap();
        Strip.visit_file_mut(&mut file);
        assert_eq!(lines(&file), 12);
    }
}
