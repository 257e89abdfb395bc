//! Port forwarding over WebSocket channels: two for each port, data and errors, both of which begin with
//! the port's number.

use bytes::Bytes;
use futures::stream::SelectAll;
use futures::{SinkExt, StreamExt};

use super::spdy::{Connection, Writer};
use super::websocket::{Codec, Input, Socket};

/// Carries data until the client has gone or all ports have ended.
pub async fn run(socket: Socket, codec: Codec, connection: Connection, ports: Vec<u16>) {
    let (mut sink, mut source) = socket.split();
    let mut output = SelectAll::new();
    let mut writers: Vec<Option<Writer>> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let Ok(channel) = u8::try_from(index * 2) else { return };
        for channel in [channel, channel + 1] {
            if sink.send(codec.encode(channel, &port.to_le_bytes())).await.is_err() {
                return;
            }
        }
        match open(&connection, *port, index).await {
            Ok(streams) => {
                let (data, errors, writer) = streams;
                for (channel, reader) in [(channel, data), (channel + 1, errors)] {
                    let tagged = futures::stream::unfold(reader, move |mut reader| async move {
                        reader.recv().await.map(|data: Bytes| ((channel, data), reader))
                    });
                    output.push(tagged.boxed());
                }
                writers.push(Some(writer));
            }
            Err(error) => {
                tracing::debug!(port, %error, "port not forwarded");
                return;
            }
        }
    }
    let outward = async {
        while let Some((channel, data)) = output.next().await {
            if sink.send(codec.encode(channel, &data)).await.is_err() {
                return;
            }
        }
        let _ = sink.close().await;
    };
    let inward = async {
        while let Some(Ok(message)) = source.next().await {
            let (channel, data) = match codec.decode(&message) {
                Some(Input::Data(channel, data)) => (channel, Some(data)),
                Some(Input::End(channel)) => (channel, None),
                None => continue,
            };
            let Some(slot) = writers.get_mut(usize::from(channel / 2)).filter(|_| channel % 2 == 0) else {
                continue;
            };
            match (slot.as_ref(), data) {
                (Some(writer), Some(data)) => {
                    let _ = writer.write(data).await;
                }
                (Some(writer), None) => {
                    let _ = writer.finish().await;
                    *slot = None;
                }
                (None, _) => {}
            }
        }
    };
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
}

type Opened = (super::spdy::Reader, super::spdy::Reader, Writer);

async fn open(connection: &Connection, port: u16, request: usize) -> std::io::Result<Opened> {
    let (port, request) = (port.to_string(), request.to_string());
    let headers = |kind| [("streamtype", kind), ("port", port.as_str()), ("requestid", request.as_str())];
    let (errors, error_writer) = connection.open(&headers("error")).await?;
    error_writer.finish().await?;
    let (data, writer) = connection.open(&headers("data")).await?;
    Ok((data, errors, writer))
}
