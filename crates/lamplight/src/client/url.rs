//! Function URLs: one that everybody may call, and calls over it as any HTTP client makes them.

use super::{Answer, Client, FUNCTIONS, segment};
use crate::failure::Failure;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

/// What lets everybody call a URL without a signature. Both are needed.
/// Source: Lambda guide, "Control access to Lambda function URLs".
const STATEMENTS: [(&str, &str, &str); 2] = [
    ("FunctionURLAllowPublicAccess", "lambda:InvokeFunctionUrl", "FunctionUrlAuthType"),
    ("FunctionURLInvokeAllowPublicAccess", "lambda:InvokeFunction", "InvokedViaFunctionUrl"),
];

impl Client {
    /// `GetFunctionUrlConfig`: the URL and its `AuthType`; `None` when the function has none.
    pub async fn find_url(&self, name: &str) -> Result<Option<(String, String)>, Failure> {
        let path = format!("/2021-10-31/functions/{}/url", segment(name));
        let answer = self.send_json(Method::GET, &path, None).await?;
        if answer.status == StatusCode::NOT_FOUND && self.refusal(&answer).code.is_some() {
            return Ok(None);
        }
        let found = self.read_json(answer)?;
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Ok(Some((text("FunctionUrl"), text("AuthType"))))
    }

    /// Makes a URL that everybody may call, or brings the one there is to `invoke_mode` (`BUFFERED`, `RESPONSE_STREAM`).
    ///
    /// # Errors
    /// A URL that asks for signatures is not opened: that is a decision, and not one of a deployment.
    pub async fn publish_url(&self, name: &str, invoke_mode: &str) -> Result<String, Failure> {
        let path = format!("/2021-10-31/functions/{}/url", segment(name));
        let wanted = json!({ "AuthType": "NONE", "InvokeMode": invoke_mode });
        let method = match self.find_url(name).await? {
            None => Method::POST,
            Some((_, auth_type)) if auth_type == "NONE" => Method::PUT,
            Some(_) => {
                return Err(Failure::usage(format!("the URL of {name} is for signed requests only"))
                    .because("--url would let everybody call it")
                    .then(format!(
                        "aws lambda update-function-url-config --function-name {name} --auth-type NONE"
                    )));
            }
        };
        let configuration = self.json(method, &path, Some(&wanted)).await?;
        for (id, action, condition) in STATEMENTS {
            let value = if condition == "FunctionUrlAuthType" { json!("NONE") } else { json!(true) };
            let request = json!({ "StatementId": id, "Action": action, "Principal": "*", condition: value });
            let path = format!("{FUNCTIONS}/{}/policy", segment(name));
            let answer = self.send_json(Method::POST, &path, Some(&request)).await?;
            // There already.
            if answer.status != StatusCode::CONFLICT {
                self.read_json(answer)?;
            }
        }
        Ok(configuration["FunctionUrl"].as_str().unwrap_or_default().to_owned())
    }

    /// One request to a function URL at `path`. Goes to this client's endpoint, whatever address the URL's name has.
    pub async fn fetch(&self, url: &str, method: Method, path: &str, body: Bytes) -> Result<Answer, Failure> {
        let host = url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/');
        self.exchange(
            method,
            path,
            &[("host", host.to_owned()), ("content-type", "application/json".to_owned())],
            body,
        )
        .await
    }
}
