//! GetParameter, GetParameters, GetParameterHistory, DeleteParameter and DeleteParameters.

use super::parameter::{self, Parameter, Version, arn};
use super::{error, list};
use crate::access;
use crate::http::{ApiError, Context, Members};
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use lamplight_model::Scope;
use serde_json::{Value, json};

/// Names of one request.
const NAMES: usize = 10;

/// A parameter as requests name it: by name or ARN, with a version behind a colon.
struct Reference {
    /// Names it may have: an ARN does not tell `x` from `/x`.
    names: Vec<String>,
    /// `:3`, as it stands in the answer.
    selector: Option<String>,
}

impl Reference {
    /// ARNs of another account or region name nothing here.
    fn parse(scope: &Scope, text: &str) -> Self {
        let (name, is_arn) = match text.strip_prefix(&scope.arn("ssm", "parameter/")) {
            Some(name) => (name, true),
            None if text.starts_with("arn:") => return Self { names: vec![text.to_owned()], selector: None },
            None => (text, false),
        };
        let (name, selector) = match name.split_once(':') {
            Some((name, selector)) => (name, Some(format!(":{selector}"))),
            None => (name, None),
        };
        let names = match is_arn {
            true if name.contains('/') => vec![format!("/{name}")],
            true => vec![name.to_owned(), format!("/{name}")],
            false => vec![name.to_owned()],
        };
        Self { names, selector }
    }

    fn arn(&self, context: &Context) -> String {
        arn(context, self.names.first().map_or("", String::as_str))
    }
}

/// AWS says nothing more here.
fn not_found() -> ApiError {
    error("ParameterNotFound", "")
}

/// The parameter and the version that is meant. Fails with `ParameterNotFound` or `ParameterVersionNotFound`.
async fn resolve(
    state: &ApiState,
    context: &Context,
    reference: &Reference,
) -> Result<(Parameter, Version), ApiError> {
    let mut found = None;
    for name in &reference.names {
        found = parameter::find(state, context, name).await?;
        if found.is_some() {
            break;
        }
    }
    let parameter = found.ok_or_else(not_found)?;
    let Some(selector) = reference.selector.as_deref().and_then(|selector| selector.strip_prefix(':')) else {
        let newest = parameter.newest.clone();
        return Ok((parameter, newest));
    };
    let absent = |what: &str| {
        error(
            "ParameterVersionNotFound",
            format!(
                "Systems Manager could not find {what} {selector} of {}. Verify the {what} and try again.",
                parameter.name
            ),
        )
    };
    // Versions have no labels here.
    let number: u64 = selector.parse().map_err(|_| absent("label"))?;
    if number == parameter.newest.number {
        let newest = parameter.newest.clone();
        return Ok((parameter, newest));
    }
    let older = parameter::older_versions(state, context, &parameter).await?;
    let version = older.into_iter().find(|version| version.number == number);
    let version = version.ok_or_else(|| absent("version"))?;
    Ok((parameter, version))
}

/// GetParameter.
pub async fn get(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let reference = Reference::parse(&context.scope, &name(members)?);
    access::authorize(state, context, "ssm", "GetParameter", &reference.arn(context)).await?;
    let decrypt = members.boolean("WithDecryption")?.unwrap_or(false);
    let (parameter, version) = resolve(state, context, &reference).await?;
    Ok(json!({"Parameter": selected(context, &reference, &parameter, &version, decrypt)}))
}

fn selected(
    context: &Context,
    reference: &Reference,
    parameter: &Parameter,
    version: &Version,
    decrypt: bool,
) -> Value {
    let mut value = parameter.value_json(context, version, decrypt);
    if let Some(selector) = &reference.selector {
        value["Selector"] = selector.as_str().into();
    }
    value
}

/// GetParameters. What is not there is told, and fails nothing.
pub async fn get_many(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let names = names(members)?;
    for name in &names {
        let arn = Reference::parse(&context.scope, name).arn(context);
        access::authorize(state, context, "ssm", "GetParameters", &arn).await?;
    }
    let decrypt = members.boolean("WithDecryption")?.unwrap_or(false);
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    for name in names {
        let reference = Reference::parse(&context.scope, &name);
        match resolve(state, context, &reference).await {
            Ok((parameter, version)) => {
                found.push(selected(context, &reference, &parameter, &version, decrypt))
            }
            Err(error) if error.status.is_server_error() => return Err(error),
            Err(_) => absent.push(name),
        }
    }
    Ok(json!({"Parameters": found, "InvalidParameters": absent}))
}

