//! Punctured pseudo-random functions from binary trees (Goldreich, Goldwasser & Micali; Boyle et al., eprint 2019/1159).
//!
//! The holder of the root knows all leaves. The other side is given, for each level, the sum of the nodes on the side
//! that its path does not take, and knows all leaves but the one at its point.

use crate::prg::Doubling;

/// The form of every tree of a run: `leaves` need not be a power of two, what lies beyond it is never grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) leaves: usize,
    pub(crate) depth: usize,
}

impl Shape {
    /// The lowest tree with at least two leaves.
    pub(crate) fn new(leaves: usize) -> Self {
        let leaves = leaves.max(2);
        let depth = leaves.next_power_of_two().trailing_zeros() as usize;
        Self { leaves, depth }
    }

    /// Nodes at a level; the root's is 0.
    fn nodes(self, level: usize) -> usize {
        self.leaves.div_ceil(1 << (self.depth - level))
    }

    /// Which way the path to `point` takes below level `level`: 0 left, 1 right.
    pub(crate) fn turn(self, point: usize, level: usize) -> usize {
        point >> (self.depth - 1 - level) & 1
    }
}

/// The sums of left and of right nodes.
fn sums(nodes: &[u128]) -> [u128; 2] {
    let (pairs, last) = nodes.as_chunks::<2>();
    let mut sums = [0, 0];
    for pair in pairs {
        sums[0] ^= pair[0];
        sums[1] ^= pair[1];
    }
    if let [last] = last {
        sums[0] ^= last;
    }
    sums
}

/// Two buffers in turn, so that the last level comes to lie in `leaves`.
fn levels<'a>(
    shape: Shape,
    level: usize,
    leaves: &'a mut [u128],
    spare: &'a mut [u128],
) -> (&'a [u128], &'a mut [u128]) {
    let (above, below) = (shape.nodes(level), shape.nodes(level + 1));
    if (shape.depth - level) % 2 == 1 {
        (&spare[..above], &mut leaves[..below])
    } else {
        (&leaves[..above], &mut spare[..below])
    }
}

/// Nodes that a spare buffer must hold.
pub(crate) fn spare(shape: Shape) -> usize {
    shape.nodes(shape.depth - 1).max(1)
}

/// Grows a whole tree from its root; `level_sums` receives the sums of each level below it.
pub(crate) fn grow(
    shape: Shape,
    doubling: &Doubling,
    root: u128,
    leaves: &mut [u128],
    spare: &mut [u128],
    level_sums: &mut [[u128; 2]],
) {
    let first = if shape.depth % 2 == 1 {
        &mut *spare
    } else {
        &mut *leaves
    };
    first[0] = root;
    for (level, level_sums) in level_sums.iter_mut().enumerate() {
        let (above, below) = levels(shape, level, leaves, spare);
        doubling.children(above, below);
        *level_sums = sums(below);
    }
}

/// Grows all but the leaf at `point`, where a zero is put, from the sum of the side not taken at each level.
pub(crate) fn grow_punctured(
    shape: Shape,
    doubling: &Doubling,
    point: usize,
    side_sums: &[u128],
    leaves: &mut [u128],
    spare: &mut [u128],
) {
    let first = if shape.depth % 2 == 1 {
        &mut *spare
    } else {
        &mut *leaves
    };
    first[0] = 0;
    for (level, known) in side_sums.iter().enumerate() {
        let (above, below) = levels(shape, level, leaves, spare);
        doubling.children(above, below);
        let parent = point >> (shape.depth - level);
        let side = 1 - shape.turn(point, level);
        for child in [2 * parent, 2 * parent + 1] {
            if let Some(child) = below.get_mut(child) {
                *child = 0;
            }
        }
        let missing = known ^ sums(below)[side];
        if let Some(sibling) = below.get_mut(2 * parent + side) {
            *sibling = missing;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shapes() {
        assert_eq!(
            Shape::new(1),
            Shape {
                leaves: 2,
                depth: 1
            }
        );
        assert_eq!(Shape::new(8).depth, 3);
        assert_eq!(Shape::new(9).depth, 4);
        assert_eq!(
            (0..=4).map(|l| Shape::new(9).nodes(l)).collect::<Vec<_>>(),
            [1, 2, 3, 5, 9]
        );
    }

    proptest! {
        #[test]
        fn all_leaves_but_one(leaves in 2usize..700, at: prop::sample::Index, root: u128) {
            let (shape, doubling) = (Shape::new(leaves), Doubling::new(&[3; 16]));
            let point = at.index(leaves);
            let mut all = vec![0; leaves];
            let mut room = vec![0; spare(shape)];
            let mut level_sums = vec![[0; 2]; shape.depth];
            grow(shape, &doubling, root, &mut all, &mut room, &mut level_sums);
            let known: Vec<u128> = (0..shape.depth).map(|l| level_sums[l][1 - shape.turn(point, l)]).collect();
            let mut most = vec![7; leaves];
            grow_punctured(shape, &doubling, point, &known, &mut most, &mut room);
            prop_assert_eq!(most[point], 0);
            most[point] = all[point];
            prop_assert_eq!(most, all);
        }
    }
}
