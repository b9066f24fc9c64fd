//! The client against real servers that behave badly.
