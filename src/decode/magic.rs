//! What bytes are, by their magic number.
//!
//! Goes in: the first bytes of an object, or of what a layer gives. Comes out: the format, or that they are plain
//! bytes, or that more of them are needed. A log is never taken for something else because of the words it begins
//! with: where all bytes of a magic number are text, more is asked for.

/// No more than so many bytes are needed to tell.
pub(super) const MAGIC_BYTES_MAX: usize = 10;

/// What is compressed and can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Gzip,
    Zstd,
    Bzip2,
    Snappy,
}

impl Format {
    pub(super) fn name(self) -> &'static str {
        match self {
            Format::Gzip => "gzip",
            Format::Zstd => "zstd",
            Format::Bzip2 => "bzip2",
            Format::Snappy => "framed snappy",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sniffed {
    /// More bytes are needed.
    Undecided,
    Plain,
    Compressed(Format),
    /// What is recognised and not read.
    Unsupported(&'static str),
}

/// Bytes each of which lies between that of `from` and that of `to`.
struct Magic {
    from: &'static [u8],
    to: &'static [u8],
    is: Sniffed,
    /// Whether a log may well begin like that. Then one of the bytes after it, up to [`MAGIC_BYTES_MAX`], has to be
    /// a control character that no text has.
    is_text: bool,
}

const fn magic(bytes: &'static [u8], is: Sniffed) -> Magic {
    Magic {
        from: bytes,
        to: bytes,
        is,
        is_text: false,
    }
}

const fn text_magic(bytes: &'static [u8], format: &'static str) -> Magic {
    Magic {
        is_text: true,
        ..magic(bytes, Sniffed::Unsupported(format))
    }
}

/// No bytes agree with two of them.
const MAGICS: &[Magic] = &[
    // RFC 1952, section 2.3.1.
    magic(b"\x1f\x8b", Sniffed::Compressed(Format::Gzip)),
    // RFC 8878, section 3.1.1.
    magic(b"\x28\xb5\x2f\xfd", Sniffed::Compressed(Format::Zstd)),
    // A skippable frame (RFC 8878, section 3.1.2), with which some parallel compressors begin.
    Magic {
        from: b"\x50\x2a\x4d\x18",
        to: b"\x5f\x2a\x4d\x18",
        is: Sniffed::Compressed(Format::Zstd),
        is_text: false,
    },
    // The header, and the first block: "BZh" is text, and so is the level.
    Magic {
        from: b"BZh1\x31\x41\x59\x26\x53\x59",
        to: b"BZh9\x31\x41\x59\x26\x53\x59",
        is: Sniffed::Compressed(Format::Bzip2),
        is_text: false,
    },
    // The header, and the end: nothing was compressed.
    Magic {
        from: b"BZh1\x17\x72\x45\x38\x50\x90",
        to: b"BZh9\x17\x72\x45\x38\x50\x90",
        is: Sniffed::Compressed(Format::Bzip2),
        is_text: false,
    },
    // The stream identifier of the framing format, section 4.1.
    magic(b"\xff\x06\0\0sNaPpY", Sniffed::Compressed(Format::Snappy)),
    magic(b"PK\x03\x04", Sniffed::Unsupported("zip")),
    magic(b"PK\x05\x06", Sniffed::Unsupported("zip")),
    magic(b"\xfd7zXZ\0", Sniffed::Unsupported("xz")),
    magic(b"7z\xbc\xaf\x27\x1c", Sniffed::Unsupported("7z")),
    magic(b"\x04\x22\x4d\x18", Sniffed::Unsupported("lz4")),
    magic(b"Obj\x01", Sniffed::Unsupported("Avro")),
    // A page header in Thrift's compact protocol follows, whose first byte is 0x15.
    text_magic(b"PAR1", "Parquet"),
    // What follows is a protocol buffer or the three bytes before a compressed one, the last of them hardly ever
    // other than zero.
    text_magic(b"ORC", "ORC"),
];

/// What bytes that begin with `head` are. More bytes never change an answer other than [`Sniffed::Undecided`], and
/// [`MAGIC_BYTES_MAX`] of them always give one.
pub(super) fn sniff(head: &[u8]) -> Sniffed {
    let mut answer = Sniffed::Plain;
    for magic in MAGICS.iter().filter(|magic| magic.agrees(head)) {
        match head.get(magic.from.len()..) {
            Some(after) if !magic.is_text || after.iter().any(is_no_text) => return magic.is,
            Some(_) if head.len() >= MAGIC_BYTES_MAX => {}
            Some(_) | None => answer = Sniffed::Undecided,
        }
    }
    answer
}

/// What bytes are of which there are no more than these few, as long as that is [`Sniffed::Undecided`]: what they
/// begin to be if they are no text, or too many to agree with a magic number by chance.
pub(super) fn sniff_all(head: &[u8]) -> Sniffed {
    /// Of text. "BZh9" is the beginning of bzip2, and no record.
    const TEXT_BYTES_MAX: usize = 3;
    let is_text = head.len() <= TEXT_BYTES_MAX && head.iter().all(|byte| byte.is_ascii_graphic());
    MAGICS
        .iter()
        .find(|magic| !is_text && !magic.is_text && magic.agrees(head))
        .map_or(Sniffed::Plain, |magic| magic.is)
}

impl Magic {
    /// As far as both go.
    fn agrees(&self, head: &[u8]) -> bool {
        let mut bytes = head.iter().zip(self.from.iter().zip(self.to));
        bytes.all(|(byte, (from, to))| (from..=to).contains(&byte))
    }
}

/// Whether it is a control character other than those of which text is made: white space, backspace, and escape,
/// with which colours begin.
fn is_no_text(byte: &u8) -> bool {
    matches!(byte, 0..=7 | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_two_magic_numbers_agree_and_none_is_longer_than_what_is_looked_at() {
        for (at, one) in MAGICS.iter().enumerate() {
            assert_eq!(one.from.len(), one.to.len());
            assert!(one.from.len() <= MAGIC_BYTES_MAX);
            for other in &MAGICS[at + 1..] {
                assert!(!one.agrees(other.from), "{:?} {:?}", one.from, other.from);
                assert!(!other.agrees(one.from), "{:?} {:?}", one.from, other.from);
            }
        }
    }

    #[test]
    fn logs_that_begin_with_words_of_magic_numbers_are_plain() {
        for log in [
            "ORC service started\n",
            "ORC\nORC\nORC\nORC\n",
            "ORC\t1\t2\t3\t4\t5\n",
            "PAR1 is the first of them\n",
            "PAR1\nPAR1\nPAR1\n",
            "BZh is no word, BZh9 neither\n",
            "BZh91AY, but no more\n",
            "PK was here\n",
            "Object created\n",
            "7z finished\n",
            "(a log in parentheses)\n",
            "P*M, they said\n",
            "ORC \u{1b}[0m up\n",
        ] {
            assert_eq!(sniff(log.as_bytes()), Sniffed::Plain, "{log:?}");
        }
        for log in [
            "", "B", "BZ", "BZh", "P", "PK", "ORC", "PAR1", "ORC\n", "(", "7", "O",
        ] {
            assert_eq!(sniff(log.as_bytes()), Sniffed::Undecided, "{log:?}");
            assert_eq!(sniff_all(log.as_bytes()), Sniffed::Plain, "{log:?}");
        }
    }

    #[test]
    fn what_ends_within_a_magic_number_is_told_by_bytes_that_are_no_text() {
        for (head, is) in [
            (b"\x1f".as_slice(), Sniffed::Compressed(Format::Gzip)),
            (b"\x28\xb5", Sniffed::Compressed(Format::Zstd)),
            (b"BZh9", Sniffed::Compressed(Format::Bzip2)),
            (b"BZh91AY&S", Sniffed::Compressed(Format::Bzip2)),
            (b"\xff", Sniffed::Compressed(Format::Snappy)),
            (b"PK\x03", Sniffed::Unsupported("zip")),
            (b"\xfd7z", Sniffed::Unsupported("xz")),
        ] {
            assert_eq!(sniff(head), Sniffed::Undecided, "{head:?}");
            assert_eq!(sniff_all(head), is, "{head:?}");
        }
    }

    proptest! {
        #[test]
        fn more_bytes_change_no_answer(
            at in 0..MAGICS.len(),
            cut in 0_usize..=MAGIC_BYTES_MAX,
            more in proptest::collection::vec(any::<u8>(), MAGIC_BYTES_MAX),
        ) {
            let magic = MAGICS[at].to;
            let head = [&magic[..cut.min(magic.len())], &more].concat();
            let whole = sniff(&head[..MAGIC_BYTES_MAX]);
            prop_assert_ne!(whole, Sniffed::Undecided);
            for length in 0..MAGIC_BYTES_MAX {
                let early = sniff(&head[..length]);
                prop_assert!(early == Sniffed::Undecided || early == whole, "{early:?} {whole:?}");
            }
        }
    }
}
