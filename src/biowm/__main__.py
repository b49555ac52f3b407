"""`python -m biowm` is the command `biowm`."""

from biowm.cli.main import main

if __name__ == "__main__":
    main()
