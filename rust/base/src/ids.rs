//! Ids are u32 newtypes, so that a page cannot be passed where a sequence is meant.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u32);

        impl $name {
            /// The id as an array index.
            #[inline]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id!(
    /// One running text. Never reused within a session.
    SequenceId
);
id!(
    /// A page of the pool; page 0 is scratch for padded rows.
    PageId
);
id!(
    /// One cache row: `page · page_size + offset`.
    SlotId
);

/// A vocabulary id. Token arrays cross every crate as plain slices, so it is no newtype.
pub type Token = u32;
