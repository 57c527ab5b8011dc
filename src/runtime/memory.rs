//! Where every block of memory lies in the arena.
//!
//! A block lives from the step that writes it to the last step that reads it, both included; two
//! blocks may share addresses only if their lives do not meet. Finding the smallest arena is
//! NP-hard (dynamic storage allocation), but no arena can be smaller than the largest sum of blocks
//! alive in one step, and the lives of a network are mostly nested or disjoint. So blocks are placed
//! greedily, each into the smallest hole that takes it, in a few orders (largest first, largest
//! area in time and space first, as they come to life). The best order is then improved step by
//! step: the block that reaches highest is moved forward, where it finds more room. The smallest
//! arena is kept; the search stops as soon as the lower bound is met.

use std::cmp::Reverse;

use super::RunError;

/// Words of 64 bits in a cache line: blocks start at multiples of it.
pub(crate) const LINE: usize = 8;

/// With more blocks than this only the order of coming to life is tried, which looks at live blocks
/// only: placement must not take quadratic time on a hostile file.
const MANY: usize = 4096;

/// With more blocks than this alive at once nothing is placed into holes any more: looking for them takes
/// the square of their number.
const MANY_ALIVE: usize = 8192;

/// With up to this many blocks the best order is improved, in this many rounds.
const FEW: usize = 512;
const ROUNDS: usize = 64;

/// A stretch of memory and the steps that need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    /// Size in words, a multiple of [`LINE`].
    pub(crate) size: usize,
    /// The step that writes it first.
    pub(crate) first: usize,
    /// The last step that touches it; at least `first`.
    pub(crate) last: usize,
}

impl Block {
    /// A block of at least `words` words.
    ///
    /// # Errors
    /// [`RunError::TooLarge`] if the size overflows.
    pub(crate) fn new(words: usize, first: usize, last: usize) -> Result<Self, RunError> {
        let size = words.checked_next_multiple_of(LINE).ok_or(RunError::UNADDRESSABLE)?;
        Ok(Self { size, first, last: last.max(first) })
    }

    fn lives_with(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Offsets of all blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    /// Offset of each block in words, a multiple of [`LINE`].
    pub(crate) offsets: Vec<usize>,
    /// Words of the arena.
    pub(crate) total: usize,
    /// Largest sum of the blocks alive in one step, in words: no arena is smaller.
    pub(crate) peak: usize,
}

/// Places all blocks.
///
/// # Errors
/// [`RunError::TooLarge`] if their sizes overflow.
pub(crate) fn place(blocks: &[Block]) -> Result<Placement, RunError> {
    // With the sum of all sizes representable, no offset below can overflow.
    blocks
        .iter()
        .try_fold(0_usize, |sum, block| sum.checked_add(block.size))
        .filter(|&sum| sum <= isize::MAX as usize / 8)
        .ok_or(RunError::UNADDRESSABLE)?;
    let peak = peak(blocks);

    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|&b| (blocks[b].first, Reverse(blocks[b].size)));
    let (mut offsets, mut total) = place_in_order(blocks, &order, true);
    let mut best_order = order.clone();
    if blocks.len() <= MANY {
        let area =
            |block: &Block| block.size as u128 * (block.last as u128 - block.first as u128 + 1);
        let keys: [&dyn Fn(&Block) -> u128; 2] = [&|block| block.size as u128, &area];
        for key in keys {
            order.sort_by_key(|&b| (Reverse(key(&blocks[b])), blocks[b].first));
            let other = place_in_order(blocks, &order, false);
            if other.1 < total {
                (offsets, total) = other;
                best_order.clone_from(&order);
            }
        }
    }
    if blocks.len() <= FEW {
        let mut order = best_order;
        let mut current = offsets.clone();
        for _ in 0..ROUNDS {
            let end = |&b: &usize| current[b] + blocks[b].size;
            let top = order.iter().map(end).max();
            let highest = order.iter().position(|b| Some(end(b)) == top);
            let Some(position) = highest.filter(|_| total > peak) else { break };
            order[position / 2..=position].rotate_right(1);
            let other = place_in_order(blocks, &order, false);
            current.clone_from(&other.0);
            if other.1 < total {
                (offsets, total) = other;
            }
        }
    }
    Ok(Placement { offsets, total, peak })
}

