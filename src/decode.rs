//! Compressed bytes → plain bytes, told by magic number and never by a name.
//!
//! Goes in: the bytes of an object, in pieces of any size. Comes out: plain bytes, as many as the
//! caller has room for. It never guesses: what is truncated, corrupt or unknown is an error, and the
//! plain bytes before the damage have come out by then.
//!
//! Gzip is read member by member (RFC 1952), any number of them, empty ones and zero padding
//! included; each member's CRC-32 and length are checked.

use flate2::{Crc, Decompress, FlushDecompress, Status};

/// Longest magic number that [`sniff`] looks at.
const MAGIC_BYTES_MAX: usize = 10;

/// Why an object cannot be decoded. None of these is ever a success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ended inside a gzip member.
    #[error("gzip truncated after {input_bytes} bytes")]
    Truncated { input_bytes: u64 },
    /// The input contradicts RFC 1951 or RFC 1952.
    #[error("gzip corrupt near byte {input_bytes}: {reason}")]
    Corrupt {
        input_bytes: u64,
        reason: &'static str,
    },
    /// A container that is recognised and not read.
    #[error("{format} is not supported")]
    Unsupported { format: &'static str },
}

/// Decodes one object. Holds at most the 32 KB window of DEFLATE and one member header.
pub struct Decoder {
    state: State,
    inflater: Decompress,
    member: MemberCheck,
    input_bytes: u64,
    plain_head: Vec<u8>,
}

enum State {
    Sniff(Vec<u8>),
    Plain,
    Header(Header),
    Deflate,
    Trailer(Vec<u8>),
    BetweenMembers,
}

#[derive(Default)]
struct MemberCheck {
    crc: Crc,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    pub fn new() -> Self {
        Self {
            state: State::Sniff(Vec::with_capacity(MAGIC_BYTES_MAX)),
            inflater: Decompress::new(false),
            member: MemberCheck::default(),
            input_bytes: 0,
            plain_head: Vec::with_capacity(2),
        }
    }

