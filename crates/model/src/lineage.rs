//! How often functions have been invoked in one chain of requests: the member `Lineage` of the trace header.
//!
//! ```text
//! Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:1|68fd508a:5
//! ```
//! Each function has an entry, the hash of its name and the number of its invocations. SDKs inside functions hand the header on
//! (`_X_AMZN_TRACE_ID`), queues keep it (`AWSTraceHeader`), destinations get it. Source: X-Ray developer guide, "Tracing header";
//! Lambda developer guide, "Recursive loop detection". How AWS hashes nobody has published; nobody else reads it.

use crate::name::FunctionName;
use crate::scope::Scope;

/// Invocations of a function in one chain; the next is stopped. Source: AWS Compute Blog, "Detecting and stopping recursive
/// loops": "drops requests after exceeding 16 invocations".
pub const INVOCATIONS_IN_A_CHAIN: u32 = 16;
/// Functions counted in one chain; with more, those counted least give way.
const ENTRIES: usize = 32;
const MEMBER: &str = "Lineage=";
/// What SDKs make of the separator: botocore quotes the header.
const QUOTED_SEPARATOR: &str = "%7C";

/// A chain of requests that has reached a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The trace header to hand on.
    pub header: String,
    /// How often the function has been invoked in the chain, this time included.
    pub invocations: u32,
}

/// The chain that goes on with an invocation of this function. Entries that cannot be read are left out.
pub fn continued(header: &str, scope: &Scope, function: &FunctionName) -> Chain {
    let (rest, value) = take_apart(header);
    let hash = format!("{:08x}", hash(scope, function));
    let value = readable(value);
    let mut entries: Vec<(&str, u32)> = entries_of(&value).collect();
    let invocations = match entries.iter_mut().find(|(of, _)| *of == hash) {
        Some((_, count)) => {
            *count = count.saturating_add(1);
            *count
        }
        None => {
            let least = entries.iter().enumerate().min_by_key(|(_, (_, count))| *count);
            if let Some((at, _)) = least.filter(|_| entries.len() >= ENTRIES) {
                entries.remove(at);
            }
            entries.push((&hash, 1));
            1
        }
    };
    let entries: Vec<String> = entries.iter().map(|(hash, count)| format!("{hash}:{count}")).collect();
    Chain { header: join(&rest, &format!("{MEMBER}{}", entries.join("|"))), invocations }
}

/// How often this function has been invoked in the chain.
pub fn invocations(header: &str, scope: &Scope, function: &FunctionName) -> u32 {
    let hash = format!("{:08x}", hash(scope, function));
    let value = readable(take_apart(header).1);
    entries_of(&value).find(|(of, _)| *of == hash).map_or(0, |(_, count)| count)
}

/// Of chains that one invocation goes on with, the header of the one in which no function has been invoked as often as some
/// function in the others; the first of equals. `None` without any.
///
/// Chains that have invoked the invoked function equally often lose nothing by it: every loop that leads here counts that one.
pub fn shortest<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = |header: &&str| {
        let value = readable(take_apart(header).1);
        entries_of(&value).map(|(_, count)| count).max().unwrap_or(0)
    };
    headers.into_iter().min_by_key(most)
}

/// The trace header of a chain that begins anew.
pub fn without(header: &str) -> String {
    take_apart(header).0
}

/// The header without the member, and the member's value.
fn take_apart(header: &str) -> (String, &str) {
    let (mut rest, mut value) = (String::with_capacity(header.len() + 16), "");
    for member in header.split(';').map(str::trim).filter(|member| !member.is_empty()) {
        match member.strip_prefix(MEMBER) {
            Some(found) => value = found,
            None => {
                if !rest.is_empty() {
                    rest.push(';');
                }
                rest.push_str(member);
            }
        }
    }
    (rest, value)
}

/// The entries of a member's value; of a value that is longer than any that is made here, the first ones: headers come from
/// anybody.
fn entries_of(value: &str) -> impl Iterator<Item = (&str, u32)> {
    value.split('|').take(ENTRIES).filter_map(entry)
}

fn readable(value: &str) -> String {
    value.replace(QUOTED_SEPARATOR, "|").replace("%7c", "|")
}

fn join(members: &str, next: &str) -> String {
    if members.is_empty() { next.to_owned() } else { format!("{members};{next}") }
}

fn entry(text: &str) -> Option<(&str, u32)> {
    let (hash, count) = text.split_once(':')?;
    let plain = hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then_some((hash, count.parse().ok()?))
}

