//! How long to wait before the next attempt, if there is time.
//!
//! Goes in: how often it failed, what the other side asked for, the time left, a random number.
//! Comes out: a wait, or the advice to give up. It never waits and asks for no time.

use std::time::Duration;

/// The bound of the wait after the first failure; it doubles with each further one.
pub const WAIT_FIRST_MAX: Duration = Duration::from_millis(500);
/// No wait within one invocation is longer, unless the endpoint asked for it.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// A `Retry-After` longer than this is taken for this: a slip there must not stop us for a day.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(5 * 60);
/// The bound of the delay of a message after its first attempt without progress.
pub const RETURN_FIRST_MAX: Duration = Duration::from_secs(30);
/// No message that is handed back stays away longer.
pub const RETURN_MAX: Duration = Duration::from_secs(15 * 60);

/// What a last attempt is given, of something that has to be said by a certain time.
pub const LAST_ATTEMPT_TIME: Duration = Duration::from_millis(500);

/// What to do after a failure that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Wait(Duration),
    /// The wait would outlast the time that is left.
    GiveUp,
}

/// The wait after `failures` failures in a row, one or more: exponential, with full jitter, so
/// that many clients that failed together do not come back together.
///
/// What the endpoint asked for (`after`) comes on top, at most [`RETRY_AFTER_MAX`] of it. `left` is
/// the time until the next attempt has to begin. `random` is uniform over all of `u64`.
pub fn before_next_attempt(
    failures: u32,
    after: Option<Duration>,
    left: Duration,
    random: u64,
) -> Next {
    let jitter = share(doubled(WAIT_FIRST_MAX, failures, WAIT_MAX), random);
    let wait = jitter + asked_for(after);
    if wait <= left {
        Next::Wait(wait)
    } else {
        Next::GiveUp
    }
}

/// As [`before_next_attempt`], for what has to be said before `left` has passed: no wait is longer than `longest`, and
/// where there is no time for another wait as long as it would be, one last attempt begins [`LAST_ATTEMPT_TIME`]
/// before the end.
pub fn before_last_word(failures: u32, longest: Duration, left: Duration, random: u64) -> Next {
    let wait = share(doubled(WAIT_FIRST_MAX, failures, longest), random);
    match left.checked_sub(LAST_ATTEMPT_TIME) {
        Some(left) if !left.is_zero() => Next::Wait(wait.min(left)),
        Some(_) | None => Next::GiveUp,
    }
}

/// Why a message goes back to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// Time ran out, and the checkpoint went forward.
    Progress,
    /// Another holder has the object's lease for this much longer.
    Held { remaining: Duration },
    /// This many claims in a row, one or more, got nowhere.
    NoProgress { attempts: u32 },
}

/// How long a message stays away that is handed back to the queue: at once after progress, the
/// lease's remainder when another holds it, else a backoff. Never longer than [`RETURN_MAX`], and
/// never shorter than what the endpoint asked for (`after`, at most [`RETRY_AFTER_MAX`] of it).
///
/// The backoff is between half of its bound and the whole: a delay of nearly nothing would use up
/// the object's attempts within one short outage.
pub fn return_delay(why: Return, after: Option<Duration>, random: u64) -> Duration {
    let delay = match why {
        Return::Progress => Duration::ZERO,
        Return::Held { remaining } => remaining.min(RETURN_MAX),
        Return::NoProgress { attempts } => {
            let half = doubled(RETURN_FIRST_MAX, attempts, RETURN_MAX) / 2;
            half + share(half, random)
        }
    };
    delay.max(asked_for(after))
}

/// The longest that [`return_delay`] keeps a message away whose work made progress, or made none.
pub fn return_delay_max(progress: bool, after: Option<Duration>) -> Duration {
    match progress {
        true => asked_for(after),
        false => RETURN_MAX,
    }
}

fn asked_for(after: Option<Duration>) -> Duration {
    after.unwrap_or_default().min(RETRY_AFTER_MAX)
}

/// `first`, doubled for every time after the first one, at most `max`.
fn doubled(first: Duration, times: u32, max: Duration) -> Duration {
    let factor = 1_u32
        .checked_shl(times.saturating_sub(1))
        .unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(max)
}

