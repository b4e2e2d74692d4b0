//! JSON in which no key is there twice.
//!
//! `serde_json::Value` keeps the last of several values of one key. In a policy the others would silently not count: a condition
//! would be gone.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// A value without repeated keys, at whatever depth; reading one with some fails.
#[derive(Debug)]
pub(super) struct Distinct(pub Value);

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON without repeated keys")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Distinct(value)) = access.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let Distinct(value) = access.next_value()?;
            if members.contains_key(&key) {
                return Err(A::Error::custom(format_args!("{key} is there twice")));
            }
            members.insert(key, value);
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_there_once() {
        for good in [r#"{"a":[{"b":1},{"b":-1.5}],"b":{"a":null,"A":true}}"#, r#""a""#, "7"] {
            assert_eq!(serde_json::from_str::<Distinct>(good).unwrap().0.to_string(), good);
        }
        for wrong in [r#"{"a":1,"a":1}"#, r#"[{"x":{"a":[],"b":1,"\u0061":[]}}]"#] {
            let said = serde_json::from_str::<Distinct>(wrong).unwrap_err().to_string();
            assert!(said.starts_with("a is there twice"), "{said}");
        }
    }
}
