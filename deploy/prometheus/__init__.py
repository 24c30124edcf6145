"""Prometheus' configuration and rules, and what is made from them."""
