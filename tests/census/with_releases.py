"""`c2s` with the list of releases of another server: with_releases.py URL ARGUMENT ..."""

import sys

from cellxgene_census import _release_directory

from c2sflow.cli import main

url = sys.argv.pop(1)
_release_directory.CELL_CENSUS_RELEASE_DIRECTORY_URL = f"{url}/release.json"
_release_directory.CELL_CENSUS_MIRRORS_DIRECTORY_URL = f"{url}/mirrors.json"
main()