    /// Decodes from `input` into the spare capacity of `plain`, and returns how much of `input`
    /// was taken. Whenever `plain` comes back full, more may be waiting: make room and push the rest
    /// of the input, even if nothing is left of it. On an error, `plain` holds what came before the
    /// damage.
    pub fn push(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<usize, DecodeError> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            let room = plain.capacity() - plain.len();
            let step = match &mut self.state {
                State::Sniff(head) => {
                    let wanted = rest.len().min(MAGIC_BYTES_MAX - head.len());
                    head.extend_from_slice(&rest[..wanted]);
                    taken += wanted;
                    self.input_bytes += wanted as u64;
                    if head.len() < MAGIC_BYTES_MAX {
                        return Ok(taken);
                    }
                    self.leave_sniff(plain)?;
                    continue;
                }
                State::Plain => {
                    let step = rest.len().min(room);
                    plain.extend_from_slice(&rest[..step]);
                    step
                }
                State::Header(header) => {
                    let (step, complete) =
                        header.push(rest).map_err(|reason| DecodeError::Corrupt {
                            input_bytes: self.input_bytes,
                            reason,
                        })?;
                    if complete {
                        self.inflater.reset(false);
                        self.member = MemberCheck::default();
                        self.state = State::Deflate;
                    }
                    step
                }
                State::Deflate => {
                    if room == 0 {
                        return Ok(taken);
                    }
                    let (step, ended) = self.inflate(rest, plain)?;
                    if ended {
                        self.state = State::Trailer(Vec::with_capacity(8));
                    } else if step == 0 && plain.len() < plain.capacity() {
                        return Ok(taken);
                    }
                    step
                }
                State::Trailer(trailer) => {
                    let step = rest.len().min(8 - trailer.len());
                    trailer.extend_from_slice(&rest[..step]);
                    if let Ok(trailer) = <[u8; 8]>::try_from(trailer.as_slice()) {
                        self.check_member(trailer)?;
                        self.state = State::BetweenMembers;
                    }
                    step
                }
                State::BetweenMembers => {
                    let padding = rest.iter().take_while(|byte| **byte == 0).count();
                    match rest.get(padding) {
                        Some(0x1f) => self.state = State::Header(Header::default()),
                        Some(_) => {
                            return Err(DecodeError::Corrupt {
                                input_bytes: self.input_bytes + padding as u64,
                                reason: "bytes after the last member are neither zero nor a member",
                            });
                        }
                        None => {}
                    }
                    padding
                }
            };
            taken += step;
            self.input_bytes += step as u64;
            let deflating = matches!(self.state, State::Deflate);
            if taken == input.len() && !deflating {
                return Ok(taken);
            }
            if step == 0 && matches!(self.state, State::Plain) {
                return Ok(taken);
            }
        }
    }

    /// Says that the input has ended. An object shorter than a magic number is plain, and comes out
    /// here, into the spare capacity of `plain` (at most 10 bytes).
    pub fn finish(&mut self, plain: &mut Vec<u8>) -> Result<(), DecodeError> {
        if let State::Sniff(_) = self.state {
            self.leave_sniff(plain)?;
        }
        match self.state {
            State::Sniff(_) | State::Plain | State::BetweenMembers => Ok(()),
            State::Header(_) | State::Deflate | State::Trailer(_) => Err(DecodeError::Truncated {
                input_bytes: self.input_bytes,
            }),
        }
    }

    /// Decides what the object is, and decodes the bytes that the decision took.
    fn leave_sniff(&mut self, plain: &mut Vec<u8>) -> Result<(), DecodeError> {
        let State::Sniff(head) = std::mem::replace(&mut self.state, State::Plain) else {
            return Ok(());
        };
        match sniff(&head) {
            Magic::Plain => plain.extend_from_slice(&head),
            Magic::Unsupported(format) => return Err(DecodeError::Unsupported { format }),
            Magic::Gzip => {
                self.state = State::Header(Header::default());
                // Ten bytes are at most one member header: nothing of them is deflated data.
                self.input_bytes = 0;
                self.push(&head, plain)?;
            }
        }
        Ok(())
    }

    fn inflate(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<(usize, bool), DecodeError> {
        let before = (self.inflater.total_in(), plain.len());
        let status = self
            .inflater
            .decompress_vec(input, plain, FlushDecompress::None)
            .map_err(|_| DecodeError::Corrupt {
                input_bytes: self.input_bytes + (self.inflater.total_in() - before.0),
                reason: "invalid DEFLATE data",
            });
        let produced = &plain[before.1..];
        self.member.crc.update(produced);
        if self.plain_head.len() < 2 {
            let wanted = produced.len().min(2 - self.plain_head.len());
            self.plain_head.extend_from_slice(&produced[..wanted]);
            if self.plain_head == [0x1f, 0x8b] {
                plain.truncate(before.1);
                return Err(DecodeError::Unsupported {
                    format: "gzip inside gzip",
                });
            }
        }
        let taken = (self.inflater.total_in() - before.0) as usize;
        Ok((taken, matches!(status?, Status::StreamEnd)))
    }

    /// RFC 1952, section 2.3.1: CRC-32 and length modulo 2^32, little-endian.
    fn check_member(&self, trailer: [u8; 8]) -> Result<(), DecodeError> {
        let [a, b, c, d, e, f, g, h] = trailer;
        let reason = if u32::from_le_bytes([a, b, c, d]) != self.member.crc.sum() {
            "wrong CRC-32"
        } else if u32::from_le_bytes([e, f, g, h]) != self.member.crc.amount() {
            "wrong length"
        } else {
            return Ok(());
        };
        Err(DecodeError::Corrupt {
            input_bytes: self.input_bytes,
            reason,
        })
    }
}

