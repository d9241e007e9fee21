"""`tailseal status`: everything of ours on one screen."""
