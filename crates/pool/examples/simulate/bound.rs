//! The least any policy could have started for, knowing the future: a lower bound, computed by prices of memory.
//!
//! A start is saved by keeping an instance from the end of one call to the next call of its function. Which end is kept
//! for which call does not matter for how many wait when, so it is enough to consider the pairs where the instance that
//! waited shortest is taken. To choose among these intervals with at most so much memory in use at any time is a
//! packing problem. Its Lagrangian dual bounds what can be saved from above for *any* prices of memory: what all the
//! memory costs at these prices, plus what each interval saves beyond the price of its own. Starts ahead of a call save
//! nothing here: they are starts. Prices are found by raising them where too much is wanted and lowering them elsewhere;
//! a bad price makes the bound weak, never wrong.

use crate::trace::Trace;

/// Times with a price of their own.
const SLOTS: usize = 1_440;
/// Rounds of finding prices.
const ROUNDS: u32 = 300;

struct Interval {
    from_s: f64,
    to_s: f64,
    memory_mib: f64,
    saved_s: f64,
}

/// Seconds of starts, cold and ahead together, that no policy can do without on a node with `cap_mib` of memory.
pub fn least_started_seconds(trace: &Trace, cap_mib: u64) -> f64 {
    let all_s: f64 =
        trace.calls.iter().map(|call| trace.functions[call.function].cold_start.as_secs_f64()).sum();
    (all_s - most_saved_seconds(trace, cap_mib)).max(0.0)
}

fn most_saved_seconds(trace: &Trace, cap_mib: u64) -> f64 {
    let (first_ms, last_ms) = trace.span_ms();
    let slot_ms = (last_ms - first_ms).div_ceil(SLOTS as u64).max(1);
    let slot_s = slot_ms as f64 / 1_000.0;
    let intervals = intervals(trace);
    let room = room(trace, cap_mib, slot_ms);
    // To begin with: memory costs what an average interval would pay for it.
    let (saved, taken) = intervals.iter().fold((0.0, 0.0), |(saved, taken), interval| {
        (saved + interval.saved_s, taken + interval.memory_mib * (interval.to_s - interval.from_s))
    });
    let mut prices = vec![if taken > 0.0 { saved / taken } else { 0.0 }; SLOTS];
    let mut best = saved;
    for round in 0..ROUNDS {
        let (bound, wanted) = evaluate(&intervals, &room, &prices, slot_s);
        best = best.min(bound);
        let step = 3.0 / (1.0 + f64::from(round) / 10.0).sqrt();
        for ((price, wanted), room) in prices.iter_mut().zip(&wanted).zip(&room) {
            let excess = (wanted - room) / (wanted + room).max(1e-9);
            *price *= (step * excess).exp();
        }
    }
    best
}

/// What at most can be saved at these prices (per MiB and second), and what is wanted of each slot then (MiB-seconds).
fn evaluate(intervals: &[Interval], room: &[f64], prices: &[f64], slot_s: f64) -> (f64, Vec<f64>) {
    // What one MiB costs from the beginning until the beginning of each slot.
    let mut paid = Vec::with_capacity(SLOTS + 1);
    paid.push(0.0);
    for price in prices {
        paid.push(paid.last().copied().unwrap_or(0.0) + price * slot_s);
    }
    let slot_of = |at_s: f64| ((at_s / slot_s) as usize).min(SLOTS - 1);
    let paid_until = |at_s: f64| {
        let slot = slot_of(at_s);
        paid[slot] + prices[slot] * (at_s - slot as f64 * slot_s)
    };
    let mut bound: f64 = prices.iter().zip(room).map(|(price, room)| price * room).sum();
    // Memory that begins and ends to be wanted with a slot, and what is to be added within one.
    let (mut changes, mut within) = (vec![0.0; SLOTS + 1], vec![0.0; SLOTS]);
    for interval in intervals {
        let gain = interval.saved_s
            - interval.memory_mib * (paid_until(interval.to_s) - paid_until(interval.from_s));
        if gain <= 0.0 {
            continue;
        }
        bound += gain;
        let (from, to) = (slot_of(interval.from_s), slot_of(interval.to_s));
        // From the beginning of its first slot to the beginning of its last, less what it missed, plus the rest.
        changes[from] += interval.memory_mib;
        changes[to] -= interval.memory_mib;
        within[from] -= interval.memory_mib * (interval.from_s - from as f64 * slot_s);
        within[to] += interval.memory_mib * (interval.to_s - to as f64 * slot_s);
    }
    let mut level = 0.0;
    let wanted = within.iter().zip(&changes).map(|(within, change)| {
        level += change;
        level * slot_s + within
    });
    (bound, wanted.collect())
}

