//! What the work takes in memory at worst, and the bounds that fit a function's memory.
//!
//! The README gives the same formula. Bytes, if not said otherwise.

use std::num::NonZeroUsize;

use super::reader::{Reader, Reported};
use super::vars;

const MIB: u64 = 1 << 20;

/// What the settings say of sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub part_bytes: u64,
    pub batch_bytes_max: u64,
    pub record_bytes_max: u64,
}

/// How much is under way at once; none of it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    pub objects_max: usize,
    /// Small objects that are read in the place of one.
    pub small_objects_per_turn: usize,
    pub requests_max: usize,
    pub body_bytes_max: u32,
}

/// Between bytes and records: the block that is decoded, plain and compressed, of at most 2 MiB each, the
/// latter in a vector that doubles; what is gathered for the compressor and what comes out of it, 1 MiB
/// each; the compressor itself.
const CODEC_BYTES: u64 = 9 * MIB;
/// Of one small object that is read: 32 KiB as stored, its compressed block, and less than 256 KiB plain; the
/// shaped records for the compressor and what comes out of it, 1 MiB each; the compressor itself; where at
/// most 128 Ki records begin, in a vector that doubles.
const SMALL_READING_BYTES: u64 = 5 * MIB;
/// The program, its clients and their connections.
const PROGRAM_BYTES: u64 = 24 * MIB;
/// With how much memory one reckons where no function says its own: the template's default.
const MEMORY_MB_DEFAULT: u64 = 256;
/// A function has one CPU from here on (AWS Lambda Developer Guide, "Configure Lambda function memory"),
/// and both of ours use one.
const ONE_CPU_MB: u64 = 1_769;
/// What hides 100 ms of the endpoint's latency with one CPU.
const REQUESTS_MAX: u64 = 10;
const REQUESTS_MIN: u64 = 4;
/// More do not make one CPU any faster.
const OBJECTS_MAX: u64 = 16;

impl Sizes {
    pub(super) fn read(
        part_bytes: Result<NonZeroUsize, Reported>,
        batch_bytes_max: Result<NonZeroUsize, Reported>,
        record_bytes_max: Result<NonZeroUsize, Reported>,
    ) -> Result<Self, Reported> {
        Ok(Self {
            part_bytes: part_bytes?.get() as u64,
            batch_bytes_max: batch_bytes_max?.get() as u64,
            record_bytes_max: record_bytes_max?.get() as u64,
        })
    }

    /// Of one object that is read: two parts; decoder and compressor; the open batch in a vector that doubles; a
    /// record as it is split and as it is shaped.
    fn reading_bytes(&self) -> u64 {
        2 * self.part_bytes + CODEC_BYTES + 2 * self.batch_bytes_max + 2 * self.record_bytes_max
    }

    /// How many small objects take no more than any one.
    fn small_objects_per_turn(&self) -> u64 {
        (self.reading_bytes() / SMALL_READING_BYTES).max(1)
    }

    /// Of a batch that does not compress: its body, and where its records begin. Records of less than 32
    /// bytes take more beside the body, but compress.
    fn batch_bytes(&self) -> u64 {
        self.batch_bytes_max + self.batch_bytes_max / 8
    }

    /// Beside the bodies in flight, each of these one at a time: a body that is cut holds its parts; one
    /// of which records are kept is inflated, and has an entry built; one that is made of others, or
    /// looked into, is inflated and encoded again.
    fn rewriting_bytes(&self) -> u64 {
        4 * self.batch_bytes_max
    }

    /// What objects take at worst, whatever they hold and the endpoint does.
    pub fn working_bytes_max(&self, in_flight: &InFlight) -> u64 {
        in_flight.objects_max as u64 * self.reading_bytes()
            + u64::from(in_flight.body_bytes_max)
            + self.rewriting_bytes()
    }

    /// What a function takes at worst.
    pub fn bytes_max(&self, in_flight: &InFlight) -> u64 {
        PROGRAM_BYTES + self.working_bytes_max(in_flight)
    }
}

/// What is set, and not left to the memory.
#[derive(Default)]
struct Given {
    requests_max: Option<u64>,
    objects_max: Option<u64>,
    body_bytes_max: Option<u64>,
}

impl InFlight {
    /// What is given, and for the rest what a function with so much memory can do: as many requests as
    /// hide the endpoint's latency, memory for as many batches that do not compress, and objects as far
    /// as memory goes.
    fn fitting(memory_mb: u64, sizes: &Sizes, given: &Given) -> Self {
        let always = PROGRAM_BYTES + sizes.rewriting_bytes();
        let left = |taken: u64| (memory_mb * MIB).saturating_sub(taken);
        let requests_max = given.requests_max.unwrap_or_else(|| {
            (memory_mb * REQUESTS_MAX / ONE_CPU_MB).clamp(REQUESTS_MIN, REQUESTS_MAX)
        });
        let body_bytes_max = given.body_bytes_max.unwrap_or_else(|| {
            let reading = given.objects_max.unwrap_or(1) * sizes.reading_bytes();
            let wanted = requests_max * sizes.batch_bytes();
            let bytes = wanted.min(left(always + reading));
            bytes.max(sizes.batch_bytes())
        });
        let objects_max = given.objects_max.unwrap_or_else(|| {
            let bytes = left(always + body_bytes_max);
            (bytes / sizes.reading_bytes()).clamp(1, OBJECTS_MAX)
        });
        Self {
            objects_max: usize::try_from(objects_max).unwrap_or(usize::MAX),
            small_objects_per_turn: usize::try_from(sizes.small_objects_per_turn())
                .unwrap_or(usize::MAX),
            requests_max: usize::try_from(requests_max).unwrap_or(usize::MAX),
            body_bytes_max: u32::try_from(body_bytes_max).unwrap_or(u32::MAX),
        }
    }

    pub(super) fn read(
        reader: &mut Reader<'_>,
        sizes: Result<Sizes, Reported>,
    ) -> Result<Self, Reported> {
        let memory_mb = reader.optional_number(&vars::AWS_LAMBDA_FUNCTION_MEMORY_SIZE);
        let requests_max = reader.optional_number(&vars::REQUESTS_IN_FLIGHT_MAX);
        let objects_max = reader.optional_number(&vars::OBJECTS_IN_FLIGHT_MAX);
        let body_bytes_max = reader.optional_number(&vars::BODY_BYTES_IN_FLIGHT_MAX);
        let memory_mb = memory_mb?.unwrap_or(MEMORY_MB_DEFAULT);
        let given = Given {
            requests_max: requests_max?,
            objects_max: objects_max?,
            body_bytes_max: body_bytes_max?,
        };
        Ok(Self::fitting(memory_mb, &sizes?, &given))
    }
}
