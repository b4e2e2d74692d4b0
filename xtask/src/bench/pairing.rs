//! Interleaved pairs: both sides see the same machine, and each side the same neighbours.
//!
//! ```text
//! ours limit limit ours | limit ours ours limit | ours limit limit ours | ...
//! ```
//!
//! Neighbours of different sides make the pairs. The two limits of a group of four, taken alternately as the one and as
//! the other side, are the A/A check: it must read 0.97 to 1.03, or the run is void and repeated.

use super::cpu::{Look, Noise};
use super::statistics::Ratio;

/// Runs until one is not void.
const ATTEMPTS: u32 = 5;

/// One measured operation or block.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Wall time of one operation, seconds.
    pub seconds: f64,
    /// Processor time of everything that side needed for it, seconds.
    pub cpu_seconds: f64,
}

/// What a run of pairs found.
pub struct Measured {
    /// Ours and the limit.
    pub pairs: Vec<(Sample, Sample)>,
    /// The A/A check.
    pub check: Ratio,
    /// The A/A check of processor time.
    pub cpu_check: Ratio,
    /// How many runs it took; the last one is void when its check is not neutral.
    pub attempts: u32,
    /// What the machine did.
    pub noise: Noise,
}

impl Measured {
    /// Ratio of wall times.
    pub fn ratio(&self) -> Ratio {
        Ratio::of(&self.seconds())
    }

    /// Ratio of processor times.
    pub fn cpu_ratio(&self) -> Ratio {
        Ratio::of_sums(
            &self.pairs.iter().map(|pair| (pair.0.cpu_seconds, pair.1.cpu_seconds)).collect::<Vec<_>>(),
        )
    }

    /// Mean processor times of an operation, ours and the limit's, seconds.
    pub fn cpu_seconds(&self) -> (f64, f64) {
        let mean = |pick: fn(&(Sample, Sample)) -> f64| {
            self.pairs.iter().map(pick).sum::<f64>() / self.pairs.len() as f64
        };
        (mean(|pair| pair.0.cpu_seconds), mean(|pair| pair.1.cpu_seconds))
    }

    /// Wall times.
    pub fn seconds(&self) -> Vec<(f64, f64)> {
        self.pairs.iter().map(|pair| (pair.0.seconds, pair.1.seconds)).collect()
    }

    /// Whether no run was quiet enough.
    pub fn is_void(&self) -> bool {
        !self.check.is_neutral()
    }
}

/// One side: runs one operation or block.
pub type Side<'a> = &'a mut dyn FnMut() -> anyhow::Result<Sample>;

/// Measures `groups` groups of four (two pairs each), up to five times until the A/A check is neutral.
pub fn interleave(groups: usize, attempts: u32, ours: Side<'_>, limit: Side<'_>) -> anyhow::Result<Measured> {
    let mut attempt = 1;
    loop {
        let measured = run_once(groups, attempt, ours, limit)?;
        if !measured.is_void() || attempt >= attempts.min(ATTEMPTS) {
            return Ok(measured);
        }
        attempt += 1;
    }
}

fn run_once(groups: usize, attempt: u32, ours: Side<'_>, limit: Side<'_>) -> anyhow::Result<Measured> {
    let look = Look::now();
    let (mut pairs, mut limits) = (Vec::new(), Vec::new());
    for group in 0..groups.max(1) {
        let (first, second);
        if group % 2 == 0 {
            let before = ours()?;
            first = limit()?;
            second = limit()?;
            pairs.extend([(before, first), (ours()?, second)]);
        } else {
            first = limit()?;
            let between = (ours()?, ours()?);
            second = limit()?;
            pairs.extend([(between.0, first), (between.1, second)]);
        }
        // Taken alternately, so that what the place in the group does to a limit does not look like a difference.
        limits.push(if (group / 2) % 2 == 0 { (first, second) } else { (second, first) });
    }
    let of = |pick: fn(&Sample) -> f64| -> Vec<(f64, f64)> {
        limits.iter().map(|pair| (pick(&pair.0), pick(&pair.1))).collect()
    };
    Ok(Measured {
        pairs,
        check: Ratio::of(&balanced(&of(|sample| sample.seconds))),
        cpu_check: Ratio::of_sums(&of(|sample| sample.cpu_seconds)),
        attempts: attempt,
        noise: look.since(),
    })
}

/// The limits of each group and of the next but one, which has the same order and the sides exchanged, as one pair of geometric
/// means. Were they pairs of their own, an effect of the order would make the ratios fall into two heaps, one the inverse of the other, between
/// which a median is arbitrary. Groups without such a partner stay.
fn balanced(limits: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |one: (f64, f64), other: (f64, f64)| ((one.0 * other.0).sqrt(), (one.1 * other.1).sqrt());
    let fours = limits.chunks_exact(4);
    let rest = fours.remainder().iter().copied();
    fours.flat_map(|four| [mean(four[0], four[2]), mean(four[1], four[3])]).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn neighbours_are_paired_and_a_void_run_is_repeated() {
        let order = RefCell::new(String::new());
        let sample = |seconds: f64| Ok(Sample { seconds, cpu_seconds: 3.0 * seconds });
        let mut ours = || {
            order.borrow_mut().push('o');
            sample(2.0)
        };
        let mut limit = || {
            order.borrow_mut().push('l');
            sample(1.0)
        };
        let measured = interleave(4, 5, &mut ours, &mut limit).unwrap();
        assert_eq!(measured.pairs.len(), 8);
        assert_eq!(measured.ratio().median, 2.0);
        assert_eq!(measured.attempts, 1);
        assert_eq!(*order.borrow(), "ollo lool ollo lool".replace(' ', ""));

        // A limit that only ever becomes slower is no limit.
        let mut now = 1.0;
        let mut slower = || {
            now *= 1.5;
            sample(now)
        };
        let measured = interleave(1, 3, &mut || sample(2.0), &mut slower).unwrap();
        assert!(measured.is_void());
        assert_eq!(measured.attempts, 3);
    }

    #[test]
    fn an_effect_of_the_order_is_balanced_and_one_of_the_sides_is_not() {
        // The first of a group takes 1.4 times as long; the sides change after every second group.
        let order = [(1.4, 1.0), (1.4, 1.0), (1.0, 1.4), (1.0, 1.4), (1.4, 1.0)];
        assert_eq!(Ratio::of(&balanced(&order[..4])).median, 1.0);
        assert_eq!(balanced(&order)[2], (1.4, 1.0));
        let sides = order.map(|(one, other)| (one * 1.1, other));
        assert!((Ratio::of(&balanced(&sides[..4])).median - 1.1).abs() < 1e-9);
    }
}
