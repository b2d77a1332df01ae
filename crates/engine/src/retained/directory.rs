//! All pages in order, in groups so that a new page moves few others.

use alloc::vec::Vec;

use plimsoll_ledger::Measure;

use super::page::{Page, Spot};

/// Pages of a group at most.
const GROUP_PAGES_MAX: usize = 256;

/// The pages.
#[derive(Debug)]
pub(super) struct Directory {
    groups: Vec<Vec<Page>>,
    page_bytes_max: usize,
    /// Bytes of pages and of the groups' own blocks.
    inner_bytes: usize,
}

impl Measure for Directory {
    fn heap_bytes(&self) -> usize {
        self.groups.heap_bytes() + self.inner_bytes
    }
}

/// Where a key is, or belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) found: bool,
    group: usize,
    page: usize,
    spot: Spot,
}

impl Directory {
    pub(super) fn new(page_bytes_max: usize) -> Self {
        Self { groups: Vec::new(), page_bytes_max, inner_bytes: 0 }
    }

    /// The page that a key is in if it is anywhere: the last one that begins at or before it.
    pub(super) fn page_of(&self, key: &[u8]) -> (usize, usize) {
        let group = self
            .groups
            .partition_point(|pages| pages.first().is_some_and(|page| page.first_key() <= key));
        let group = group.saturating_sub(1);
        let pages = self.groups.get(group).map_or(&[][..], Vec::as_slice);
        (group, pages.partition_point(|page| page.first_key() <= key).saturating_sub(1))
    }

    pub(super) fn page(&self, group: usize, page: usize) -> Option<&Page> {
        self.groups.get(group)?.get(page)
    }

    /// The position behind that of a page.
    pub(super) fn next(&self, group: usize, page: usize) -> (usize, usize) {
        let len = self.groups.get(group).map_or(0, Vec::len);
        if page + 1 < len { (group, page + 1) } else { (group + 1, 0) }
    }

    pub(super) fn pages_mut(&mut self) -> impl Iterator<Item = &mut Page> {
        self.groups.iter_mut().flatten()
    }

    pub(super) fn find(&self, key: &[u8]) -> Place {
        let (group, page) = self.page_of(key);
        let empty = Page::new();
        let spot = self.page(group, page).unwrap_or(&empty).find(key);
        Place { found: spot.found, group, page, spot }
    }

    pub(super) fn record(&self, place: &Place) -> &[u8] {
        self.page(place.group, place.page).map_or(&[], |page| page.record(&place.spot))
    }

    /// Changes a page and keeps the count of bytes.
    fn change<R>(&mut self, place: &Place, change: impl FnOnce(&mut Page) -> R) -> Option<R> {
        let page = self.groups.get_mut(place.group)?.get_mut(place.page)?;
        self.inner_bytes -= page.heap_bytes();
        let answer = change(page);
        self.inner_bytes += page.heap_bytes();
        Some(answer)
    }

    /// Sets the record of a key at the place where it was found or belongs.
    pub(super) fn put(
        &mut self,
        place: &Place,
        key: &[u8],
        record: &[u8],
        expires_at: Option<u32>,
    ) {
        if self.groups.is_empty() {
            self.groups.push(Vec::new());
            self.insert_page(0, 0, Page::new());
        }
        let page_bytes_max = self.page_bytes_max;
        let split = self.change(place, |page| {
            if place.found {
                page.replace(&place.spot, record);
            } else {
                page.insert(&place.spot, key, record);
            }
            page.expire_by(expires_at.unwrap_or(u32::MAX));
            if page.len_bytes() > page_bytes_max { page.split() } else { None }
        });
        if let Some(Some(second)) = split {
            self.insert_page(place.group, place.page + 1, second);
            self.split_large(place.group, place.page);
        }
    }

    /// One entry may be larger than a page: halves can still be too large.
    fn split_large(&mut self, group: usize, page: usize) {
        for at in [page + 1, page] {
            let (group, at) = self.clamp(group, at);
            let place = Place { found: false, group, page: at, spot: Page::new().find(&[]) };
            let page_bytes_max = self.page_bytes_max;
            let split = self.change(&place, |page| {
                if page.len_bytes() > page_bytes_max { page.split() } else { None }
            });
            if let Some(Some(second)) = split {
                self.insert_page(group, at + 1, second);
            }
        }
    }

