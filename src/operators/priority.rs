//! The order of operators, in one place. Lower runs earlier.
//!
//! *Instance* priorities order the life cycle; *subscription* priorities order what happens to an event. Subscriptions of equal
//! priority run in the order in which the instances were prepared.

/// Instance priorities.
pub mod instance {
    /// The gadget's image: data sources, programs, what it formats itself.
    pub const GADGET: i32 = -1000;
    /// Processes as a data source; after the image by name.
    pub const PROCESS: i32 = -1000;
    /// Control groups as a data source.
    pub const CGROUP: i32 = -900;
    /// The batches of several machines as one.
    pub const COMBINER: i32 = -500;
    /// Containers: selection and enrichment.
    pub const CONTAINERS: i32 = -1;
    /// What eBPF programs cost.
    pub const STATISTICS: i32 = 0;
    /// Numbers to text.
    pub const FORMATTERS: i32 = 0;
    /// Environment variables.
    pub const ENV: i32 = 1;
    /// User and group names.
    pub const UID_GID: i32 = 5;
    /// User stacks.
    pub const USER_STACK: i32 = 100;
    /// Selection by value.
    pub const FILTER: i32 = 9000;
    /// Order of array elements.
    pub const SORT: i32 = 9500;
    /// Number of array elements.
    pub const LIMITER: i32 = 9600;
    /// Values that are summed up.
    pub const METRICS: i32 = 9995;
    /// Events as log lines.
    pub const LOGS: i32 = 9998;
    /// Output.
    pub const SINK: i32 = 10_000;
}

/// Subscription priorities.
pub mod subscription {
    /// Selection by what the kernel wrote, before anything is added.
    pub const RAW_FILTER: i32 = -2000;
    /// The batches of several machines as one.
    pub const COMBINER: i32 = -500;
    /// What the gadget's image formats itself: enums.
    pub const EBPF: i32 = 0;
    /// Container enrichment.
    pub const CONTAINERS: i32 = 0;
    /// Formatters whose input is a single field.
    pub const FORMATTERS: i32 = 0;
    /// Endpoints with a port, whose text later operators may replace.
    pub const ENDPOINTS: i32 = 1;
    /// Environment variables.
    pub const ENV: i32 = 0;
    /// User names.
    pub const USERS: i32 = 0;
    /// Group names.
    pub const GROUPS: i32 = 1;
    /// User stacks.
    pub const USER_STACK: i32 = 100;
    /// Selection by value.
    pub const FILTER: i32 = 9000;
    /// Order of array elements.
    pub const SORT: i32 = 9500;
    /// Number of array elements.
    pub const LIMITER: i32 = 9600;
    /// Values that are summed up.
    pub const METRICS: i32 = 9995;
    /// Events as log lines.
    pub const LOGS: i32 = 9998;
    /// Output.
    pub const SINK: i32 = 10_000;
}
