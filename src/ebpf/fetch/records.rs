//! From a stream of bytes to records of one size.

/// Cuts what an iterator program wrote into records. The kernel cuts its output anywhere.
#[derive(Debug)]
pub(super) struct Records {
    size: usize,
    /// The beginning of a record whose end has not come yet.
    rest: Vec<u8>,
    bytes: usize,
}

impl Records {
    /// Records of `size` bytes, which must not be 0.
    pub(super) fn new(size: usize) -> Self {
        Self {
            size: size.max(1),
            rest: Vec::new(),
            bytes: 0,
        }
    }

    /// Bytes of one record.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Takes in the next bytes and hands on the records that they complete.
    pub(super) fn take(&mut self, mut bytes: &[u8], record: &mut dyn FnMut(&[u8])) {
        self.bytes += bytes.len();
        if !self.rest.is_empty() {
            let missing = (self.size - self.rest.len()).min(bytes.len());
            let (now, later) = bytes.split_at(missing);
            self.rest.extend_from_slice(now);
            bytes = later;
            if self.rest.len() < self.size {
                return;
            }
            record(&self.rest);
            self.rest.clear();
        }
        let whole = bytes.chunks_exact(self.size);
        self.rest.extend_from_slice(whole.remainder());
        whole.for_each(record);
    }

    /// Begins anew. `Err` with the number of bytes if these were no whole number of records.
    pub(super) fn finish(&mut self) -> Result<(), usize> {
        let bytes = std::mem::take(&mut self.bytes);
        if self.rest.is_empty() {
            return Ok(());
        }
        self.rest.clear();
        Err(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(size: usize, chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Result<(), usize>) {
        let mut records = Records::new(size);
        let mut found = Vec::new();
        for chunk in chunks {
            records.take(chunk, &mut |record| found.push(record.to_vec()));
        }
        (found, records.finish())
    }

    #[test]
    fn whole_records() {
        let bytes = [7; 48];
        assert_eq!(cut(24, &[&bytes]), (vec![vec![7; 24]; 2], Ok(())));
        assert_eq!(cut(24, &[&bytes[..5], &bytes[5..6], &bytes[6..]]).0.len(), 2);
        assert_eq!(cut(24, &[]), (vec![], Ok(())));
    }

    #[test]
    fn a_rest_is_told() {
        let bytes = [7; 50];
        assert_eq!(cut(24, &[&bytes]).1, Err(50));
        assert_eq!(cut(24, &[&bytes[..3]]).1, Err(3));
        let mut records = Records::new(24);
        records.take(&bytes, &mut |_| ());
        assert_eq!(records.finish(), Err(50));
        records.take(&bytes[..48], &mut |_| ());
        assert_eq!(records.finish(), Ok(()), "the next run of the program begins anew");
    }

    proptest! {
        #[test]
        fn where_it_is_cut_does_not_matter(
            size in 1_usize..40, bytes in proptest::collection::vec(any::<u8>(), 0..400), step in 1_usize..50,
        ) {
            let chunks: Vec<&[u8]> = bytes.chunks(step).collect();
            let (found, end) = cut(size, &chunks);
            let expected: Vec<Vec<u8>> = bytes.chunks_exact(size).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(end.is_ok(), bytes.len().is_multiple_of(size));
        }
    }
}
