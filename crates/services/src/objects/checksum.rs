//! Checksums of bodies: MD5 for the entity tag, and the five algorithms S3 stores and returns.
//!
//! Source: S3 user guide, "Checking object integrity".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// A checksum algorithm of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME; what S3 computes when the client sends none.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// What a checksum covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The bytes of the whole object.
    FullObject,
    /// The checksums of its parts, one after the other.
    Composite,
}

/// A stored checksum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// How it was computed.
    pub algorithm: Algorithm,
    /// What it covers.
    pub kind: Kind,
    /// Base64; a composite one ends in `-<parts>`.
    pub value: String,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// S3's name: `CRC32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// By S3's name, without regard to case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The header that carries it: `x-amz-checksum-crc32`.
    pub fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// What a multipart object's checksum covers unless the client says otherwise.
    pub fn default_kind(self) -> Kind {
        if self == Self::Crc64Nvme { Kind::FullObject } else { Kind::Composite }
    }

    /// Whether a multipart object may have a checksum of this kind: CRC-64 only of the whole, SHA only of parts.
    pub fn allows(self, kind: Kind) -> bool {
        match self {
            Self::Crc32 | Self::Crc32c => true,
            Self::Crc64Nvme => kind == Kind::FullObject,
            Self::Sha1 | Self::Sha256 => kind == Kind::Composite,
        }
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    /// The last bytes of a CRC's 64-bit register are its value.
    fn crc_value(self, register: u64) -> Vec<u8> {
        debug_assert!(self.crc().is_some());
        register.to_be_bytes()[8 - self.bytes()..].to_vec()
    }
}

/// Base64 of a checksum or digest; `None` for what is not base64 of `bytes` bytes.
pub fn decode(value: &str, bytes: usize) -> Option<Vec<u8>> {
    STANDARD.decode(value).ok().filter(|decoded| decoded.len() == bytes)
}

/// As S3 writes it.
pub fn encode(value: &[u8]) -> String {
    STANDARD.encode(value)
}

/// Lower-case hexadecimal, as entity tags are written.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

enum State {
    // Boxed: the state of a CRC is a third of a kibibyte.
    Crc(Box<crc_fast::Digest>),
    Sha1(Sha1),
    Sha256(Sha256),
}

/// Computes MD5 and a few checksums in one pass.
pub struct Hasher {
    md5: Md5,
    states: Vec<(Algorithm, State)>,
}

/// What a hasher found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// MD5 of all bytes.
    pub md5: [u8; 16],
    values: Vec<(Algorithm, Vec<u8>)>,
}

impl Digests {
    /// The value of an algorithm that was asked for.
    pub fn get(&self, algorithm: Algorithm) -> Option<&[u8]> {
        self.values.iter().find(|(known, _)| *known == algorithm).map(|(_, value)| value.as_slice())
    }
}

impl Hasher {
    /// For these algorithms; one named twice is computed once.
    pub fn new(algorithms: &[Algorithm]) -> Self {
        let mut states: Vec<(Algorithm, State)> = Vec::new();
        for algorithm in algorithms {
            if states.iter().any(|(known, _)| known == algorithm) {
                continue;
            }
            let state = match (algorithm.crc(), algorithm) {
                (Some(crc), _) => State::Crc(Box::new(crc_fast::Digest::new(crc))),
                (None, Algorithm::Sha1) => State::Sha1(Sha1::new()),
                (None, _) => State::Sha256(Sha256::new()),
            };
            states.push((*algorithm, state));
        }
        Self { md5: Md5::new(), states }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        for (_, state) in &mut self.states {
            match state {
                State::Crc(crc) => crc.update(bytes),
                State::Sha1(sha) => sha.update(bytes),
                State::Sha256(sha) => sha.update(bytes),
            }
        }
    }

    /// The results.
    pub fn finish(self) -> Digests {
        let values = self.states.into_iter().map(|(algorithm, state)| {
            let value = match state {
                State::Crc(crc) => algorithm.crc_value(crc.finalize()),
                State::Sha1(sha) => sha.finalize().to_vec(),
                State::Sha256(sha) => sha.finalize().to_vec(),
            };
            (algorithm, value)
        });
        Digests { md5: self.md5.finalize().into(), values: values.collect() }
    }
}

/// The checksum of an object from those of its parts (value and size each); `None` when a part's is malformed or the
/// algorithm does not allow the kind.
pub fn combine(algorithm: Algorithm, kind: Kind, parts: &[(Vec<u8>, u64)]) -> Option<Checksum> {
    if !algorithm.allows(kind) || parts.iter().any(|(value, _)| value.len() != algorithm.bytes()) {
        return None;
    }
    let value = match kind {
        Kind::Composite => {
            let mut hasher = Hasher::new(&[algorithm]);
            for (value, _) in parts {
                hasher.update(value);
            }
            format!("{}-{}", encode(hasher.finish().get(algorithm)?), parts.len())
        }
        Kind::FullObject => {
            let crc = algorithm.crc()?;
            let register =
                |value: &[u8]| value.iter().fold(0, |register, byte| (register << 8) | u64::from(*byte));
            let mut parts = parts.iter();
            let first = register(&parts.next()?.0);
            let whole = parts.fold(first, |whole, (value, bytes)| {
                crc_fast::checksum_combine(crc, whole, register(value), *bytes)
            });
            encode(&algorithm.crc_value(whole))
        }
    };
    Some(Checksum { algorithm, kind, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(algorithm: Algorithm, bytes: &[u8]) -> Vec<u8> {
        let mut hasher = Hasher::new(&[algorithm, algorithm]);
        hasher.update(bytes);
        hasher.finish().get(algorithm).unwrap().to_vec()
    }

    /// The check values of the CRC catalogue, and the published digests of the empty text.
    #[test]
    fn known_values() {
        assert_eq!(digest(Algorithm::Crc32, b"123456789"), 0xcbf4_3926_u32.to_be_bytes());
        assert_eq!(digest(Algorithm::Crc32c, b"123456789"), 0xe306_9283_u32.to_be_bytes());
        assert_eq!(digest(Algorithm::Crc64Nvme, b"123456789"), 0xae8b_1486_0a79_9888_u64.to_be_bytes());
        assert_eq!(hexadecimal(&digest(Algorithm::Sha1, b"")), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(hexadecimal(&Hasher::new(&[]).finish().md5), "d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn parts_give_the_checksum_of_the_whole() {
        let (first, second) = (vec![7_u8; 100_000], b"the rest".to_vec());
        let whole = [first.clone(), second.clone()].concat();
        for algorithm in Algorithm::ALL {
            let parts = [&first, &second].map(|part| (digest(algorithm, part), part.len() as u64));
            let full = combine(algorithm, Kind::FullObject, &parts);
            let expected = algorithm.allows(Kind::FullObject).then(|| encode(&digest(algorithm, &whole)));
            assert_eq!(full.map(|full| full.value), expected, "{}", algorithm.name());
            let composite = combine(algorithm, Kind::Composite, &parts);
            let of_parts = [parts[0].0.clone(), parts[1].0.clone()].concat();
            let expected = algorithm
                .allows(Kind::Composite)
                .then(|| format!("{}-2", encode(&digest(algorithm, &of_parts))));
            assert_eq!(composite.map(|composite| composite.value), expected, "{}", algorithm.name());
        }
    }
}