/// GetParameterHistory, oldest first.
pub async fn history(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    const LIST: &str = "ssm-history";
    let reference = Reference::parse(&context.scope, &name(members)?);
    access::authorize(state, context, "ssm", "GetParameterHistory", &reference.arn(context)).await?;
    let limit = list::page_rows(members, 50)?;
    let after: u64 = list::token(members, LIST)?.unwrap_or(0);
    let decrypt = members.boolean("WithDecryption")?.unwrap_or(false);
    let whole = Reference { selector: None, ..reference };
    let (parameter, newest) = resolve(state, context, &whole).await?;
    let mut versions = parameter::older_versions(state, context, &parameter).await?;
    versions.push(newest);
    versions.retain(|version| version.number > after);
    let more = versions.len() > limit;
    versions.truncate(limit);
    let rows = versions.iter().map(|version| {
        let mut row = version.metadata(&parameter.name);
        row.insert("Value".to_owned(), version.shown_value(decrypt).into());
        row.insert("Labels".to_owned(), json!([]));
        Value::Object(row)
    });
    let last = versions.last().filter(|_| more).map(|last| last.number);
    Ok(list::answer(LIST, rows.collect(), last.as_ref()))
}

/// DeleteParameter.
pub async fn delete(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let name = name(members)?;
    let reference = Reference::parse(&context.scope, &name);
    access::authorize(state, context, "ssm", "DeleteParameter", &reference.arn(context)).await?;
    let _turn = state.parameter_writes.lock().await;
    let exists = parameter::delete(state, context, &name).await?;
    if exists { Ok(json!({})) } else { Err(not_found()) }
}

/// DeleteParameters.
pub async fn delete_many(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
) -> Result<Value, ApiError> {
    let names = names(members)?;
    for name in &names {
        access::authorize(state, context, "ssm", "DeleteParameters", &arn(context, name)).await?;
    }
    let _turn = state.parameter_writes.lock().await;
    let (mut deleted, mut absent) = (Vec::new(), Vec::new());
    for name in names {
        match parameter::delete(state, context, &name).await? {
            true => deleted.push(name),
            false => absent.push(name),
        }
    }
    Ok(json!({"DeletedParameters": deleted, "InvalidParameters": absent}))
}

/// `Name`.
fn name(members: &Members<'_>) -> Result<String, ApiError> {
    let mut violations = Violations::default();
    let name = members.string("Name")?;
    match &name {
        None => violations.missing("name"),
        Some(name) if name.is_empty() => {
            violations.add("", "name", "Member must have length greater than or equal to 1");
        }
        Some(name) => violations.length(name, "name", 2_048),
    }
    violations.finish()?;
    Ok(name.unwrap_or_default())
}

/// `Names`, each once.
fn names(members: &Members<'_>) -> Result<Vec<String>, ApiError> {
    let mut violations = Violations::default();
    let names = members.strings("Names")?;
    match &names {
        None => violations.missing("names"),
        Some(names) => {
            let shown = format!("[{}]", names.join(", "));
            if names.is_empty() {
                violations.add(shown, "names", "Member must have length greater than or equal to 1");
            } else if names.len() > NAMES {
                violations.add(
                    shown,
                    "names",
                    format!("Member must have length less than or equal to {NAMES}"),
                );
            }
        }
    }
    violations.finish()?;
    let mut once: Vec<String> = Vec::new();
    for name in names.unwrap_or_default() {
        if !once.contains(&name) {
            once.push(name);
        }
    }
    Ok(once)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let check = |text: &str, names: &[&str], selector: Option<&str>| {
            let reference = Reference::parse(&Scope::default(), text);
            assert_eq!(reference.names, names, "{text}");
            assert_eq!(reference.selector.as_deref(), selector, "{text}");
        };
        check("x", &["x"], None);
        check("/a/b:3", &["/a/b"], Some(":3"));
        check("arn:aws:ssm:us-east-1:000000000000:parameter/x", &["x", "/x"], None);
        check("arn:aws:ssm:us-east-1:000000000000:parameter/a/b:2", &["/a/b"], Some(":2"));
        // No parameter is called so.
        let elsewhere = "arn:aws:ssm:eu-west-1:000000000000:parameter/x";
        check(elsewhere, &[elsewhere], None);
    }
}