enum Magic {
    Plain,
    Gzip,
    Unsupported(&'static str),
}

fn sniff(head: &[u8]) -> Magic {
    const UNSUPPORTED: &[(&[u8], &str)] = &[
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\xfd7zXZ\0", "xz"),
        (b"PK\x03\x04", "zip"),
        (b"PAR1", "Parquet"),
        (b"ORC\n", "ORC"),
        (b"\xff\x06\0\0sNaPpY", "framed snappy"),
    ];
    if head.starts_with(b"\x1f\x8b") {
        return Magic::Gzip;
    }
    if head.starts_with(b"BZh") && head.get(4..10) == Some(b"1AY&SY") {
        return Magic::Unsupported("bzip2");
    }
    UNSUPPORTED
        .iter()
        .find(|(magic, _)| head.starts_with(magic))
        .map_or(Magic::Plain, |(_, format)| Magic::Unsupported(format))
}

/// A gzip member header as it arrives (RFC 1952, section 2.3).
#[derive(Default)]
struct Header {
    part: HeaderPart,
    fixed: [u8; 10],
    crc: Crc,
}

#[derive(Clone, Copy)]
enum HeaderPart {
    Fixed(usize),
    ExtraLength(Option<u8>),
    Extra(usize),
    Name,
    Comment,
    Check(Option<u8>),
    Done,
}

impl Default for HeaderPart {
    fn default() -> Self {
        HeaderPart::Fixed(0)
    }
}

const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

impl Header {
    /// Takes header bytes from `input`; says how many, and whether the header is complete.
    fn push(&mut self, input: &[u8]) -> Result<(usize, bool), &'static str> {
        for (taken, byte) in input.iter().enumerate() {
            if self.push_byte(*byte)? {
                return Ok((taken + 1, true));
            }
        }
        Ok((input.len(), false))
    }

