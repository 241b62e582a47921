"""What is made of stored components, as jobs: PDF/A renditions and text for search; never instead of the original and never in its way."""
