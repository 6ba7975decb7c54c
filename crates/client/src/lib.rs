//! The HTTP client with which tallies sends metrics.
