//! The example in the binary: `examples/notes`, and the calls that show it.

use crate::failure::Failure;
use http::Method;
use serde_json::json;
use std::io::Write as _;

/// The files of `examples/notes`; a copied binary needs no source tree.
const FILES: &[(&str, &str)] = &[
    ("app.py", include_str!("../../../../examples/notes/app.py")),
    ("index.mjs", include_str!("../../../../examples/notes/index.mjs")),
];

/// One way to run the example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// `Python` or `Node.js`.
    pub language: &'static str,
    /// Name of the function, and of its durable directory.
    pub function: &'static str,
    /// Runtime identifier.
    pub runtime: String,
    /// `Handler`.
    pub handler: &'static str,
}

/// One call and what its answer must be.
#[derive(Debug)]
pub struct Call {
    /// What people read.
    pub title: &'static str,
    /// Method of the request.
    pub method: Method,
    /// Its body.
    pub body: String,
    /// Status of the right answer.
    pub status: u16,
    /// Text that the right answer's body holds.
    pub holds: Option<String>,
}

/// The variants that `runtimes` (identifiers the server can run) allow: Python, and Node.js where there is one.
pub fn variants(runtimes: &[String]) -> Vec<Variant> {
    let newest = |prefix: &str| {
        let known = lamplight_model::managed_runtime::IDENTIFIERS.iter().rev();
        known.copied().find(|known| known.starts_with(prefix) && runtimes.iter().any(|have| have == known))
    };
    let python = newest("python3").map(|runtime| Variant {
        language: "Python",
        function: "notes",
        runtime: runtime.to_owned(),
        handler: "app.handler",
    });
    let node = newest("nodejs").map(|runtime| Variant {
        language: "Node.js",
        function: "notes-node",
        runtime: runtime.to_owned(),
        handler: "index.handler",
    });
    python.into_iter().chain(node).collect()
}

/// The package: the same bytes every time.
pub fn package() -> Result<Vec<u8>, Failure> {
    let write = || -> zip::result::ZipResult<Vec<u8>> {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .last_modified_time(zip::DateTime::default())
            .unix_permissions(0o644);
        for (name, text) in FILES {
            archive.start_file(*name, options)?;
            archive.write_all(text.as_bytes())?;
        }
        Ok(archive.finish()?.into_inner())
    };
    write().map_err(|error| Failure::usage("failed to pack the example").because(error))
}

/// Where notes are, beneath the function's URL.
pub const PATH: &str = "/notes";

/// The calls: the first is cold, the others warm. `note` is unique, so that old notes cannot stand in for it.
pub fn calls(note: &str) -> Vec<Call> {
    let of = |title: &'static str, method: Method, status: u16| Call {
        title,
        method,
        body: String::new(),
        status,
        holds: None,
    };
    let post = of("POST /notes (cold start)", Method::POST, 201);
    let get = of("GET /notes (warm)", Method::GET, 200);
    vec![
        Call { body: json!({ "text": note }).to_string(), holds: Some(note.to_owned()), ..post },
        Call { holds: Some(note.to_owned()), ..get },
        of("DELETE /notes is not allowed (warm)", Method::DELETE, 405),
    ]
}

impl Call {
    /// Whether the function's answer is the right one.
    pub fn is_right(&self, status: u16, body: &[u8]) -> bool {
        let body = String::from_utf8_lossy(body);
        status == self.status && self.holds.as_ref().is_none_or(|text| body.contains(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_language_is_taken() {
        let names = |have: &[&str]| {
            let have: Vec<String> = have.iter().map(|name| (*name).to_owned()).collect();
            variants(&have).into_iter().map(|variant| variant.runtime).collect::<Vec<_>>()
        };
        assert_eq!(names(&["python3.9", "python3.11", "nodejs20.x"]), ["python3.11", "nodejs20.x"]);
        assert_eq!(names(&["python3.11"]), ["python3.11"]);
        assert!(names(&[]).is_empty());
    }

    #[test]
    fn only_the_right_answer_is_right() {
        let calls = calls("buy bread");
        assert!(calls[0].is_right(201, b"{\"text\": \"buy bread\"}"));
        assert!(!calls[0].is_right(200, b"{\"text\": \"buy bread\"}"));
        assert!(!calls[1].is_right(200, b"[]"));
        assert!(calls[2].is_right(405, b""));
        assert!(!calls[2].is_right(502, b"Internal Server Error"));
    }

    #[test]
    fn the_package_is_the_same_every_time() {
        assert_eq!(package().unwrap(), package().unwrap());
    }
}
