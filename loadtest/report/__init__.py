"""The load test's result as one HTML page that needs nothing else: `page.write_page`.

`cards` and `figures` decide which numbers and words it shows, `charts` which lines; `page.html.jinja`, `page.css` and
`page.js` how they look.
"""