    fn push_byte(&mut self, byte: u8) -> Result<bool, &'static str> {
        if !matches!(self.part, HeaderPart::Check(_)) {
            self.crc.update(&[byte]);
        }
        self.part = match self.part {
            HeaderPart::Fixed(at) => {
                self.fixed[at] = byte;
                if at + 1 < self.fixed.len() {
                    HeaderPart::Fixed(at + 1)
                } else {
                    self.check_fixed()?;
                    self.after(FEXTRA >> 1)
                }
            }
            HeaderPart::ExtraLength(None) => HeaderPart::ExtraLength(Some(byte)),
            HeaderPart::ExtraLength(Some(low)) => match u16::from_le_bytes([low, byte]) {
                0 => self.after(FEXTRA),
                length => HeaderPart::Extra(length.into()),
            },
            HeaderPart::Extra(1) => self.after(FEXTRA),
            HeaderPart::Extra(left) => HeaderPart::Extra(left - 1),
            HeaderPart::Name if byte == 0 => self.after(FNAME),
            HeaderPart::Comment if byte == 0 => self.after(FCOMMENT),
            part @ (HeaderPart::Name | HeaderPart::Comment) => part,
            HeaderPart::Check(None) => HeaderPart::Check(Some(byte)),
            HeaderPart::Check(Some(low)) => {
                if u16::from_le_bytes([low, byte]) != self.crc.sum() as u16 {
                    return Err("wrong CRC-16 of a member header");
                }
                HeaderPart::Done
            }
            HeaderPart::Done => HeaderPart::Done,
        };
        Ok(matches!(self.part, HeaderPart::Done))
    }

    fn check_fixed(&self) -> Result<(), &'static str> {
        match self.fixed {
            [0x1f, 0x8b, 8, flags, ..] if flags & RESERVED == 0 => Ok(()),
            [0x1f, 0x8b, 8, ..] => Err("reserved flags in a member header"),
            [0x1f, 0x8b, ..] => Err("compression method is not DEFLATE"),
            _ => Err("a member header has the wrong magic number"),
        }
    }

    /// The part that follows the optional part of flag `done`, in the order of RFC 1952.
    fn after(&self, done: u8) -> HeaderPart {
        let flags = self.fixed[3];
        if done < FEXTRA && flags & FEXTRA != 0 {
            HeaderPart::ExtraLength(None)
        } else if done < FNAME && flags & FNAME != 0 {
            HeaderPart::Name
        } else if done < FCOMMENT && flags & FCOMMENT != 0 {
            HeaderPart::Comment
        } else if flags & FHCRC != 0 {
            HeaderPart::Check(None)
        } else {
            HeaderPart::Done
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;

    use super::*;

    fn member(plain: &[u8], level: u32) -> Vec<u8> {
        let mut gzip = GzBuilder::new().write(Vec::new(), Compression::new(level));
        gzip.write_all(plain).unwrap();
        gzip.finish().unwrap()
    }

    /// Decodes in pieces of `step` bytes into room for `room` bytes at a time.
    fn decode(input: &[u8], step: usize, room: usize) -> (Vec<u8>, Result<(), DecodeError>) {
        let mut decoder = Decoder::new();
        let mut all = Vec::new();
        let mut plain = Vec::with_capacity(room.max(MAGIC_BYTES_MAX));
        for piece in input.chunks(step.max(1)) {
            let mut rest = piece;
            loop {
                let pushed = decoder.push(rest, &mut plain);
                let was_full = plain.len() == plain.capacity();
                all.append(&mut plain);
                match pushed {
                    Ok(taken) => rest = &rest[taken..],
                    Err(error) => return (all, Err(error)),
                }
                if rest.is_empty() && !was_full {
                    break;
                }
            }
        }
        let end = decoder.finish(&mut plain);
        all.append(&mut plain);
        (all, end)
    }

    fn plain_strategy() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..2_000),
            proptest::collection::vec(proptest::sample::select(b"ab\n{}".to_vec()), 0..20_000),
        ]
    }

    proptest! {
        #[test]
        fn any_members_in_any_pieces_give_the_same_plain_bytes(
            plains in proptest::collection::vec(plain_strategy(), 1..5),
            level in 0_u32..10,
            step in 1_usize..5_000,
            room in 10_usize..5_000,
            padding in 0_usize..600,
        ) {
            prop_assume!(!plains.concat().starts_with(b"\x1f\x8b"));
            let mut input: Vec<u8> = plains.iter().flat_map(|plain| member(plain, level)).collect();
            input.extend(vec![0; padding]);
            prop_assert_eq!(decode(&input, step, room), (plains.concat(), Ok(())));
        }

        #[test]
        fn every_truncation_of_a_gzip_is_an_error_and_its_plain_bytes_a_prefix(
            plain in plain_strategy(),
            cut in any::<proptest::sample::Index>(),
            step in 1_usize..5_000,
        ) {
            prop_assume!(!plain.starts_with(b"\x1f\x8b"));
            let input = member(&plain, 6);
            // Less than the magic number is plain: two bytes are needed to know better.
            let cut = 2 + cut.index(input.len() - 2);
            let (decoded, end) = decode(&input[..cut], step, 100);
            prop_assert!(plain.starts_with(&decoded));
            prop_assert_eq!(end, Err(DecodeError::Truncated { input_bytes: cut as u64 }));
        }

        #[test]
        fn a_flipped_bit_anywhere_in_data_or_trailer_never_gives_other_bytes_as_a_success(
            plain in proptest::collection::vec(any::<u8>(), 1..500),
            at in any::<proptest::sample::Index>(),
            bit in 0_u8..8,
        ) {
            prop_assume!(!plain.starts_with(b"\x1f\x8b"));
            let mut input = member(&plain, 6);
            let at = 10 + at.index(input.len() - 10);
            input[at] ^= 1 << bit;
            let (decoded, end) = decode(&input, 1_000, 1_000);
            // A few bits of a Huffman table are free: another table, the same bytes.
            prop_assert!(end.is_err() || decoded == plain, "decoded {} bytes", decoded.len());
        }

        #[test]
        fn what_is_not_compressed_goes_through(plain in plain_strategy(), step in 1_usize..3_000) {
            prop_assume!(matches!(sniff(&plain), Magic::Plain));
            prop_assert_eq!(decode(&plain, step, 64), (plain, Ok(())));
        }
    }

    #[test]
    fn an_empty_member_between_others_and_padding_after_the_last_are_no_damage() {
        let input = [
            member(b"a\n", 6),
            member(b"", 6),
            member(b"b\n", 1),
            vec![0; 512],
        ]
        .concat();
        assert_eq!(decode(&input, 7, 64), (b"a\nb\n".to_vec(), Ok(())));
    }

    #[test]
    fn bytes_after_the_last_member_that_are_no_member_are_damage() {
        let input = [member(b"a\n", 6), b"tail".to_vec()].concat();
        let (plain, end) = decode(&input, 100, 64);
        assert_eq!(plain, b"a\n");
        assert!(matches!(end, Err(DecodeError::Corrupt { .. })), "{end:?}");
    }

    #[test]
    fn a_header_with_every_optional_part_is_read_and_its_checksum_checked() {
        let mut input = GzBuilder::new()
            .extra(b"extra".to_vec())
            .filename("a.log")
            .comment("none")
            .write(Vec::new(), Compression::fast());
        input.write_all(b"a\n").unwrap();
        let mut input = input.finish().unwrap();
        assert_eq!(decode(&input, 1, 64), (b"a\n".to_vec(), Ok(())));

        // FHCRC (RFC 1952, section 2.3.1): the low half of the CRC-32 of the header before it.
        let header_bytes = input.len() - member(b"a\n", 1).len() + 10;
        input[3] |= FHCRC;
        let mut crc = Crc::new();
        crc.update(&input[..header_bytes]);
        let check = (crc.sum() as u16).to_le_bytes();
        input.splice(header_bytes..header_bytes, check);
        assert_eq!(decode(&input, 1, 64), (b"a\n".to_vec(), Ok(())));
        input[header_bytes] ^= 1;
        let (_, end) = decode(&input, 1, 64);
        assert!(matches!(end, Err(DecodeError::Corrupt { .. })), "{end:?}");
    }

    #[test]
    fn wrong_crc_and_wrong_length_are_named() {
        let good = member(b"abc\n", 6);
        for (from_end, reason) in [(8, "wrong CRC-32"), (4, "wrong length")] {
            let mut input = good.clone();
            let at = input.len() - from_end;
            input[at] ^= 1;
            let (plain, end) = decode(&input, 1_000, 64);
            assert_eq!(plain, b"abc\n");
            let Err(DecodeError::Corrupt { reason: found, .. }) = end else {
                panic!("{end:?}");
            };
            assert_eq!(found, reason);
        }
    }

    #[test]
    fn containers_that_are_not_read_are_named_and_never_taken_for_lines() {
        let nested = member(&member(b"a\n", 6), 6);
        for (input, format) in [
            (nested.as_slice(), "gzip inside gzip"),
            (b"PAR1\x15\x04\x15\x08\x15\x08\x4c", "Parquet"),
            (b"\x28\xb5\x2f\xfd\x24\x00\x01\x00\x00\x99\xe9", "zstd"),
            (b"BZh91AY&SY\x00\x00", "bzip2"),
            (b"PK\x03\x04\x14\x00\x00\x00\x08\x00", "zip"),
        ] {
            for step in [1, 3, 100] {
                let (plain, end) = decode(input, step, 64);
                // One byte of a magic number can be out before the second is there; no line ends.
                assert!(plain.len() < 2, "{format}: {plain:?}");
                assert_eq!(end, Err(DecodeError::Unsupported { format }));
            }
        }
    }
}
