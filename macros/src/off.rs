//! The macros of a program without the feature `enabled` of `tallies`. They check types, and add no
//! instruction. They need no crate, because a program that does not count should not build `syn`:
//! they look for the few tokens that they need. The other macros use `label_value`, `has_word`,
//! `name_function`, `rebuild` and `snake_case`, too.

use std::iter::repeat_n;

use proc_macro::{Delimiter, Group, Ident, Literal, Spacing, TokenStream, TokenTree};

/// Returns the static. The engine lists it, so it is used.
pub(crate) fn metric(item: TokenStream) -> TokenStream {
    quote("#[allow(dead_code)] ITEM", &[("ITEM", item)])
}

/// Adds a branch to every body that never runs, in which the metric and its labels are used. `kind`
/// is the name of the attribute.
pub(crate) fn measure(kind: &str, args: TokenStream, item: TokenStream) -> TokenStream {
    if args.to_string() == "skip" {
        return item;
    }
    let args = Arguments::parse(args);
    let checked = |item| each_body(item, kind, &|name, output| args.check(kind, name, output));
    let mut tokens: Vec<_> = item.clone().into_iter().collect();
    let mut keywords = tokens.iter().map(ToString::to_string);
    let keyword = keywords.find(|word| word == "fn" || word == "impl");
    if keyword.as_deref() != Some("impl") {
        return checked(item);
    }
    if let Some(TokenTree::Group(methods)) = tokens.pop() {
        tokens.push(group(&methods, checked(methods.stream())));
    }
    tokens.into_iter().collect()
}

/// The arguments of a measuring attribute.
struct Arguments {
    tallies: TokenStream,
    metric: TokenStream,
    labels: Option<TokenStream>,
    error_label: Option<TokenStream>,
}

impl Arguments {
    fn parse(args: TokenStream) -> Self {
        let tokens: Vec<_> = args.into_iter().collect();
        let is_key = |i: usize| {
            matches!(
                text(&tokens, i + 1).as_str(),
                "labels" | "error_label" | "crate"
            ) && text(&tokens, i + 2) == "="
                || text(&tokens, i + 1) == "on"
                || i + 1 == tokens.len()
        };
        let commas = (0..tokens.len()).filter(|i| text(&tokens, *i) == "," && is_key(*i));
        let mut starts: Vec<_> = commas.collect();
        starts.push(tokens.len());
        let metric = tokens[..starts[0]].iter().cloned().collect();
        let value = |key: &str| {
            let pairs = starts.windows(2);
            let mut found = pairs.filter(|pair| text(&tokens, pair[0] + 1) == key);
            let pair = found.next()?;
            Some(tokens[pair[0] + 3..pair[1]].iter().cloned().collect())
        };
        Self {
            metric,
            tallies: value("crate").unwrap_or_else(default_path),
            labels: value("labels"),
            error_label: value("error_label"),
        }
    }

    /// Returns the branch that never runs, for the function `name`. `output` is its return type,
    /// unless a body cannot name it.
    fn check(&self, kind: &str, name: &str, output: Option<TokenStream>) -> TokenStream {
        let labels = self.labels.clone();
        let labels = labels.map(|labels| name_function(labels, name));
        let closure = (self.error_label.as_ref().or(labels.as_ref())).and_then(closure);
        let labels_of_error = match &self.error_label {
            Some(_) => "[TALLIES::__private::error_label(VALUE)]",
            None => "VALUE",
        };
        let statement = match (&closure, &labels, &output) {
            // The closure needs the type of an error.
            (Some(_), _, None) => "let _ = &(METRIC);",
            (Some(_), _, Some(_)) => {
                "TALLIES::__private::error(
                    TALLIES::__private::nothing::<OUTPUT>(),
                    |PATTERN| { let _ = (METRIC).with(LABELS); },
                );"
            }
            (None, Some(_), _) => "let _ = TALLIES::instrument::FUNCTION(&(METRIC).with(VALUE));",
            (None, None, _) => "let _ = TALLIES::instrument::FUNCTION(&(METRIC));",
        };
        // The function that takes the metric.
        let takes = match kind {
            "timed" => "Timer::start",
            "in_progress" => "InFlight::enter",
            _ => "Count::count",
        };
        let statement = statement.replace("FUNCTION", takes);
        let statement = statement.replace("LABELS", labels_of_error);
        let (pattern, value) =
            closure.unwrap_or_else(|| (TokenStream::new(), labels.unwrap_or_default()));
        let parts = [
            ("TALLIES", self.tallies.clone()),
            ("METRIC", self.metric.clone()),
            ("OUTPUT", output.unwrap_or_default()),
            ("PATTERN", pattern),
            ("VALUE", value),
        ];
        quote(&format!("if false {{ {statement} }}"), &parts)
    }
}