/// FNV-1a, 32 bits. Two functions of one chain that share a hash by chance share their bound.
fn hash(scope: &Scope, function: &FunctionName) -> u32 {
    let parts = [scope.account.as_str(), "/", scope.region.as_str(), "/", function.as_str()];
    parts
        .iter()
        .flat_map(|part| part.bytes())
        .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

    fn name(text: &str) -> FunctionName {
        FunctionName::parse(text).unwrap()
    }

    fn go_on(header: &str, function: &str) -> Chain {
        continued(header, &Scope::default(), &name(function))
    }

    #[test]
    fn each_function_of_a_chain_is_counted_by_itself() {
        let first = go_on(HEADER, "a");
        assert_eq!(first.invocations, 1);
        assert!(first.header.starts_with(&format!("{HEADER};Lineage=")), "{}", first.header);
        let second = go_on(&first.header, "b");
        assert_eq!(second.invocations, 1);
        let third = go_on(&second.header, "a");
        assert_eq!(third.invocations, 2);
        assert_eq!(third.header.matches("Lineage").count(), 1);
        assert_eq!(without(&third.header), HEADER);
        let elsewhere = Scope { region: crate::Region::parse("eu-west-1").unwrap(), ..Scope::default() };
        assert_eq!(continued(&third.header, &elsewhere, &name("a")).invocations, 1);
    }

    #[test]
    fn quoted_separators_are_read_and_nonsense_is_left_out() {
        let both = go_on(&go_on(HEADER, "a").header, "b").header;
        assert_eq!(go_on(&both.replace('|', "%7C"), "a").invocations, 2);
        assert_eq!(go_on(&both.replace('|', "%7c"), "b").invocations, 2);
        for wrong in ["Lineage=", "Lineage=x", "Lineage=12345678:-1", "Lineage=1234567:1|:|::", ";;", ""] {
            assert_eq!(go_on(wrong, "a").invocations, 1, "{wrong}");
        }
        let huge = format!("Lineage={:08x}:{}", hash(&Scope::default(), &name("a")), u32::MAX);
        assert_eq!(go_on(&huge, "a").invocations, u32::MAX);
    }

    #[test]
    fn a_chain_of_many_functions_stays_bounded_and_keeps_those_of_the_loop() {
        let mut header = HEADER.to_owned();
        for round in 0..20 {
            header = go_on(&header, "loop").header;
            for number in 0..10 {
                header = go_on(&header, &format!("f{}", round * 10 + number)).header;
            }
        }
        assert_eq!(go_on(&header, "loop").invocations, 21);
        assert!(header.len() < 600, "{}", header.len());
    }

    /// Times grow with the length, not with its square: this would take minutes.
    #[test]
    fn long_headers_of_anybody_are_read_in_time() {
        let members = "a;".repeat(1 << 20);
        let entries: Vec<String> = (0..800_000_u32).map(|number| format!("{number:08x}:1")).collect();
        let lineage = format!("{MEMBER}{}", entries.join("|"));
        for header in [members.as_str(), lineage.as_str()] {
            let begun = std::time::Instant::now();
            assert_eq!(go_on(header, "a").invocations, 1);
            assert_eq!(invocations(header, &Scope::default(), &name("a")), 0);
            assert!(begun.elapsed() < std::time::Duration::from_secs(20));
        }
        assert_eq!(go_on(&lineage, "a").header.matches(':').count(), ENTRIES);
    }

    #[test]
    fn one_invocation_goes_on_with_several_chains() {
        let chain = |root: &str, function: &str, invocations: u32| {
            (0..invocations).fold(root.to_owned(), |header, _| go_on(&header, function).header)
        };
        let count = |header: &str| invocations(header, &Scope::default(), &name("a"));
        let (long, short) = (chain("Root=1", "a", 16), chain("Root=2", "b", 3));
        assert_eq!(
            (count(&long), count(&long.replace(':', "%")), count(&short), count("Root=3")),
            (16, 0, 0, 0)
        );
        assert_eq!(count(&chain(&short, "a", 2).replace('|', QUOTED_SEPARATOR)), 2);
        assert_eq!(shortest([long.as_str(), &short, &chain("Root=4", "c", 3)]), Some(short.as_str()));
        assert_eq!(shortest(["Root=3", "Root=4"]), Some("Root=3"));
        assert_eq!(shortest([]), None);
    }
}
