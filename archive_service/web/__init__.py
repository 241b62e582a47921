"""Server-rendered pages (DESIGN D13): Jinja2 templates over the same stage functions as the API, a little htmx, one style sheet.

Every page works without script; nothing is fetched from another host (R138). `mounting.add_pages` adds them to the application.
"""
