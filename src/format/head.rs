//! What the start of JSON text says without its end.

/// How far the first value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Its end is not here.
    Unfinished,
    /// Nothing but white space follows it here.
    Whole,
    /// Something follows it.
    Followed,
}

/// The first value of JSON text that begins with an object.
#[derive(Debug)]
pub struct JsonHead<'a> {
    /// Names of its members, as they are written, and the byte with which the value begins.
    members: Vec<(&'a [u8], Option<u8>)>,
    pub first: First,
    /// Whether it stands on several lines.
    pub is_pretty: bool,
    /// Whether the next value follows on the same line.
    pub is_back_to_back: bool,
}

/// Members that are looked at: no source has as many.
const MEMBERS_MAX: usize = 1_000;

impl<'a> JsonHead<'a> {
    /// `text` begins with `{`. What is no JSON gives what it looks like: whoever splits it finds out.
    pub fn of(text: &'a [u8]) -> Self {
        let mut head = Self {
            members: Vec::new(),
            first: First::Unfinished,
            is_pretty: false,
            is_back_to_back: false,
        };
        let (mut depth, mut at) = (0_usize, 0);
        let mut name: Option<&[u8]> = None;
        let mut is_name = false;
        while let Some(byte) = text.get(at) {
            at += 1;
            match byte {
                b'"' => {
                    let Some(end) = string_end(text, at) else {
                        return head;
                    };
                    if depth == 1 && is_name {
                        name = Some(&text[at..end]);
                        is_name = false;
                    }
                    at = end + 1;
                }
                b':' if depth == 1 => head.push(name.take(), &text[at..]),
                b'{' | b'[' => {
                    depth += 1;
                    is_name = depth == 1;
                }
                b',' if depth == 1 => is_name = true,
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        head.note_rest(&text[at..]);
                        return head;
                    }
                }
                b'\n' => head.is_pretty = true,
                _ => {}
            }
        }
        head
    }

    fn push(&mut self, name: Option<&'a [u8]>, after: &[u8]) {
        if let Some(name) = name
            && self.members.len() < MEMBERS_MAX
        {
            let value = after.trim_ascii_start().first().copied();
            self.members.push((name, value));
        }
    }

    fn note_rest(&mut self, rest: &[u8]) {
        let next = rest.trim_ascii_start();
        let between = &rest[..rest.len() - next.len()];
        if next.is_empty() {
            self.first = First::Whole;
            return;
        }
        self.first = First::Followed;
        self.is_back_to_back = !between.contains(&b'\n') && matches!(next[0], b'{' | b',');
    }

    /// Whether there is a member of that name.
    pub fn has(&self, name: &str) -> bool {
        let mut members = self.members.iter();
        members.any(|(its, _)| *its == name.as_bytes())
    }

    /// Whether there is a member of that name whose value is an array, or null.
    pub fn holds_array(&self, name: &str) -> bool {
        let mut members = self.members.iter();
        members.any(|(its, value)| *its == name.as_bytes() && matches!(value, Some(b'[' | b'n')))
    }
}

/// Where the string that begins at `start` ends.
fn string_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}
