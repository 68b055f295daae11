//! From text to the syntax tree of the crate `cel`, within bounds, and from its nodes back to lines and columns.

use std::{iter::Peekable, str::CharIndices};

use cel::{
    Env, IdedExpr,
    common::ast::{Expr, SourceInfo},
};

use super::ConditionMistake;

/// Bytes of a condition's text, at most.
pub const MAX_CONDITION_BYTES: usize = 2_000;

/// How deeply a text may be nested, by [`Nesting`]: as the parser calls itself for each level, and each of ours does, with a stack of
/// 2 MiB and without optimisation.
const MAX_NESTING: usize = 80;

/// Brackets and choices go through all levels of precedence, which the parser has a function each for.
const LEVELS: usize = 5;

pub(super) struct Parsed<'a> {
    pub root: IdedExpr,
    places: SourceInfo,
    text: &'a str,
}

pub(super) fn parse(text: &str) -> Result<Parsed<'_>, ConditionMistake> {
    if text.len() > MAX_CONDITION_BYTES {
        let message = format!("the condition has {} bytes; at most {MAX_CONDITION_BYTES} are allowed", text.len());
        return Err(ConditionMistake { line: 1, column: 1, text: message });
    }
    Nesting::check(text)?;
    // Without its macros: calls stay as they are written, and there is nothing to recognise again.
    match Env::default().parser().max_recursion_depth(64).parse_with_source_info(text) {
        Ok((root, places)) => Ok(Parsed { root, places, text }),
        Err(errors) => {
            let first = errors.errors.into_iter().next();
            let (place, message) = first.map_or(((0, 0), String::new()), |error| (error.pos, error.msg));
            let (line, column) = (usize::try_from(place.0).unwrap_or(0).max(1), usize::try_from(place.1).unwrap_or(0).max(1));
            let message = message.strip_prefix("Syntax error: ").unwrap_or(&message);
            Err(ConditionMistake { line, column, text: format!("wrong syntax: {message}") })
        }
    }
}

impl Parsed<'_> {
    /// A mistake at a node: at the name of a field or function, at an operator, or at the beginning of a literal.
    pub fn mistake(&self, node: &IdedExpr, message: impl Into<String>) -> ConditionMistake {
        let (line, column) = position(self.text, self.place(node));
        ConditionMistake { line, column, text: message.into() }
    }

    /// The literal as it is written.
    pub fn written(&self, node: &IdedExpr) -> &str {
        let range = self.places.offset_for(node.id).map(|(start, last)| start as usize..last as usize + 1);
        range.and_then(|range| self.text.get(range)).unwrap_or("")
    }

    /// In bytes.
    fn place(&self, node: &IdedExpr) -> usize {
        let token = self.places.offset_for(node.id).map_or(0, |(start, _)| start as usize);
        let (Some(before), Some(after)) = (self.text.get(..token), self.text.get(token..)) else { return 0 };
        match &node.expr {
            // The token is the dot.
            Expr::Select(_) => token + after.len() - after.trim_start_matches(['.']).trim_start().len(),
            // The token is the bracket.
            Expr::Call(call) if before.trim_end().ends_with(call.func_name.as_str()) => before.trim_end().len() - call.func_name.len(),
            Expr::Call(_)
            | Expr::Unspecified
            | Expr::Comprehension(_)
            | Expr::Ident(_)
            | Expr::List(_)
            | Expr::Literal(_)
            | Expr::Map(_)
            | Expr::Struct(_) => token,
        }
    }
}

/// Line and column, both from 1, the column in characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    (line, before[start..].chars().count() + 1)
}

/// How deep a text can be nested for the parser, from its tokens alone: known before the parser sees it, since that would not return from
/// some of what it is given. Never too little: each token may begin a level, but for what && and || and commas stand between.
struct Nesting<'a> {
    text: &'a str,
    rest: Peekable<CharIndices<'a>>,
    /// For each open bracket, and for what is in none: levels begun, and how many of them a && ends.
    open: Vec<Levels>,
    sum: usize,
}

