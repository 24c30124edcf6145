"""The flow: what happens to a delivery, in terms of ports. It knows no adapter and no setting."""