    /// Follows a page into the next group, where a split of its group may have taken it.
    fn clamp(&self, group: usize, page: usize) -> (usize, usize) {
        let len = self.groups.get(group).map_or(0, Vec::len);
        if page < len { (group, page) } else { (group + 1, page - len) }
    }

    fn insert_page(&mut self, group: usize, at: usize, page: Page) {
        self.inner_bytes += page.heap_bytes();
        let Some(pages) = self.groups.get_mut(group) else { return };
        self.inner_bytes -= pages.heap_bytes();
        pages.insert(at.min(pages.len()), page);
        let second = (pages.len() > GROUP_PAGES_MAX).then(|| {
            let second = pages.split_off(GROUP_PAGES_MAX / 2);
            pages.shrink_to_fit();
            second
        });
        self.inner_bytes += pages.heap_bytes();
        if let Some(second) = second {
            self.inner_bytes += second.heap_bytes();
            self.groups.insert(group + 1, second);
        }
    }

    /// Removes the entry at a place where it was found.
    pub(super) fn remove(&mut self, place: &Place) {
        self.change(place, |page| page.remove(&place.spot));
        let Some(page) = self.page(place.group, place.page) else { return };
        if page.is_empty() {
            self.drop_page(place.group, place.page);
        } else if page.len_bytes() < self.page_bytes_max / 4 {
            self.merge(place.group, place.page);
        }
    }

    /// Joins a small page with a neighbour of its group, if both fit into one.
    fn merge(&mut self, group: usize, page: usize) {
        for first in [Some(page), page.checked_sub(1)].into_iter().flatten() {
            let (Some(one), Some(two)) = (self.page(group, first), self.page(group, first + 1))
            else {
                continue;
            };
            if one.len_bytes() + two.len_bytes() > self.page_bytes_max * 3 / 4 {
                continue;
            }
            let Some(second) = self.take_page(group, first + 1) else { continue };
            let place = Place { found: false, group, page: first, spot: Page::new().find(&[]) };
            self.change(&place, |page| page.append(&second));
            return;
        }
    }

    fn drop_page(&mut self, group: usize, page: usize) {
        self.take_page(group, page);
        let Some(pages) = self.groups.get(group) else { return };
        if pages.is_empty() {
            self.inner_bytes -= pages.heap_bytes();
            self.groups.remove(group);
            if self.groups.is_empty() || self.groups.len() < self.groups.capacity() / 4 {
                self.groups.shrink_to_fit();
            }
        }
    }

    fn take_page(&mut self, group: usize, page: usize) -> Option<Page> {
        let pages = self.groups.get_mut(group)?;
        self.inner_bytes -= pages.heap_bytes();
        let page = if page < pages.len() { Some(pages.remove(page)) } else { None };
        if pages.len() < pages.capacity() / 4 {
            pages.shrink_to(pages.len() * 2);
        }
        self.inner_bytes += pages.heap_bytes();
        self.inner_bytes -= page.as_ref().map_or(0, Page::heap_bytes);
        page
    }

    /// Other rules are in force: every page is to be looked through for what has expired by them.
    pub(super) fn doubt_expiries(&mut self) {
        for page in self.pages_mut() {
            page.set_expires_at(0);
        }
    }

    /// Calls `each` with the keys behind `after` and their records, `steps` at most. Answers whether
    /// those were the last.
    pub(super) fn walk(
        &self,
        after: &[u8],
        steps: usize,
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> bool {
        let mut left = steps;
        let (mut group, mut page) = self.page_of(after);
        let mut key: Vec<u8> = Vec::new();
        while let Some(here) = self.page(group, page) {
            let mut entry = here.entry(0);
            key.clear();
            while let Some(found) = entry {
                key.truncate(found.shared);
                key.extend_from_slice(found.rest);
                entry = here.after(&found);
                if *key <= *after {
                    continue;
                }
                if left == 0 {
                    return false;
                }
                left -= 1;
                each(&key, found.record);
            }
            (group, page) = self.next(group, page);
        }
        true
    }

    /// The same as [`Measure::heap_bytes`], by walking.
    pub(super) fn recount(&self) -> usize {
        let groups = self
            .groups
            .iter()
            .map(|pages| pages.heap_bytes() + pages.iter().map(Page::heap_bytes).sum::<usize>());
        self.groups.heap_bytes() + groups.sum::<usize>()
    }
}
