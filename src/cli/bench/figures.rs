//! Medians, ratios and percentiles. Pure.
//!
//! Contract: what cannot be said (a median of nothing, a ratio to zero) is `None`, and never a number.

/// The value in the middle, or the mean of the two there.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some((lower + upper) / 2.0)
}

/// The smallest of `sorted` that so large a share of all does not exceed.
pub fn percentile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// How often the one goes into the other, run by run: of runs of one number, so that what else the machine did meanwhile
/// is in both.
pub fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).filter(|ratio| ratio.is_finite()).collect()
}

/// What per second, or per anything else; `None` for a span of nothing.
pub fn per(count: f64, span: f64) -> Option<f64> {
    Some(count / span).filter(|rate| rate.is_finite())
}

/// Whole numbers with their thousands set apart: 1,234,567.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle_and_of_nothing_there_is_none() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median([f64::NAN, 7.0]), Some(7.0), "what could not be measured does not count");
        assert_eq!(median([]), None);
    }

    #[test]
    fn a_percentile_is_a_value_that_was_seen() {
        let all: Vec<u64> = (1..=1000).collect();
        let at = |share| percentile(&all, share);
        assert_eq!([at(0.5), at(0.99), at(0.999), at(1.0)], [Some(500), Some(990), Some(999), Some(1000)]);
        assert_eq!(
            (percentile(&[7], 0.5), percentile(&[7], 0.0), percentile(&[], 0.5)),
            (Some(7), Some(7), None)
        );
    }

    #[test]
    fn ratios_are_of_one_run_each() {
        // The machine was twice as slow in the second run: the ratio is the same.
        assert_eq!(ratios(&[3.0, 6.0], &[2.0, 4.0]), [1.5, 1.5]);
        assert_eq!(ratios(&[3.0, 1.0], &[0.0, 1.0]), [1.0], "nothing is a multiple of zero");
        assert_eq!((per(10.0, 2.0), per(1.0, 0.0)), (Some(5.0), None));
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
