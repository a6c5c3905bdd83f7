//! Random numbers that depend on a seed alone.

use std::cell::Cell;

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At least `from`, less than `to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.bits() % (to - from).max(1)
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        (self.bits() >> 11) as f64 / ((1_u64 << 53) as f64) < probability
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.between(0, of.len() as u64) as usize].clone()
    }

    /// Every magnitude as likely as every other.
    pub fn log_between(&mut self, from: u64, to: u64) -> u64 {
        let (low, high) = ((from.max(1) as f64).ln(), (to as f64).ln());
        let share = self.between(0, 1 << 30) as f64 / f64::from(1 << 30);
        (low + (high - low) * share).exp() as u64
    }
}

thread_local! {
    static PRODUCT: Cell<u64> = const { Cell::new(0) };
}

/// Seeds what [`product_random`] gives on this thread, where one world at a time runs.
pub fn seed_product(seed: u64) {
    PRODUCT.set(seed ^ 0x5bd1_e995_9d1b_54a3);
}

/// The random number port of everything that is under test.
pub fn product_random() -> u64 {
    let mut random = Random(PRODUCT.get());
    let bits = random.bits();
    PRODUCT.set(random.0);
    bits
}
