"""`python -m lago_pipeline.cli`: the console script, where its folder is not on the path."""

from lago_pipeline.cli import main

main()
