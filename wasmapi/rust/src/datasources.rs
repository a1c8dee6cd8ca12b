//! Data sources, packets and subscriptions.

use std::sync::{Arc, Mutex, PoisonError};

use crate::helpers::string_to_buf_ptr;
use crate::host;

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(pub u32);

        impl From<$name> for u32 {
            fn from(handle: $name) -> u32 {
                handle.0
            }
        }
    )*};
}

handles! {
    /// A stream of events of one kind.
    DataSource;
    /// What is emitted: one element, or an array of them.
    Packet;
    /// A field of a data source.
    Field;
    /// An element: the values of all fields of one event.
    Data;
    /// A list of elements.
    DataArray;
    /// A packet of a single data source.
    PacketSingle;
    /// A packet of an array data source.
    PacketArray;
}

impl From<PacketSingle> for Data {
    fn from(packet: PacketSingle) -> Self {
        Self(packet.0)
    }
}

impl From<PacketSingle> for Packet {
    fn from(packet: PacketSingle) -> Self {
        Self(packet.0)
    }
}

impl From<PacketArray> for DataArray {
    fn from(packet: PacketArray) -> Self {
        Self(packet.0)
    }
}

impl From<PacketArray> for Packet {
    fn from(packet: PacketArray) -> Self {
        Self(packet.0)
    }
}

/// Name of the data source that tells of containers that come and go, in gadgets with the annotation
/// `enable-containers-datasource: true`.
pub const DATA_SOURCE_CONTAINERS: &str = "containers";
/// No value of its field `event_type` is longer.
pub const DATA_SOURCE_CONTAINERS_EVENT_TYPE_MAX_SIZE: u32 = 16;

/// What went wrong. The host's log says more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataSourceError {
    /// There is none of that name.
    NotFound(String),
    /// The data source could not be made.
    CreationFailed(String),
    /// Subscribing failed.
    SubscribingFailed,
    /// The packet could not be made.
    PacketCreationFailed,
    /// A subscriber failed, or the packet is of another data source.
    EmitFailed,
    /// The handle was not released.
    ReleaseFailed,
    /// The data source could not be hidden.
    UnreferenceFailed,
    /// The field could not be added.
    AddFieldFailed(String),
    /// The element could not be appended.
    AppendFailed,
    /// Anything else.
    GeneralError,
}

impl std::fmt::Display for DataSourceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound(name) => write!(f, "{name:?} not found"),
            Self::CreationFailed(name) => write!(f, "creating data source {name:?} failed"),
            Self::SubscribingFailed => f.write_str("subscribing failed"),
            Self::PacketCreationFailed => f.write_str("creating a packet failed"),
            Self::EmitFailed => f.write_str("emitting a packet failed"),
            Self::ReleaseFailed => f.write_str("releasing a packet failed"),
            Self::UnreferenceFailed => f.write_str("hiding a data source failed"),
            Self::AddFieldFailed(name) => write!(f, "adding field {name:?} failed"),
            Self::AppendFailed => f.write_str("appending an element failed"),
            Self::GeneralError => f.write_str("it failed"),
        }
    }
}

impl std::error::Error for DataSourceError {}

/// What functions of this module return.
pub type Result<T> = std::result::Result<T, DataSourceError>;

/// Whether packets have one element or many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DataSourceType {
    /// Nothing that can be used.
    Undefined = 0,
    /// One.
    Single = 1,
    /// Many.
    Array = 2,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FieldKind {
    /// Nothing.
    Invalid = 0,
    /// True or false.
    Bool = 1,
    /// Signed, 1 byte.
    Int8 = 2,
    /// Signed, 2 bytes.
    Int16 = 3,
    /// Signed, 4 bytes.
    Int32 = 4,
    /// Signed, 8 bytes.
    Int64 = 5,
    /// Unsigned, 1 byte.
    Uint8 = 6,
    /// Unsigned, 2 bytes.
    Uint16 = 7,
    /// Unsigned, 4 bytes.
    Uint32 = 8,
    /// Unsigned, 8 bytes.
    Uint64 = 9,
    /// IEEE 754, 4 bytes.
    Float32 = 10,
    /// IEEE 754, 8 bytes.
    Float64 = 11,
    /// A text of any length.
    String = 12,
    /// A text that a NUL ends.
    CString = 13,
    /// Bytes.
    Bytes = 14,
}

