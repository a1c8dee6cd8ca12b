//! Words: elements are read and compared eight bytes at a time, of which only some bits may count.

/// Bytes of a word.
pub(super) const WORD: usize = 8;

/// One of the words that an element consists of, and which bits of it count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    pub(super) index: u32,
    pub(super) mask: u64,
}

impl Word {
    /// The words that cover `len` bytes from `offset` on.
    pub(super) fn covering(offset: u32, len: u32) -> impl Iterator<Item = Self> {
        let (begin, end) = (offset as usize, (offset + len) as usize);
        (begin / WORD..end.div_ceil(WORD)).map(move |index| {
            let start = index * WORD;
            let mut mask = [0; WORD];
            mask[begin.saturating_sub(start)..(end - start).min(WORD)].fill(0xff);
            Self {
                index: index as u32,
                mask: u64::from_ne_bytes(mask),
            }
        })
    }

    /// Adds the words that cover `len` bytes from `offset` on to others. Those that follow each other share words.
    pub(super) fn add_covering(offset: u32, len: u32, words: &mut Vec<Self>) {
        for word in Self::covering(offset, len) {
            match words.last_mut() {
                Some(last) if last.index == word.index => last.mask |= word.mask,
                _ => words.push(word),
            }
        }
    }

    /// What counts of the word; 0 if there are too few words for it.
    #[inline]
    pub(super) fn read(self, words: &[[u8; WORD]]) -> u64 {
        match words.get(self.index as usize) {
            Some(word) => u64::from_ne_bytes(*word) & self.mask,
            None => 0,
        }
    }

    /// Replaces what counts of the word by `value`, of which no other bits are set.
    #[inline]
    pub(super) fn write(self, value: u64, words: &mut [[u8; WORD]]) {
        if let Some(word) = words.get_mut(self.index as usize) {
            *word = (u64::from_ne_bytes(*word) & !self.mask | value).to_ne_bytes();
        }
    }
}
