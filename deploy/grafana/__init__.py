"""Grafana's dashboards as plain data: `dashboards/*.json` are made from here by `make generate`, and are never edited.

Every panel says what it shows, what is healthy, and what to do otherwise. `catalogue.py` names the dashboards; a
new panel is a few lines in the module of its dashboard.
"""
