"""What the images hold: lock files that are parts of the project's own, so that nothing is resolved twice."""
