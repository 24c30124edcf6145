"""The MMS sending worker: drains send jobs at the pace that the API allows."""