/// Returns the parameter and the body of a closure.
fn closure(tokens: &TokenStream) -> Option<(TokenStream, TokenStream)> {
    let tokens: Vec<_> = tokens.clone().into_iter().collect();
    let start = usize::from(text(&tokens, 0) == "move");
    let is_bar = |i: &usize| text(&tokens, *i) == "|";
    let end = (start + 1..tokens.len()).find(is_bar);
    let end = end.filter(|_| is_bar(&start))?;
    let stream = |tokens: &[TokenTree]| tokens.iter().cloned().collect();
    Some((stream(&tokens[start + 1..end]), stream(&tokens[end + 1..])))
}

/// Puts the result of `check` at the start of every function's body, except of those with the
/// argument `skip`.
fn each_body(
    item: TokenStream,
    kind: &str,
    check: &dyn Fn(&str, Option<TokenStream>) -> TokenStream,
) -> TokenStream {
    let mut tokens: Vec<_> = item.into_iter().collect();
    let (mut start, mut i) = (0, 0);
    while i < tokens.len() {
        let is_fn =
            text(&tokens, i) == "fn" && matches!(tokens.get(i + 1), Some(TokenTree::Ident(_)));
        if !is_fn {
            i += 1;
            continue;
        }
        let (output, mut body) = signature(&tokens, i);
        let name = text(&tokens, i + 1);
        let mut attributes = (start..i).filter(|i| skips(&tokens[*i], kind));
        if let Some(attribute) = attributes.next() {
            tokens.drain(attribute - 1..=attribute);
            body -= 2;
        } else if let Some(TokenTree::Group(block)) = tokens.get(body) {
            let checked = check(name.trim_start_matches("r#"), output);
            let (inner, rest) = inner_attributes(block.stream());
            let stream = inner.into_iter().chain(checked).chain(rest).collect();
            tokens[body] = group(block, stream);
        }
        (start, i) = (body + 1, body + 1);
    }
    tokens.into_iter().collect()
}

/// Returns whether this is the bracket of `#[timed(skip)]`, with any path before `timed`.
fn skips(token: &TokenTree, kind: &str) -> bool {
    let attribute = token.to_string().replace(' ', "");
    let path = attribute.strip_suffix("(skip)]");
    path.and_then(|path| path.strip_suffix(kind))
        .is_some_and(|path| path.ends_with(['[', ':']))
}

/// Returns the return type of the function whose `fn` is at `start`, and the index of its body, or
/// of the `;` of a function without one.
fn signature(tokens: &[TokenTree], start: usize) -> (Option<TokenStream>, usize) {
    let mut depth = 0;
    let (mut parameters, mut arrow, mut bounds) = (false, None, None);
    for i in start..tokens.len() {
        let is_arrow = is_arrow(tokens, i);
        match (&tokens[i], &*text(tokens, i)) {
            (_, "<") => depth += 1,
            (_, ">") if !is_arrow => depth -= 1,
            (TokenTree::Group(group), _)
                if depth == 0 && group.delimiter() == Delimiter::Parenthesis =>
            {
                parameters = true;
            }
            (_, ">") if parameters && arrow.is_none() => arrow = Some(i + 1),
            (_, "where") if depth == 0 => bounds = Some(i),
            (TokenTree::Group(group), _) if depth == 0 && group.delimiter() == Delimiter::Brace => {
                let output = arrow.map(|arrow| &tokens[arrow..bounds.unwrap_or(i)]);
                return (output.and_then(nameable), i);
            }
            (_, ";") => return (None, i),
            _ => {}
        }
    }
    (None, tokens.len())
}

/// Returns the type of a result, that of a boxed future if the function returns one. `None` if a
/// body cannot name it.
fn nameable(output: &[TokenTree]) -> Option<TokenStream> {
    let stream: TokenStream = output.iter().cloned().collect();
    if stream.to_string() == "!" || has_word(&stream, "impl") {
        return None;
    }
    let generics = (0..output.len()).find(|i| text(output, *i) == "<");
    let is_future = match &*text(output, generics.unwrap_or(0).wrapping_sub(1)) {
        "BoxFuture" | "LocalBoxFuture" => true,
        "Pin" | "Box" => has_word(&stream, "Future"),
        _ => false,
    };
    let projection = "<FUTURE as ::core::future::Future>::Output";
    Some(match is_future {
        true => quote(projection, &[("FUTURE", stream)]),
        false => stream,
    })
}