/// What is called with events.
#[derive(Clone)]
pub enum CallBack {
    /// With each element.
    Data(Arc<dyn Fn(DataSource, Data) + Send + Sync>),
    /// With each array.
    Array(Arc<dyn Fn(DataSource, DataArray) -> Result<()> + Send + Sync>),
    /// With each packet.
    Packet(Arc<dyn Fn(DataSource, Packet) -> Result<()> + Send + Sync>),
}

/// By their ids, which are counted from 0.
static CALLBACKS: Mutex<Vec<CallBack>> = Mutex::new(Vec::new());

/// Called by the host with every event that somebody has subscribed to.
#[no_mangle]
#[allow(non_snake_case)]
pub extern "C" fn dataSourceCallback(id: u64, source: u32, data: u32) {
    // Cloned out of the table, so that it may subscribe, or lead to another call.
    let callback = usize::try_from(id).ok().and_then(|id| {
        let callbacks = CALLBACKS.lock().unwrap_or_else(PoisonError::into_inner);
        callbacks.get(id).cloned()
    });
    match callback {
        Some(CallBack::Data(call)) => call(DataSource(source), Data(data)),
        // What it returns has nowhere to go.
        Some(CallBack::Array(call)) => drop(call(DataSource(source), DataArray(data))),
        Some(CallBack::Packet(call)) => drop(call(DataSource(source), Packet(data))),
        None => {}
    }
}

fn nonzero<T>(handle: u32, make: impl FnOnce(u32) -> T, error: impl FnOnce() -> DataSourceError) -> Result<T> {
    match handle {
        0 => Err(error()),
        handle => Ok(make(handle)),
    }
}

fn zero(status: u32, error: DataSourceError) -> Result<()> {
    match status {
        0 => Ok(()),
        _ => Err(error),
    }
}

impl DataSource {
    /// A data source of the gadget's own.
    pub fn new_datasource(name: String, typ: DataSourceType) -> Result<Self> {
        let handle = host::new_data_source(string_to_buf_ptr(&name).0, typ as u32);
        nonzero(handle, Self, || DataSourceError::CreationFailed(name))
    }

    /// The data source of that name.
    pub fn get_datasource(name: String) -> Result<Self> {
        let handle = host::get_data_source(string_to_buf_ptr(&name).0);
        nonzero(handle, Self, || DataSourceError::NotFound(name))
    }

    /// Calls `cb` with every element. What has the lower `prio` is called earlier; the value is read as a signed number.
    pub fn subscribe<F>(&self, cb: F, prio: u32) -> Result<()>
    where
        F: Fn(DataSource, Data) + Send + Sync + 'static,
    {
        self.register(1, CallBack::Data(Arc::new(cb)), prio)
    }

    /// Calls `cb` with every array.
    pub fn subscribe_array<F>(&self, cb: F, prio: u32) -> Result<()>
    where
        F: Fn(DataSource, DataArray) -> Result<()> + Send + Sync + 'static,
    {
        self.register(2, CallBack::Array(Arc::new(cb)), prio)
    }

    /// Calls `cb` with every packet.
    pub fn subscribe_packet<F>(&self, cb: F, prio: u32) -> Result<()>
    where
        F: Fn(DataSource, Packet) -> Result<()> + Send + Sync + 'static,
    {
        self.register(3, CallBack::Packet(Arc::new(cb)), prio)
    }

    fn register(&self, kind: u32, callback: CallBack, prio: u32) -> Result<()> {
        let id = {
            let mut callbacks = CALLBACKS.lock().unwrap_or_else(PoisonError::into_inner);
            callbacks.push(callback);
            callbacks.len() - 1
        };
        let status = host::data_source_subscribe(self.0, kind, prio, id as u64);
        zero(status, DataSourceError::SubscribingFailed)
    }

    /// The field of that full name, for example `proc.comm`.
    pub fn get_field(&self, name: &str) -> Result<Field> {
        let handle = host::data_source_get_field(self.0, string_to_buf_ptr(name).0);
        nonzero(handle, Field, || DataSourceError::NotFound(name.to_string()))
    }