/// Where an instance could wait for a call that would otherwise start one; seconds from the first arrival.
fn intervals(trace: &Trace) -> Vec<Interval> {
    let first_ms = trace.span_ms().0;
    let seconds = |at_ms: u64| (at_ms - first_ms) as f64 / 1_000.0;
    // Ends before arrivals at the same time, as in the node.
    let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(trace.calls.len() * 2);
    for call in &trace.calls {
        events.push((call.arrival_ms, true, call.function));
        events.push((call.arrival_ms + call.duration_ms, false, call.function));
    }
    events.sort_by_key(|(at_ms, arrives, _)| (*at_ms, *arrives));
    let mut waiting: Vec<Vec<u64>> = vec![Vec::new(); trace.functions.len()];
    let mut intervals = Vec::new();
    for (at_ms, arrives, function) in events {
        if !arrives {
            waiting[function].push(at_ms);
        } else if let Some(since_ms) = waiting[function].pop() {
            let described = &trace.functions[function];
            intervals.push(Interval {
                from_s: seconds(since_ms),
                to_s: seconds(at_ms),
                memory_mib: described.memory_mib as f64,
                saved_s: described.cold_start.as_secs_f64(),
            });
        }
    }
    intervals
}

/// What running instances leave of each slot, MiB-seconds.
fn room(trace: &Trace, cap_mib: u64, slot_ms: u64) -> Vec<f64> {
    let first_ms = trace.span_ms().0;
    let mut changes: Vec<(u64, i64)> = Vec::with_capacity(trace.calls.len() * 2);
    for call in &trace.calls {
        let memory_mib = i64::try_from(trace.functions[call.function].memory_mib).unwrap_or(i64::MAX);
        changes.push((call.arrival_ms - first_ms, memory_mib));
        changes.push((call.arrival_ms - first_ms + call.duration_ms, -memory_mib));
    }
    changes.sort_unstable();
    let mut room = vec![0.0; SLOTS];
    let (mut running_mib, mut at_ms) = (0_i64, 0);
    for (change_ms, change_mib) in changes {
        let free_mib = (cap_mib as f64 - running_mib as f64).max(0.0);
        // In whole milliseconds: what is put into the wrong slot makes the bound wrong.
        while at_ms < change_ms {
            let slot = at_ms / slot_ms;
            let step_end_ms = ((slot + 1) * slot_ms).min(change_ms);
            room[(slot as usize).min(SLOTS - 1)] += free_mib * (step_end_ms - at_ms) as f64 / 1_000.0;
            at_ms = step_end_ms;
        }
        running_mib += change_mib;
    }
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(calls: &[(u64, &str)]) -> Trace {
        let lines: Vec<String> =
            calls.iter().map(|(second, function)| format!("{},{function}", second * 1_000)).collect();
        Trace::parse(&format!(
            "arrival_ms,function,duration_ms,memory_mib,cold_start_ms\n{}\n",
            lines.join("\n")
        ))
        .unwrap()
    }

    #[test]
    fn with_room_for_all_each_function_starts_once() {
        let calls =
            [(0, "a,1000,10,500"), (100, "b,1000,10,200"), (200, "a,1000,10,500"), (300, "b,1000,10,200")];
        let check = |cap_mib, expected: f64, within: f64| {
            let bound_s = least_started_seconds(&trace(&calls), cap_mib);
            assert!((expected - within..=expected + 1e-9).contains(&bound_s), "{cap_mib} MiB: {bound_s}");
        };
        check(20, 0.7, 0.01);
        // Whoever waits has to go when the other runs.
        check(10, 1.4, 0.01);
        check(0, 1.4, 1e-6);
    }

    #[test]
    fn with_room_for_one_the_dearest_is_kept() {
        // Two waits that overlap, of calls that take next to no time.
        let calls = [(0, "a,1,10,900"), (5, "b,1,10,200"), (400, "a,1,10,900"), (405, "b,1,10,200")];
        let check = |cap_mib, expected: f64| {
            let bound_s = least_started_seconds(&trace(&calls), cap_mib);
            // The millisecond in which the other runs costs a little more.
            assert!((expected - 0.02..=expected + 0.001).contains(&bound_s), "{cap_mib} MiB: {bound_s}");
        };
        check(20, 1.1);
        check(10, 1.3);
        // Nobody keeps half an instance, but the bound allows for it.
        check(15, 1.2);
        check(0, 2.2);
    }

    #[test]
    fn simultaneous_calls_need_instances_of_their_own() {
        let calls =
            [(0, "a,5000,10,100"), (1, "a,5000,10,100"), (100, "a,1000,10,100"), (100, "a,1000,10,100")];
        let bound_s = least_started_seconds(&trace(&calls), 1_000);
        assert!((0.19..=0.2 + 1e-9).contains(&bound_s), "{bound_s}");
    }
}
