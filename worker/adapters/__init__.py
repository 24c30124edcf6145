"""One module per outside thing. Adapters know the flow's ports and the core, never each other."""
