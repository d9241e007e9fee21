"""What both workers share: bundle loading, the status answer, audit, limits, serving."""
