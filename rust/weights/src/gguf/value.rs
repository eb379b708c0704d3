//! Metadata values, decoded from the file when they are asked for.

use super::cursor::Cursor;
use draftwood_base::Result;

/// The type of a metadata value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Str,
    Array,
    U64,
    I64,
    F64,
}

/// Arrays of arrays may nest this deep; no writer is known to nest at all.
const MAX_DEPTH: u32 = 4;

impl ValueType {
    const ALL: [ValueType; 13] = [
        ValueType::U8,
        ValueType::I8,
        ValueType::U16,
        ValueType::I16,
        ValueType::U32,
        ValueType::I32,
        ValueType::F32,
        ValueType::Bool,
        ValueType::Str,
        ValueType::Array,
        ValueType::U64,
        ValueType::I64,
        ValueType::F64,
    ];

    pub(super) fn read(cursor: &mut Cursor<'_>, what: &str) -> Result<Self> {
        let start = cursor.offset();
        let id = cursor.u32(what)?;
        let kind = Self::ALL.get(id as usize).copied();
        kind.ok_or_else(|| cursor.refuse(start, format!("the type of {what}"), "0 to 12", id))
    }

    /// Bytes of one value; None if they vary.
    fn width(self) -> Option<u64> {
        match self {
            ValueType::U8 | ValueType::I8 | ValueType::Bool => Some(1),
            ValueType::U16 | ValueType::I16 => Some(2),
            ValueType::U32 | ValueType::I32 | ValueType::F32 => Some(4),
            ValueType::U64 | ValueType::I64 | ValueType::F64 => Some(8),
            ValueType::Str | ValueType::Array => None,
        }
    }

    fn least_bytes(self) -> u64 {
        match self {
            ValueType::Str => 8,
            ValueType::Array => 12,
            other => other.width().unwrap_or(1),
        }
    }
}

/// One metadata value; strings and arrays borrow from the file.
#[derive(Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(&'a str),
    Array(Array<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl Value<'_> {
    /// A non-negative integer of any width.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::U8(v) => Some(v.into()),
            Value::U16(v) => Some(v.into()),
            Value::U32(v) => Some(v.into()),
            Value::U64(v) => Some(v),
            Value::I8(v) => v.try_into().ok(),
            Value::I16(v) => v.try_into().ok(),
            Value::I32(v) => v.try_into().ok(),
            Value::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }
}

/// A metadata array: item type, length, and its items decoded one by one, so that a vocabulary costs nothing until
/// somebody reads it.
#[derive(Clone)]
pub struct Array<'a> {
    item: ValueType,
    len: u64,
    items: Cursor<'a>,
    depth: u32,
}

impl<'a> Array<'a> {
    /// Type of the items.
    pub fn item_type(&self) -> ValueType {
        self.item
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The items in order; after the first error there are no more.
    pub fn iter(&self) -> impl Iterator<Item = Result<Value<'a>>> + use<'a> {
        let (item, depth, mut cursor, mut left) = (self.item, self.depth, self.items, self.len);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let value = read_value(&mut cursor, item, "an array item", depth);
            if value.is_err() {
                left = 0;
            }
            Some(value)
        })
    }
}

/// Decodes a value; behind an array the cursor stands at its end.
pub fn read_value<'a>(cursor: &mut Cursor<'a>, kind: ValueType, what: &str, depth: u32) -> Result<Value<'a>> {
    Ok(match kind {
        ValueType::U8 => Value::U8(cursor.u8(what)?),
        ValueType::I8 => Value::I8(cursor.u8(what)? as i8),
        ValueType::U16 => Value::U16(cursor.u16(what)?),
        ValueType::I16 => Value::I16(cursor.u16(what)? as i16),
        ValueType::U32 => Value::U32(cursor.u32(what)?),
        ValueType::I32 => Value::I32(cursor.u32(what)? as i32),
        ValueType::F32 => Value::F32(f32::from_bits(cursor.u32(what)?)),
        ValueType::U64 => Value::U64(cursor.u64(what)?),
        ValueType::I64 => Value::I64(cursor.u64(what)? as i64),
        ValueType::F64 => Value::F64(f64::from_bits(cursor.u64(what)?)),
        ValueType::Bool => {
            let start = cursor.offset();
            match cursor.u8(what)? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(cursor.refuse(start, what, "a bool, 0 or 1", other)),
            }
        }
        ValueType::Str => Value::Str(cursor.text(what)?),
        ValueType::Array => {
            let array = array_head(cursor, what, depth)?;
            skip_items(cursor, &array, what)?;
            Value::Array(array)
        }
    })
}

/// Walks over a value and checks that it lies inside the file, without decoding strings.
pub fn skip_value(cursor: &mut Cursor<'_>, kind: ValueType, what: &str, depth: u32) -> Result<()> {
    match kind {
        ValueType::Str => cursor.string(what).map(drop),
        ValueType::Array => {
            let array = array_head(cursor, what, depth)?;
            skip_items(cursor, &array, what)
        }
        // One byte is enough to be wrong for a bool, so it is read rather than skipped.
        _ => read_value(cursor, kind, what, depth).map(drop),
    }
}

fn array_head<'a>(cursor: &mut Cursor<'a>, what: &str, depth: u32) -> Result<Array<'a>> {
    let start = cursor.offset();
    if depth == MAX_DEPTH {
        return Err(cursor.refuse(start, what, format!("nested at most {MAX_DEPTH} deep"), "more"));
    }
    let item = ValueType::read(cursor, what)?;
    let len = cursor.count(&format!("the length of {what}"), item.least_bytes(), u64::MAX)?;
    Ok(Array { item, len, items: *cursor, depth: depth + 1 })
}

fn skip_items(cursor: &mut Cursor<'_>, array: &Array<'_>, what: &str) -> Result<()> {
    if let (Some(width), true) = (array.item.width(), array.item != ValueType::Bool) {
        return cursor.take(width.saturating_mul(array.len), what).map(drop);
    }
    for _ in 0..array.len {
        skip_value(cursor, array.item, what, array.depth)?;
    }
    Ok(())
}
