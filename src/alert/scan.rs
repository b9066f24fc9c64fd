//! Going through JSON text: where each value ends, and that it is one.
//!
//! Pure. Contract: accepts exactly what RFC 8259 calls JSON, as `serde_json` does when it skips a value (a test holds them
//! against each other), and reads no value: a number of any size and a string with a lone surrogate are values like others.
//! Iterative, however deep the text is nested, and it allocates only for more than 64 open brackets. Why not
//! `serde_json` itself: most of an alert is skipped, and half of all that an alert cost was skipping it. What is wrong with
//! text that is not JSON is not said here: `serde_json` is asked for that.

/// The text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

/// Brackets that are open, the innermost last: a bit each, which is set for an object. Allocates only beyond 64 of them. Reused.
#[derive(Debug, Default)]
pub(crate) struct Open {
    depth: usize,
    /// The last of them, up to 64.
    last: u64,
    /// Those before, 64 in each.
    outer: Vec<u64>,
}

impl Open {
    const BITS: usize = u64::BITS as usize;

    /// Forgets all, and gives back what a deep document made it hold.
    pub fn clear(&mut self) {
        self.depth = 0;
        self.outer.clear();
        self.outer.shrink_to(Self::BITS);
    }

    #[inline]
    fn push(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(Self::BITS) {
            self.outer.push(self.last);
        }
        self.last = self.last << 1 | u64::from(is_object);
        self.depth += 1;
    }

    #[inline]
    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.last >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(Self::BITS) {
            self.last = self.outer.pop().unwrap_or_default();
        }
    }

    /// Whether the innermost is an object; when none is open, that says nothing.
    #[inline]
    fn is_object(&self) -> bool {
        self.last & 1 == 1
    }
}

/// A place in a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// A key as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key<'a> {
    /// Between its quotes.
    pub written: &'a str,
    /// Whether there is an escape in it.
    pub is_escaped: bool,
    /// Offset of its opening quote.
    pub start: usize,
}

/// How many bytes are looked at together.
const LANES: usize = 16;

/// How many of these bytes come before the first that ends a run of plain characters in a string: a quote, a backslash, or
/// a control character. All of them when there is none.
#[cfg(target_arch = "x86_64")]
#[inline]
fn run(bytes: &[u8; LANES]) -> usize {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };
    let both = u128::from_le_bytes(*bytes);
    // SAFETY: these are of SSE2, which every x86-64 has; no memory is touched.
    let stops = unsafe {
        let bytes = _mm_set_epi64x((both >> 64) as i64, both as i64);
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control))
    };
    (stops | 1 << LANES).trailing_zeros() as usize
}

/// The same, one after another.
#[cfg(not(target_arch = "x86_64"))]
fn run(bytes: &[u8; LANES]) -> usize {
    few(bytes)
}

/// The same for any number of bytes.
fn few(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| !matches!(**byte, b'"' | b'\\' | ..0x20)).count()
}

/// Where the plain characters of a string end that begin at `at`.
#[inline]
fn plain(bytes: &[u8], mut at: usize) -> usize {
    let mut rest = bytes.get(at..).unwrap_or_default();
    while let Some((lanes, behind)) = rest.split_first_chunk() {
        let run = run(lanes);
        at += run;
        if run < LANES {
            return at;
        }
        rest = behind;
    }
    at + few(rest)
}

impl<'a> Scanner<'a> {
    /// At the beginning of `text`.
    pub fn new(text: &'a str) -> Self {
        Scanner { text, at: 0 }
    }

    /// At an offset of `text`.
    pub fn from(text: &'a str, at: usize) -> Self {
        Scanner { text, at }
    }

