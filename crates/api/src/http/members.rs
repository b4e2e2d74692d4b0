//! Members of a JSON request, read with AWS's tolerance: unknown members are ignored, `null` means absent, and a
//! wrong type is a `SerializationException`.
//!
//! Values stay slices of the body until they are asked for, so that a 70 MB upload is not copied into a tree.

use crate::http::error::ApiError;
use lamplight_model::{ErrorCode, ServiceError};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// One JSON object of a request.
#[derive(Debug, Default)]
pub struct Members<'a>(HashMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    /// Parses a body. An empty body is an object without members.
    ///
    /// Fails with `InvalidRequestContentException` for what is not JSON, and with `SerializationException`
    /// for JSON that is not an object.
    pub fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        match serde_json::from_slice(body) {
            Ok(members) => Ok(Self(members)),
            Err(error) if error.is_data() => Err(wrong_type("An object")),
            Err(error) => Err(ServiceError::new(
                ErrorCode::InvalidRequestContentException,
                format!("Could not parse request body into json: {error}"),
            )
            .into()),
        }
    }

    fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied().filter(|value| value.get() != "null")
    }

    fn typed<T: serde::Deserialize<'a>>(&self, name: &str, wanted: &str) -> Result<Option<T>, ApiError> {
        self.raw(name)
            .map(|value| serde_json::from_str(value.get()).map_err(|_| wrong_type(wanted)))
            .transpose()
    }

    /// Whether the member is there and not `null`.
    pub fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// A string.
    pub fn string(&self, name: &str) -> Result<Option<String>, ApiError> {
        self.typed(name, "A string")
    }

    /// A string, borrowed from the body when it holds no escapes.
    pub fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, ApiError> {
        #[derive(serde::Deserialize)]
        struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
        Ok(self.typed::<Borrowed<'a>>(name, "A string")?.map(|text| text.0))
    }

    /// A whole number.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.typed(name, "An integer")
    }

    /// A number.
    pub fn number(&self, name: &str) -> Result<Option<f64>, ApiError> {
        self.typed(name, "A number")
    }

    /// A boolean.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.typed(name, "A boolean")
    }

    /// A list of strings.
    pub fn strings(&self, name: &str) -> Result<Option<Vec<String>>, ApiError> {
        self.typed(name, "A list of strings")
    }

    /// A map of strings to strings.
    pub fn string_map(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, ApiError> {
        self.typed(name, "A map of strings")
    }

    /// A map of strings to numbers.
    pub fn number_map(&self, name: &str) -> Result<Option<BTreeMap<String, f64>>, ApiError> {
        self.typed(name, "A map of numbers")
    }

    /// A structure.
    pub fn object(&self, name: &str) -> Result<Option<Members<'a>>, ApiError> {
        Ok(self.typed(name, "An object")?.map(Members))
    }

    /// A map of structures.
    pub fn object_map(&self, name: &str) -> Result<Option<BTreeMap<String, Members<'a>>>, ApiError> {
        let map: Option<BTreeMap<String, HashMap<String, &'a RawValue>>> =
            self.typed(name, "A map of objects")?;
        Ok(map.map(|map| map.into_iter().map(|(key, value)| (key, Members(value))).collect()))
    }

    /// A list of structures.
    pub fn objects(&self, name: &str) -> Result<Option<Vec<Members<'a>>>, ApiError> {
        let list: Option<Vec<HashMap<String, &'a RawValue>>> = self.typed(name, "A list of objects")?;
        Ok(list.map(|list| list.into_iter().map(Members).collect()))
    }
}

fn wrong_type(wanted: &str) -> ApiError {
    ApiError::serialization(format!("{wanted} was expected where the request holds another type."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_absence_and_unknown_members() {
        let body = br#"{"A":"x\ny","B":7,"C":true,"D":["p"],"E":{"k":"v"},"F":null,"G":[{"H":1}],"Z":{}}"#;
        let members = Members::parse(body).unwrap();
        assert_eq!(members.string("A").unwrap().as_deref(), Some("x\ny"));
        assert_eq!(members.text("A").unwrap().as_deref(), Some("x\ny"));
        assert_eq!(members.integer("B").unwrap(), Some(7));
        assert_eq!(members.boolean("C").unwrap(), Some(true));
        assert_eq!(members.strings("D").unwrap(), Some(vec!["p".to_owned()]));
        assert_eq!(members.string_map("E").unwrap().unwrap()["k"], "v");
        assert_eq!(members.string("F").unwrap(), None);
        assert!(!members.has("F") && !members.has("nothing"));
        assert_eq!(members.objects("G").unwrap().unwrap()[0].integer("H").unwrap(), Some(1));
        for wrong in [members.string("B").err(), members.strings("E").err(), members.object("D").err()] {
            assert_eq!(wrong.unwrap().code, "SerializationException");
        }
        assert_eq!(members.integer("A").unwrap_err().code, "SerializationException");
    }

    #[test]
    fn text_without_escapes_is_not_copied() {
        let body = br#"{"ZipFile":"QUJD"}"#;
        let members = Members::parse(body).unwrap();
        assert!(matches!(members.text("ZipFile").unwrap(), Some(Cow::Borrowed("QUJD"))));
    }

    #[test]
    fn bodies_that_are_no_object() {
        assert!(Members::parse(b"").unwrap().0.is_empty());
        assert_eq!(Members::parse(b"{").unwrap_err().code, "InvalidRequestContentException");
        assert_eq!(Members::parse(b"nonsense").unwrap_err().code, "InvalidRequestContentException");
        assert_eq!(Members::parse(b"[1]").unwrap_err().code, "SerializationException");
    }
}
