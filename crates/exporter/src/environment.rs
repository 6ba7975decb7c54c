//! Options from environment variables and a dotenv file. They become the defaults of the command
//! line, so that clap checks them as it checks arguments.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};

/// The largest file that is read.
const MAX_MIB: u64 = 1;

/// The values of options that variables set.
#[derive(Default)]
pub(super) struct Applied(Vec<Variable>);

struct Variable {
    /// The option as errors begin with it: `--port`.
    option: String,
    /// The name of the variable, and that of the file if it is from one.
    source: String,
    values: Vec<String>,
}

/// The variables of the environment and of a dotenv file.
struct Variables {
    dotenv: HashMap<String, String>,
    path: PathBuf,
}

impl Variables {
    /// Reads the dotenv file: the one that `<prefix>_DOTENV` names, or `.env` if there is one.
    fn read(prefix: &str) -> Result<Self, String> {
        let named = std::env::var_os(format!("{prefix}_DOTENV"));
        let path = named.as_ref().map_or(Path::new(".env"), Path::new);
        let path = path.to_owned();
        if named.is_none() && !path.exists() {
            let dotenv = HashMap::new();
            return Ok(Self { dotenv, path });
        }
        let text = tallies_config::document::read_text(&path, MAX_MIB)
            .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
        let variables = dotenvy::from_read_iter(text.as_bytes());
        let dotenv = variables.collect::<Result<_, _>>();
        let dotenv = dotenv.map_err(|error| not_dotenv(&path, &text, &error))?;
        Ok(Self { dotenv, path })
    }

    /// Returns the value of a variable and its source.
    fn get(&self, name: &str) -> Option<(String, String)> {
        if let Ok(value) = std::env::var(name) {
            return Some((value, name.to_owned()));
        }
        let value = self.dotenv.get(name)?.clone();
        Some((value, format!("{name} in {}", self.path.display())))
    }

    /// Returns the text of the file that a variable names: `EXP_TOKEN_FILE` names the file with the
    /// value of `EXP_TOKEN`, as container systems pass secrets.
    fn in_file(&self, name: &str) -> Option<Result<(String, String), String>> {
        let (path, source) = self.get(&format!("{name}_FILE"))?;
        let text = tallies_config::document::read_text(Path::new(&path), MAX_MIB);
        let text = text.map_err(|error| format!("{source}: cannot read `{path}`: {error}"));
        Some(text.map(|text| (text.trim_end().to_owned(), source)))
    }
}

/// Returns the error of a dotenv file. It has the number of the line, and not its text, which may
/// be a secret.
fn not_dotenv(path: &Path, text: &str, error: &dotenvy::Error) -> String {
    let rule = "is not of the form NAME=value; a value with blanks or quotes needs quotes";
    let line = match error {
        dotenvy::Error::LineParse(wrong, _) => {
            let first = wrong.lines().next().unwrap_or_default().trim();
            let mut lines = text.lines();
            lines.position(|line| line.trim() == first)
        }
        _ => None,
    };
    match line {
        Some(line) => format!("{}, line {}: the line {rule}", path.display(), line + 1),
        None => format!("{}: a line {rule}", path.display()),
    }
}

/// Sets the defaults of options by the variables that begin with `prefix`.
///
/// # Errors
///
/// Why the command line cannot be parsed: a file that cannot be read, or a flag that is neither
/// true nor false.
pub(super) fn apply(mut command: Command, prefix: &str) -> Result<(Command, Applied), String> {
    let variables = Variables::read(prefix)?;
    let mut applied = Applied::default();
    let options: Vec<Arg> = command.get_arguments().cloned().collect();
    for option in &options {
        let id = option.get_id().as_str();
        if option.is_positional() || ["help", "version", "completions"].contains(&id) {
            continue;
        }
        let name = format!("{prefix}_{}", id.to_uppercase().replace(['-', '.'], "_"));
        let file_id = format!("{id}_file");
        let is_option = options.iter().any(|other| *other.get_id() == *file_id);
        let found = match variables.get(&name) {
            None if !is_option => variables.in_file(&name).transpose()?,
            found => found,
        };
        let Some((value, source)) = found else {
            continue;
        };
        let values: Vec<String> = match option.get_action() {
            ArgAction::SetTrue | ArgAction::SetFalse => vec![flag(&value, &source)?.to_owned()],
            ArgAction::Append => value.split_whitespace().map(str::to_owned).collect(),
            _ => vec![value],
        };
        if values.is_empty() {
            continue;
        }
        let own = values.clone();
        let takes_values = option.get_action().takes_values();
        command = command.mut_arg(option.get_id(), |option| {
            let option = option.required(false).default_values(own);
            // A default is part of the help, where a secret must not be.
            option.hide_default_value(takes_values)
        });
        applied.0.push(Variable {
            option: format!("--{}", option.get_long().unwrap_or(id)),
            source,
            values,
        });
    }
    Ok((command, applied))
}

/// Returns what clap takes for a flag.
fn flag(value: &str, source: &str) -> Result<&'static str, String> {
    match &*value.to_ascii_lowercase() {
        "1" | "true" | "yes" | "on" => Ok("true"),
        "" | "0" | "false" | "no" | "off" => Ok("false"),
        _ => Err(format!(
            "invalid value '{}' for {source}; a flag is true or false",
            value.escape_debug()
        )),
    }
}

impl Applied {
    /// Returns the variable that caused an error, if it was one.
    pub(super) fn source_of(&self, error: &clap::Error) -> Option<&str> {
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text),
            _ => None,
        };
        let option = text(ContextKind::InvalidArg)?;
        let value = text(ContextKind::InvalidValue)?;
        let option = option.split(' ').next()?;
        let mut variables = self.0.iter();
        let cause = variables.find(|own| own.option == option && own.values.contains(value))?;
        Some(&cause.source)
    }
}
