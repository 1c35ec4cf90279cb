//! The body of an answer, which keeps its request open until the client has taken the last byte.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};

use super::activity::Open;
use crate::state::limits::{Reservation, SMALL_BODY};

/// A response body that keeps its request open.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    /// Until the last bytes are handed over, which then hold it.
    open: Option<Open>,
    reservation: Option<Reservation>,
}

/// Bytes of an answer. HTTP/2 buffers them and waits for the client; they are dropped when all have been written.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    /// In the last piece of an answer.
    open: Option<Open>,
    _reservation: Option<Reservation>,
}

impl Answer {
    /// Keeps the request open, and its memory reserved, until the client has taken this body.
    pub(super) fn new(body: Body, mut open: Open, reservation: Option<Reservation>) -> Self {
        open.progress();
        let length = hyper::body::Body::size_hint(&body).upper().unwrap_or(u64::MAX);
        let reservation = reservation.filter(|_| length > SMALL_BODY as u64);
        Self { body, open: Some(open), reservation }
    }
}

impl hyper::body::Body for Answer {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let this = &mut *self;
        let frame = Pin::new(&mut this.body).poll_frame(context);
        if let Some(open) = &mut this.open {
            if frame.is_pending() { open.rest() } else { open.progress() }
        }
        frame.map_ok(|frame| {
            frame.map_data(|bytes| Piece {
                bytes,
                open: if this.body.is_end_stream() { this.open.take() } else { None },
                _reservation: this.reservation.clone(),
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(open) = &mut self.open {
            open.progress();
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::server::activity::Activity;

    #[tokio::test]
    async fn the_last_piece_keeps_the_request_open_until_it_is_written() {
        let activity = Activity::of_a_stranger();
        let mut answer = Answer::new(Body::from("answer"), activity.begin(), None);
        let mut piece = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(answer);
        assert!(!activity.is_idle() && activity.waiting() == 1);
        assert_eq!(piece.copy_to_bytes(6), "answer");
        drop(piece);
        assert!(activity.is_idle() && activity.waiting() == 0);
    }
}
