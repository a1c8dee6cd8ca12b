//! What happens to an event between the kernel and the sink: one file per operator.
