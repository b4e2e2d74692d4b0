//! The two opaque texts that name a place in an execution: checkpoint tokens and callback ids.
//!
//! Both are base64, as the API model's patterns ask. Neither can be guessed: each holds a random number that only the
//! running invocation, or whoever was given the callback, has seen.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

const ID_BYTES: usize = 16;

/// `CheckpointToken`: one moment of one invocation. Each checkpoint consumes it and gives the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointToken {
    /// The execution.
    pub execution: Uuid,
    /// The invocation that may checkpoint.
    pub invocation: Uuid,
    /// How many checkpoints the execution has had.
    pub number: u64,
}

impl CheckpointToken {
    /// The text a function is given.
    pub fn text(&self) -> String {
        let mut bytes = Vec::with_capacity(2 * ID_BYTES + 8);
        bytes.extend_from_slice(self.execution.as_bytes());
        bytes.extend_from_slice(self.invocation.as_bytes());
        bytes.extend_from_slice(&self.number.to_be_bytes());
        STANDARD.encode(bytes)
    }

    /// `None` for what no token looks like.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        let (execution, rest) = bytes.split_first_chunk::<ID_BYTES>()?;
        let (invocation, number) = rest.split_first_chunk::<ID_BYTES>()?;
        Some(Self {
            execution: Uuid::from_bytes(*execution),
            invocation: Uuid::from_bytes(*invocation),
            number: u64::from_be_bytes(number.try_into().ok()?),
        })
    }
}

/// `CallbackId`: one callback of one execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallbackToken {
    /// The execution.
    pub execution: Uuid,
    /// The random number of the callback.
    pub nonce: Uuid,
}

impl CallbackToken {
    /// The text a function gives away.
    pub fn text(&self) -> String {
        STANDARD.encode([self.execution.into_bytes(), self.nonce.into_bytes()].concat())
    }

    /// `None` for what no callback id looks like.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 2 * ID_BYTES] = STANDARD.decode(text).ok()?.try_into().ok()?;
        let (execution, rest) = bytes.split_first_chunk::<ID_BYTES>()?;
        Some(Self { execution: Uuid::from_bytes(*execution), nonce: Uuid::from_bytes(rest.try_into().ok()?) })
    }
}
