//! Fits an interpreter's heap to the memory of its function.

use lamplight_model::managed_runtime::RuntimeFamily;

/// What Node.js holds besides its old generation: code, stacks, buffers of the runtime; MiB.
const NODE_OVERHEAD_MIB: u32 = 48;

/// `command` with the options that `memory_mib` asks for.
///
/// Node.js sizes its heap by the host's memory, which it takes for its own: without these options it collects
/// garbage only when the limit of the function has long killed it. The shares (90 % old generation, 5 % semi-space)
/// are those of AWS's own start script; small functions get room for what is not heap. Python needs nothing.
pub fn sized_command(command: &[String], family: RuntimeFamily, memory_mib: u32) -> Vec<String> {
    let mut sized = command.to_vec();
    if family == RuntimeFamily::Node && !sized.is_empty() {
        let old_mib = (memory_mib * 9 / 10).min(memory_mib.saturating_sub(NODE_OVERHEAD_MIB)).max(16);
        let semi_mib = (memory_mib / 20).clamp(1, 16);
        sized.splice(
            1..1,
            [format!("--max-old-space-size={old_mib}"), format!("--max-semi-space-size={semi_mib}")],
        );
    }
    sized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_heap_is_sized() {
        let command = ["/usr/bin/node".to_owned(), "/var/runtime/bootstrap.cjs".to_owned()];
        let check = |family, memory_mib, expected: &str| {
            assert_eq!(sized_command(&command, family, memory_mib).join(" "), expected);
        };
        let node = |options: &str| format!("/usr/bin/node {options} /var/runtime/bootstrap.cjs");
        check(RuntimeFamily::Node, 128, &node("--max-old-space-size=80 --max-semi-space-size=6"));
        check(RuntimeFamily::Node, 1024, &node("--max-old-space-size=921 --max-semi-space-size=16"));
        check(RuntimeFamily::Node, 10_240, &node("--max-old-space-size=9216 --max-semi-space-size=16"));
        check(RuntimeFamily::Python, 128, "/usr/bin/node /var/runtime/bootstrap.cjs");
        assert!(sized_command(&[], RuntimeFamily::Node, 128).is_empty());
    }
}