/// Splits a block after its inner attributes.
fn inner_attributes(block: TokenStream) -> (Vec<TokenTree>, Vec<TokenTree>) {
    let mut tokens: Vec<_> = block.into_iter().collect();
    let mut end = 0;
    while text(&tokens, end) == "#" && text(&tokens, end + 1) == "!" {
        end += 3;
    }
    let rest = tokens.split_off(end);
    (tokens, rest)
}

/// Replaces `function!()` with the name of the function, as a string literal.
pub(crate) fn name_function(labels: TokenStream, name: &str) -> TokenStream {
    rebuild(labels, &|out, token| {
        let begin = out.len().saturating_sub(2);
        let is_name = text(out, begin) == "function" && text(out, begin + 1) == "!";
        match token {
            TokenTree::Group(group) if is_name && group.stream().is_empty() => {
                out.truncate(begin);
                let mut text = Literal::string(name);
                text.set_span(group.span());
                out.push(text.into());
            }
            token => out.push(token),
        }
    })
}

/// The struct or enum of a derive.
struct Item {
    /// The names that stand for its parts in templates. `PARAMS` are the generic parameters as they
    /// are declared, without defaults, and `NAMES` their names.
    parts: Vec<(&'static str, TokenStream)>,
    members: Vec<Member>,
}

/// A field or a variant.
struct Member {
    name: Ident,
    /// The arguments of its helper attribute.
    args: Vec<TokenTree>,
}

impl Item {
    fn parse(item: TokenStream, helper: &str) -> Self {
        let tokens: Vec<_> = item.into_iter().collect();
        let keyword = (0..tokens.len()).find(|i| matches!(&*text(&tokens, *i), "struct" | "enum"));
        let keyword = keyword.expect("a derive is on a struct or an enum");
        let (args, visible) = attributes(&tokens[..keyword], helper);
        let rest = &tokens[keyword + 2..];
        let end = (1..rest.len()).find(|end| text(rest, 0) == "<" && depth(&rest[..*end]) == 0);
        let (params, bounds) = rest.split_at(end.unwrap_or(0));
        let [.., TokenTree::Group(body)] = bounds else {
            panic!("a derive of tallies needs named fields, or variants without fields");
        };
        let bounds = bounds[..bounds.len() - 1].iter().cloned().collect();
        let body: Vec<_> = body.stream().into_iter().collect();
        // A variant has no type, but its number may be `1 << 2`.
        let members = match text(&tokens, keyword).as_str() {
            "enum" => body.split(|token| token.to_string() == ",").collect(),
            _ => split(&body),
        };
        let members = members.into_iter().filter(|member| !member.is_empty());
        let members = members.map(|member| Member::parse(member, helper));
        let path = args.get(2..).filter(|_| text(&args, 0) == "crate");
        let tallies = path.map_or_else(default_path, |path| path.iter().cloned().collect());
        let [params, names] = generics(params);
        let parts = vec![
            ("TALLIES", tallies),
            ("VISIBILITY", visible.iter().cloned().collect()),
            ("NAME", tokens[keyword + 1].clone().into()),
            ("PARAMS", params),
            ("NAMES", names),
            ("BOUNDS", bounds),
        ];
        let members = members.collect();
        Self { parts, members }
    }

