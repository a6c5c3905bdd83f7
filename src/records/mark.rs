//! The byte order mark that may stand before the text of an object, and is no part of it.

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How much of a byte order mark has come.
#[derive(Default)]
pub(super) struct ByteOrderMark {
    seen: usize,
    is_past: bool,
}

/// What stands at the start of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Text, or it is not known yet.
    Nothing,
    /// A byte order mark of so many bytes.
    Mark(u64),
    /// Bytes that began like one and are text.
    Text(&'static [u8]),
}

impl ByteOrderMark {
    /// Takes what is, or may be, of the mark from the front of `plain`.
    pub(super) fn skip(&mut self, plain: &mut &[u8]) -> Found {
        if self.is_past {
            return Found::Nothing;
        }
        while let Some((byte, rest)) = plain.split_first() {
            if *byte != BYTE_ORDER_MARK[self.seen] {
                return self.finish();
            }
            *plain = rest;
            self.seen += 1;
            if self.seen == BYTE_ORDER_MARK.len() {
                self.is_past = true;
                return Found::Mark(BYTE_ORDER_MARK.len() as u64);
            }
        }
        Found::Nothing
    }

    /// Says that no more of the mark comes.
    pub(super) fn finish(&mut self) -> Found {
        if self.is_past || self.seen == 0 {
            self.is_past = true;
            return Found::Nothing;
        }
        self.is_past = true;
        Found::Text(&BYTE_ORDER_MARK[..self.seen])
    }
}
