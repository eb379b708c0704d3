//! What documents are called.

use crate::index::corpus::MAX_TITLE_END;
use crate::index::format::Kind;
use crate::index::store::Fault;
use crate::index::{Group, Index, NUMBERED};
use draftwood_base::{Error, Result, Token};

/// A document's own name and its title; empty where it has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Name {
    /// What its builder calls it.
    pub id: String,
    /// Its title, as text.
    pub title: String,
}

impl Index {
    /// The name and the title of a document.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a document that does not exist; [`Error::IndexFormat`] for damaged names.
    pub fn name(&self, document: u32) -> Result<Name> {
        if document >= self.documents() {
            let expected = format!("below {}, the number of documents", self.documents());
            return Err(Error::invalid("the document", expected, document, NUMBERED));
        }
        self.read_name(document).map_err(|fault| self.store.explain(fault))
    }

    fn read_name(&self, document: u32) -> Result<Name, Fault> {
        let (ends, names) = (self.section(Kind::NameEnds), self.section(Kind::Names));
        if ends.length == 0 {
            return Ok(Name::default());
        }
        let start = match document.checked_sub(1) {
            Some(before) => self.store.pair(ends, u64::from(before))?.1,
            None => 0,
        };
        let (middle, end) = self.store.pair(ends, u64::from(document))?;
        if start > middle || middle > end || end > names.length {
            return Err(self.outside(Kind::NameEnds));
        }
        let text = |from: u64, to: u64| match std::str::from_utf8(self.store.slice(names, from, to - from)?) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.outside(Kind::Names)),
        };
        Ok(Name { id: text(start, middle)?, title: text(middle, end)? })
    }

    /// The tokens that end the titles with which documents begin; empty if they have none.
    ///
    /// # Errors
    /// [`Error::IndexFormat`] for a damaged block.
    pub fn title_end(&self) -> Result<Vec<Token>> {
        let section = self.section(Kind::TitleEnd);
        let count = (section.length / 4).min(MAX_TITLE_END as u64);
        let ids = (0..count).map(|i| self.store.u32(section, i));
        ids.collect::<Result<_, Fault>>().map_err(|fault| self.store.explain(fault))
    }
}

impl Group {
    /// As [`Index::name`].
    ///
    /// # Errors
    /// As [`Index::name`].
    pub fn name(&self, document: u64) -> Result<Name> {
        let (part, document) = self.part_of(document)?;
        part.name(document)
    }

    /// The tokens that end titles, on which all parts that have titles must agree.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when they do not; as [`Index::title_end`].
    pub fn title_end(&self) -> Result<Vec<Token>> {
        let mut known: Vec<Token> = Vec::new();
        for part in self.parts() {
            let end = part.title_end()?;
            if known.is_empty() {
                known = end;
            } else if !end.is_empty() && end != known {
                let (expected, got) = (format!("{known:?} in every index"), format!("{end:?}"));
                let hint = "indexes that are queried together need titles that end alike";
                return Err(Error::invalid("the end of titles", expected, got, hint));
            }
        }
        Ok(known)
    }
}
