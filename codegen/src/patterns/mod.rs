//! Translates the patterns of texts into tables, which are walked once for each text: in linear time, whatever the text.
//!
//! A pattern is read as ECMAScript reads it with the flag `u`, which is what JSON Schema asks for. It must be about the
//! whole text. What no table can express is refused, and so is what no pattern of the document needs.
//!
//! A state is what may follow, as a set of sequences of expressions: the partial derivatives (Antimirov) of what may
//! follow before a character. States that no text tells apart become one.

mod reader;

use std::collections::BTreeSet;

use self::reader::{LAST, Node, Range, read};

/// As many states, and as many classes, as a byte can tell apart. No state has more sequences, either.
const MOST: usize = 256;

/// Sequences, of which a text may go on with any.
type State = BTreeSet<Vec<Node>>;

/// The smallest table of a pattern.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// The first character of each range of characters, and the class of the range.
    pub(crate) ranges: Vec<(char, usize)>,
    /// For each state, from the first: whether a text may end in it, and the state that follows a character of each
    /// class.
    pub(crate) states: Vec<(bool, Vec<usize>)>,
}

/// Translates a pattern. The error ends a sentence that begins with the pattern.
pub(crate) fn translate(pattern: &str) -> Result<Table, String> {
    let whole = read(pattern)?;
    let mut firsts = BTreeSet::from([0]);
    whole.visit_ranges(&mut |(first, last)| firsts.extend([first, last + 1].iter().filter(|at| **at <= LAST)));
    let mut states = vec![State::from([vec![whole]])];
    let mut rows: Vec<Vec<usize>> = Vec::new();
    while let Some(state) = states.get(rows.len()) {
        if states.len().max(state.len()).max(firsts.len()) > MOST {
            return Err("is too large for a table: bound a length with maxLength, not with a count".into());
        }
        let of = |first: &u32| state.iter().flat_map(|nodes| after(nodes, *first)).collect();
        let row: Vec<State> = firsts.iter().map(of).collect();
        rows.push(row.into_iter().map(|state| place_in(&mut states, state)).collect());
    }
    // States are told apart by those that follow them, until no more of them are.
    let mut numbers = vec![0; states.len()];
    let smallest = loop {
        let may_end = |state: &State| state.iter().any(|nodes| nodes.iter().all(Node::may_be_empty));
        let after = |row: &[usize]| row.iter().map(|state| numbers[*state]).collect::<Vec<_>>();
        let (finer, kept) = numbered(states.iter().zip(&rows).map(|(state, row)| (may_end(state), after(row))));
        if finer == numbers {
            break kept;
        }
        numbers = finer;
    };
    let columns = (0..firsts.len()).map(|range| smallest.iter().map(|(_, row)| row[range]).collect::<Vec<_>>());
    let (classes, columns) = numbered(columns);
    // No range of a pattern begins within the surrogates, but the one after the characters before them does.
    let firsts = firsts.into_iter().map(|first| char::from_u32(first).unwrap_or('\u{e000}'));
    let mut ranges: Vec<_> = firsts.zip(classes).collect();
    ranges.dedup_by_key(|(_, class)| *class);
    let row_of = |state: usize| columns.iter().map(|column| column[state]).collect();
    let states = smallest.iter().enumerate().map(|(state, (may_end, _))| (*may_end, row_of(state))).collect();
    Ok(Table { ranges, states })
}

/// The number of each key, in the order in which they appear, and the keys by their numbers.
fn numbered<T: PartialEq>(keys: impl Iterator<Item = T>) -> (Vec<usize>, Vec<T>) {
    let mut seen = Vec::new();
    (keys.map(|key| place_in(&mut seen, key)).collect(), seen)
}

/// The place of an item in a list, to which it is added if it is not there.
fn place_in<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|other| *other == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

impl Node {
    fn visit_ranges(&self, visit: &mut impl FnMut(Range)) {
        match self {
            Self::Set(ranges) => ranges.iter().copied().for_each(visit),
            Self::Sequence(nodes) | Self::Choice(nodes) => nodes.iter().for_each(|node| node.visit_ranges(visit)),
            Self::Repeat(node, ..) => node.visit_ranges(visit),
        }
    }

    /// Whether it matches the empty text.
    fn may_be_empty(&self) -> bool {
        match self {
            Self::Set(_) => false,
            Self::Sequence(nodes) => nodes.iter().all(Self::may_be_empty),
            Self::Choice(nodes) => nodes.iter().any(Self::may_be_empty),
            Self::Repeat(node, least, _) => *least == 0 || node.may_be_empty(),
        }
    }

    /// What may follow a character of it.
    fn after(&self, point: u32) -> State {
        match self {
            Self::Set(ranges) if ranges.iter().any(|(first, last)| (*first..=*last).contains(&point)) => {
                State::from([Vec::new()])
            }
            Self::Set(_) | Self::Repeat(_, _, Some(0)) => State::new(),
            Self::Sequence(nodes) => after(nodes, point),
            Self::Choice(nodes) => nodes.iter().flat_map(|node| node.after(point)).collect(),
            // What is repeated matches a character each time: more of what is empty adds nothing.
            Self::Repeat(node, least, most) => {
                let rest = Self::Repeat(node.clone(), least.saturating_sub(1), most.map(|most| most - 1));
                then(node.after(point), &[rest]).collect()
            }
        }
    }
}

/// What may follow a character of nodes that follow each other. The character is of the first that is not empty.
fn after(nodes: &[Node], point: u32) -> State {
    let empty = nodes.iter().take_while(|node| node.may_be_empty()).count();
    let next = nodes.iter().enumerate().take(empty + 1);
    next.flat_map(|(place, node)| then(node.after(point), &nodes[place + 1..])).collect()
}

fn then(state: State, rest: &[Node]) -> impl Iterator<Item = Vec<Node>> {
    state.into_iter().map(move |nodes| [&nodes, rest].concat())
}

#[cfg(test)]
mod tests;
