"""Drive it yourself: a page on localhost where the agent drives live and listens."""
