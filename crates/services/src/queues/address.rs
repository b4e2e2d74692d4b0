//! Which queue is meant: account, region and name. Its ARN says the same.

use crate::queues::QueueError;
use lamplight_model::{AccountId, Region, Scope};

/// Characters of a name.
const NAME_LENGTH: usize = 80;

/// Names a queue, whether there is one or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueAddress {
    /// Account and region.
    pub scope: Scope,
    /// Its name; that of a FIFO queue ends with `.fifo`.
    pub name: String,
}

impl QueueAddress {
    /// A queue of a scope.
    pub fn new(scope: &Scope, name: impl Into<String>) -> Self {
        Self { scope: scope.clone(), name: name.into() }
    }

    /// Reads `arn:aws:sqs:<region>:<account>:<name>`; `None` for anything else.
    pub fn from_arn(arn: &str) -> Option<Self> {
        let parts: Vec<&str> = arn.split(':').collect();
        match parts.as_slice() {
            ["arn", Scope::PARTITION, "sqs", region, account, name] if !name.is_empty() => Some(Self {
                scope: Scope { account: AccountId::parse(account)?, region: Region::parse(region)? },
                name: (*name).to_owned(),
            }),
            _ => None,
        }
    }

    /// Its ARN.
    pub fn arn(&self) -> String {
        self.scope.arn("sqs", &self.name)
    }

    /// Checks the name of a queue to be created. Fails with `InvalidParameterValue`.
    pub(crate) fn check(&self, fifo: bool) -> Result<(), QueueError> {
        let stem = if fifo { self.name.strip_suffix(".fifo").unwrap_or_default() } else { &self.name };
        let plain = stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if !stem.is_empty() && plain && self.name.len() <= NAME_LENGTH {
            return Ok(());
        }
        Err(QueueError::InvalidParameterValue(if fifo {
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end \
             with .fifo suffix and be 1 to 80 in length."
                .to_owned()
        } else {
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length".to_owned()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_come_back() {
        let address = QueueAddress::new(&Scope::default(), "orders.fifo");
        assert_eq!(address.arn(), "arn:aws:sqs:us-east-1:000000000000:orders.fifo");
        assert_eq!(QueueAddress::from_arn(&address.arn()), Some(address));
        for bad in [
            "",
            "dummy",
            "arn:aws:sns:us-east-1:000000000000:a",
            "arn:aws:sqs:us-east-1:1:a",
            "arn:aws:sqs:us-east-1:000000000000:",
        ] {
            assert_eq!(QueueAddress::from_arn(bad), None, "{bad}");
        }
    }

    #[test]
    fn names() {
        let good = |name: &str, fifo| QueueAddress::new(&Scope::default(), name).check(fifo).is_ok();
        assert!(good("a", false) && good(&"a".repeat(80), false) && good("A_b-1.fifo", true));
        assert!(
            !good("", false)
                && !good(&"a".repeat(81), false)
                && !good("a.fifo", false)
                && !good("a b", false)
        );
        assert!(!good("a", true) && !good(".fifo", true) && !good(&format!("{}.fifo", "a".repeat(76)), true));
    }
}