/// Puts each block into the smallest hole left by those before it, or on top of them. `by_time`
/// says that the order is that of `first`, so that the dead can be forgotten.
fn place_in_order(blocks: &[Block], order: &[usize], by_time: bool) -> (Vec<usize>, usize) {
    let mut offsets = vec![0; blocks.len()];
    let mut total = 0;
    // Blocks placed so far, by offset.
    let mut placed: Vec<usize> = Vec::new();
    for &index in order {
        let block = &blocks[index];
        if block.size == 0 {
            continue;
        }
        if placed.len() > MANY_ALIVE {
            offsets[index] = total;
            total += block.size;
            continue;
        }
        if by_time {
            placed.retain(|&other| blocks[other].last >= block.first);
        }
        let mut hole: Option<(usize, usize)> = None;
        let mut end = 0;
        for &other in &placed {
            if !blocks[other].lives_with(block) {
                continue;
            }
            let start = offsets[other];
            if start > end {
                let room = start - end;
                if room >= block.size && hole.is_none_or(|(smallest, _)| room < smallest) {
                    hole = Some((room, end));
                }
            }
            end = end.max(start + blocks[other].size);
        }
        let offset = hole.map_or(end, |(_, at)| at);
        offsets[index] = offset;
        total = total.max(offset + block.size);
        let position = placed.partition_point(|&other| offsets[other] <= offset);
        placed.insert(position, index);
    }
    (offsets, total)
}

/// Largest sum of sizes over the steps.
fn peak(blocks: &[Block]) -> usize {
    // (step, is a beginning, size): deaths are counted one step later, before the births there.
    let mut events: Vec<(usize, bool, usize)> = Vec::with_capacity(2 * blocks.len());
    for block in blocks {
        events.push((block.first, true, block.size));
        events.push((block.last.saturating_add(1), false, block.size));
    }
    events.sort_unstable();
    let (mut alive, mut peak) = (0, 0);
    for (_, born, size) in events {
        if born {
            alive += size;
            peak = peak.max(alive);
        } else {
            alive -= size;
        }
    }
    peak
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(words: usize, first: usize, last: usize) -> Block {
        Block::new(words, first, last).unwrap()
    }

    fn assert_sound(blocks: &[Block], placement: &Placement) {
        assert_eq!(placement.offsets.len(), blocks.len());
        for (a, block) in blocks.iter().enumerate() {
            let from = placement.offsets[a];
            assert_eq!(from % LINE, 0);
            assert!(from + block.size <= placement.total);
            for (b, other) in blocks.iter().enumerate().skip(a + 1) {
                let at = placement.offsets[b];
                assert!(
                    !block.lives_with(other)
                        || from + block.size <= at
                        || at + other.size <= from
                        || block.size == 0
                        || other.size == 0,
                    "{block:?} at {from} meets {other:?} at {at}"
                );
            }
        }
        assert!(placement.total >= placement.peak);
    }

    #[test]
    fn a_chain_needs_two_neighbours() {
        let blocks: Vec<_> = (0..10).map(|i| block(64, i, i + 1)).collect();
        let placement = place(&blocks).unwrap();
        assert_sound(&blocks, &placement);
        assert_eq!(placement.peak, 128);
        assert_eq!(placement.total, 128);
    }

    #[test]
    fn very_many_live_blocks_are_stacked() {
        let blocks: Vec<_> = (0..4 * MANY_ALIVE).map(|i| block(8, i, 4 * MANY_ALIVE)).collect();
        let placement = place(&blocks).unwrap();
        assert_eq!(placement.total, placement.peak);
        let mut offsets = placement.offsets.clone();
        offsets.sort_unstable();
        assert!(offsets.windows(2).all(|pair| pair[0] + 8 <= pair[1]));
    }

    #[test]
    fn a_residual_network_fits_its_lower_bound() {
        // Shortcut over two steps, sizes halving every few blocks.
        let mut blocks = Vec::new();
        for stage in 0..4_usize {
            for step in 0..8 {
                let at = stage * 8 + step;
                blocks.push(block(4096 >> stage, at, at + 1 + step % 2));
                blocks.push(block(128 >> stage, at, at + 1));
            }
        }
        let placement = place(&blocks).unwrap();
        assert_sound(&blocks, &placement);
        assert!(placement.total * 10 <= placement.peak * 11, "{placement:?}");
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        assert!(Block::new(usize::MAX, 0, 1).is_err());
        let huge = Block { size: usize::MAX / 2 / LINE * LINE, first: 0, last: 0 };
        assert!(place(&[huge, huge, huge]).is_err());
    }

    #[test]
    fn very_many_blocks_are_placed_by_time_alone() {
        let blocks: Vec<_> = (0..20_000).map(|i| block(8 + i % 7, i, i + 2)).collect();
        let placement = place(&blocks).unwrap();
        assert!(placement.total <= 3 * placement.peak);
    }

    proptest! {
        #[test]
        fn no_two_live_blocks_meet(
            parts in prop::collection::vec((0_usize..2000, 0_usize..30, 0_usize..12), 0..80)
        ) {
            let blocks: Vec<_> =
                parts.into_iter().map(|(words, first, life)| block(words, first, first + life)).collect();
            assert_sound(&blocks, &place(&blocks).unwrap());
        }
    }
}
