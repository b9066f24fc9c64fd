//! What holds for every output, and one example of each format.
