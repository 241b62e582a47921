"""What a file is and whether it can be kept: identification, format policy, structural checks, virus scan, renditions.

Everything here reads untrusted bytes. Nothing here knows a database, another sibling package, or the clock. See
README.md.
"""
