//! Circles in a graph that only grows.
//!
//! A circle that is new has an edge that is new. So for each new edge those ways are looked for that lead from its end back to its
//! beginning. There can be very many: what is spent on looking, and what is remembered, is limited.

use std::collections::{BTreeMap, BTreeSet};

/// Steps that are gone at most when new edges have come.
const MAX_STEPS: usize = 20_000;
/// Circles of one process that are told of.
const MAX_CIRCLES: usize = 256;
/// Edges of one process that are remembered.
const MAX_EDGES: usize = 8_192;

/// From a mutex that is held to one that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: u64,
    pub to: u64,
}

/// With which stacks the two mutexes of an edge were taken; negative where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Stacks(pub i64, pub i64);

/// The edges of one process.
#[derive(Debug, Default)]
pub struct Graph {
    edges: BTreeMap<Edge, Stacks>,
    /// Not looked at yet.
    new: BTreeSet<Edge>,
    /// What has been told of: the edges of each circle, sorted.
    told: BTreeSet<Vec<Edge>>,
}

impl Graph {
    /// Adds an edge, which may be known.
    pub fn add(&mut self, edge: Edge, stacks: Stacks) {
        if self.edges.len() < MAX_EDGES && edge.from != edge.to && self.edges.insert(edge, stacks).is_none() {
            self.new.insert(edge);
        }
    }

    /// The circles that have come since the last time, each as its edges, sorted.
    pub fn new_circles(&mut self) -> Vec<Vec<Edge>> {
        let mut found = Vec::new();
        let mut steps = MAX_STEPS;
        for edge in std::mem::take(&mut self.new) {
            let good = self.leading_to(edge.from);
            let mut way = vec![edge];
            self.walk(&mut way, &good, &mut steps, &mut found);
        }
        found.retain(|circle| self.told.len() < MAX_CIRCLES && self.told.insert(circle.clone()));
        found
    }

    /// Goes on from the end of `way`, over mutexes that are not on it, until it is back at its beginning.
    fn walk(&self, way: &mut Vec<Edge>, good: &BTreeSet<u64>, steps: &mut usize, found: &mut Vec<Vec<Edge>>) {
        let (Some(first), Some(last)) = (way.first().copied(), way.last().copied()) else {
            return;
        };
        for edge in self.from(last.to).filter(|edge| good.contains(&edge.to)) {
            match steps.checked_sub(1) {
                Some(left) => *steps = left,
                None => return,
            }
            if edge.to == first.from {
                let mut circle = way.clone();
                circle.push(edge);
                circle.sort();
                found.push(circle);
            } else if way.iter().all(|passed| passed.to != edge.to) {
                way.push(edge);
                self.walk(way, good, steps, found);
                way.pop();
            }
        }
    }

    /// The edges that begin at a mutex.
    fn from(&self, mutex: u64) -> impl Iterator<Item = Edge> + '_ {
        let begin = |to| Edge { from: mutex, to };
        self.edges.range(begin(0)..=begin(u64::MAX)).map(|(edge, _)| *edge)
    }

    /// All mutexes from which there is a way to `target`, and itself.
    fn leading_to(&self, target: u64) -> BTreeSet<u64> {
        let mut back: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for edge in self.edges.keys() {
            back.entry(edge.to).or_default().push(edge.from);
        }
        let mut found = BTreeSet::from([target]);
        let mut left = vec![target];
        while let Some(mutex) = left.pop() {
            for from in back.get(&mutex).into_iter().flatten() {
                if found.insert(*from) {
                    left.push(*from);
                }
            }
        }
        found
    }

    /// The stacks of a circle's edges: `[1, 2], [3, 4]`.
    pub fn stacks(&self, circle: &[Edge]) -> String {
        let pairs = circle.iter().filter_map(|edge| self.edges.get(edge));
        let texts: Vec<_> = pairs.map(|Stacks(first, second)| format!("[{first}, {second}]")).collect();
        texts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(u64, u64)]) -> Graph {
        let mut graph = Graph::default();
        add(&mut graph, edges);
        graph
    }

    fn add(graph: &mut Graph, edges: &[(u64, u64)]) {
        for (from, to) in edges.iter().copied() {
            graph.add(Edge { from, to }, Stacks(from as i64, to as i64 + 100));
        }
    }

    fn circles(graph: &mut Graph) -> Vec<Vec<(u64, u64)>> {
        let found = graph.new_circles();
        let pairs = |circle: Vec<Edge>| circle.into_iter().map(|edge| (edge.from, edge.to)).collect();
        let mut found: Vec<Vec<(u64, u64)>> = found.into_iter().map(pairs).collect();
        found.sort();
        found
    }

    #[test]
    fn orders_that_agree_are_no_circle() {
        assert!(circles(&mut graph(&[(1, 2), (2, 3), (1, 3), (3, 4)])).is_empty());
        assert!(circles(&mut graph(&[(1, 1)])).is_empty());
        assert!(circles(&mut graph(&[])).is_empty());
    }

    #[test]
    fn each_circle_is_told_of_once() {
        let mut graph = graph(&[(1, 2), (2, 1), (2, 3)]);
        assert_eq!(circles(&mut graph), [[(1, 2), (2, 1)]]);
        assert!(circles(&mut graph).is_empty());
        // The same again, and one edge that closes two.
        add(&mut graph, &[(1, 2), (3, 1), (3, 2)]);
        assert_eq!(circles(&mut graph), [vec![(1, 2), (2, 3), (3, 1)], vec![(2, 3), (3, 2)]]);
        let circle = [Edge { from: 1, to: 2 }, Edge { from: 2, to: 1 }];
        assert_eq!(graph.stacks(&circle), "[1, 102], [2, 101]");
    }

    #[test]
    fn what_is_spent_on_looking_is_limited() {
        // Everything leads to everything: the circles cannot be counted.
        let all: Vec<(u64, u64)> = (0..40).flat_map(|from| (0..40).map(move |to| (from, to))).collect();
        let mut graph = graph(&all);
        let found = circles(&mut graph);
        assert!(!found.is_empty() && found.len() <= MAX_CIRCLES, "{}", found.len());
    }
}
