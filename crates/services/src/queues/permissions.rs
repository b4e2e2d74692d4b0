//! AddPermission and RemovePermission: statements of a queue's policy by their labels.
//!
//! The document is kept as AWS makes it; who may do what is decided by `authorize`, not by it.

use crate::queues::lifecycle::store;
use crate::queues::stored::find;
use crate::queues::{QueueAddress, QueueError, Queues};
use serde_json::{Map, Value, json};

/// Actions of a statement. Source: AddPermission.
const ACTIONS: usize = 7;
/// Statements of a policy. Source: quotas of policies.
const STATEMENTS: usize = 20;
/// What another account may be allowed.
const GRANTED: &[&str] = &[
    "*",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "PurgeQueue",
    "ReceiveMessage",
    "SendMessage",
];

impl Queues {
    /// Adds a statement. Fails with `QueueDoesNotExist`, `InvalidParameterValue`, `OverLimit`.
    pub async fn add_permission(
        &self,
        address: &QueueAddress,
        label: String,
        accounts: Vec<String>,
        actions: Vec<String>,
    ) -> Result<(), QueueError> {
        check_label(&label)?;
        if accounts.is_empty() {
            return Err(QueueError::MissingParameter("AWSAccountIds"));
        }
        if actions.is_empty() {
            return Err(QueueError::MissingParameter("Actions"));
        }
        if let Some(bad) = accounts.iter().find(|id| lamplight_model::AccountId::parse(id).is_none()) {
            return Err(QueueError::invalid(format!("[{bad}]"), "PrincipalId", "Unable to verify."));
        }
        if let Some(bad) = actions.iter().find(|action| !GRANTED.contains(&action.as_str())) {
            let reason = "Only the queue owner is allowed to invoke this action.";
            return Err(QueueError::invalid(format!("SQS:{bad}"), "ActionName", reason));
        }
        if actions.len() > ACTIONS {
            return Err(QueueError::OverLimit(format!(
                "{} Actions were found, maximum allowed is {ACTIONS}.",
                actions.len()
            )));
        }
        let (address, now) = (address.clone(), self.now());
        self.write("failed to add a permission", move |connection| {
            let mut queue = find(connection, &address)?;
            let arn = address.arn();
            let mut policy = queue.settings.policy.as_deref().map(read).unwrap_or_else(|| {
                let id = format!("{arn}/SQSDefaultPolicy");
                Map::from_iter([("Version".to_owned(), json!("2008-10-17")), ("Id".to_owned(), json!(id))])
            });
            let mut statements = statements(&mut policy);
            if statements.iter().any(|statement| statement["Sid"] == label.as_str()) {
                return Err(QueueError::invalid(&label, "Label", "Already exists.").into());
            }
            if statements.len() >= STATEMENTS {
                return Err(
                    QueueError::OverLimit(format!("A policy has at most {STATEMENTS} statements.")).into()
                );
            }
            let principals = accounts.iter().map(|id| json!(format!("arn:aws:iam::{id}:root"))).collect();
            let actions = actions.iter().map(|action| json!(format!("SQS:{action}"))).collect();
            statements.push(json!({
                "Sid": label,
                "Effect": "Allow",
                "Principal": {"AWS": one_or_all(principals)},
                "Action": one_or_all(actions),
                "Resource": arn,
            }));
            policy.insert("Statement".to_owned(), statements.into());
            queue.settings.policy = Some(Value::Object(policy).to_string());
            store(connection, &queue, now)
        })
        .await
    }

    /// Removes a statement; the policy with its last one. Fails with `QueueDoesNotExist`, `InvalidParameterValue`.
    pub async fn remove_permission(&self, address: &QueueAddress, label: String) -> Result<(), QueueError> {
        check_label(&label)?;
        let (address, now) = (address.clone(), self.now());
        self.write("failed to remove a permission", move |connection| {
            let mut queue = find(connection, &address)?;
            let mut policy = queue.settings.policy.as_deref().map(read).unwrap_or_default();
            let mut statements = statements(&mut policy);
            let before = statements.len();
            statements.retain(|statement| statement["Sid"] != label.as_str());
            if statements.len() == before {
                return Err(QueueError::invalid(&label, "Label", "can't find label.").into());
            }
            queue.settings.policy = if statements.is_empty() {
                None
            } else {
                policy.insert("Statement".to_owned(), statements.into());
                Some(Value::Object(policy).to_string())
            };
            store(connection, &queue, now)
        })
        .await
    }
}

/// It was checked to be an object when it was set.
fn read(policy: &str) -> Map<String, Value> {
    serde_json::from_str(policy).unwrap_or_default()
}

/// The statements of a policy; a single one may stand without a list.
fn statements(policy: &mut Map<String, Value>) -> Vec<Value> {
    match policy.remove("Statement") {
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
        None => Vec::new(),
    }
}

/// AWS writes a list of one without the list.
fn one_or_all(mut list: Vec<Value>) -> Value {
    if list.len() == 1 { list.remove(0) } else { list.into() }
}

fn check_label(label: &str) -> Result<(), QueueError> {
    let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if label.is_empty() || label.len() > 80 || !plain {
        let reason = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.";
        return Err(QueueError::invalid(label, "Label", reason));
    }
    Ok(())
}
