//! Which containers exist, which of them a run is interested in, and the mount-namespace filter.
