//! A small block on the stack in which an event's text is put together.
//!
//! An event is a hundred pieces of ten bytes. Appending each to a vector is a call to the general copying routine and costs more
//! than everything else; here pieces are stored in words of fixed size, which may run over their end because the next piece
//! overwrites what is too much. Full blocks go to the vector.

use crate::output::number;
use crate::output::scan;

const SIZE: usize = 512;
/// Size of the pieces that literal text is cut into.
pub(super) const PIECE: usize = 16;
/// More than one operation on the block stores.
const ROOM: usize = 32;

pub(super) struct Block<'a> {
    bytes: [u8; SIZE],
    len: usize,
    out: &'a mut Vec<u8>,
}

impl<'a> Block<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            bytes: [0; SIZE],
            len: 0,
            out,
        }
    }

    /// Moves what is in the block to the vector, and returns that.
    pub(super) fn flush(&mut self) -> &mut Vec<u8> {
        self.out.extend_from_slice(&self.bytes[..self.len]);
        self.len = 0;
        self.out
    }

    /// Stores a word of which the first `len` bytes count.
    #[inline]
    fn store<const N: usize>(&mut self, word: [u8; N], len: usize) {
        if self.len + ROOM > SIZE {
            self.flush();
        }
        if let Some(place) = self.bytes[self.len..].first_chunk_mut() {
            *place = word;
        }
        self.len += len;
    }

    /// Adds literal text, cut into pieces, the last of which is padded.
    #[inline]
    pub(super) fn literal(&mut self, pieces: &[[u8; PIECE]], mut len: usize) {
        for piece in pieces {
            self.store(*piece, len.min(PIECE));
            len = len.saturating_sub(PIECE);
        }
    }

    /// Adds a number in decimal.
    #[inline]
    pub(super) fn unsigned(&mut self, value: u64) {
        if value < 10 {
            self.store([b'0' + value as u8], 1);
            return;
        }
        // The longest number has 20 digits.
        let mut digits = [b'0'; 24];
        let count = value.ilog10() as usize + 1;
        number::fill_digits(value, &mut digits[..count]);
        self.store(digits, count);
    }

    /// Adds a number in decimal.
    #[inline]
    pub(super) fn signed(&mut self, value: i64) {
        if value < 0 {
            self.store([b'-'], 1);
        }
        self.unsigned(value.unsigned_abs());
    }

    /// Adds `true` or `false`.
    #[inline]
    pub(super) fn bool(&mut self, value: bool) {
        if value {
            self.store(*b"true", 4);
        } else {
            self.store(*b"false", 5);
        }
    }

    /// Adds a JSON string; of a C string only what is before the first NUL.
    #[inline]
    pub(super) fn string(&mut self, mut bytes: &[u8], until_nul: bool) {
        self.store([b'"'], 1);
        loop {
            if let Some((word, rest)) = bytes.split_first_chunk::<8>() {
                let plain = scan::plain_in_word(*word);
                self.store(*word, plain);
                if plain == 8 {
                    bytes = rest;
                    continue;
                }
                bytes = &bytes[plain..];
            } else {
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                // A plain word ends with the padding, which is not plain.
                let plain = scan::plain_in_word(word).min(bytes.len());
                self.store(word, plain);
                bytes = &bytes[plain..];
            }
            match bytes.first() {
                None => break,
                Some(0) if until_nul => break,
                Some(_) => bytes = super::append_escaped(bytes, self.flush()),
            }
        }
        self.store([b'"'], 1);
    }
}
