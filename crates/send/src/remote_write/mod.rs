//! Remote write: samples for Prometheus and its long-term stores.
