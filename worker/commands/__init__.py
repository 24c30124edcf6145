"""The commands, one module each; ``__main__`` ties them to the command line."""