#[derive(Default)]
struct Levels {
    chosen: usize,
    chained: usize,
}

impl<'a> Nesting<'a> {
    fn check(text: &'a str) -> Result<(), ConditionMistake> {
        let rest = text.char_indices().peekable();
        let mut nesting = Self { text, rest, open: vec![Levels::default()], sum: 0 };
        while let Some((offset, character)) = nesting.rest.next() {
            nesting.take(offset, character)?;
            if nesting.sum > MAX_NESTING {
                return Err(nesting
                    .mistake(offset, "the condition is nested too deeply here, or has too long a chain of operators: make it simpler"));
            }
        }
        Ok(())
    }

    fn mistake(&self, offset: usize, message: &str) -> ConditionMistake {
        let (line, column) = position(self.text, offset);
        ConditionMistake { line, column, text: message.to_owned() }
    }

    fn take(&mut self, offset: usize, character: char) -> Result<(), ConditionMistake> {
        match character {
            '"' | '\'' => {
                self.skip_string(offset, character)?;
                self.chain(1);
            }
            '`' => return Err(self.mistake(offset, "names in backticks are not supported")),
            '/' if self.rest.next_if(|(_, next)| *next == '/').is_some() => while self.rest.next_if(|(_, next)| *next != '\n').is_some() {},
            '(' | '[' | '{' => {
                self.chain(LEVELS);
                self.open.push(Levels::default());
            }
            ')' | ']' | '}' => {
                self.end_chain(true);
                if self.open.len() > 1 {
                    self.open.pop();
                }
            }
            ',' => self.end_chain(true),
            '&' | '|' => self.end_chain(false),
            '?' => {
                self.end_chain(false);
                self.choose();
            }
            _ if character.is_ascii_whitespace() => {}
            _ if is_word(character) => {
                while self.rest.next_if(|(_, next)| is_word(*next)).is_some() {}
                if let Some((quote, _)) = self.rest.next_if(|(_, next)| matches!(next, '"' | '\'')) {
                    return Err(self.mistake(quote, "a string begins here; raw strings and bytes are not supported"));
                }
                self.chain(1);
            }
            _ => self.chain(1),
        }
        Ok(())
    }

    /// What comes behind a backslash.
    fn skip_escaped(&mut self, place: usize) -> Result<(), ConditionMistake> {
        match self.rest.next_if(|(_, next)| matches!(next, '\\' | '"' | '\'' | 'n' | 't')) {
            Some(_) => Ok(()),
            None => Err(self.mistake(place, "a backslash in a string is followed by \\, \", ', n or t")),
        }
    }

    /// Only what the parser takes for a string too: where it does not, it would go on behind the quote, and be nested by what is in it.
    fn skip_string(&mut self, offset: usize, quote: char) -> Result<(), ConditionMistake> {
        if self.text[offset..].chars().take(3).filter(|character| *character == quote).count() == 3 {
            return Err(self.mistake(offset, "strings in three quotes are not supported"));
        }
        while let Some((place, character)) = self.rest.next() {
            match character {
                '\\' => self.skip_escaped(place)?,
                '\n' | '\r' => break,
                _ if character == quote => return Ok(()),
                _ => {}
            }
        }
        Err(self.mistake(offset, "the string that begins here does not end on its line"))
    }

    fn chain(&mut self, levels: usize) {
        if let Some(open) = self.open.last_mut() {
            open.chained += levels;
            self.sum += levels;
        }
    }

    fn choose(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.chosen += LEVELS;
            self.sum += LEVELS;
        }
    }

    /// What && or a comma ends is not nested in what follows; only a comma ends choices.
    fn end_chain(&mut self, with_choices: bool) {
        if let Some(open) = self.open.last_mut() {
            self.sum -= std::mem::take(&mut open.chained);
            if with_choices {
                self.sum -= std::mem::take(&mut open.chosen);
            }
        }
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}
