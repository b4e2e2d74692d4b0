//! Members of requests that several of the operations have.

use crate::http::{ApiError, Context, Members};
use crate::lambda::patterns as pattern;
use crate::lambda::validation::Violations;
use lamplight_model::durable::{Action, ErrorObject, OperationKind, Update};

/// Most rows of a page, and those without `MaxItems`. Source: API model, `ItemCount`.
const MOST_ITEMS: i64 = 1_000;
const DEFAULT_ITEMS: usize = 100;
/// Longest delay of a step and longest wait, seconds. Source: API model.
const LONGEST_DELAY_SECONDS: i64 = 31_622_400;
/// Longest timeouts of callbacks, seconds. Source: API model.
const LONGEST_CALLBACK_SECONDS: i64 = 99_999_999;
/// Actions and types, as the model lists them.
const ACTIONS: &[(&str, Action)] = &[
    ("START", Action::Start),
    ("SUCCEED", Action::Succeed),
    ("FAIL", Action::Fail),
    ("RETRY", Action::Retry),
    ("CANCEL", Action::Cancel),
];
const KINDS: &[OperationKind] = &[
    OperationKind::Execution,
    OperationKind::Context,
    OperationKind::Step,
    OperationKind::Wait,
    OperationKind::Callback,
    OperationKind::ChainedInvoke,
];

/// `MaxItems`; 0 asks for the default.
pub fn items(context: &Context, violations: &mut Violations) -> Result<usize, ApiError> {
    let Some(text) = context.parameter("MaxItems") else { return Ok(DEFAULT_ITEMS) };
    let items: i64 = text
        .parse()
        .map_err(|_| ApiError::serialization(format!("'{text}' can not be converted to Integer")))?;
    violations.range(items, "maxItems", 0, MOST_ITEMS);
    Ok(match usize::try_from(items) {
        Ok(0) | Err(_) => DEFAULT_ITEMS,
        Ok(items) => items,
    })
}

/// A boolean of the query string.
pub fn flag(context: &Context, name: &str) -> Result<Option<bool>, ApiError> {
    match context.parameter(name) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(text) => Err(ApiError::serialization(format!("'{text}' can not be converted to Boolean"))),
    }
}

/// 400 for a marker of another list.
pub fn invalid_marker() -> ApiError {
    ApiError::invalid_parameter("Invalid Marker")
}

/// `ErrorObject`.
pub fn error(members: &Members<'_>) -> Result<ErrorObject, ApiError> {
    Ok(ErrorObject {
        error_message: members.string("ErrorMessage")?,
        error_type: members.string("ErrorType")?,
        error_data: members.string("ErrorData")?,
        stack_trace: members.strings("StackTrace")?,
    })
}

/// `ClientToken`.
pub fn client_token(members: &Members<'_>, violations: &mut Violations) -> Result<Option<String>, ApiError> {
    let token = members.string("ClientToken")?;
    if let Some(token) = &token {
        violations.length(token, "clientToken", 64);
        violations.fits(token, "clientToken", &pattern::CLIENT_TOKEN);
    }
    Ok(token)
}

/// `Updates`, as far as they have the shapes of the model; the others are in `violations`.
pub fn updates(members: &Members<'_>, violations: &mut Violations) -> Result<Vec<Update>, ApiError> {
    let list = members.objects("Updates")?.unwrap_or_default();
    let mut updates = Vec::with_capacity(list.len());
    for (index, members) in list.iter().enumerate() {
        let path = format!("updates.{}.member", index + 1);
        updates.extend(update(members, &path, violations)?);
    }
    Ok(updates)
}

fn update(
    members: &Members<'_>,
    path: &str,
    violations: &mut Violations,
) -> Result<Option<Update>, ApiError> {
    let at = |member: &str| format!("{path}.{member}");
    let (id, parent_id) = (members.string("Id")?, members.string("ParentId")?);
    let (name, sub_type) = (members.string("Name")?, members.string("SubType")?);
    let (kind, action) = (members.string("Type")?, members.string("Action")?);
    for (text, member, most, pattern) in [
        (&id, "id", 64, &pattern::OPERATION_ID),
        (&parent_id, "parentId", 64, &pattern::OPERATION_ID),
        (&name, "name", 256, &pattern::OPERATION_NAME),
        (&sub_type, "subType", 32, &pattern::OPERATION_ID),
    ] {
        if let Some(text) = text {
            violations.length(text, &at(member), most);
            violations.fits(text, &at(member), pattern);
        }
    }
    for (absent, member) in [(id.is_none(), "id"), (kind.is_none(), "type"), (action.is_none(), "action")] {
        if absent {
            violations.missing(&at(member));
        }
    }
    let kind_names: Vec<&str> = KINDS.iter().map(|kind| kind.name()).collect();
    let action_names: Vec<&str> = ACTIONS.iter().map(|(name, _)| *name).collect();
    for (text, member, names) in [(&kind, "type", &kind_names), (&action, "action", &action_names)] {
        if let Some(text) = text {
            violations.one_of(text, &at(member), names);
        }
    }
    let mut seconds = |block: &str, member: &str, least: i64, most: i64| -> Result<Option<u32>, ApiError> {
        let Some(value) = members.object(block)?.map(|block| block.integer(member)).transpose()?.flatten()
        else {
            return Ok(None);
        };
        violations.range(value, &at(&format!("{}.{}", lower(block), lower(member))), least, most);
        Ok(u32::try_from(value).ok())
    };
    let next_attempt_delay_seconds =
        seconds("StepOptions", "NextAttemptDelaySeconds", 1, LONGEST_DELAY_SECONDS)?;
    let wait_seconds = seconds("WaitOptions", "WaitSeconds", 1, LONGEST_DELAY_SECONDS)?;
    let callback = seconds("CallbackOptions", "TimeoutSeconds", 0, LONGEST_CALLBACK_SECONDS)?;
    let heartbeat = seconds("CallbackOptions", "HeartbeatTimeoutSeconds", 0, LONGEST_CALLBACK_SECONDS)?;
    let function_name = match members.object("ChainedInvokeOptions")? {
        Some(options) => {
            let name = options.string("FunctionName")?;
            if name.is_none() {
                violations.missing(&at("chainedInvokeOptions.functionName"));
            }
            if options.has("TenantId") {
                return Err(ApiError::invalid_parameter(
                    "TenantId of a chained invoke is not supported by Lamplight yet.",
                ));
            }
            name
        }
        None => None,
    };
    let kind = kind.and_then(|text| KINDS.iter().find(|kind| kind.name() == text));
    let action = action.and_then(|text| ACTIONS.iter().find(|(name, _)| *name == text));
    let (Some(id), Some(kind), Some((_, action))) = (id, kind, action) else { return Ok(None) };
    Ok(Some(Update {
        id,
        parent_id,
        name,
        sub_type,
        kind: *kind,
        action: *action,
        payload: members.string("Payload")?,
        error: members.object("Error")?.map(|error_members| error(&error_members)).transpose()?,
        replay_children: match members.object("ContextOptions")? {
            Some(options) => options.boolean("ReplayChildren")?,
            None => None,
        },
        next_attempt_delay_seconds,
        wait_seconds,
        callback_timeout_seconds: callback.unwrap_or(0),
        heartbeat_seconds: heartbeat.unwrap_or(0),
        function_name,
    }))
}

/// As AWS prints members in texts: `StepOptions` is `stepOptions`.
fn lower(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
