//! What must hold of frames and messages whatever they are.
use super::spdy::{Compressor, Decompressor, Frame, read, syn_stream};
use super::websocket::{Codec, Input};
use bytes::Bytes;
use futures::executor::block_on;
use tokio_tungstenite::tungstenite::Message;

/// Bytes as frames of SPDY/3.1 with their headers: a frame that has a form is written as it was read.
pub fn spdy(input: &[u8]) {
    let mut rest = input;
    let mut headers = Decompressor::new();
    // All that is read is there: nothing waits.
    while let Ok(Some(frame)) = block_on(read(&mut rest)) {
        let block = match &frame {
            Frame::SynStream { block, .. } | Frame::SynReply { block, .. } | Frame::Headers { block } => {
                block
            }
            _ => &Bytes::new(),
        };
        if headers.decompress(block).is_err() {
            headers = Decompressor::new();
        }
        if frame != Frame::Other {
            let written = frame.encode();
            assert_eq!(block_on(read(&mut written.as_ref())).ok().flatten(), Some(frame));
        }
    }
}

pub(crate) fn spdy_seeds() -> Vec<Vec<u8>> {
    let named = [("streamtype".to_owned(), "data".to_owned()), ("port".to_owned(), "80".to_owned())];
    let block = Compressor::new().and_then(|mut compressor| compressor.compress(&named)).unwrap_or_default();
    let data = Frame::Data { id: 1, fin: true, data: Bytes::from_static(b"abc") };
    let frames = [
        syn_stream(1, &block),
        Frame::SynReply { id: 1, fin: false, block: block.into() }.encode(),
        data.encode(),
        Frame::Ping { id: 2 }.encode(),
        Frame::Reset { id: 1, status: 3 }.encode(),
        Frame::GoAway.encode(),
    ];
    let mut seeds: Vec<Vec<u8>> = frames.iter().map(|frame| frame.to_vec()).collect();
    seeds.push(frames.concat());
    seeds
}

/// Bytes as a message of each channel protocol: data of a channel is written as a message that reads as the same.
pub fn channels(input: &[u8]) {
    let mut messages = vec![Message::binary(input.to_vec())];
    if let Ok(text) = std::str::from_utf8(input) {
        messages.push(Message::text(text));
    }
    for protocol in
        ["", "v4.channel.k8s.io", "base64.channel.k8s.io", "v5.channel.k8s.io", "v4.base64.channel.k8s.io"]
    {
        let codec = Codec::of(protocol);
        for message in &messages {
            // Channels beyond the digits have no text form, and one number says that a channel ends.
            if let Some(Input::Data(channel @ 0..=9, data)) = codec.decode(message) {
                let written = codec.encode(channel, &data);
                assert_eq!(codec.decode(&written), Some(Input::Data(channel, data)), "{protocol}");
            }
        }
    }
}

pub(crate) fn channel_seeds() -> Vec<Vec<u8>> {
    vec![
        b"\0input".to_vec(),
        b"0aW5wdXQ=".to_vec(),
        vec![255, 0],
        b"\x04{\"Width\":80,\"Height\":24}".to_vec(),
    ]
}
