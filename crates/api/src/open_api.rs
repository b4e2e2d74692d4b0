//! OpenAPI documents as clients send them: JSON or YAML, made one kind of value.

use serde_json::Value;
use std::fmt;

/// Most bytes of text of a YAML document, what its aliases repeat included: thrice the largest document of an API.
const TEXT_BYTES: usize = 18 * 1024 * 1024;
/// Members that are text, also where YAML takes what stands there for a number.
const TEXTS: [&str; 4] = ["/swagger", "/openapi", "/info/version", "/info/title"];

/// Why a text is no document; in words for clients.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Reads a document. What begins with a brace is JSON, everything else YAML, of which the nodes, the depth and the text are
/// bounded, aliases followed.
pub fn read(text: &str) -> Result<Value, Unreadable> {
    // Some editors begin files with a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    let mut document = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).map_err(|error| Unreadable(error.to_string()))?,
        false => yaml(text)?,
    };
    for pointer in TEXTS {
        if let Some(member) = document.pointer_mut(pointer).filter(|member| member.is_number()) {
            *member = member.to_string().into();
        }
    }
    Ok(document)
}

fn yaml(text: &str) -> Result<Value, Unreadable> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_total_scalar_bytes: TEXT_BYTES, max_documents: 1 },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        // The lines behind it are an excerpt of the document, which may be long.
        let error = error.to_string();
        let first = error.lines().next().unwrap_or_default();
        Unreadable(first.strip_prefix("error: ").unwrap_or(first).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_and_json_are_the_same_document() {
        let text = "
openapi: 3.0.1
info: {title: 7, version: 1.0}
paths:
  /pets/{id}:
    get:
      responses:
        200: &done
          description: 'done: yes'
        default: *done
      x-amazon-apigateway-integration:
        type: aws_proxy
        uri: >-
          arn:aws:lambda:us-east-1:000000000000:function:
          pets
        timeoutInMillis: 1000
        requestTemplates:
          application/json: '{\"statusCode\": 200}'
";
        let expected = json!({
            "openapi": "3.0.1",
            "info": {"title": "7", "version": "1.0"},
            "paths": {"/pets/{id}": {"get": {
                "responses": {"200": {"description": "done: yes"}, "default": {"description": "done: yes"}},
                "x-amazon-apigateway-integration": {
                    "type": "aws_proxy",
                    "uri": "arn:aws:lambda:us-east-1:000000000000:function: pets",
                    "timeoutInMillis": 1000,
                    "requestTemplates": {"application/json": "{\"statusCode\": 200}"},
                },
            }}},
        });
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read(&format!("\u{feff} {expected}")).unwrap(), expected);
        assert_eq!(read("swagger: 2.0").unwrap(), json!({"swagger": "2.0"}));
    }

    #[test]
    fn what_is_unreadable() {
        for (text, part) in [
            ("{", "EOF"),
            ("a: b: c", "line 1 column 5"),
            ("a: 1\na: 2", "duplicate"),
            ("a: 1\n---\nb: 2", "documents: 2"),
            ("a: *b", "line 1"),
            ("a: [1", "line"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn aliases_do_not_grow_without_bound() {
        let tenfold = |name: &str| format!("[{}]", vec![format!("*{name}"); 10].join(", "));
        let names: Vec<String> = ('a'..'k').map(String::from).collect();
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for pair in names.windows(2) {
            bomb += &format!("{}: &{} {}\n", pair[1], pair[1], tenfold(&pair[0]));
        }
        assert!(read(&bomb).unwrap_err().to_string().contains("budget breached"));
        let long = format!("a: &a \"{}\"\nb: [{}]", "x".repeat(1_000_000), vec!["*a"; 90].join(", "));
        assert!(read(&long).unwrap_err().to_string().contains("budget breached"));
        let deep = format!("a: {}", "[".repeat(100_000));
        assert!(read(&deep).unwrap_err().to_string().contains("limit"));
    }
}
