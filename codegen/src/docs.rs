//! Keeps the examples in the document's descriptions from being taken for Rust: rustdoc would compile and run them.

use syn::visit_mut::VisitMut;

/// Marks each block of code in the docs as text.
pub(crate) fn mark_code_as_text(file: &mut syn::File) {
    Docs.visit_file_mut(file);
}

struct Docs;

impl VisitMut for Docs {
    fn visit_attributes_mut(&mut self, attributes: &mut Vec<syn::Attribute>) {
        let docs: Vec<_> = attributes.iter().filter_map(doc).collect();
        let text = docs.join("\n");
        let marked = marked(&text);
        if marked == text {
            return;
        }
        let at = attributes.iter().position(|attribute| doc(attribute).is_some()).unwrap_or_default();
        attributes.retain(|attribute| doc(attribute).is_none());
        let lines = marked.lines().map(|line| -> syn::Attribute { syn::parse_quote!(#[doc = #line]) });
        attributes.splice(at..at, lines);
    }
}

/// The text of a doc attribute.
fn doc(attribute: &syn::Attribute) -> Option<String> {
    let syn::Meta::NameValue(meta) = &attribute.meta else { return None };
    match &meta.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) if meta.path.is_ident("doc") => {
            Some(text.value())
        }
        _ => None,
    }
}

/// Writes indented code between fences, and `text` behind each fence that begins code.
fn marked(markdown: &str) -> String {
    let is_blank = |line: &str| line.trim().is_empty();
    let lines: Vec<_> = markdown.lines().map(|line| line.replace('\t', "    ")).collect();
    // What all lines are indented by is not seen.
    let margin = lines.iter().filter(|line| !is_blank(line)).map(|line| indent(line)).min().unwrap_or_default();
    let (mut marked, mut index) = (Vec::new(), 0);
    // The column in which the content of the list's item begins, and whether a paragraph goes on.
    let (mut content, mut is_in_paragraph) = (margin, false);
    while let Some(line) = lines.get(index) {
        index += 1;
        if is_blank(line) {
            is_in_paragraph = false;
            marked.push(line.clone());
        } else if !is_in_paragraph && indent(line) >= content + 4 {
            // It ends before a line that is indented less. Blank lines at its end are none of it.
            let rest = lines[index..].iter().take_while(|line| is_blank(line) || indent(line) >= content + 4);
            let mut length = 1 + rest.count();
            while is_blank(&lines[index + length - 2]) {
                length -= 1;
            }
            let code = &lines[index - 1..index - 1 + length];
            let longest = code.iter().flat_map(|line| line.split(|c| c != '`')).map(str::len).max().unwrap_or_default();
            let (margin, fence) = (" ".repeat(content), "`".repeat(longest.max(2) + 1));
            marked.push(format!("{margin}{fence}text"));
            let unindented = code.iter().map(|line| format!("{margin}{}", line.get(content + 4..).unwrap_or_default()));
            marked.extend(unindented.map(|line| line.trim_end().to_owned()));
            marked.push(format!("{margin}{fence}"));
            index += length - 1;
        } else if let Some((fence, mark)) = fence(line) {
            marked.push(format!("{}{fence}text", " ".repeat(indent(line))));
            let is_end = |line: &String| line.trim().len() >= fence.len() && line.trim().chars().all(|c| c == mark);
            let length = lines[index..].iter().position(is_end).map_or(lines.len() - index, |end| end + 1);
            marked.extend(lines[index..index + length].iter().cloned());
            index += length;
            is_in_paragraph = false;
        } else {
            if let Some(column) = content_of_item(line) {
                content = column;
            } else if !is_in_paragraph && indent(line) < content {
                content = margin;
            }
            is_in_paragraph = !line.trim_start().starts_with('#');
            marked.push(line.clone());
        }
    }
    marked.join("\n")
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The marks that begin code, if a line does, and which they are.
fn fence(line: &str) -> Option<(&str, char)> {
    let text = line.trim_start();
    let mark = text.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let length = text.find(|c| c != mark).unwrap_or(text.len());
    let is_fence = length >= 3 && !(mark == '`' && text[length..].contains('`'));
    is_fence.then(|| (&text[..length], mark))
}

/// The column in which the content of a list's item begins, if a line begins one.
fn content_of_item(line: &str) -> Option<usize> {
    let text = line.trim_start();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let mark = text[digits..].chars().next()?;
    let is_item = if digits == 0 { matches!(mark, '-' | '*' | '+') } else { matches!(mark, '.' | ')') };
    let after = text.get(digits + 1..).filter(|after| is_item && after.starts_with(' '))?;
    Some(indent(line) + digits + 1 + indent(after).min(4))
}

#[cfg(test)]
mod tests;
