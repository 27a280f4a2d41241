//! What is open, and what the kernel knows of sizes: the texts of opens, and the page that sendfile(2) reads up to.

use std::collections::BTreeMap;

/// The unit in which sizes are told.
pub(crate) const PAGE: u64 = 4096;

/// The most texts that are kept for one container. Who opens more files gets a text of a later moment for the oldest.
pub(crate) const OPEN: usize = 256;

/// The most bytes of them, unless a single one is longer. /proc/cpuinfo of 256 processors has 400 kB.
pub(crate) const BYTES: usize = 1 << 20;

/// The text of one open.
#[derive(Debug)]
struct Text {
    bytes: Vec<u8>,
    /// It has been read from its beginning.
    is_read: bool,
}

/// The texts of a container's opens, by their handles.
#[derive(Debug)]
pub(crate) struct Texts {
    next: u64,
    texts: BTreeMap<u64, Text>,
    /// The sum of their lengths.
    bytes: usize,
}

impl Texts {
    /// Counts opens from `first`.
    pub(crate) fn new(first: u64) -> Self {
        Self { next: first, texts: BTreeMap::new(), bytes: 0 }
    }

    /// Keeps a text and returns its handle.
    pub(crate) fn keep(&mut self, text: String) -> u64 {
        let handle = self.next;
        self.next = handle.wrapping_add(1);
        self.keep_as(handle, text);
        handle
    }

    /// Keeps a text by a handle that somebody else counts.
    pub(crate) fn keep_as(&mut self, handle: u64, text: String) {
        self.insert(handle, Text { bytes: text.into_bytes(), is_read: false });
    }

    /// Keeps a text in the place of the oldest ones.
    fn insert(&mut self, handle: u64, text: Text) {
        while !self.has_room(text.bytes.len())
            && let Some((_, oldest)) = self.texts.pop_first()
        {
            self.bytes -= oldest.bytes.len();
        }
        self.bytes += text.bytes.len();
        self.texts.insert(handle, text);
    }

    fn has_room(&self, length: usize) -> bool {
        self.texts.len() < OPEN && self.bytes.saturating_add(length) <= BYTES
    }

    fn take(&mut self, handle: u64) -> Option<Text> {
        let text = self.texts.remove(&handle)?;
        self.bytes -= text.bytes.len();
        Some(text)
    }

    /// Returns a part of a text, which is rendered anew when it is read from its beginning once more, or is not known.
    ///
    /// # Errors
    /// It cannot be rendered.
    pub(crate) fn part(
        &mut self,
        handle: u64,
        offset: u64,
        size: u32,
        render: &mut dyn FnMut() -> sys::Result<String>,
    ) -> sys::Result<Vec<u8>> {
        let known = self.take(handle);
        let is_kept = known.is_some();
        let mut text = match known {
            Some(text) if offset > 0 || !text.is_read => text,
            _ => Text { bytes: render()?.into_bytes(), is_read: false },
        };
        text.is_read |= offset == 0;
        let start = text.bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        let end = text.bytes.len().min(start.saturating_add(size as usize));
        let part = text.bytes[start..end].to_vec();
        // One that is not known was opened at another process, or had to go: it takes nobody's place.
        if is_kept || self.has_room(text.bytes.len()) {
            self.next = self.next.max(handle.wrapping_add(1));
            self.insert(handle, text);
        }
        Ok(part)
    }

    /// Forgets a text that nobody reads any more.
    pub(crate) fn forget(&mut self, handle: u64) {
        drop(self.take(handle));
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }
}

/// What the kernel knows of a file's size.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// What it is told.
    told: u64,
    /// The least that it may have cut that to.
    known: u64,
}

/// What it knows of all sizes.
#[derive(Debug)]
pub(crate) struct Sizes {
    /// What is not here has the size that it began with.
    sizes: BTreeMap<u64, Size>,
    first: Size,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { sizes: BTreeMap::new(), first: Size { told: PAGE, known: PAGE } }
    }
}

impl Sizes {
    /// Returns what the kernel is told of a file.
    pub(crate) fn told(&self, node: u64) -> u64 {
        self.sizes.get(&node).unwrap_or(&self.first).told
    }

    /// Returns the size that the kernel must be made to know before a text of `length` is opened, if that is more than it may
    /// have cut it to.
    pub(crate) fn grow(&mut self, node: u64, length: u64) -> Option<u64> {
        let size = self.sizes.entry(node).or_insert(self.first);
        size.told = size.told.max(length.next_multiple_of(PAGE));
        let told = size.told;
        (size.known < length).then(|| {
            size.known = told;
            told
        })
    }

    /// A read came back short at `end`.
    pub(crate) fn cut(&mut self, node: u64, end: u64) {
        let size = self.sizes.entry(node).or_insert(self.first);
        size.known = size.known.min(end);
    }

    /// Trusts none: another process has told them.
    pub(crate) fn distrust(&mut self) {
        self.first.known = 0;
    }

    /// Forgets a file that the kernel has forgotten.
    pub(crate) fn forget(&mut self, node: u64) {
        self.sizes.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_kept_up_to_a_budget_and_rendered_at_each_read_beyond_it() {
        let mut texts = Texts::new(1);
        let long = || "x".repeat(400 << 10);
        let handles: Vec<u64> = (0..10).map(|_| texts.keep(long())).collect();
        assert_eq!((texts.len(), texts.bytes), (2, 800 << 10));
        let mut rendered = 0;
        let mut end_of = |texts: &mut Texts, handle: u64| {
            let mut render = || {
                rendered += 1;
                Ok(long())
            };
            let part = texts.part(handle, (400 << 10) - 5, 100, &mut render).unwrap();
            (part.len(), rendered)
        };
        assert_eq!([end_of(&mut texts, handles[9]), end_of(&mut texts, handles[9])], [(5, 0), (5, 0)]);
        assert_eq!([end_of(&mut texts, handles[0]), end_of(&mut texts, handles[0])], [(5, 1), (5, 2)]);
        // Of what grows when it is rendered anew the oldest goes, too.
        let mut more = || Ok("x".repeat(900 << 10));
        for _ in 0..2 {
            texts.part(handles[9], 0, 1, &mut more).unwrap();
        }
        assert_eq!((texts.len(), texts.bytes), (1, 900 << 10));
        handles.iter().for_each(|handle| texts.forget(*handle));
        // One that is too long alone is kept alone.
        texts.keep("x".repeat(BYTES * 2));
        assert_eq!(texts.len(), 1);
    }
}
