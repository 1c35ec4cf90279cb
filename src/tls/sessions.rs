//! The sessions that clients can resume, bounded in number and in bytes. A session holds the chain of its client, so that
//! the number alone would bound nothing.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use parking_lot::Mutex;
use rustls::server::StoresServerSessions;

/// The maximum number of sessions. One of a client with a small certificate has less than 1 KiB.
const MAX_SESSIONS: usize = 10_000;

/// The maximum size of all sessions in bytes.
const MAX_BYTES: usize = 8 << 20;

/// Sessions by their ID or ticket; the oldest ones make room for new ones.
#[derive(Default)]
pub(super) struct Sessions(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    by_key: HashMap<Vec<u8>, Vec<u8>>,
    /// The keys in order of their arrival; some may have been taken.
    order: VecDeque<Vec<u8>>,
    /// The size of all keys and values in `by_key`.
    bytes: usize,
}

impl Inner {
    fn remove(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let value = self.by_key.remove(key)?;
        self.bytes -= key.len() + value.len();
        Some(value)
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let mut sessions = self.0.lock();
        let size = key.len() + value.len();
        if size > MAX_BYTES {
            return false;
        }
        sessions.remove(&key);
        while sessions.order.len() >= MAX_SESSIONS || sessions.bytes + size > MAX_BYTES {
            let Some(oldest) = sessions.order.pop_front() else { break };
            sessions.remove(&oldest);
        }
        sessions.bytes += size;
        sessions.order.push_back(key.clone());
        sessions.by_key.insert(key, value);
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.lock().by_key.get(key).cloned()
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.lock().remove(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// Without the sessions, which hold secrets.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(sessions: &Sessions, number: usize, size: usize) -> bool {
        sessions.put(number.to_be_bytes().to_vec(), vec![0; size])
    }

    fn has(sessions: &Sessions, number: usize) -> bool {
        sessions.get(&number.to_be_bytes()).is_some()
    }

    #[test]
    fn large_sessions_make_room_for_new_ones_and_stay_within_8_mib() {
        let sessions = Sessions::default();
        assert!((0..2_000).all(|number| put(&sessions, number, 16 << 10)));
        assert!(sessions.0.lock().bytes <= MAX_BYTES);
        assert!(!has(&sessions, 0) && has(&sessions, 1_999) && has(&sessions, 1_600));
        assert!(!put(&sessions, 0, MAX_BYTES), "a session that is larger than all of the room");
    }

    #[test]
    fn small_sessions_are_bounded_in_number_even_if_each_is_taken() {
        let sessions = Sessions::default();
        for number in 0..2 * MAX_SESSIONS {
            assert!(put(&sessions, number, 1) && put(&sessions, number, 1));
            assert!(number % 2 == 0 || sessions.take(&number.to_be_bytes()).is_some());
        }
        let inner = sessions.0.lock();
        assert!(inner.order.len() <= MAX_SESSIONS && inner.by_key.len() <= MAX_SESSIONS);
        assert_eq!(inner.bytes, inner.by_key.len() * 9);
    }

    #[test]
    fn a_session_is_taken_once() {
        let sessions = Sessions::default();
        assert!(put(&sessions, 1, 3));
        assert_eq!(sessions.take(&1_usize.to_be_bytes()), Some(vec![0; 3]));
        assert_eq!(sessions.take(&1_usize.to_be_bytes()), None);
        assert_eq!(sessions.0.lock().bytes, 0);
    }
}
