"""What runs around the product: deployment files, and the private servers of `deploy.local`."""