    /// Returns the expansion of a template for this item.
    fn expand(&self, template: &str, more: &[(&'static str, TokenStream)]) -> TokenStream {
        quote(template, &[&self.parts, more].concat())
    }

    /// Returns the expansions of a template for every member, one after the other.
    fn each(&self, template: &str) -> TokenStream {
        let member = |(i, member): (usize, &Member)| {
            let name = TokenTree::from(member.name.clone());
            let text = match member.args.first() {
                Some(TokenTree::Literal(text)) => text.clone(),
                _ => Literal::string(&snake_case(&name.to_string())),
            };
            let text = TokenTree::from(text);
            let index = TokenTree::from(Literal::usize_unsuffixed(i));
            let parts = [("MEMBER", name), ("TEXT", text), ("INDEX", index)];
            self.expand(template, &parts.map(|(name, part)| (name, part.into())))
        };
        self.members.iter().enumerate().map(member).collect()
    }
}

impl Member {
    fn parse(member: &[TokenTree], helper: &str) -> Self {
        let (args, _) = attributes(member, helper);
        // The type of a field, or the discriminant of a variant, may follow.
        let is_end = |i: &usize| is_field_colon(member, *i) || text(member, *i) == "=";
        let end = (0..member.len()).find(is_end).unwrap_or(member.len());
        let TokenTree::Ident(name) = &member[end - 1] else {
            panic!("a derive of tallies needs named fields, or variants without fields");
        };
        let name = name.clone();
        Self { name, args }
    }
}

/// Implements the traits of a label set.
pub(crate) fn labels(item: TokenStream) -> TokenStream {
    let item = Item::parse(item, "label");
    let texts = item.each(
        "TALLIES::LabelValue::text(&labels.MEMBER, &mut TALLIES::label::Scratch::default()),",
    );
    let has_lifetime = !item.expand("NAMES", &[]).is_empty();
    let life = |name: &str| match has_lifetime {
        true => format!("<'{name}>").parse().unwrap_or_default(),
        false => TokenStream::new(),
    };
    item.expand(
        "impl TALLIES::label::LabelSet for NAME STATIC {
            type Borrowed<'tallies> = NAME LIFE;

            fn with_texts<R>(
                labels: &Self::Borrowed<'_>,
                f: impl ::core::ops::FnOnce(&[&str]) -> R,
            ) -> R {
                f(&[TEXTS])
            }
        }

        impl TALLIES::label::NamedLabels for NAME STATIC {}",
        &[
            ("STATIC", life("static")),
            ("LIFE", life("tallies")),
            ("TEXTS", texts),
        ],
    )
}

/// Implements the trait of a label value.
pub(crate) fn label_value(item: TokenStream) -> TokenStream {
    let item = Item::parse(item, "label");
    item.expand(
        "impl TALLIES::LabelValue for NAME {
            const VALUES: &'static [&'static str] = &[TEXTS];

            #[inline]
            fn text<'a>(&'a self, _: &'a mut TALLIES::label::Scratch) -> &'a str {
                match self { ARMS }
            }

            #[inline]
            fn index(&self) -> usize {
                match self { INDICES }
            }
        }",
        &[
            ("TEXTS", item.each("TEXT,")),
            ("ARMS", item.each("Self::MEMBER => TEXT,")),
            ("INDICES", item.each("Self::MEMBER => INDEX,")),
        ],
    )
}

/// Implements the trait of an event.
pub(crate) fn event(item: TokenStream) -> TokenStream {
    let item = Item::parse(item, "metric");
    let fields = item.each("TALLIES::__private::field(&self.MEMBER);");
    item.expand(
        "impl PARAMS TALLIES::event::Event for NAME NAMES BOUNDS {
            fn fields(&self) { FIELDS }
        }",
        &[("FIELDS", fields)],
    )
}

/// Adds the function of a struct of metrics.
pub(crate) fn metrics(item: TokenStream) -> TokenStream {
    let item = Item::parse(item, "metric");
    let settings = item.members.iter().flat_map(|member| split(&member.args));
    let values = settings
        .filter(|setting| text(setting, 1) == "=")
        .flat_map(|setting| {
            let value = setting[2..].iter().cloned().collect();
            quote("let _ = &VALUE;", &[("VALUE", value)])
        });
    let fields = item.each("MEMBER: TALLIES::__private::Declare::declared(),");
    item.expand(
        "impl PARAMS NAME NAMES BOUNDS {
            /// Declares every metric of this struct.
            VISIBILITY fn register(
                _: &TALLIES::Registry,
            ) -> ::core::result::Result<Self, TALLIES::Error> {
                if false { VALUES }
                ::core::result::Result::Ok(Self { FIELDS })
            }
        }",
        &[("VALUES", values.collect()), ("FIELDS", fields)],
    )
}

/// Returns the arguments of the attribute `helper`, and the tokens after all attributes.
fn attributes<'a>(tokens: &'a [TokenTree], helper: &str) -> (Vec<TokenTree>, &'a [TokenTree]) {
    let (mut args, mut i) = (Vec::new(), 0);
    while text(tokens, i) == "#" {
        if let Some(TokenTree::Group(attribute)) = tokens.get(i + 1) {
            let parts: Vec<_> = attribute.stream().into_iter().collect();
            if let (true, Some(TokenTree::Group(group))) = (text(&parts, 0) == helper, parts.get(1))
            {
                args.extend(group.stream());
            }
        }
        i += 2;
    }
    (args, &tokens[i..])
}

/// Returns generic parameters without their defaults, and their names, both in angle brackets.
fn generics(params: &[TokenTree]) -> [TokenStream; 2] {
    if params.len() < 3 {
        return Default::default();
    }
    let params = split(&params[1..params.len() - 1]);
    let before = |param: &[TokenTree], ends: &[&str]| {
        let is_in = |token: &&TokenTree| !ends.contains(&&*token.to_string());
        param.iter().take_while(is_in).cloned().collect()
    };
    let list = |each: &dyn Fn(&[TokenTree]) -> TokenStream| {
        let params = params.iter();
        let params = params.map(|param| quote("PARAM,", &[("PARAM", each(param))]));
        quote("<PARAMS>", &[("PARAMS", params.collect())])
    };
    let is_const = |param: &[TokenTree]| usize::from(text(param, 0) == "const");
    [
        list(&|param| before(param, &["="])),
        list(&|param| before(&param[is_const(param)..], &[":", "="])),
    ]
}