    /// The byte here; 0, which no JSON holds outside strings, at the end.
    #[inline]
    fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// The first byte of what comes next, white space aside.
    #[inline]
    pub fn peek(&mut self) -> u8 {
        while matches!(self.byte(), b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
        self.byte()
    }

    /// Goes past a byte that must come next.
    #[inline]
    fn pass(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.peek() != byte {
            return Err(NotJson);
        }
        self.at += 1;
        Ok(())
    }

    /// Goes into the object or list that begins here with `open`; whether there is anything before its `close`.
    #[inline]
    pub fn enter(&mut self, open: u8, close: u8) -> Result<bool, NotJson> {
        self.pass(open)?;
        let is_empty = self.peek() == close;
        self.at += usize::from(is_empty);
        Ok(!is_empty)
    }

    /// After a member or element: whether another one follows; else it goes past `close`.
    #[inline]
    pub fn goes_on(&mut self, close: u8) -> Result<bool, NotJson> {
        let next = self.peek();
        self.at += 1;
        match next {
            b',' => Ok(true),
            next if next == close => Ok(false),
            _ => Err(NotJson),
        }
    }

    /// Goes past a key and its colon.
    #[inline]
    pub fn key(&mut self) -> Result<Key<'a>, NotJson> {
        self.peek();
        let start = self.at;
        let (end, is_escaped) = self.skip_key()?;
        let written = self.text.get(start + 1..end).ok_or(NotJson)?;
        Ok(Key { written, is_escaped, start })
    }

    /// The same for a key that nobody reads: where its closing quote stands, and whether there is an escape in it.
    #[inline]
    fn skip_key(&mut self) -> Result<(usize, bool), NotJson> {
        self.pass(b'"')?;
        let is_escaped = self.rest_of_string()?;
        let end = self.at - 1;
        self.pass(b':')?;
        Ok((end, is_escaped))
    }

    /// Goes past the value that comes next, and returns its text.
    pub fn value(&mut self, open: &mut Open) -> Result<&'a str, NotJson> {
        self.peek();
        let start = self.at;
        self.skip(open)?;
        self.text.get(start..self.at).ok_or(NotJson)
    }

    /// Goes past the value that comes next.
    pub fn skip(&mut self, open: &mut Open) -> Result<(), NotJson> {
        let outside = open.depth;
        loop {
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    self.rest_of_string()?;
                }
                bracket @ (b'{' | b'[') => {
                    self.at += 1;
                    if self.peek() == closing(bracket) {
                        self.at += 1;
                    } else {
                        open.push(bracket == b'{');
                        if bracket == b'{' {
                            self.skip_key()?;
                        }
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                _ => return Err(NotJson),
            }
            // A value is over; so may be what it stands in.
            while open.depth > outside {
                let is_object = open.is_object();
                if self.goes_on(if is_object { b'}' } else { b']' })? {
                    if is_object {
                        self.skip_key()?;
                    }
                    break;
                }
                open.pop();
            }
            if open.depth == outside {
                return Ok(());
            }
        }
    }

    /// Whether nothing but white space is left.
    pub fn is_over(&mut self) -> bool {
        self.peek();
        self.at == self.text.len()
    }

    /// Offset of what comes next, once [`Scanner::peek`] has passed the white space before it.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Goes past the rest of a string and its closing quote; whether there was an escape in it.
    #[inline]
    fn rest_of_string(&mut self) -> Result<bool, NotJson> {
        let mut is_escaped = false;
        loop {
            self.at = plain(self.text.as_bytes(), self.at);
            let stop = self.byte();
            self.at += 1;
            match stop {
                b'"' => return Ok(is_escaped),
                b'\\' => {
                    is_escaped = true;
                    self.escape()?;
                }
                _ => return Err(NotJson),
            }
        }
    }

    /// Goes past what follows a backslash.
    fn escape(&mut self) -> Result<(), NotJson> {
        let kind = self.byte();
        self.at += 1;
        match kind {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => {
                let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or(NotJson)?;
                self.at += 4;
                if digits.iter().all(u8::is_ascii_hexdigit) { Ok(()) } else { Err(NotJson) }
            }
            _ => Err(NotJson),
        }
    }

    fn number(&mut self) -> Result<(), NotJson> {
        self.at += usize::from(self.byte() == b'-');
        match self.byte() {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits()?,
            _ => return Err(NotJson),
        }
        if self.byte() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), b'e' | b'E') {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), b'+' | b'-'));
            self.digits()?;
        }
        // A digit here followed a leading zero.
        if self.byte().is_ascii_digit() { Err(NotJson) } else { Ok(()) }
    }

    /// Goes past digits, of which there must be one.
    fn digits(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(NotJson) }
    }

    fn word(&mut self, word: &str) -> Result<(), NotJson> {
        let here = self.text.as_bytes().get(self.at..self.at + word.len());
        if here != Some(word.as_bytes()) {
            return Err(NotJson);
        }
        self.at += word.len();
        Ok(())
    }
}

const fn closing(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
