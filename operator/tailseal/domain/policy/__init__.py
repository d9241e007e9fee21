"""The policy language: patterns, matchers, compilation, and the decision whether a token is trusted."""
