//! Finds the line of a part of the document, from the indentation of block YAML.

#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    indent: usize,
    content: &'a str,
}

/// The lines of a text that say something.
pub(crate) struct Lines<'a>(Vec<Line<'a>>);

/// The line where the part at `pointer` begins, or else the nearest enclosing part that has a line of its own.
pub fn line_of(text: &str, pointer: &str) -> Option<usize> {
    Lines::of(text).find(pointer)
}

impl<'a> Lines<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let lines = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim_start(), line.len()))
            .filter(|(_, content, _)| !content.is_empty() && !content.starts_with('#'))
            .map(|(number, content, length)| Line { number, indent: length - content.len(), content });
        Self(lines.collect())
    }

    /// The line where the part at `pointer` begins, see [`line_of`].
    pub(crate) fn find(&self, pointer: &str) -> Option<usize> {
        let mut lines = self.0.clone();
        let mut inside = &mut lines[..];
        let mut found = None;
        for token in pointer.split('/').skip(1) {
            let name = token.replace("~1", "/").replace("~0", "~");
            let Some(indent) = inside.first().map(|line| line.indent) else { break };
            let siblings = inside.iter().enumerate().filter(|(_, line)| line.indent == indent);
            let (mut items, mut keys) = siblings.partition::<Vec<_>, _>(|(_, line)| line.content.starts_with("- "));
            let item =
                name.parse::<usize>().ok().filter(|index| *index < items.len()).map(|index| items.swap_remove(index));
            let is_item = item.is_some();
            keys.retain(|(_, line)| key(line.content) == Some(name.as_str()));
            let Some(at) = item.or(keys.into_iter().next()).map(|(at, _)| at) else { break };
            found = Some(inside[at].number);
            let end = at + 1 + inside[at + 1..].iter().take_while(|line| line.indent > indent).count();
            if is_item {
                let line = &mut inside[at];
                (line.indent, line.content) = (indent + 2, &line.content[2..]);
                inside = &mut inside[at..end];
            } else {
                inside = &mut inside[at + 1..end];
            }
        }
        found
    }
}

/// The key at the beginning of a line, without quotes.
pub(crate) fn key(content: &str) -> Option<&str> {
    let (key, rest) = content.split_once(':')?;
    (rest.is_empty() || rest.starts_with(' ')).then(|| key.trim_matches(['\'', '"']))
}
