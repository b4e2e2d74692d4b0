//! `key create|list|delete|disable|enable`: access keys for requests that must be signed.

use crate::cli::{Global, Key};
use crate::client::{Client, segment};
use crate::failure::Failure;
use crate::output;
use http::{Method, StatusCode};
use lamplight_model::Timestamp;
use lamplight_model::credentials::named_policy;
use serde_json::{Value, json};

const KEYS: &str = "/lamplight/v1/keys";
/// Policies that have names, as they are shown.
const NAMES: [&str; 2] = ["all", "invoke-only"];

/// Does one of them.
pub async fn run(global: &Global, client: &Client, command: &Key) -> Result<u8, Failure> {
    match command {
        Key::Create { name, policy } => create(global, client, name, policy).await,
        Key::List => list(global, client).await,
        Key::Delete { id } => {
            about(client, Method::DELETE, id, None).await?;
            output::line(format!("deleted {id}"));
            Ok(0)
        }
        Key::Disable { id } => switch(client, id, "Inactive", "refused until it is enabled again").await,
        Key::Enable { id } => switch(client, id, "Active", "good again").await,
    }
}

async fn create(global: &Global, client: &Client, name: &str, policy: &str) -> Result<u8, Failure> {
    let mut request = json!({ "UserName": name });
    if let Some(document) = document(policy)? {
        request["Policy"] = json!(document);
    }
    let key = client.json(Method::POST, KEYS, Some(&request)).await?;
    if global.json {
        output::json(&key);
        return Ok(0);
    }
    let text = |member: &str| key.get(member).and_then(Value::as_str).unwrap_or_default();
    output::line(format!("export AWS_ACCESS_KEY_ID={}", text("AccessKeyId")));
    output::line(format!("export AWS_SECRET_ACCESS_KEY={}", text("SecretAccessKey")));
    output::remark(format!("the key of user {name}; its secret is not shown again"));
    Ok(0)
}

/// The document that `--policy` means; `None` for none.
fn document(policy: &str) -> Result<Option<String>, Failure> {
    if policy == "none" {
        return Ok(None);
    }
    if let Some(document) = named_policy(policy) {
        return Ok(Some(document.to_owned()));
    }
    let refused = |why: String| {
        Failure::usage(format!("{policy} is no policy"))
            .because(why)
            .then("--policy all, --policy invoke-only or --policy none")
            .then("or name a file with an IAM policy document")
    };
    let document = std::fs::read_to_string(policy).map_err(|error| refused(error.to_string()))?;
    lamplight_model::policy::check(&document).map_err(refused)?;
    Ok(Some(document))
}

async fn list(global: &Global, client: &Client) -> Result<u8, Failure> {
    let answer = client.json(Method::GET, KEYS, None).await?;
    if global.json {
        output::json(&answer);
        return Ok(0);
    }
    let rows = answer.get("Keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        output::remark("there are no keys; lamplight key create --name NAME makes one");
        return Ok(0);
    }
    let mut table = output::table(&["id", "user", "status", "policy", "created", "last used"]);
    for row in rows {
        let text = |member: &str| row.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
        let policy = match row.get("Policy").and_then(Value::as_str) {
            None => "none",
            Some(document) => {
                NAMES.into_iter().find(|name| named_policy(name) == Some(document)).unwrap_or("its own")
            }
        };
        let last_used = match row.get("LastUsed") {
            Some(used) => {
                let service = used.get("ServiceName").and_then(Value::as_str).unwrap_or_default();
                format!("{} ({service})", moment(used.get("Date")))
            }
            None => "never".to_owned(),
        };
        table.add_row([
            text("AccessKeyId"),
            text("UserName"),
            text("Status"),
            policy.to_owned(),
            moment(row.get("CreateDate")),
            last_used,
        ]);
    }
    output::print_table(&table);
    Ok(0)
}

fn moment(value: Option<&Value>) -> String {
    value.and_then(Value::as_i64).map(|milliseconds| Timestamp(milliseconds).iso_format()).unwrap_or_default()
}

async fn switch(client: &Client, id: &str, status: &str, means: &str) -> Result<u8, Failure> {
    about(client, Method::PUT, id, Some(&json!({ "Status": status }))).await?;
    output::line(format!("{id} is {means}"));
    Ok(0)
}

/// A request about one key; an unknown one is explained.
async fn about(client: &Client, method: Method, id: &str, body: Option<&Value>) -> Result<(), Failure> {
    let answer = client.send_json(method, &format!("{KEYS}/{}", segment(id)), body).await?;
    if answer.status.is_success() {
        return Ok(());
    }
    let failure = client.refusal(&answer).into_failure();
    Err(match answer.status {
        StatusCode::NOT_FOUND => failure.then("lamplight key list"),
        _ => failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_by_name_or_file() {
        assert_eq!(document("none").unwrap(), None);
        assert_eq!(document("all").unwrap().as_deref(), named_policy("all"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.json");
        let path = path.to_str().unwrap();
        let failure = document(path).unwrap_err();
        assert!(failure.text().contains("is no policy") && failure.text().contains("invoke-only"));
        std::fs::write(path, "{}").unwrap();
        assert!(document(path).unwrap_err().text().contains("Statement"));
        std::fs::write(path, named_policy("all").unwrap()).unwrap();
        assert_eq!(document(path).unwrap().as_deref(), named_policy("all"));
    }
}
