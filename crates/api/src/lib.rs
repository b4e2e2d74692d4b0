//! The web-service API: AWS-compatible wire protocols, one folder per service.
//!
//! One port serves them all; `dispatch` tells them apart. Called by the program (loopback listener) and through
//! the pool's platform endpoint (listener inside an instance). Hands work to `store` and `invoke`; never sees
//! `pool`, `sandbox` or `runtime`.
//!
//! ```text
//! connection -> listener -> guard (Host, Origin) -> dispatch -> lambda | s3 | sqs | logs | ssm | secrets | sts | iam | lamplight
//!                                                             authorize, parse, check, do, print
//! ```

mod access;
pub mod apigateway;
pub mod apigatewayv2;
pub mod cloudwatch;
pub mod dispatch;
pub mod http;
pub mod iam;
pub mod lambda;
pub mod lamplight;
pub mod logs;
mod open_api;
pub mod s3;
pub mod secrets;
pub mod sqs;
pub mod ssm;
pub mod state;
pub mod sts;

pub use dispatch::{FrontDoor, function_endpoint, router};
pub use state::{ApiConfig, ApiState, Clock, RuntimeRow};

/// Takes secrets and sessions whose time is over off the disk, in all regions. Gives back how many.
pub async fn forget_expired(state: &ApiState) -> Result<usize, lamplight_store::StoreError> {
    Ok(secrets::forget_expired(state).await? + sts::forget_expired(state).await?)
}