/// `random` chooses a duration from zero to `whole`, to the microsecond.
fn share(whole: Duration, random: u64) -> Duration {
    let micros = (whole.as_micros() * u128::from(random)) >> 64;
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn any_duration() -> impl Strategy<Value = Duration> {
        (0_u64..10_000_000).prop_map(Duration::from_millis)
    }

    fn longest_wait(failures: u32) -> Duration {
        match before_next_attempt(failures, None, HOUR, u64::MAX) {
            Next::Wait(wait) => wait,
            Next::GiveUp => panic!("an hour is enough"),
        }
    }

    #[test]
    fn the_longest_wait_doubles_up_to_its_bound() {
        let millis: Vec<u128> = (1..=8).map(|n| longest_wait(n).as_millis()).collect();
        assert_eq!(millis, [499, 999, 1999, 3999, 7999, 15999, 29999, 29999]);
        assert!(longest_wait(u32::MAX) <= WAIT_MAX);
    }

    #[test]
    fn an_absurd_retry_after_is_bounded() {
        let day = Some(24 * HOUR);
        assert_eq!(
            before_next_attempt(1, day, HOUR, 0),
            Next::Wait(RETRY_AFTER_MAX)
        );
        assert_eq!(return_delay(Return::Progress, day, 0), RETRY_AFTER_MAX);
    }

    #[test]
    fn a_message_comes_back_at_once_after_progress() {
        assert_eq!(
            return_delay(Return::Progress, None, u64::MAX),
            Duration::ZERO
        );
    }

    #[test]
    fn a_message_waits_for_the_lease_of_another_holder() {
        let remaining = Duration::from_secs(41);
        assert_eq!(return_delay(Return::Held { remaining }, None, 7), remaining);
    }

    #[test]
    fn a_message_without_progress_waits_longer_each_time() {
        let secs: Vec<u64> = (1..=7)
            .map(|attempts| return_delay(Return::NoProgress { attempts }, None, 0).as_secs())
            .collect();
        assert_eq!(secs, [15, 30, 60, 120, 240, 450, 450]);
    }

    proptest! {
        #[test]
        fn a_last_word_is_tried_until_the_time_is_up(
            left in any_duration(), longest in any_duration(), random in any::<u64>(),
        ) {
            let mut rest = left;
            for failures in 1.. {
                match before_last_word(failures, longest, rest, random) {
                    Next::Wait(wait) => {
                        prop_assert!(wait <= longest);
                        rest -= wait;
                        prop_assert!(rest >= LAST_ATTEMPT_TIME);
                        // The attempt itself takes some time, too.
                        rest -= Duration::from_millis(100);
                    }
                    Next::GiveUp => {
                        prop_assert!(rest <= LAST_ATTEMPT_TIME);
                        break;
                    }
                }
            }
        }

        #[test]
        fn a_wait_never_outlasts_the_time_left_nor_undercuts_retry_after(
            failures in 1_u32..80,
            after in prop::option::of(any_duration()),
            left in any_duration(),
            random: u64,
        ) {
            let asked_for = after.unwrap_or_default().min(RETRY_AFTER_MAX);
            match before_next_attempt(failures, after, left, random) {
                Next::Wait(wait) => {
                    prop_assert!(wait <= left);
                    prop_assert!(wait >= asked_for);
                    prop_assert!(wait <= asked_for + WAIT_MAX);
                }
                Next::GiveUp => prop_assert!(left < asked_for + WAIT_MAX),
            }
        }

        #[test]
        fn a_message_never_stays_away_longer_than_the_bound(
            attempts in 1_u32..80,
            remaining in any_duration(),
            after in prop::option::of(any_duration()),
            random: u64,
        ) {
            for why in [
                Return::Progress,
                Return::Held { remaining },
                Return::NoProgress { attempts },
            ] {
                prop_assert!(return_delay(why, after, random) <= RETURN_MAX);
            }
            let after_progress = return_delay(Return::Progress, after, random);
            prop_assert!(after_progress <= return_delay_max(true, after));
            prop_assert!(return_delay_max(true, after) <= return_delay_max(false, after));
        }
    }
}
