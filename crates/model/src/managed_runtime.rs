//! The runtime identifiers the Lambda API accepts, and what each means here.
//!
//! Source: Lambda API reference, `Runtime` enumeration.

/// Which family of interpreter runs a runtime identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuntimeFamily {
    /// CPython, by our own bootstrap.
    Python,
    /// Node.js, by our own bootstrap.
    Node,
    /// An executable named `bootstrap` in the package (`provided`, `provided.al2`, `provided.al2023`).
    Provided,
    /// Accepted by create, not run by this release (Java, Go, Ruby, .NET).
    Unserved,
}

/// Every identifier of the API's enumeration, newest families included.
pub const IDENTIFIERS: &[&str] = &[
    "nodejs",
    "nodejs4.3",
    "nodejs4.3-edge",
    "nodejs6.10",
    "nodejs8.10",
    "nodejs10.x",
    "nodejs12.x",
    "nodejs14.x",
    "nodejs16.x",
    "nodejs18.x",
    "nodejs20.x",
    "nodejs22.x",
    "nodejs24.x",
    "nodejs26.x",
    "java8",
    "java8.al2",
    "java8.al2023",
    "java11",
    "java11.al2023",
    "java17",
    "java17.al2023",
    "java21",
    "java25",
    "python2.7",
    "python3.6",
    "python3.7",
    "python3.8",
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "python3.15",
    "dotnetcore1.0",
    "dotnetcore2.0",
    "dotnetcore2.1",
    "dotnetcore3.1",
    "dotnet6",
    "dotnet8",
    "dotnet10",
    "go1.x",
    "ruby2.5",
    "ruby2.7",
    "ruby3.2",
    "ruby3.3",
    "ruby3.4",
    "ruby4.0",
    "provided",
    "provided.al2",
    "provided.al2023",
];

/// Whether the Lambda API's enumeration holds `identifier`.
pub fn is_known(identifier: &str) -> bool {
    IDENTIFIERS.contains(&identifier)
}

/// The family of a known identifier.
pub fn family(identifier: &str) -> RuntimeFamily {
    if identifier.starts_with("python3") {
        RuntimeFamily::Python
    } else if identifier.starts_with("nodejs") {
        RuntimeFamily::Node
    } else if identifier.starts_with("provided") {
        RuntimeFamily::Provided
    } else {
        RuntimeFamily::Unserved
    }
}
