//! The words and rules of Lamplight: no I/O, no async, no clock.
//!
//! Every other crate speaks in these types. Functions that depend on time take `now`.

pub mod alias;
pub mod billing;
pub mod credentials;
pub mod durable;
pub mod error;
mod error_chain;
pub mod error_document;
pub mod event_pattern;
pub mod event_source_mapping;
pub mod function;
pub mod function_url;
pub mod gateway_url;
pub mod http_api;
pub mod identity;
pub mod invocation;
pub mod layer;
pub mod limits;
pub mod lineage;
mod live;
pub mod log_pattern;
pub mod managed_runtime;
pub mod name;
pub mod policy;
pub mod rate;
pub mod rest_api;
mod run_place;
pub mod scope;
pub mod statistics;
pub mod tenant;
pub mod timestamp;

pub use alias::{AdditionalVersion, Alias};
pub use billing::PriceBook;
pub use error::{ErrorCode, ServiceError};
pub use error_chain::ErrorChain;
pub use event_pattern::EventPattern;
pub use event_source_mapping::EventSourceMapping;
pub use function::{CodeDigest, FunctionVersion, VersionNumber};
pub use function_url::FunctionUrl;
pub use gateway_url::GatewayUrl;
pub use identity::{Action, Caller};
pub use invocation::{ColdStart, Invocation, InvocationReport, Outcome, OutcomeStatus, RequestId, StartKind};
pub use layer::{AttachedLayer, LayerArn, LayerName, LayerStatement, LayerVersion, LayerVersionArn};
pub use live::Live;
pub use log_pattern::FilterPattern;
pub use name::{FunctionName, FunctionReference, Qualifier};
pub use run_place::{RunInstance, RunPlace, RunStage};
pub use scope::{AccountId, Region, Scope};
pub use statistics::{Distribution, Statistic};
pub use tenant::TenantId;
pub use timestamp::Timestamp;
