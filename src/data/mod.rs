//! Data sources, fields, packets and accessors: the model every event is described and carried by. Pure, no I/O.
