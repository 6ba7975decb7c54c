//! Requests of remote write 1.0.
//!
//! Source: `prompb/remote.proto` and `prompb/types.proto` of prometheus/prometheus.

use prost::Message;

#[derive(Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

#[derive(Message)]
pub struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
}

#[derive(Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

impl WriteRequest {
    /// Reads a body in snappy.
    pub fn of(body: &[u8]) -> Self {
        let message = snap::raw::Decoder::new().decompress_vec(body).unwrap();
        Self::decode(&*message).unwrap()
    }
}

impl TimeSeries {
    pub fn label(&self, name: &str) -> Option<&str> {
        let label = self.labels.iter().find(|label| label.name == name);
        label.map(|label| &*label.value)
    }
}

impl Sample {
    /// Returns whether the sample ends its series.
    pub fn is_stale_marker(&self) -> bool {
        self.value.to_bits() == 0x7ff0_0000_0000_0002
    }
}
