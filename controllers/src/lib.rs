//! The controller manager: one file a controller.
