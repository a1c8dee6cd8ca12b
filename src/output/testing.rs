//! Data sources for tests, rebuilt from recorded schemas.
