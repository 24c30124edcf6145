"""The simulator of the MMS API and the load test that runs against it."""
