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

/// What a caller wants to do, as `service:Operation`, e.g. `lambda:Invoke`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action<'a>(pub &'a str);

/// Whether `caller` may do `action`.
///
/// Loopback may do everything. A function may by default invoke functions and ask who it is.
pub fn authorize(caller: &Caller, action: Action<'_>) -> bool {
    match caller {
        Caller::Loopback => true,
        Caller::Function { .. } => {
            matches!(action.0, "lambda:Invoke" | "sts:GetCallerIdentity")
        }
    }
}
