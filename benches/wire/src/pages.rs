//! Pages of tallies, scraped over a socket.

use std::io::{Read, Write};
use std::net::TcpStream;

use tallies::serve::{Server, Serving};

use crate::receiver::{Ends, Receiver, Traffic};
use crate::send::Program;
use crate::workload::Workload;
use crate::{Interval, Row, Way, meter};

pub fn rows() -> Vec<Row> {
    let ways = [
        ("text", "text/plain;version=0.0.4", false),
        ("text, gzip", "text/plain;version=0.0.4", true),
        (
            "OpenMetrics 1",
            "application/openmetrics-text;version=1.0.0",
            false,
        ),
        (
            "OpenMetrics 1, gzip",
            "application/openmetrics-text;version=1.0.0",
            true,
        ),
        (
            "OpenMetrics 2",
            "application/openmetrics-text;version=2.0.0",
            false,
        ),
        (
            "OpenMetrics 2, gzip",
            "application/openmetrics-text;version=2.0.0",
            true,
        ),
        ("protobuf", PROTOBUF, false),
        ("protobuf, gzip", PROTOBUF, true),
    ];
    let row = |(name, accept, gzip)| -> Row {
        let prepare = move |workload, _: &Receiver| -> Box<dyn Way> {
            Box::new(Page::new(workload, accept, gzip))
        };
        (name, Box::new(prepare))
    };
    ways.into_iter().map(row).collect()
}

const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

/// A program whose page is scraped.
struct Page {
    program: Program,
    serving: Serving,
    accept: &'static str,
    gzip: bool,
}

impl Page {
    fn new(workload: Workload, accept: &'static str, gzip: bool) -> Self {
        let program = Program::new(workload);
        let server = Server::new().registry(&program.registry);
        let serving = server.listen("127.0.0.1:0").expect("a server");
        Self {
            program,
            serving,
            accept,
            gzip,
        }
    }

    fn scrape(&self) -> Traffic {
        let mut stream = TcpStream::connect(self.serving.address()).expect("a connection");
        let coding = if self.gzip { "gzip" } else { "identity" };
        // Version 1.0 ends the page with the connection.
        write!(
            stream,
            "GET /metrics HTTP/1.0\r\nAccept: {}\r\nAccept-Encoding: {coding}\r\n\r\n",
            self.accept
        )
        .expect("a request");
        let mut buffer = [0; 64 << 10];
        let (mut wire, mut head) = (0, None);
        let mut ends = Ends::default();
        loop {
            let n = stream.read(&mut buffer).expect("a page");
            if n == 0 {
                break;
            }
            if head.is_none() {
                let end = buffer[..n].windows(4).position(|four| four == b"\r\n\r\n");
                let end = end.expect("the head is short") + 4;
                let text = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
                assert!(text.contains(" 200 ok"), "{text}");
                let expected = self.accept.split(';').next().unwrap_or_default();
                assert!(text.contains(expected), "{text}");
                assert_eq!(text.contains("content-encoding: gzip"), self.gzip);
                head = Some(end);
            }
            ends.push(&buffer[..n]);
            wire += n as u64;
        }
        let body = wire - head.expect("an answer") as u64;
        Traffic {
            requests: 1,
            content: if self.gzip { ends.of_gzip() } else { body },
            wire,
        }
    }
}

impl Way for Page {
    fn update(&mut self, round: usize) {
        self.program.update(round);
    }

    fn send(&mut self) -> Interval {
        let mut traffic = Traffic::default();
        let processor = meter::others(|| traffic = self.scrape());
        Interval { processor, traffic }
    }
}
