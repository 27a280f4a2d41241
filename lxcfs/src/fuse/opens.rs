//! What is open, and what the kernel knows of sizes: the texts of opens, and the page that sendfile(2) reads up to.

use std::collections::BTreeMap;

/// The unit in which sizes are told.
pub(crate) const PAGE: u64 = 4096;

/// The most texts that are kept for one container. Who opens more files gets a text of a later moment for the oldest.
pub(crate) const OPEN: usize = 256;

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
}

impl Texts {
    /// Counts opens from `first`.
    pub(crate) fn new(first: u64) -> Self {
        Self { next: first, texts: BTreeMap::new() }
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
        if self.texts.len() >= OPEN {
            self.texts.pop_first();
        }
        self.texts.insert(handle, Text { bytes: text.into_bytes(), is_read: false });
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
        let new = |text: String| Text { bytes: text.into_bytes(), is_read: false };
        let mut unkept;
        if !self.texts.contains_key(&handle) && self.texts.len() < OPEN {
            // Another process has answered the open.
            self.next = self.next.max(handle.wrapping_add(1));
            self.texts.insert(handle, new(render()?));
        }
        let text = match self.texts.get_mut(&handle) {
            Some(text) => text,
            None => {
                unkept = new(render()?);
                &mut unkept
            }
        };
        if offset == 0 {
            if text.is_read {
                text.bytes = render()?.into_bytes();
            }
            text.is_read = true;
        }
        let start = text.bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        Ok(text.bytes[start..text.bytes.len().min(start.saturating_add(size as usize))].to_vec())
    }

    /// Forgets a text that nobody reads any more.
    pub(crate) fn forget(&mut self, handle: u64) {
        self.texts.remove(&handle);
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
