"""The evaluation report: one static page with tables, maps, plots and videos that opens without a server."""
