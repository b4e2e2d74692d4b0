//! Conditional requests, decided. Source: RFC 9110, 13.2.2, and S3's user guide, "Conditional requests".

use crate::objects::ObjectError;
use lamplight_model::Timestamp;

/// What a condition compares an entity tag with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tag {
    /// `*`: any object.
    Any,
    /// This entity tag, without quotes.
    Is(String),
}

impl Tag {
    fn matches(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Is(tag) => tag == etag,
        }
    }
}

/// Conditions of a read, or on the source of a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadConditions {
    /// `If-Match`.
    pub if_match: Option<Tag>,
    /// `If-None-Match`.
    pub if_none_match: Option<Tag>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<Timestamp>,
}

/// What the conditions of a read say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Proceed,
    /// The client has it: 304 for a read, a failed condition for a copy.
    NotModified(&'static str),
    /// Refuse; the header's name.
    Failed(&'static str),
}

impl ReadConditions {
    /// Decides for an object. HTTP dates have whole seconds, so times are compared by the second.
    pub fn check(&self, etag: &str, modified: Timestamp) -> Verdict {
        let second = |time: Timestamp| time.as_millis().div_euclid(1_000);
        match &self.if_match {
            Some(tag) if !tag.matches(etag) => return Verdict::Failed("If-Match"),
            // A tag that matches outweighs the date.
            Some(_) => {}
            None => {
                if self.if_unmodified_since.is_some_and(|since| second(modified) > second(since)) {
                    return Verdict::Failed("If-Unmodified-Since");
                }
            }
        }
        match &self.if_none_match {
            Some(tag) if tag.matches(etag) => Verdict::NotModified("If-None-Match"),
            Some(_) => Verdict::Proceed,
            None => match self.if_modified_since {
                Some(since) if second(modified) <= second(since) => Verdict::NotModified("If-Modified-Since"),
                _ => Verdict::Proceed,
            },
        }
    }
}

/// Conditions of a write or deletion, decided in the same transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteConditions {
    /// `If-Match`: only over this object.
    pub if_match: Option<Tag>,
    /// `If-None-Match: *`: only where there is none.
    pub if_absent: bool,
}

impl WriteConditions {
    /// Decides for the object's present entity tag. Fails with `PreconditionFailed`, or `NoSuchKey` when an object that
    /// must match is not there.
    pub fn check(&self, present: Option<&str>) -> Result<(), ObjectError> {
        if self.if_absent && present.is_some() {
            return Err(ObjectError::PreconditionFailed("If-None-Match"));
        }
        match (&self.if_match, present) {
            (Some(_), None) => Err(ObjectError::NoSuchKey),
            (Some(tag), Some(etag)) if !tag.matches(etag) => Err(ObjectError::PreconditionFailed("If-Match")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads() {
        let is = |tag: &str| Some(Tag::Is(tag.to_owned()));
        let at = |seconds: i64| Some(Timestamp(seconds * 1_000));
        let check = |conditions: ReadConditions, expected| {
            // Half a second past ten.
            assert_eq!(conditions.check("e", Timestamp(10_500)), expected, "{conditions:?}");
        };
        let none = ReadConditions::default;
        check(none(), Verdict::Proceed);
        check(ReadConditions { if_match: is("e"), ..none() }, Verdict::Proceed);
        check(ReadConditions { if_match: Some(Tag::Any), ..none() }, Verdict::Proceed);
        check(ReadConditions { if_match: is("x"), ..none() }, Verdict::Failed("If-Match"));
        check(ReadConditions { if_none_match: is("e"), ..none() }, Verdict::NotModified("If-None-Match"));
        check(
            ReadConditions { if_none_match: is("x"), if_modified_since: at(99), ..none() },
            Verdict::Proceed,
        );
        check(
            ReadConditions { if_modified_since: at(10), ..none() },
            Verdict::NotModified("If-Modified-Since"),
        );
        check(ReadConditions { if_modified_since: at(9), ..none() }, Verdict::Proceed);
        check(ReadConditions { if_unmodified_since: at(10), ..none() }, Verdict::Proceed);
        check(
            ReadConditions { if_unmodified_since: at(9), ..none() },
            Verdict::Failed("If-Unmodified-Since"),
        );
        check(ReadConditions { if_match: is("e"), if_unmodified_since: at(9), ..none() }, Verdict::Proceed);
    }

    #[test]
    fn writes() {
        let check = |conditions: &WriteConditions, present: Option<&str>, expected: &str| {
            let got = conditions.check(present).err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(got, expected, "{conditions:?} {present:?}");
        };
        let absent = WriteConditions { if_absent: true, ..WriteConditions::default() };
        check(&absent, None, "");
        check(&absent, Some("e"), "condition If-None-Match does not hold");
        let matching = WriteConditions { if_match: Some(Tag::Is("e".to_owned())), ..Default::default() };
        check(&matching, Some("e"), "");
        check(&matching, Some("x"), "condition If-Match does not hold");
        check(&matching, None, "the object does not exist");
    }
}
