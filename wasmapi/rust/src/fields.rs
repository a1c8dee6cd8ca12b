//! Values of fields.

use std::any::Any;

use crate::datasources::{Data, Field, FieldKind};
use crate::helpers::{bytes_to_buf_ptr, from_c_string, string_to_buf_ptr, BufPtr};
use crate::host;

/// What functions of this module return.
pub type Result<T> = std::result::Result<T, String>;

/// A value that is no text.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum FieldData {
    Bool(bool),
    Float32(f32),
    Float64(f64),
    Int8(i8),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    Uint8(u8),
    Uint16(u16),
    Uint32(u32),
    Uint64(u64),
}

macro_rules! scalars {
    ($($get:ident, $set:ident: $type:ty, $kind:ident, $bits:ident => $from:expr, $value:ident => $to:expr;)*) => {$(
        #[doc = concat!("The value as `", stringify!($type), "`. What counts is only that it is that wide.")]
        pub fn $get(&self, data: Data) -> Result<$type> {
            let $bits = self.scalar(data, FieldKind::$kind)?;
            Ok($from)
        }

        #[doc = concat!("Sets a value that is as wide as `", stringify!($type), "`.")]
        pub fn $set(&self, data: Data, value: $type) -> Result<()> {
            let $value = value;
            self.set(data, FieldKind::$kind, $to)
        }
    )*};
}

impl Field {
    fn scalar(&self, data: Data, kind: FieldKind) -> Result<u64> {
        host::field_get_scalar(self.0, data.0, kind as u32).ok_or_else(|| "getting a field failed".to_string())
    }

    fn set(&self, data: Data, kind: FieldKind, value: u64) -> Result<()> {
        match host::field_set(self.0, data.0, kind as u32, value) {
            0 => Ok(()),
            _ => Err("setting a field failed".to_string()),
        }
    }

    scalars! {
        bool, set_bool: bool, Bool, bits => bits == 1, value => u64::from(value);
        i8, set_i8: i8, Int8, bits => bits as i8, value => value as u64;
        i16, set_i16: i16, Int16, bits => bits as i16, value => value as u64;
        i32, set_i32: i32, Int32, bits => bits as i32, value => value as u64;
        i64, set_i64: i64, Int64, bits => bits as i64, value => value as u64;
        u8, set_u8: u8, Uint8, bits => bits as u8, value => u64::from(value);
        u16, set_u16: u16, Uint16, bits => bits as u16, value => u64::from(value);
        u32, set_u32: u32, Uint32, bits => bits as u32, value => u64::from(value);
        u64, set_u64: u64, Uint64, bits => bits, value => value;
        f32, set_f32: f32, Float32, bits => f32::from_bits(bits as u32), value => u64::from(value.to_bits());
        f64, set_f64: f64, Float64, bits => f64::from_bits(bits), value => value.to_bits();
    }

    /// The value, read as one of `kind`.
    pub fn get_data(&self, data: Data, kind: FieldKind) -> Result<FieldData> {
        Ok(match kind {
            FieldKind::Bool => FieldData::Bool(self.bool(data)?),
            FieldKind::Int8 => FieldData::Int8(self.i8(data)?),
            FieldKind::Int16 => FieldData::Int16(self.i16(data)?),
            FieldKind::Int32 => FieldData::Int32(self.i32(data)?),
            FieldKind::Int64 => FieldData::Int64(self.i64(data)?),
            FieldKind::Uint8 => FieldData::Uint8(self.u8(data)?),
            FieldKind::Uint16 => FieldData::Uint16(self.u16(data)?),
            FieldKind::Uint32 => FieldData::Uint32(self.u32(data)?),
            FieldKind::Uint64 => FieldData::Uint64(self.u64(data)?),
            FieldKind::Float32 => FieldData::Float32(self.f32(data)?),
            FieldKind::Float64 => FieldData::Float64(self.f64(data)?),
            FieldKind::Invalid | FieldKind::String | FieldKind::CString | FieldKind::Bytes => {
                return Err(format!("values of kind {kind:?} are read with `string` or `bytes`"));
            }
        })
    }

    /// Sets the value to a `bool`, a number, a `String`, a `&'static str`, a `Vec<u8>` or a `&'static [u8]`.
    pub fn set_data(&self, data: Data, value: &(dyn Any + Send)) -> Result<()> {
        macro_rules! try_set {
            ($($type:ty => $set:ident),*) => {$(
                if let Some(value) = value.downcast_ref::<$type>() {
                    return self.$set(data, *value);
                }
            )*};
        }
        try_set!(
            bool => set_bool, i8 => set_i8, i16 => set_i16, i32 => set_i32, i64 => set_i64, u8 => set_u8, u16 => set_u16,
            u32 => set_u32, u64 => set_u64, f32 => set_f32, f64 => set_f64, &'static str => set_string,
            &'static [u8] => set_bytes
        );
        if let Some(text) = value.downcast_ref::<String>() {
            return self.set_string(data, text);
        }
        match value.downcast_ref::<Vec<u8>>() {
            Some(bytes) => self.set_bytes(data, bytes),
            None => Err("values of this type cannot be set".to_string()),
        }
    }

    /// The text up to the first NUL. `max_size` is the size of the field, not that of the text: a `char[64]` needs 64.
    pub fn string(&self, data: Data, max_size: u32) -> Result<String> {
        let mut bytes = vec![0; max_size as usize];
        let len = self.bytes(data, &mut bytes)? as usize;
        Ok(from_c_string(bytes.get(..len).unwrap_or(&bytes)))
    }

    /// Writes the value's bytes to `to`, which must have room for all of them, and says how many there are.
    pub fn bytes(&self, data: Data, to: &mut [u8]) -> Result<u32> {
        let len = host::field_get_buffer(self.0, data.0, FieldKind::Bytes as u32, BufPtr::bytes_mut(to).0);
        u32::try_from(len).map_err(|_| "getting the bytes of a field failed".to_string())
    }

    /// Sets a text.
    pub fn set_string(&self, data: Data, text: &str) -> Result<()> {
        self.set(data, FieldKind::String, string_to_buf_ptr(text).0)
    }

    /// Sets bytes.
    pub fn set_bytes(&self, data: Data, bytes: &[u8]) -> Result<()> {
        self.set(data, FieldKind::Bytes, bytes_to_buf_ptr(bytes).0)
    }

    /// Appends a tag to those of the field.
    pub fn add_tag(&self, tag: &str) -> Result<()> {
        match host::field_add_tag(self.0, string_to_buf_ptr(tag).0) {
            0 => Ok(()),
            _ => Err(format!("adding tag {tag:?} failed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_fails_is_an_error() {
        let (field, data) = (Field(1), Data(2));
        assert!(field.u32(data).is_err());
        assert!(field.string(data, 8).is_err());
        assert!(field.set_data(data, &7u8).is_err());
        assert!(field.get_data(data, FieldKind::String).unwrap_err().contains("`string`"));
        assert!(field.set_data(data, &()).unwrap_err().contains("cannot be set"));
    }
}
