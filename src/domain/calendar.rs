//! Civil time in the programme's time zone.
