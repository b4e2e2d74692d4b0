//! Who asks, and what for. `authorize` stands before every operation of every front door.

use crate::scope::Scope;

/// The identity behind a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Anyone on the loopback listener, until there is authentication.
    Loopback,
    /// A function calling through its own instance's listener.
    Function {
        /// The scope of the function.
        scope: Scope,
        /// The unqualified ARN of the function.
        arn: String,
        /// The role ARN it was configured with.
        role: String,
    },
}

/// What a caller wants to do, e.g. `Invoke` of `lambda`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action<'a> {
    /// `lambda`, `logs`, `iam`, `sts`, ...
    pub service: &'a str,
    /// The operation's name in that service.
    pub operation: &'a str,
}

/// Whether `caller` may do `action`.
///
/// Loopback may do everything. A function may by default invoke functions, ask who it is, and checkpoint: that it does so for
/// its own executions only, the operations see to. What its role's policies allow beside that is decided where they are stored
/// (`api::access`).
pub fn authorize(caller: &Caller, action: Action<'_>) -> bool {
    match caller {
        Caller::Loopback => true,
        Caller::Function { .. } => {
            matches!(
                (action.service, action.operation),
                ("lambda", "Invoke" | "InvokeWithResponseStream" | "InvokeAsync")
                    | ("lambda", "CheckpointDurableExecution" | "GetDurableExecutionState")
                    | ("sts", "GetCallerIdentity")
            )
        }
    }
}