    /// A new field. Fields are added in `gadgetInit`.
    pub fn add_field(&self, name: &str, kind: FieldKind) -> Result<Field> {
        let handle = host::data_source_add_field(self.0, string_to_buf_ptr(name).0, kind as u32);
        nonzero(handle, Field, || DataSourceError::AddFieldFailed(name.to_string()))
    }

    /// A packet of a single data source, whose values are set through `Data::from(packet)`.
    pub fn new_packet_single(&self) -> Result<PacketSingle> {
        let handle = host::data_source_new_packet_single(self.0);
        nonzero(handle, PacketSingle, || DataSourceError::PacketCreationFailed)
    }

    /// An empty packet of an array data source, which is filled through `DataArray::from(packet)`.
    pub fn new_packet_array(&self) -> Result<PacketArray> {
        let handle = host::data_source_new_packet_array(self.0);
        nonzero(handle, PacketArray, || DataSourceError::PacketCreationFailed)
    }

    /// Sends a packet to all subscribers. It is gone then, also when that failed.
    pub fn emit_and_release(&self, packet: Packet) -> Result<()> {
        zero(host::data_source_emit_and_release(self.0, packet.0), DataSourceError::EmitFailed)
    }

    /// Drops a packet.
    pub fn release(&self, packet: Packet) -> Result<()> {
        zero(host::data_source_release(self.0, packet.0), DataSourceError::ReleaseFailed)
    }

    /// Hides the data source from operators and users.
    pub fn unreference(&self) -> Result<()> {
        zero(host::data_source_unreference(self.0), DataSourceError::UnreferenceFailed)
    }

    /// Whether it is not hidden.
    pub fn is_referenced(&self) -> bool {
        host::data_source_is_referenced(self.0) == 1
    }
}

impl DataArray {
    /// An element that is in no array yet; 0 if that failed.
    pub fn new(&self) -> Data {
        Data(host::data_array_new(self.0))
    }

    /// Appends an element that [`new`](Self::new) made.
    pub fn append(&mut self, data: Data) -> Result<()> {
        zero(host::data_array_append(self.0, data.0), DataSourceError::AppendFailed)
    }

    /// Drops an element that was not appended.
    pub fn release(&self, data: Data) -> Result<()> {
        zero(host::data_array_release(self.0, data.0), DataSourceError::ReleaseFailed)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        host::data_array_len(self.0) as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An element, without the need to release it; 0 if there is none.
    pub fn get(&self, index: usize) -> Data {
        Data(u32::try_from(index).map_or(0, |index| host::data_array_get(self.0, index)))
    }

    /// All elements.
    pub fn iter(&self) -> impl Iterator<Item = Data> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn without_a_host_everything_fails_and_says_so() {
        let source = DataSource(1);
        assert_eq!(
            DataSource::get_datasource("open".to_string()).unwrap_err().to_string(),
            "\"open\" not found"
        );
        assert!(matches!(source.add_field("x", FieldKind::Bool), Err(DataSourceError::AddFieldFailed(name)) if name == "x"));
        assert!(!source.is_referenced());
    }

    #[test]
    fn a_callback_may_lead_to_another_one() {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let source = DataSource(1);
        let first = CALLBACKS.lock().unwrap().len() as u64;
        let outer = move |_: DataSource, data: Data| {
            CALLS.fetch_add(data.0, Ordering::Relaxed);
            let _ = source.subscribe(|_, _| {}, 0);
            dataSourceCallback(first + 1, 1, 100);
        };
        // The subscription fails, because there is no host; the callback is in the table all the same.
        assert_eq!(source.subscribe(outer, 0), Err(DataSourceError::SubscribingFailed));
        let inner = |_: DataSource, data: Data| {
            CALLS.fetch_add(data.0, Ordering::Relaxed);
        };
        let _ = source.subscribe(inner, 0);
        dataSourceCallback(first, 1, 1);
        assert_eq!(CALLS.load(Ordering::Relaxed), 101);
        dataSourceCallback(u64::MAX, 1, 1);
    }
}
