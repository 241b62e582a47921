"""`python -m archive_service` is the same as the `archive-service` command."""

from archive_service.cli import main

if __name__ == "__main__":
    main()
