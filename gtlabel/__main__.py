"""`python -m gtlabel`."""

from gtlabel.cli.main import main

if __name__ == "__main__":
    main()
