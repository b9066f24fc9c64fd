//! The pipeline in use, which a reload replaces as a whole.
//!
//! Contract: whoever holds a pipeline goes on with it; who asks again gets the one in use. Asking whether it was replaced
//! costs one look at a number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::Pipeline;

/// Where the pipeline in use is found.
pub struct Live {
    generation: AtomicU64,
    current: RwLock<Arc<Pipeline>>,
}

impl Live {
    /// With this one in use.
    pub fn new(pipeline: Arc<Pipeline>) -> Live {
        Live { generation: AtomicU64::new(0), current: RwLock::new(pipeline) }
    }

    /// The one in use.
    pub fn get(&self) -> Arc<Pipeline> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another one in use.
    pub fn replace(&self, pipeline: Arc<Pipeline>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = pipeline;
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The one in use, where it is another than at the last call with `seen`, which is zero at first.
    pub fn newer(&self, seen: &mut u64) -> Option<Arc<Pipeline>> {
        let generation = self.generation.load(Ordering::Acquire);
        (std::mem::replace(seen, generation) != generation).then(|| self.get())
    }
}
