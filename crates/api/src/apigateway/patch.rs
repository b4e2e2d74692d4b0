//! Patch operations: `{"patchOperations": [{"op", "path", "value", "from"}]}`.

use super::error::{bad_request, not_one_of};
use crate::http::ApiError;
use serde::Deserialize;

/// What can be done to a path. Source: API reference, "PatchOperation".
const OPERATIONS: [&str; 6] = ["add", "remove", "move", "test", "replace", "copy"];
/// Most operations of a request: more than any tool sends.
const MOST: usize = 1_000;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Patch {
    /// `add`, `remove`, `replace`, ...
    pub op: String,
    /// As it was written, for texts of errors.
    #[serde(default)]
    pub path: String,
    /// What to put there; absent is not the same as empty.
    pub value: Option<String>,
}

impl Patch {
    /// The segments of the path, with `~1` and `~0` replaced. Source: RFC 6901.
    pub fn segments(&self) -> Vec<String> {
        let path = self.path.strip_prefix('/').unwrap_or(&self.path);
        path.split('/').map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect()
    }

    /// The value, empty when there is none.
    pub fn text(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }

    /// The value unless it is empty or absent.
    pub fn some(&self) -> Option<String> {
        self.value.clone().filter(|value| !value.is_empty())
    }

    /// Fails unless the operation is `replace`, as AWS does for members that are always there.
    pub fn only_replace(&self) -> Result<(), ApiError> {
        match self.op.as_str() {
            "replace" => Ok(()),
            _ => Err(bad_request("Invalid patch operation specified. Must be one of: [replace]")),
        }
    }

    /// `Invalid patch path <path>`.
    pub fn invalid_path(&self) -> ApiError {
        bad_request(format!("Invalid patch path {}", self.path))
    }

    /// The two texts of resources whose members are listed: `paths` can be replaced, and nothing else.
    pub fn not_among(&self, paths: &str) -> ApiError {
        let start = format!("Invalid patch path  '{}' specified for op '{}'.", self.path, self.op);
        bad_request(match self.op.as_str() {
            "replace" => format!("{start} Must be one of: [{paths}]"),
            _ => format!("{start} Please choose supported operations"),
        })
    }
}

/// Reads a request's operations. `input` names the request in texts, e.g. `updateStageInput`.
///
/// Fails with `SerializationException` for another shape, with `ValidationException` for an unknown operation.
pub fn read(body: &[u8], input: &str) -> Result<Vec<Patch>, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Request {
        #[serde(default)]
        patch_operations: Vec<Patch>,
    }
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let request: Request =
        serde_json::from_slice(body).map_err(|error| ApiError::serialization(error.to_string()))?;
    if request.patch_operations.len() > MOST {
        return Err(bad_request(format!("A request takes at most {MOST} patch operations.")));
    }
    for (index, patch) in request.patch_operations.iter().enumerate() {
        if !OPERATIONS.contains(&patch.op.as_str()) {
            let path = format!("{input}.patchOperations.{}.member.op", index + 1);
            return Err(not_one_of(&patch.op, &path, &OPERATIONS));
        }
    }
    Ok(request.patch_operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_read() {
        let patches =
            read(br#"{"patchOperations":[{"op":"add","path":"/binaryMediaTypes/*~1*"}]}"#, "x").unwrap();
        assert_eq!(patches[0].segments(), ["binaryMediaTypes", "*/*"]);
        assert_eq!(patches[0].value, None);
        assert!(read(b"", "x").unwrap().is_empty());
        let wrong = read(br#"{"patchOperations":[{"op":"wrong","path":"/a"}]}"#, "updateX").unwrap_err();
        assert_eq!(wrong.code, "ValidationException");
        assert!(wrong.message.contains("'updateX.patchOperations.1.member.op'"), "{wrong}");
        assert_eq!(read(b"[1]", "x").unwrap_err().code, "SerializationException");
    }
}
