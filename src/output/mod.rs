//! Encoders from packets to text: columns, JSON, YAML. They encode into buffers; sinks write.
