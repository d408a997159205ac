"""The page that the service shows to people: its files, which hold no data, and what serves them.

    GET / -> static/index.html -> /page/... -> static/...

What the page shows it asks the JSON routes for, under the same API key as everybody.
"""
