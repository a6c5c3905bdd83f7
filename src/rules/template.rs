//! Text with named captures of the key in it.

/// What the pattern of a rule captured: name and text, in the order of the pattern. A capture that took no
/// part in the match is the empty text.
pub type Captures = Vec<(String, String)>;

/// Text with captures in it: `${name}` stands for what the key has there, `$${` for `${` itself, and any other
/// `$` for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Capture(String),
}

/// A `${` has no `}` after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unclosed;

impl Template {
    pub fn parse(text: &str) -> Result<Self, Unclosed> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, after) = rest.split_at(at);
            let after = after.get(2..).unwrap_or_default();
            if let Some(before) = before.strip_suffix('$') {
                plain.push_str(before);
                plain.push_str("${");
                rest = after;
                continue;
            }
            plain.push_str(before);
            let (name, behind) = after.split_once('}').ok_or(Unclosed)?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Capture(name.to_owned()));
            rest = behind;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { pieces })
    }

    /// The names of the captures in it, in order.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Capture(name) => Some(name.as_str()),
        })
    }

    /// The text outside captures.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Capture(_) => None,
        })
    }

    /// The text with what was captured in it; a name that is not among `captures` gives nothing.
    pub fn expand(&self, captures: &[(String, String)]) -> String {
        let captured = |wanted: &str| {
            let found = captures.iter().find(|(name, _)| name == wanted);
            found.map_or("", |(_, text)| text.as_str())
        };
        let texts = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Capture(name) => captured(name),
        });
        texts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<String, Unclosed> {
        let captures = [("zone", "example.com"), ("odd", "${zone}$")];
        let captures = captures.map(|(name, text)| (name.to_owned(), text.to_owned()));
        Template::parse(text).map(|template| template.expand(&captures))
    }

    #[test]
    fn captures_are_put_in_once_and_an_escape_stands_for_itself() {
        for (text, expected) in [
            ("", ""),
            ("plain $5 $ {x}", "plain $5 $ {x}"),
            ("${zone}", "example.com"),
            ("<${zone}${zone}>", "<example.comexample.com>"),
            ("${odd}", "${zone}$"),
            ("$${zone}", "${zone}"),
            ("$$${zone}", "$${zone}"),
            ("$${zone} is ${zone}", "${zone} is example.com"),
            ("é${nobody}é", "éé"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(expand("a ${zone"), Err(Unclosed));
    }
}
