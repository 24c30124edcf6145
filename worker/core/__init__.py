"""The pure core: plain functions on frozen data. No I/O, no clock, no logging."""
