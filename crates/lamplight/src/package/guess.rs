//! Which runtime and handler a folder means, from the names and texts of its top-level files. Pure.

/// Bytes of a source file that are looked at.
pub const SOURCE_BYTES: u64 = 256 * 1024;

/// File stems that usually hold the handler, best first.
const STEMS: &[&str] = &["lambda_function", "app", "index", "main", "handler", "function", "lambda"];
/// Function names that usually are the handler, best first.
const PYTHON_NAMES: &[&str] = &["lambda_handler", "handler", "handle", "main"];
const NODE_NAMES: &[&str] = &["handler", "lambdaHandler", "main"];

/// Which interpreter the code is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `*.py`.
    Python,
    /// `*.mjs`, `*.js`, `*.cjs`.
    Node,
    /// An executable named `bootstrap`.
    Provided,
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guess {
    /// The family and `file.function`.
    Found {
        /// Interpreter.
        family: Family,
        /// `Handler`.
        handler: String,
    },
    /// Handlers of more than one family, e.g. `["app.handler (Python)", ...]`.
    Ambiguous(Vec<String>),
    /// No file looks like it holds a handler; the names that were looked at.
    Nothing(Vec<String>),
}

/// Whether a file of this name may hold a handler.
pub fn is_source(name: &str) -> bool {
    family_of(name).is_some()
}

fn family_of(name: &str) -> Option<Family> {
    let (stem, extension) = name.rsplit_once('.')?;
    if stem.is_empty() {
        return None;
    }
    match extension {
        "py" => Some(Family::Python),
        "mjs" | "js" | "cjs" => Some(Family::Node),
        _ => None,
    }
}

/// `files`: name, text of source files, whether it is executable. `only` restricts to one family.
pub fn guess(files: &[(String, Option<String>, bool)], only: Option<Family>) -> Guess {
    let wanted = |family| only.is_none_or(|only| only == family);
    if wanted(Family::Provided)
        && files.iter().any(|(name, _, executable)| name == "bootstrap" && *executable)
    {
        return Guess::Found { family: Family::Provided, handler: "bootstrap".to_owned() };
    }
    let mut found: Vec<(Family, String)> = Vec::new();
    for family in [Family::Python, Family::Node] {
        if wanted(family)
            && let Some(handler) = best_handler(files, family)
        {
            found.push((family, handler));
        }
    }
    match found.as_slice() {
        [(family, handler)] => Guess::Found { family: *family, handler: handler.clone() },
        [] => Guess::Nothing(files.iter().map(|(name, _, _)| name.clone()).take(20).collect()),
        several => Guess::Ambiguous(
            several.iter().map(|(family, handler)| format!("{handler} ({family:?})")).collect(),
        ),
    }
}

fn best_handler(files: &[(String, Option<String>, bool)], family: Family) -> Option<String> {
    let mut sources: Vec<(&str, &str)> = files
        .iter()
        .filter(|(name, _, _)| family_of(name) == Some(family))
        .filter_map(|(name, text, _)| Some((name.rsplit_once('.')?.0, text.as_deref()?)))
        .collect();
    // Known names first; the rest in order of name, so that the guess does not depend on the directory's order.
    sources.sort_by_key(|(stem, _)| {
        (STEMS.iter().position(|known| known == stem).unwrap_or(STEMS.len()), *stem)
    });
    sources.into_iter().find_map(|(stem, text)| {
        let function = match family {
            Family::Python => python_function(text),
            _ => node_function(text),
        };
        function.map(|function| format!("{stem}.{function}"))
    })
}

/// A function at the top level under one of the usual names.
fn python_function(text: &str) -> Option<&'static str> {
    PYTHON_NAMES.iter().copied().find(|name| {
        text.lines().any(|line| {
            let definition = line.strip_prefix("async ").unwrap_or(line).strip_prefix("def ");
            let defined = definition.and_then(|rest| rest.trim_start().strip_prefix(name));
            let assigned = line.strip_prefix(name).map(str::trim_start);
            defined.is_some_and(|rest| rest.trim_start().starts_with('('))
                || assigned.is_some_and(|rest| rest.starts_with('=') && !rest.starts_with("=="))
        })
    })
}

/// `export const handler`, `export function handler`, `export { handler }`, `exports.handler =`,
/// `module.exports = { handler`.
fn node_function(text: &str) -> Option<&'static str> {
    NODE_NAMES.iter().copied().find(|name| {
        text.lines().map(str::trim).any(|line| {
            let exported = line.strip_prefix("export ").is_some_and(|rest| mentions(rest, name));
            let assigned = ["exports.", "module.exports."].iter().any(|prefix| {
                line.strip_prefix(prefix)
                    .and_then(|rest| rest.strip_prefix(name))
                    .is_some_and(|rest| rest.trim_start().starts_with('='))
            });
            let object = line.strip_prefix("module.exports").is_some_and(|rest| mentions(rest, name));
            exported || assigned || object
        })
    })
}

/// Whether `word` stands in `text` as a whole word.
fn mentions(text: &str, word: &str) -> bool {
    text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
        .any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], only: Option<Family>, expected: &str) {
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), Some((*text).to_owned()), *name == "bootstrap"))
            .collect();
        let got = match guess(&files, only) {
            Guess::Found { family, handler } => format!("{family:?} {handler}"),
            Guess::Ambiguous(several) => format!("ambiguous {}", several.join(" ")),
            Guess::Nothing(names) => format!("nothing in {}", names.join(" ")),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn usual_files_and_names() {
        check(
            &[("lambda_function.py", "def lambda_handler(event, context):\n  pass")],
            None,
            "Python lambda_function.lambda_handler",
        );
        check(&[("b.py", "x = 1"), ("app.py", "def handler (e, c): pass")], None, "Python app.handler");
        check(&[("app.py", "async def main(): pass")], None, "Python app.main");
        check(&[("app.py", "handler = Mangum(app)")], None, "Python app.handler");
        check(&[("index.mjs", "export const handler = async () => 1")], None, "Node index.handler");
        check(&[("index.js", "exports.handler = async () => 1")], None, "Node index.handler");
        check(&[("a.cjs", "module.exports = { handler }")], None, "Node a.handler");
        check(&[("index.mjs", "export async function lambdaHandler() {}")], None, "Node index.lambdaHandler");
        check(&[("bootstrap", ""), ("app.py", "def handler(e, c): pass")], None, "Provided bootstrap");
    }

    #[test]
    fn what_cannot_be_told_is_not_guessed() {
        let both = [("app.py", "def handler(e, c): pass"), ("index.mjs", "export const handler = 1")];
        check(&both, None, "ambiguous app.handler (Python) index.handler (Node)");
        check(&both, Some(Family::Node), "Node index.handler");
        check(&[("readme.txt", "def handler(): pass")], None, "nothing in readme.txt");
        check(&[("app.py", "class A:\n  def handler(self): pass\nhandler == 1")], None, "nothing in app.py");
        check(&[("index.js", "const handler = 1; exports.handlers = 2")], None, "nothing in index.js");
    }
}
