//! Queues as event sources, in process: `services::queues` without HTTP.

mod record;

use crate::source::{EventSource, Received, SourceError, Wanted};
use async_trait::async_trait;
use lamplight_services::queues::{QueueAddress, QueueError, Queues, Receive};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Messages of one receive.
const RECEIVED_AT_ONCE: usize = 10;
/// Seconds that one receive waits at most.
const WAIT_SECONDS: i64 = 20;
/// A queue may have no visibility timeout at all; a message must be held while it is looked at.
const SHORTEST_HOLD: Duration = Duration::from_secs(2);
/// Longest visibility timeout: 12 hours.
const LONGEST_HOLD: Duration = Duration::from_secs(43_200);

/// A queue that is polled.
pub struct QueueSource {
    queues: Queues,
    address: QueueAddress,
}

impl QueueSource {
    /// The queue of this ARN, whether there is one or not. `None` for what is no queue.
    pub fn new(queues: Queues, arn: &str) -> Option<Self> {
        Some(Self { queues, address: QueueAddress::from_arn(arn)? })
    }

    /// For how long the queue hides what was received.
    async fn visibility(&self) -> Result<Duration, SourceError> {
        let described = self.queues.describe(&self.address).await.map_err(trouble)?;
        Ok(Duration::from_secs(described.settings.visibility_timeout).max(SHORTEST_HOLD))
    }

    async fn change_visibility(&self, receipts: &[String], seconds: i64) -> Result<(), SourceError> {
        let changes = receipts.iter().map(|receipt| (receipt.clone(), seconds)).collect();
        // Each for itself: one that is gone or was received again needs no hold.
        self.queues.change_visibility(&self.address, changes).await.map(drop).map_err(trouble)
    }
}

fn trouble(error: QueueError) -> SourceError {
    match error {
        QueueError::QueueDoesNotExist => SourceError::Gone,
        other => SourceError::Failed(other.to_string()),
    }
}

#[async_trait]
impl EventSource for QueueSource {
    async fn receive(&self, wanted: Wanted, stop: &CancellationToken) -> Result<Received, SourceError> {
        let hold = (self.visibility().await? + wanted.longer).min(LONGEST_HOLD);
        let receive = Receive {
            messages: Some(i64::try_from(wanted.most.clamp(1, RECEIVED_AT_ONCE)).unwrap_or(1)),
            visibility_timeout: Some(i64::try_from(hold.as_secs()).unwrap_or(0)),
            wait: Some(WAIT_SECONDS),
            attempt_id: None,
        };
        let enough = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wanted.wait) => {}
            }
        };
        let messages = self.queues.receive_until(&self.address, receive, enough).await.map_err(trouble)?;
        let records = messages.into_iter().map(|message| record::record(&self.address, message)).collect();
        Ok(Received { records, hold })
    }

    async fn done(&self, receipts: &[String]) -> Result<(), SourceError> {
        let deleted = self.queues.delete(&self.address, receipts.to_vec()).await;
        match deleted {
            Ok(deleted) => {
                for refused in deleted.into_iter().filter_map(Result::err) {
                    // Its hold has ended: it comes again, which "at least once" allows.
                    tracing::warn!(queue = self.address.name, %refused, "failed to delete a message that is done");
                }
                Ok(())
            }
            // Its messages are gone with it.
            Err(QueueError::QueueDoesNotExist) => Ok(()),
            Err(error) => Err(trouble(error)),
        }
    }

    async fn hold(&self, receipts: &[String]) -> Result<Duration, SourceError> {
        let hold = self.visibility().await?;
        self.change_visibility(receipts, i64::try_from(hold.as_secs()).unwrap_or(0)).await?;
        Ok(hold)
    }

    async fn give_back(&self, receipts: &[String]) -> Result<(), SourceError> {
        match self.change_visibility(receipts, 0).await {
            Err(SourceError::Gone) => Ok(()),
            other => other,
        }
    }

    fn data_member(&self) -> &'static str {
        "body"
    }

    fn is_ordered(&self) -> bool {
        self.address.name.ends_with(".fifo")
    }
}
