//! The bodies of answers.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// What fills up a body: lines, so that a terminal stays usable.
static FILLER: [u8; 16 << 10] = {
    let mut filler = [b'.'; 16 << 10];
    let mut i = 63;
    while i < filler.len() {
        filler[i] = b'\n';
        i += 64;
    }
    filler
};

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// A text, and then so many bytes of filling, which are never in memory at once.
    Padded { text: Bytes, filling: u64 },
    /// The request's own body.
    Echo(Incoming),
}

impl Answer {
    /// `text`, cut or filled up to `size` bytes if that is given.
    pub(super) fn sized(text: impl Into<Bytes>, size: Option<u64>) -> Self {
        let mut text = text.into();
        let size = size.unwrap_or(text.len() as u64);
        // A size that is no usize is longer than any text.
        text.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        Self::Padded {
            filling: size - text.len() as u64,
            text,
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Padded { text, .. } if !text.is_empty() => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Self::Padded { filling: 0, .. } => Poll::Ready(None),
            Self::Padded { filling, .. } => {
                let n = usize::try_from(*filling).unwrap_or(usize::MAX).min(FILLER.len());
                *filling -= n as u64;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&FILLER[..n])))))
            }
            Self::Echo(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Padded { text, filling } => text.is_empty() && *filling == 0,
            Self::Echo(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Padded { text, filling } => SizeHint::with_exact(text.len() as u64 + filling),
            Self::Echo(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn collect(answer: Answer) -> Bytes {
        let announced = answer.size_hint().exact().unwrap();
        let bytes = answer.collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len() as u64, announced);
        bytes
    }

    #[tokio::test]
    async fn a_body_has_exactly_the_size_that_was_asked_for() {
        assert_eq!(collect(Answer::sized("hello\n", None)).await, "hello\n");
        assert_eq!(collect(Answer::sized("hello\n", Some(2))).await, "he");
        assert_eq!(collect(Answer::sized("hello\n", Some(0))).await, "");
        assert_eq!(collect(Answer::sized("hello\n", Some(9))).await, "hello\n...");
        let large = collect(Answer::sized("hello\n", Some(100_000))).await;
        assert_eq!(large.len(), 100_000);
        assert!(large.starts_with(b"hello\n...."));
    }

    #[tokio::test]
    async fn a_huge_body_comes_in_small_parts() {
        let mut answer = Answer::sized("", Some(u64::MAX));
        for _ in 0..3 {
            let part = answer.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(part.len(), FILLER.len());
        }
        assert_eq!(answer.size_hint().exact(), Some(u64::MAX - 3 * FILLER.len() as u64));
    }
}