/// Splits tokens at the commas outside of all brackets.
fn split(tokens: &[TokenTree]) -> Vec<&[TokenTree]> {
    let is_end =
        |i: &usize| *i == tokens.len() || text(tokens, *i) == "," && depth(&tokens[..*i]) == 0;
    let mut start = 0;
    let parts = (0..=tokens.len()).filter(is_end).map(|end| {
        let part = &tokens[start..end];
        start = end + 1;
        part
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// Returns how many angle brackets are open after these tokens.
fn depth(tokens: &[TokenTree]) -> isize {
    let step = |i| match &*text(tokens, i) {
        "<" => 1,
        ">" if !is_arrow(tokens, i) => -1,
        _ => 0,
    };
    (0..tokens.len()).map(step).sum()
}

fn is_arrow(tokens: &[TokenTree], i: usize) -> bool {
    text(tokens, i) == ">" && i > 0 && text(tokens, i - 1) == "-"
}

/// Returns whether this is a colon on its own, and not one of a path.
fn is_field_colon(tokens: &[TokenTree], i: usize) -> bool {
    let is_colon = |token: Option<&TokenTree>| {
        matches!(token, Some(TokenTree::Punct(colon))
        if colon.as_char() == ':' && colon.spacing() == Spacing::Alone)
    };
    is_colon(tokens.get(i)) && text(tokens, i.wrapping_sub(1)) != ":"
}

/// Returns the text of a token, and that of none outside of the tokens.
fn text(tokens: &[TokenTree], i: usize) -> String {
    tokens.get(i).map(ToString::to_string).unwrap_or_default()
}

/// Returns whether a stream has this word, also in brackets.
pub(crate) fn has_word(stream: &TokenStream, word: &str) -> bool {
    let text = stream.to_string();
    let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|one| one == word)
}

/// Returns the name of a variant in snake_case, which is its label value.
pub(crate) fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    let chars: Vec<_> = name.trim_start_matches("r#").chars().collect();
    for (i, c) in chars.iter().enumerate() {
        let lower = |i: usize| chars.get(i).is_some_and(|c| c.is_lowercase());
        let after = |i: usize| lower(i) || chars[i].is_ascii_digit();
        let begins = i > 0 && (after(i - 1) || chars[i - 1].is_uppercase() && lower(i + 1));
        snake.extend(repeat_n('_', usize::from(c.is_uppercase() && begins)));
        snake.extend(c.to_lowercase());
    }
    snake
}

fn default_path() -> TokenStream {
    "::tallies".parse().unwrap_or_default()
}

/// Returns a group with other tokens.
fn group(of: &Group, stream: TokenStream) -> TokenTree {
    let mut group = Group::new(of.delimiter(), stream);
    group.set_span(of.span());
    group.into()
}

/// Returns the tokens of a template, with the parts in the place of their names.
fn quote(template: &str, parts: &[(&str, TokenStream)]) -> TokenStream {
    let template = template.parse().expect("a template is Rust");
    rebuild(template, &|out, token| {
        let is_it = |name| matches!(&token, TokenTree::Ident(ident) if ident.to_string() == name);
        match parts.iter().find(|(name, _)| is_it(*name)) {
            Some((_, part)) => out.extend(part.clone()),
            None => out.push(token),
        }
    })
}

/// Rebuilds tokens, from the inside of each group outwards. `push` appends a token to those before
/// it in its group, or replaces some of them. For code that may hold calls of macros: no syntax
/// tree has their arguments.
pub(crate) fn rebuild(
    tokens: TokenStream,
    push: &dyn Fn(&mut Vec<TokenTree>, TokenTree),
) -> TokenStream {
    let mut out = Vec::new();
    for token in tokens {
        let token = match token {
            TokenTree::Group(inner) => group(&inner, rebuild(inner.stream(), push)),
            token => token,
        };
        push(&mut out, token);
    }
    out.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn snake_cases() {
        for (name, snake) in [
            ("Get", "get"),
            ("NotFound", "not_found"),
            ("HTTPError", "http_error"),
            ("V2", "v2"),
            ("X509Cert", "x509_cert"),
        ] {
            assert_eq!(snake_case(name), snake);
        }
    }
}
