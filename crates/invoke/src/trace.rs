//! The trace header of calls that bring none. Every invocation has one: SDKs inside functions hand it on, and loops are counted
//! in it (`model::lineage`).

use lamplight_model::Timestamp;

/// A trace of its own, in the form of X-Ray; not sampled, there is nobody to send it to.
pub fn new_header(now: Timestamp) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    let parent = uuid::Uuid::new_v4().simple().to_string();
    format!("Root=1-{:08x}-{};Parent={};Sampled=0", now.as_millis() / 1_000, &random[..24], &parent[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_headers_have_the_form_of_x_ray() {
        let header = new_header(Timestamp(1_768_232_237_000));
        assert!(header.starts_with("Root=1-69651"), "{header}");
        assert_eq!(
            header.len(),
            "Root=1-12345678-123456789012345678901234;Parent=1234567890123456;Sampled=0".len()
        );
    }
}
