//! HTTP/2 by hand, for callers that do what no library does.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Headers as they are, without compression.
pub fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let text = |bytes: &mut Vec<u8>, text: &str| {
        // The length takes seven bits, or those and as many bytes of seven bits as it needs.
        if text.len() < 127 {
            bytes.push(u8::try_from(text.len()).expect("short"));
        } else {
            bytes.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128).expect("seven bits") | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).expect("seven bits"));
        }
        bytes.extend_from_slice(text.as_bytes());
    };
    for (name, value) in headers {
        bytes.push(0);
        text(&mut bytes, name);
        text(&mut bytes, value);
    }
    bytes
}

/// What a call begins with.
pub fn call(path: &str) -> Vec<u8> {
    call_with(path, &[])
}

pub fn call_with(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ];
    block(&[&usual, more].concat())
}

/// A connection by hand.
pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("the server listens"))
    }

    /// Until calls can be made.
    pub async fn open(address: SocketAddr) -> Self {
        let mut raw = Self::connect(address).await;
        raw.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        raw
    }

    /// A server that has closed the connection already takes nothing.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.0.write_all(bytes)).await.expect("the server reads, or closes");
    }

    /// The next frame; `None` when the connection is closed.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        timeout(PATIENCE, self.0.read_exact(&mut head)).await.expect("a frame, or the end").ok()?;
        let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).expect("small");
        let mut payload = vec![0; length];
        timeout(PATIENCE, self.0.read_exact(&mut payload)).await.expect("the rest of a frame").ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// All frames until the connection is closed.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Until a frame of that kind; `None` when the connection is closed before.
    pub async fn until(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }
}

/// Of a frame that ends a connection: the code, and what is said.
pub fn goaway(frames: &[Frame]) -> Option<(u32, String)> {
    let last = frames.iter().rfind(|frame| frame.kind == GOAWAY)?;
    let code = u32::from_be_bytes(last.payload[4..8].try_into().expect("four bytes"));
    Some((code, String::from_utf8_lossy(&last.payload[8..]).into_owned()))
}
