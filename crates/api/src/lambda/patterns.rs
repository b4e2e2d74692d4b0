//! Patterns of the service model: one text for the check and for the message. Source: botocore 1.44.5.

use regex::Regex;
use std::sync::LazyLock;

/// A pattern that a whole text must match.
pub struct Pattern {
    text: &'static str,
    regex: LazyLock<Option<Regex>>,
}

impl Pattern {
    /// The pattern as it stands in the model.
    pub fn text(&self) -> &'static str {
        self.text
    }

    /// Whether all of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        self.regex.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

/// Declares patterns. The macro is there because a closure that captured the text would not fit into a static.
macro_rules! patterns {
    ($($(#[$comment:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$comment])* pub static $name: Pattern = Pattern {
            text: $text,
            regex: LazyLock::new(|| Regex::new(concat!("^(?:", $text, ")$")).ok()),
        };)*

        #[cfg(test)]
        const ALL: &[&Pattern] = &[$(&$name),*];
    };
}

patterns! {
    /// `AddPermission.StatementId`.
    STATEMENT_ID = r"([a-zA-Z0-9-_]+)";
    /// `RemovePermission.StatementId`.
    NAMESPACED_STATEMENT_ID = r"([a-zA-Z0-9-_.]+)";
    /// `AddPermission.Action`.
    ACTION = r"(lambda:[*]|lambda:[a-zA-Z]+|[*])";
    /// `AddPermission.Principal`.
    PRINCIPAL = r"[^\s]+";
    /// An account.
    ACCOUNT = r"\d{12}";
    /// `AddPermission.PrincipalOrgID`.
    ORGANIZATION = r"o-[a-z0-9]{10,32}";
    /// `AddPermission.EventSourceToken`.
    EVENT_SOURCE_TOKEN = r"[a-zA-Z0-9._\-]+";
    /// Any ARN: sources, signing profiles.
    SOURCE_ARN = r"arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*)";
    /// Destinations of events.
    DESTINATION = r"$|kafka://([^.]([a-zA-Z0-9\-_.]{0,248}))|arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*)";
    /// `ResourceArn` of the resource-policy operations.
    POLICY_RESOURCE_ARN = r"arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:(function:[a-zA-Z0-9-_]+(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_])+)?|runtime/[a-zA-Z0-9-_./]+)";
    /// `RevisionId` of the resource-policy operations.
    REVISION_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    /// `Resource` of the tag operations.
    TAGGABLE_ARN = r"arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|code-signing-config:csc-[a-z0-9]{17}|event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|(capacity-provider|network-connector):[a-zA-Z0-9-_]{1,64})";
    /// ARN of a code-signing configuration.
    CODE_SIGNING_CONFIG_ARN = r"arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:code-signing-config:csc-[a-z0-9]{17}";
    /// `RuntimeVersionArn`.
    RUNTIME_VERSION_ARN = r"((arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}::runtime:.+)|(arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:runtime/[A-Za-z0-9_.-]{1,128}/version/[A-Za-z0-9_.-]{1,128}))";
    /// `FunctionName` of operations that take no qualifier.
    UNQUALIFIED_FUNCTION_NAME = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)";
    /// `CapacityProviderName`.
    CAPACITY_PROVIDER_NAME = r"(arn:aws[a-zA-Z-]*:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:capacity-provider:[a-zA-Z0-9-_]+)|[a-zA-Z0-9-_]+";
    /// `Qualifier` of the scaling configuration.
    SCALED_QUALIFIER = r"(\$LATEST\.PUBLISHED|[0-9]+)";
    /// `Topics` of an event source mapping.
    TOPIC = r"[^.]([a-zA-Z0-9\-_.]+)";
    /// `SourceAccessConfigurations[].URI`.
    SOURCE_ACCESS_URI = r"[ a-zA-Z0-9-\/*:_+=.@-]*";
    /// `SelfManagedEventSource.Endpoints` values.
    ENDPOINT = r"(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])\.)*([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9\-]*[A-Za-z0-9]):[0-9]{1,5}";
    /// `DurableExecutionArn`.
    DURABLE_EXECUTION_ARN = r"arn:([a-zA-Z0-9-]+):lambda:([a-zA-Z0-9-]+):(\d{12}):function:([a-zA-Z0-9_-]+):(\$LATEST(?:\.PUBLISHED)?|[0-9]+)/durable-execution/([a-zA-Z0-9_-]+)/([a-zA-Z0-9_-]+)";
    /// `CheckpointToken` and `CallbackId`.
    BASE64 = r"[A-Za-z0-9+/]+={0,2}";
    /// `OperationId`, `OperationSubType` and `DurableExecutionName`.
    OPERATION_ID = r"[a-zA-Z0-9-_]+";
    /// `OperationName`.
    OPERATION_NAME = r"[\x20-\x7E]+";
    /// `ClientToken` of the operations on durable executions.
    CLIENT_TOKEN = r"[\x21-\x7E]+";
    /// `ProvisionedPollerConfig.PollerGroupName`.
    POLLER_GROUP = r"[a-zA-Z0-9-_]*";
}

/// `Qualifier` of function URLs; what it says about digits needs a look ahead, so it is checked by hand.
pub const URL_QUALIFIER: &str = r"((?!^\d+$)^[0-9a-zA-Z-_]+$)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_one() {
        for pattern in ALL {
            assert!(pattern.regex.is_some(), "{}", pattern.text);
        }
    }

    #[test]
    fn the_whole_text_counts() {
        assert!(
            ACCOUNT.matches("123456789012") && !ACCOUNT.matches("1234567890123") && !ACCOUNT.matches("x")
        );
        assert!(DESTINATION.matches("") && !DESTINATION.matches("sink"));
        assert!(DESTINATION.matches("arn:aws:lambda:us-east-1:000000000000:function:sink"));
        assert!(SOURCE_ARN.matches("arn:aws:s3:::bucket") && !SOURCE_ARN.matches("arn:aws:s3:here::bucket"));
        assert!(TAGGABLE_ARN.matches("arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST"));
        assert!(!TAGGABLE_ARN.matches("f"));
        assert!(
            STATEMENT_ID.matches("a-b_1") && !STATEMENT_ID.matches("a.b") && !STATEMENT_ID.matches("a\n")
        );
    }
}
