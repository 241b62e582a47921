"""Transfer to the archive: people decide on checked submissions, approved ones are packaged and stored."""
